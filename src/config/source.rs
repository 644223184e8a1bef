//! Where settings come from: flags, variables, a TOML file, and which of them counts.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};

use super::Settings;

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "dmwire.toml";

/// A setting that cannot stand. Its text names the setting as the operator wrote it (flag, variable, or file and key)
/// and says what would be right.
#[derive(Debug)]
pub struct ConfigError(String);

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn new(name: impl Display, what: impl Display) -> Self {
        Self(format!("{name}: {what}"))
    }
}

/// Which of the sources a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Default,
    Flag,
    Variable,
    File(PathBuf),
    /// What another setting leads to.
    Implied(&'static str),
}

impl Source {
    /// The setting `key` by the name it has in this source.
    pub fn name(&self, key: &str) -> String {
        match self {
            Self::Default | Self::Flag | Self::Implied(_) => flag(key),
            Self::Variable => variable(key),
            Self::File(path) => format!("{}: {key}", path.display()),
        }
    }

    /// The source in a few words, on one line.
    pub fn describe(&self, key: &str) -> String {
        match self {
            Self::Default => "default".into(),
            Self::Flag => format!("flag {}", flag(key)),
            Self::Variable => format!("variable {}", variable(key)),
            // A path may hold a line break, which would end the comment that this is printed in.
            Self::File(path) => format!("file {}", path.display()).replace(char::is_control, "?"),
            Self::Implied(by) => format!("follows from {by}"),
        }
    }

    /// The source named on the command line or in the environment for `key`, if any. An empty variable counts as none:
    /// container files pass variables on whether or not they are set.
    fn given(matches: &ArgMatches, key: &str) -> Option<Self> {
        match matches.value_source(key)? {
            ValueSource::CommandLine => Some(Self::Flag),
            ValueSource::EnvVariable => matches
                .get_raw(key)?
                .any(|value| !value.is_empty())
                .then_some(Self::Variable),
            _ => None,
        }
    }
}

pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

pub(super) fn variable(key: &str) -> String {
    format!("DMWIRE_{}", key.to_uppercase())
}

/// One value as it was written, whatever the source: the meaning is looked for in one place only, [`super::value`]. No
/// `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Written(String);

impl Written {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl From<String> for Written {
    fn from(text: String) -> Self {
        Self(text.trim().to_owned())
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar)
    }
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, true or false")
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(text.to_owned().into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Written, E> {
        Ok(number.to_string().into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Written, E> {
        Ok(number.to_string().into())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Written, E> {
        Ok(truth.to_string().into())
    }
}

/// For settings that can be repeated: a list, or a single value without its brackets.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Written>>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<Written>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned().into()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Deserialize::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(OneOrMany).map(Some)
}

/// All that was said, from which [`Sources::settle`] takes the strongest word on each setting.
pub(super) struct Sources<'a> {
    /// Flags and variables; clap has already put flags first.
    line: &'a Settings,
    matches: &'a ArgMatches,
    file: Option<(PathBuf, Settings)>,
    /// Where each setting came from that is not left at its default.
    settled: BTreeMap<&'static str, Source>,
}

impl<'a> Sources<'a> {
    /// Reads the file `named` on the command line or in `DMWIRE_CONFIG`, else `dmwire.toml` if it is there.
    pub fn read(
        line: &'a Settings,
        matches: &'a ArgMatches,
        named: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let named = named.and_then(|path| Some((path, Source::given(matches, "config")?)));
        let file = match named {
            Some((path, source)) => Some(read_file(path).map_err(|what| {
                ConfigError::new(source.name("config"), format!("{}: {what}", path.display()))
            })?),
            None => match read_file(Path::new(DEFAULT_FILE)) {
                Err(FileError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
                    None
                }
                read => Some(read.map_err(|what| ConfigError::new(DEFAULT_FILE, what))?),
            },
        };
        Ok(Self {
            line,
            matches,
            file,
            settled: BTreeMap::new(),
        })
    }

    /// Puts what the strongest source says of `key` into `value`, which keeps its default when none says anything.
    pub fn settle<W, T>(
        &mut self,
        key: &'static str,
        get: fn(&Settings) -> Option<&W>,
        parse: impl Fn(&W) -> Result<T, String>,
        value: &mut T,
    ) -> Result<(), ConfigError> {
        let on_line = || Some((get(self.line)?, Source::given(self.matches, key)?));
        let in_file = || {
            let (path, file) = self.file.as_ref()?;
            Some((get(file)?, Source::File(path.clone())))
        };
        if let Some((written, source)) = on_line().or_else(in_file) {
            *value = parse(written).map_err(|what| ConfigError::new(source.name(key), what))?;
            self.settled.insert(key, source);
        }
        Ok(())
    }

    pub fn into_settled(self) -> BTreeMap<&'static str, Source> {
        self.settled
    }
}

enum FileError {
    Unreadable(io::Error),
    /// With the line, the column and what would be right there.
    Malformed(toml::de::Error),
}

impl Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Malformed(error) => f.write_str(error.to_string().trim_end()),
        }
    }
}

fn read_file(path: &Path) -> Result<(PathBuf, Settings), FileError> {
    let text = std::fs::read_to_string(path).map_err(FileError::Unreadable)?;
    let settings = toml::from_str(&text).map_err(FileError::Malformed)?;
    Ok((path.to_owned(), settings))
}

//! The sources of settings (flags, environment variables, a TOML file) and their order of precedence.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use super::setting::{Setting, Shape, flag, variable};
use super::text_file::{encoding_fault, read_error};
use super::{ConfigError, settings};

/// The file that is read if `--config` and `DMWIRE_CONFIG` name none. It need not exist.
const DEFAULT_FILE: &str = "dmwire.toml";

/// The argument that names the file.
pub(super) const FILE_KEY: &str = "config";

/// Where a value comes from, with the key by which the source names the setting: the key itself or a former one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Flag(&'static str),
    Variable(&'static str),
    File(PathBuf, &'static str),
    /// The setting with this key implies the value.
    Implied(&'static str),
}

impl Source {
    /// The name of the setting as it is written in this source, with the file's path.
    pub fn name(&self) -> String {
        match self {
            Self::File(path, key) => format!("{}: {key}", path.display()),
            _ => self.spelling(),
        }
    }

    /// As [`Source::name`], without the file's path.
    fn spelling(&self) -> String {
        match self {
            Self::Flag(key) | Self::Implied(key) => flag(key),
            Self::Variable(key) => variable(key),
            Self::File(_, key) => (*key).to_owned(),
        }
    }

    /// A description on one line.
    pub fn describe(&self) -> String {
        match self {
            Self::Flag(_) => format!("flag {}", self.spelling()),
            Self::Variable(_) => format!("variable {}", self.spelling()),
            // A line break in a path would end the comment that contains this text.
            Self::File(path, _) => {
                format!("file {}", path.display()).replace(char::is_control, "?")
            }
            Self::Implied(key) => format!("follows from {key}"),
        }
    }
}

/// One value as text, from whatever source. Without `Debug`, since it may be a secret.
#[derive(Clone)]
pub(super) struct RawValue(String);

impl RawValue {
    /// The text without blanks around it.
    pub fn as_str(&self) -> &str {
        self.0.trim()
    }

    /// The whole text, for values in which blanks have a meaning.
    pub fn whole(&self) -> &str {
        &self.0
    }
}

impl Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl From<&str> for RawValue {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// The values that a source gives for a setting.
pub(super) struct Given {
    pub values: Vec<RawValue>,
    pub source: Source,
}

/// All sources of one start of the program.
pub(super) struct Sources<'a> {
    /// Flags and variables.
    matches: &'a ArgMatches,
    file: Option<(PathBuf, FileSettings)>,
}

impl<'a> Sources<'a> {
    /// Reads the file that `--config` or `DMWIRE_CONFIG` names, else `dmwire.toml` if it exists.
    pub fn read(matches: &'a ArgMatches) -> Result<Self, ConfigError> {
        let named = matches.get_one::<OsString>(FILE_KEY);
        let source = [ValueSource::CommandLine, ValueSource::EnvVariable]
            .into_iter()
            .find_map(|level| given_at(matches, level, FILE_KEY));
        let file = match named.zip(source) {
            Some((path, source)) => {
                let path = Path::new(path);
                Some(read_file(path).map_err(|error| {
                    let name = source.name();
                    ConfigError::new(name, format!("{}: {error}", path.display()))
                })?)
            }
            None => match read_file(Path::new(DEFAULT_FILE)) {
                Err(FileError::Unreadable(io::ErrorKind::NotFound, _)) => None,
                read => Some(read.map_err(|error| ConfigError::new(DEFAULT_FILE, error))?),
            },
        };
        Ok(Self { matches, file })
    }

    /// The value of a setting in the strongest source that has one.
    ///
    /// # Errors
    ///
    /// If that source gives the setting by its key and by a former key, since their order would be arbitrary.
    pub fn find(&self, setting: &Setting) -> Result<Option<Given>, ConfigError> {
        let matches = |level, key| {
            let source = given_at(self.matches, level, key)?;
            let values = self.matches.get_many::<String>(key)?;
            let values = values.map(|value| value.as_str().into()).collect();
            Some(Given { values, source })
        };
        let in_file = |key| {
            let (path, file) = self.file.as_ref()?;
            let values = file.0.get(key)?.clone();
            // As an empty variable. `dmwire config` writes settings without a value in this way.
            if values.iter().all(|value| value.whole().is_empty()) {
                return None;
            }
            let source = Source::File(path.clone(), key);
            Some(Given { values, source })
        };
        strongest([
            setting
                .keys()
                .filter_map(|key| matches(ValueSource::CommandLine, key))
                .collect(),
            setting
                .keys()
                .filter_map(|key| matches(ValueSource::EnvVariable, key))
                .collect(),
            setting.keys().filter_map(in_file).collect(),
        ])
    }
}

/// The entry of the first level that has one.
fn strongest(levels: [Vec<Given>; 3]) -> Result<Option<Given>, ConfigError> {
    for level in levels {
        let mut level = level.into_iter();
        match (level.next(), level.next()) {
            (None, _) => {}
            (Some(given), None) => return Ok(Some(given)),
            (Some(given), Some(former)) => {
                return Err(ConfigError::new(
                    former.source.name(),
                    format!(
                        "is the former name of {}, which is set as well; set only one of them",
                        given.source.spelling()
                    ),
                ));
            }
        }
    }
    Ok(None)
}

/// The source of `key`, if it is given at this level. An empty variable counts as absent: container files pass variables
/// on whether or not they are set.
fn given_at(matches: &ArgMatches, level: ValueSource, key: &'static str) -> Option<Source> {
    let found = matches.value_source(key)?;
    if found != level {
        return None;
    }
    if level == ValueSource::CommandLine {
        return Some(Source::Flag(key));
    }
    let mut values = matches.get_raw(key)?;
    values
        .any(|value| !value.is_empty())
        .then_some(Source::Variable(key))
}

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot be read: {1}")]
    Unreadable(io::ErrorKind, String),
    #[error("{0}")]
    Encoding(&'static str),
    /// With the line, the column and the expected token.
    #[error("{}", .0.to_string().trim_end())]
    Malformed(toml::de::Error),
}

fn read_file(path: &Path) -> Result<(PathBuf, FileSettings), FileError> {
    let bytes = std::fs::read(path)
        .map_err(|error| FileError::Unreadable(error.kind(), read_error(path, &error)))?;
    // Editors of other systems write this mark; in TOML it has no meaning.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    if let Some(fault) = encoding_fault(bytes) {
        return Err(FileError::Encoding(fault));
    }
    let text = str::from_utf8(bytes).map_err(|_| FileError::Encoding("is not in UTF-8"))?;
    let settings = toml::from_str(text).map_err(FileError::Malformed)?;
    Ok((path.to_owned(), settings))
}

/// The content of a file, by the keys as they are written there.
pub(super) struct FileSettings(pub BTreeMap<&'static str, Vec<RawValue>>);

impl<'de> Deserialize<'de> for FileSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = FileSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileSettings, A::Error> {
        let mut found = BTreeMap::new();
        while let Some((key, shape)) = map.next_key_seed(KeySeed)? {
            found.insert(key, map.next_value_seed(ValuesSeed(shape))?);
        }
        Ok(FileSettings(found))
    }
}

/// Reads a key, which must be that of a setting. Here and not later, so that the error names line and column.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = (&'static str, Shape);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = (&'static str, Shape);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key of a setting")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        static KEYS: LazyLock<Vec<&'static str>> =
            LazyLock::new(|| settings().iter().map(|setting| setting.key).collect());
        settings()
            .iter()
            .flat_map(|setting| setting.keys().map(|key| (key, setting.shape)))
            .find(|(key, _)| *key == text)
            .ok_or_else(|| E::unknown_field(text, &KEYS))
    }
}

/// Reads the value of one setting: a scalar, or a list for a setting that may be repeated.
struct ValuesSeed(Shape);

impl<'de> DeserializeSeed<'de> for ValuesSeed {
    type Value = Vec<RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValuesSeed {
    type Value = Vec<RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Shape::List { .. } => "a string or a list of strings",
            Shape::One | Shape::Switch => "a string, a number, true or false",
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.into()])
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.scalar(Unexpected::Signed(number), &number)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        self.scalar(Unexpected::Float(number), &number)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.scalar(Unexpected::Bool(value), &value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Shape::List { .. } = self.0 else {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        };
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(ValuesSeed(Shape::One))? {
            values.extend(value);
        }
        Ok(values)
    }
}

impl ValuesSeed {
    fn scalar<E: serde::de::Error>(
        self,
        found: Unexpected<'_>,
        value: &dyn Display,
    ) -> Result<Vec<RawValue>, E> {
        match self.0 {
            Shape::List { .. } => Err(E::invalid_type(found, &self)),
            Shape::One | Shape::Switch => Ok(vec![value.to_string().as_str().into()]),
        }
    }
}

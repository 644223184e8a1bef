//! How a setting is declared: one entry of a [`section!`] holds all facts about it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Arg, ArgAction};

use super::value::{self, Auto};
use super::{Config, RawValue, Secret};

/// Declares a section: a struct with one field for each setting, and a function `settings` that lists them.
///
/// An entry is `key: type = default, kind;`. The key is the field's name, and the flag, the environment variable and the
/// key in a file follow from it. The first paragraph of its doc comment is the text of `-h`; the whole comment, without
/// backticks, is the text of `--help`. The [`Kind`] says how a value is written, checked and displayed.
macro_rules! section {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident = config.$section:ident, $heading:literal;
        $(
            $(#[doc = $doc:literal])+
            $key:ident: $type:ty = $default:expr, $kind:expr;
        )+
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $key: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        /// The settings of this section, in the order of the help.
        pub(super) fn settings() -> Vec<$crate::config::setting::Setting> {
            vec![$($crate::config::setting::Setting::new(
                stringify!($key),
                $heading,
                concat!($($doc, "\n"),+),
                $kind,
                |config| &config.$section.$key,
                |config| &mut config.$section.$key,
            ),)+]
        }
    };
}
pub(super) use section;

type Parse<T> = Box<dyn Fn(&[RawValue]) -> Result<T, String> + Send + Sync>;
type Show<T> = Box<dyn Fn(&T) -> Option<String> + Send + Sync>;
type Set = Box<dyn Fn(&mut Config, &[RawValue]) -> Result<(), String> + Send + Sync>;

/// How many values a setting takes, and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
    /// A flag that may be repeated, and a list in a file.
    List {
        /// Whether a comma separates values in a flag and in a variable.
        commas: bool,
    },
}

/// How the values of a setting are written, checked and displayed, and what else the help says about it.
pub(super) struct Kind<T> {
    value_name: String,
    shape: Shape,
    parse: Parse<T>,
    show: Show<T>,
    bounds: String,
    default: Option<&'static str>,
    former: &'static [&'static str],
    common: bool,
}

impl<T: 'static> Kind<T> {
    /// A setting with one value. `parse` returns what is wrong with a text; `show` writes the value as TOML.
    pub fn one(
        value_name: &str,
        parse: impl Fn(&RawValue) -> Result<T, String> + Send + Sync + 'static,
        show: impl Fn(&T) -> String + Send + Sync + 'static,
    ) -> Self {
        Self {
            value_name: value_name.to_owned(),
            shape: Shape::One,
            parse: Box::new(move |values| parse(values.last().ok_or("a value is missing")?)),
            show: Box::new(move |value| Some(show(value))),
            bounds: String::new(),
            default: None,
            former: &[],
            common: false,
        }
    }

    /// As [`Kind::one`]. `show` returns `None` for a value that must not be displayed.
    pub fn one_or_hidden(
        value_name: &str,
        parse: impl Fn(&RawValue) -> Result<T, String> + Send + Sync + 'static,
        show: impl Fn(&T) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            show: Box::new(show),
            ..Self::one(value_name, parse, |_| String::new())
        }
    }

    /// The help's words for a default that depends on the machine.
    pub fn default_text(self, text: &'static str) -> Self {
        Self {
            default: Some(text),
            ..self
        }
    }

    /// Former keys of the setting. They stay valid in all sources, but the help does not show them.
    pub fn formerly(self, former: &'static [&'static str]) -> Self {
        Self { former, ..self }
    }

    /// Shows the setting in the short help (`-h`) as well.
    pub fn common(self) -> Self {
        Self {
            common: true,
            ..self
        }
    }

    /// The flag alone means `true`.
    pub fn flag_alone(self) -> Self {
        Self {
            shape: Shape::Switch,
            ..self
        }
    }
}

/// A value that is written as a string.
pub(super) fn text<T: Display + 'static>(
    value_name: &str,
    parse: fn(&RawValue) -> Result<T, String>,
) -> Kind<T> {
    Kind::one(value_name, parse, |value| quoted(value))
}

/// A whole number within `range`.
pub(super) fn number<T>(value_name: &str, range: RangeInclusive<T>) -> Kind<T>
where
    T: FromStr + PartialOrd + Display + Send + Sync + 'static,
{
    let bounds = format!("[range: {} to {}] ", range.start(), range.end());
    let parse = move |raw: &RawValue| value::number(&range, raw);
    Kind {
        bounds,
        ..Kind::one(value_name, parse, ToString::to_string)
    }
}

/// A whole number within `range`, or `auto`. The doc comment has to tell what `auto` means.
pub(super) fn number_or_auto<T>(value_name: &str, range: RangeInclusive<T>) -> Kind<Auto<T>>
where
    T: FromStr + PartialOrd + Display + Send + Sync + 'static,
{
    let parse = move |raw: &RawValue| value::auto(&range, raw);
    Kind::one(value_name, parse, |value| match &value.0 {
        Some(number) => number.to_string(),
        None => quoted("auto"),
    })
}

/// `true` or `false`.
pub(super) fn switch() -> Kind<bool> {
    Kind::one("BOOL", value::switch, ToString::to_string)
}

/// One of these names, in either case.
pub(super) fn choice<T>(choices: &'static [(&'static str, T)]) -> Kind<T>
where
    T: Copy + PartialEq + Sync + 'static,
{
    let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let parse = move |raw: &RawValue| {
        let found = choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(raw.as_str()));
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("{raw} is neither {}", names().join(" nor ")))
    };
    let show = move |value: &T| {
        let found = choices.iter().find(|(_, choice)| choice == value);
        quoted(found.map_or("", |(name, _)| name))
    };
    Kind::one(&names().join("|"), parse, show)
}

/// Any number of values that are written as strings.
pub(super) fn list<T: Display + 'static>(
    value_name: &str,
    parse: fn(&[RawValue]) -> Result<Vec<T>, String>,
) -> Kind<Vec<T>> {
    list_of(value_name, parse, |values| strings(values))
}

/// As [`list`], for a type that displays itself in its own way.
pub(super) fn list_of<T: 'static>(
    value_name: &str,
    parse: fn(&[RawValue]) -> Result<T, String>,
    show: fn(&T) -> String,
) -> Kind<T> {
    Kind {
        shape: Shape::List { commas: true },
        parse: Box::new(parse),
        ..Kind::one(value_name, |_| Err(String::new()), show)
    }
}

/// As [`list_of`], for values of which some must not be displayed.
pub(super) fn list_or_hidden<T: 'static>(
    value_name: &str,
    parse: fn(&[RawValue]) -> Result<T, String>,
    show: fn(&T) -> Option<String>,
) -> Kind<T> {
    Kind {
        show: Box::new(show),
        ..list_of(value_name, parse, |_| String::new())
    }
}

/// The path of a file; an empty one stands for none.
pub(super) fn file() -> Kind<Option<PathBuf>> {
    Kind::one("FILE", value::file, |path| {
        quoted(path.as_deref().unwrap_or("".as_ref()).display())
    })
}

/// The path of a folder; an empty one stands for none.
pub(super) fn folder() -> Kind<Option<PathBuf>> {
    Kind::one("DIR", value::file, |path| {
        quoted(path.as_deref().unwrap_or("".as_ref()).display())
    })
}

/// Paths of files.
pub(super) fn files() -> Kind<Vec<PathBuf>> {
    list_of("FILE", value::files, |paths| {
        strings(&paths.iter().map(|path| path.display()).collect::<Vec<_>>())
    })
}

/// Secrets. Their values are never displayed. They may hold commas.
pub(super) fn secrets(value_name: &str) -> Kind<Vec<Secret>> {
    Kind {
        shape: Shape::List { commas: false },
        show: Box::new(|secrets| secrets.is_empty().then(|| "[]".to_owned())),
        ..list_of(value_name, Secret::list, |_| String::new())
    }
}

/// A setting and all facts about it, whatever the type of its value.
pub(super) struct Setting {
    pub key: &'static str,
    /// Former keys, which are still accepted.
    pub former: &'static [&'static str],
    pub heading: &'static str,
    pub shape: Shape,
    value_name: String,
    /// The text of `-h` and that of `--help`.
    help: [String; 2],
    common: bool,
    set: Set,
    show: Show<Config>,
}

impl Setting {
    pub fn new<T: 'static>(
        key: &'static str,
        heading: &'static str,
        doc: &str,
        kind: Kind<T>,
        get: fn(&Config) -> &T,
        get_mut: fn(&mut Config) -> &mut T,
    ) -> Self {
        let Kind {
            parse,
            show,
            value_name,
            shape,
            bounds,
            default,
            former,
            common,
        } = kind;
        let default = default.map_or_else(
            || match (show)(get(&Config::default())).as_deref() {
                None | Some("[]" | "\"\"") => "none".to_owned(),
                Some(value) => value.trim_matches('"').to_owned(),
            },
            str::to_owned,
        );
        let facts = format!("{bounds}[default: {default}] [env: {}]", variable(key));
        let paragraphs = paragraphs(doc);
        let short = format!("{} {facts}", paragraphs[0]);
        let long = format!("{}\n{facts}", paragraphs.join("\n\n"));
        Self {
            key,
            former,
            heading,
            shape,
            value_name,
            help: [short, long],
            common,
            set: Box::new(move |config, values| {
                *get_mut(config) = parse(values)?;
                Ok(())
            }),
            show: Box::new(move |config| show(get(config))),
        }
    }

    /// The key and the former keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.former.iter().copied())
    }

    /// Sets it in `config` from the text of one source. An error says what would be right, without the setting's name.
    pub fn set(&self, config: &mut Config, values: &[RawValue]) -> Result<(), String> {
        (self.set)(config, values)
    }

    /// Its value as TOML; `None` if it must not be displayed.
    pub fn show(&self, config: &Config) -> Option<String> {
        (self.show)(config)
    }

    /// Its arguments: one, and a hidden one for each former key. Clap knows aliases of flags, but not of variables, and
    /// does not tell which of the names was used.
    pub fn args(&self) -> impl Iterator<Item = Arg> {
        self.keys().map(|key| {
            let arg = Arg::new(key)
                .long(key.replace('_', "-"))
                .env(variable(key))
                // The help names the variable itself, and never its value.
                .hide_env(true)
                .hide_env_values(true)
                .value_name(self.value_name.clone())
                .help_heading(self.heading)
                .help(self.help[0].clone())
                .long_help(self.help[1].clone())
                .hide(key != self.key)
                .hide_short_help(!self.common);
            match self.shape {
                Shape::One => arg,
                Shape::Switch => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
                Shape::List { commas } => {
                    let arg = arg.action(ArgAction::Append);
                    if commas {
                        arg.value_delimiter(',')
                    } else {
                        arg
                    }
                }
            }
        })
    }
}

pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

pub(super) fn variable(key: &str) -> String {
    format!("DMWIRE_{}", key.to_uppercase())
}

/// The paragraphs of a doc comment as plain text: at least one.
fn paragraphs(doc: &str) -> Vec<String> {
    let plain = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        words.join(" ").replace('`', "")
    };
    doc.split("\n\n").map(plain).collect()
}

/// A TOML array of strings.
pub(super) fn strings(values: &[impl Display]) -> String {
    let values: Vec<_> = values.iter().map(quoted).collect();
    format!("[{}]", values.join(", "))
}

/// A TOML basic string. JSON escapes what TOML does, except DEL.
pub(super) fn quoted(value: impl Display) -> String {
    serde_json::Value::String(value.to_string())
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

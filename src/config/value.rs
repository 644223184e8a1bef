//! Parsers and types of values that more than one section uses: text in, a value or a description of the problem out.
//!
//! The descriptions are fragments; the name of the setting is put in front of them where the source is known.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use super::RawValue;

/// The path of a file; an empty one stands for none.
#[allow(clippy::unnecessary_wraps)] // the signature of all parsers
pub(super) fn file(raw: &RawValue) -> Result<Option<PathBuf>, String> {
    Ok(Some(raw.as_str())
        .filter(|path| !path.is_empty())
        .map(PathBuf::from))
}

pub(super) fn files(values: &[RawValue]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for value in values {
        files.push(file(value)?.ok_or("a file's name is empty")?);
    }
    Ok(files)
}

/// Strings that are compared literally.
pub(super) fn strings(values: &[RawValue]) -> Result<Vec<String>, String> {
    let string = |value: &RawValue| match value.as_str() {
        "" => Err("an entry is empty".to_owned()),
        text => Ok(text.to_owned()),
    };
    values.iter().map(string).collect()
}

/// A number, or `auto`: the value then follows from other settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Auto<T = u32>(pub Option<T>);

impl<T> Auto<T> {
    /// No number.
    pub const AUTO: Self = Self(None);
}

pub(super) fn auto<T>(range: &RangeInclusive<T>, raw: &RawValue) -> Result<Auto<T>, String>
where
    T: FromStr + PartialOrd + Display,
{
    if raw.as_str() == "auto" {
        return Ok(Auto(None));
    }
    number(range, raw)
        .map(|number| Auto(Some(number)))
        .map_err(|error| format!("{error}, nor \"auto\""))
}

pub(super) fn number<T>(range: &RangeInclusive<T>, raw: &RawValue) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = raw.as_str().parse().ok();
    number.filter(|n| range.contains(n)).ok_or_else(|| {
        let (first, last) = (range.start(), range.end());
        format!("{raw} is not a whole number from {first} to {last}")
    })
}

pub(super) fn switch(raw: &RawValue) -> Result<bool, String> {
    match raw.as_str().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{raw} is neither true nor false")),
    }
}

/// A duration in seconds, or with a unit, stored in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub i64);

impl Span {
    /// The units, the largest first.
    const UNITS: [(&str, i64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    /// 30 days.
    const MAX: f64 = 30.0 * 86_400_000.0;

    /// A whole number of hours.
    pub const fn hours(hours: i64) -> Self {
        Self(hours * 3_600_000)
    }

    pub(super) fn parse(raw: &RawValue) -> Result<Self, String> {
        let text = raw.as_str();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "" => Some(1000),
            unit => Self::UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, ms)| *ms),
        };
        // Not `inf`, `nan`, `1e3` or `+1`, which a float may be as well.
        let plain = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number = digits.parse::<f64>().ok().filter(|_| plain);
        number
            .zip(unit)
            .map(|(number, unit)| number * unit as f64)
            .filter(|ms| *ms <= Self::MAX)
            .map(|ms| Self(ms.ceil() as i64))
            .ok_or_else(|| {
                format!("{raw} is not a time such as 3600 (seconds), 500ms, 90s, 15m or 1h, up to 30 days")
            })
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, ms): &&(&str, i64)| self.0 % ms == 0;
        match Self::UNITS.iter().find(divides) {
            Some((name, ms)) if self.0 != 0 => write!(f, "{}{name}", self.0 / ms),
            _ => f.write_str("0"),
        }
    }
}

/// A time in days, stored in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub i64);

impl Days {
    const MS: f64 = 86_400_000.0;
    /// A hundred years.
    const MAX: f64 = 36_500.0;

    /// A whole number of days.
    pub const fn new(days: i64) -> Self {
        Self(days * 86_400_000)
    }

    pub(super) fn parse(raw: &RawValue) -> Result<Self, String> {
        let days = raw.as_str().parse::<f64>().ok();
        days.filter(|days| *days > 0.0 && *days <= Self::MAX)
            .map(|days| Self((days * Self::MS).ceil() as i64))
            .ok_or_else(|| {
                format!(
                    "{raw} is not a number of days above 0 and up to {}",
                    Self::MAX
                )
            })
    }
}

impl Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / Self::MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_in_seconds_or_has_a_unit() {
        for (text, ms, shown) in [
            ("0", 0, "0"),
            ("3600", 3_600_000, "1h"),
            ("90s", 90_000, "90s"),
            ("500ms", 500, "500ms"),
            ("15m", 900_000, "15m"),
            ("1.5h", 5_400_000, "90m"),
            ("0.25", 250, "250ms"),
            ("30d", 30 * 86_400_000, "30d"),
        ] {
            let span = Span::parse(&text.into());
            assert_eq!(span, Ok(Span(ms)), "{text}");
            assert_eq!(Span(ms).to_string(), shown);
            assert_eq!(Span::parse(&shown.into()), span);
        }
        for invalid in [
            "", "h", "-1", "+1h", "1 h", "1y", "1H", "1e3", "inf", "nan", "1..5", ".", "31d",
            "1hh", "1é",
        ] {
            assert!(Span::parse(&invalid.into()).is_err(), "{invalid}");
        }
    }
}

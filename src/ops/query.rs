//! Parameters in the path and in the query of a request. As in frames, an unknown or repeated one is an error, and `path` names it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use crate::protocol::types::is_name;

/// The most parameters in a query: each is compared with all others.
const MAX_PARAMETERS: usize = 32;
/// Longest value that an error repeats, in characters.
const MAX_SHOWN: usize = 64;

/// The parameters in the query of a request, from which a handler takes those that it knows. [`Query::finish`] rejects the others.
#[derive(Debug)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads the parameters.
    ///
    /// # Errors
    /// A parameter occurs twice, or is not UTF-8, or there are too many.
    pub fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in request.query_string().split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).unwrap_or_default();
            let Some(value) = decoded(value) else {
                return Err(ApiError::invalid_parameter(
                    &shown(&name),
                    "the value is not in UTF-8",
                ));
            };
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(ApiError::invalid_parameter(
                    &shown(&name),
                    "the parameter occurs twice; it is unclear which one counts",
                ));
            }
            if pairs.len() == MAX_PARAMETERS {
                return Err(ApiError::invalid_parameter(
                    &shown(&name),
                    "the query has too many parameters",
                ));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The value of a parameter.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(known, _)| known == name)?;
        Some(self.pairs.swap_remove(at).1)
    }

    /// The value of a parameter that `parse` understands; `expected` describes it.
    ///
    /// # Errors
    /// It is something else.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        parse(&text).map(Some).ok_or_else(|| {
            let detail = format!("expected {expected}, found {:?}", shown(&text));
            ApiError::invalid_parameter(name, detail)
        })
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    /// It is something else.
    pub fn number<T>(&mut self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, ApiError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(name, &expected, |text| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|number| digits && range.contains(number))
        })
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// It is something else.
    pub fn switch(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        self.parsed(name, "true or false", |text| text.parse().ok())
    }

    /// The name of a user or a room.
    ///
    /// # Errors
    /// It is something else.
    pub fn name(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.parsed(name, NAME, |text| is_name(text).then(|| text.to_owned()))
    }

    /// Rejects the parameters that were not taken.
    ///
    /// # Errors
    /// There is such a parameter.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::invalid_parameter(
                &shown(name),
                "this call has no such parameter",
            )),
        }
    }
}

const NAME: &str = "1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -";

/// The name of a user or a room in the path.
///
/// # Errors
/// It is not a name.
pub fn path_name(request: &HttpRequest, parameter: &str) -> Result<String, ApiError> {
    let text = path_text(request, parameter);
    if is_name(&text) {
        Ok(text)
    } else {
        let detail = format!("expected {NAME}, found {:?}", shown(&text));
        Err(ApiError::invalid_parameter(parameter, detail))
    }
}

/// A parameter in the path.
pub fn path_text(request: &HttpRequest, parameter: &str) -> String {
    decoded(request.match_info().query(parameter)).unwrap_or_default()
}

/// Percent-decoded once. `+` is not decoded to a space, because it is a character of user ids.
fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

//! Ids, bounded strings and bounded numbers. Each type checks its rule when it is decoded, and states the same rule in its
//! schema.

mod number;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::{Serialize, Serializer};
use uuid::Uuid;

pub use number::{Degrees, Integer};

/// Pattern of user, room and device ids (PROTOCOL section 1.6).
pub const NAME_PATTERN: &str = "^[A-Za-z0-9._~@:+-]{1,64}$";
/// Pattern of message ids: a hyphenated UUID in either case.
pub const UUID_PATTERN: &str =
    "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";

/// Whether `text` can be a user, room or device id.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~@:+-".contains(&b))
}

/// Whether a user id is one that the server has given to an erased user: `erased.` and 32 hexadecimal digits in lower case
/// (PROTOCOL section 10, "Erased users"). Nobody can act as such a user.
pub fn is_erased_name(user: &str) -> bool {
    user.strip_prefix("erased.").is_some_and(|hex| {
        hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Parses a hyphenated UUID in either case. Other notations of UUIDs are rejected.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

/// A string type with a rule that every value satisfies.
trait ValidString<'a>: Sized {
    /// The rule, for errors.
    const EXPECTED: &'static str;

    /// Returns `None` if the text violates the rule.
    fn validated(text: Cow<'a, str>) -> Option<Self>;
}

struct ValidStringVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: ValidString<'de>> Visitor<'de> for ValidStringVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<T, E> {
        T::validated(Cow::Borrowed(text))
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &T::EXPECTED))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<T, E> {
        let found = text.clone();
        T::validated(Cow::Owned(text))
            .ok_or_else(|| E::invalid_value(Unexpected::Str(&found), &T::EXPECTED))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        self.visit_string(text.to_owned())
    }
}

macro_rules! valid_string {
    ($(#[$doc:meta])* $name:ident, $expected:expr, $is_valid:expr, $schema:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name<'a>(Cow<'a, str>);

        impl<'a> $name<'a> {
            /// Returns `None` if the text violates the rule of this type.
            pub fn new(text: impl Into<Cow<'a, str>>) -> Option<Self> {
                <Self as ValidString<'a>>::validated(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Copies the text, so that the value borrows nothing.
            pub fn into_owned(self) -> $name<'static> {
                $name(Cow::Owned(self.0.into_owned()))
            }
        }

        impl<'a> ValidString<'a> for $name<'a> {
            const EXPECTED: &'static str = $expected;

            fn validated(text: Cow<'a, str>) -> Option<Self> {
                let is_valid: fn(&str) -> bool = $is_valid;
                is_valid(&text).then(|| Self(text))
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(ValidStringVisitor::<$name<'de>>(std::marker::PhantomData))
            }
        }

        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl JsonSchema for $name<'_> {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

valid_string! {
    /// A user id: `^[A-Za-z0-9._~@:+-]{1,64}$`.
    UserId, "a user id of 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -", is_name,
    json_schema!({"type": "string", "pattern": NAME_PATTERN, "description": "A user's id."})
}

valid_string! {
    /// A room id: `^[A-Za-z0-9._~@:+-]{1,64}$`.
    RoomId, "a room id of 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -", is_name,
    json_schema!({"type": "string", "pattern": NAME_PATTERN, "description": "A room's id."})
}

valid_string! {
    /// An identifier that a client puts on a frame; direct replies repeat it. 1 to 64 characters.
    Ref, "a string of 1 to 64 characters", |text| chars_within(text, 1, 64),
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": 64,
        "description": "An identifier chosen by the client. Every direct reply to the frame repeats it."
    })
}

valid_string! {
    /// A URL with the scheme http or https, of at most 2048 characters. It is not parsed further.
    WebUrl, "an http:// or https:// URL of at most 2048 characters",
    |text| (text.starts_with("http://") || text.starts_with("https://")) && chars_within(text, 0, 2048),
    json_schema!({
        "type": "string", "pattern": "^https?://", "maxLength": 2048, "description": "An http or https URL."
    })
}

/// Whether `text` has from `min` to `max` characters, counted as Unicode code points (PROTOCOL section 1.6).
pub fn chars_within(text: &str, min: usize, max: usize) -> bool {
    // A code point takes one to four bytes, so the length in bytes decides most cases.
    let bytes = text.len();
    if bytes <= max && bytes >= min.saturating_mul(4) {
        return true;
    }
    if bytes < min || bytes > max.saturating_mul(4) {
        return false;
    }
    (min..=max).contains(&text.chars().count())
}

/// A string of `MIN` to `MAX` code points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounded<'a, const MIN: usize, const MAX: usize>(pub Cow<'a, str>);

impl<'a, const MIN: usize, const MAX: usize> Bounded<'a, MIN, MAX> {
    /// Returns `None` if the text is too short or too long.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        if chars_within(&text, MIN, MAX) {
            Some(Self(text))
        } else {
            None
        }
    }
}

impl<'de: 'a, 'a, const MIN: usize, const MAX: usize> Deserialize<'de> for Bounded<'a, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LengthVisitor<const MIN: usize, const MAX: usize>;

        impl<'de, const MIN: usize, const MAX: usize> Visitor<'de> for LengthVisitor<MIN, MAX> {
            type Value = Bounded<'de, MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string of {MIN} to {MAX} characters")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                if chars_within(text, MIN, MAX) {
                    Ok(Bounded(Cow::Borrowed(text)))
                } else {
                    Err(E::invalid_value(Unexpected::Str(text), &self))
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if chars_within(text, MIN, MAX) {
                    Ok(Bounded(Cow::Owned(text.to_owned())))
                } else {
                    Err(E::invalid_value(Unexpected::Str(text), &self))
                }
            }
        }

        deserializer.deserialize_str(LengthVisitor::<MIN, MAX>)
    }
}

impl<const MIN: usize, const MAX: usize> Serialize for Bounded<'_, MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<const MIN: usize, const MAX: usize> JsonSchema for Bounded<'_, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("String{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({"type": "string"});
        if MIN > 0 {
            schema.insert("minLength".into(), MIN.into());
        }
        schema.insert("maxLength".into(), MAX.into());
        schema
    }
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident, $description:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub Uuid);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(UuidVisitor).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut buffer = Uuid::encode_buffer();
                serializer.serialize_str(self.0.hyphenated().encode_lower(&mut buffer))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": UUID_PATTERN, "description": $description})
            }
        }
    };
}

uuid_type! {
    /// A message id: a hyphenated UUID, accepted in either case and returned in lower case.
    MessageId, "A message id: a hyphenated UUID, accepted in either case and returned in lower case."
}

uuid_type! {
    /// The id of a session or of the store's epoch: a hyphenated UUID.
    Id, "A hyphenated UUID."
}

/// Accepts a hyphenated UUID.
struct UuidVisitor;

impl Visitor<'_> for UuidVisitor {
    type Value = Uuid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hyphenated UUID")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Uuid, E> {
        parse_uuid(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_code_points() {
        assert!(chars_within("", 0, 0));
        assert!(!chars_within("", 1, 4));
        assert!(chars_within("é", 1, 1));
        assert!(chars_within("😀", 1, 1));
        assert!(!chars_within("😀😀", 1, 1));
        assert!(chars_within(&"😀".repeat(64), 1, 64));
        assert!(!chars_within(&"a".repeat(65), 1, 64));
    }

    #[test]
    fn only_hyphenated_uuids_are_message_ids() {
        assert!(parse_uuid("019a2f4e-0000-7000-8000-00000000ABCD").is_some());
        for other in [
            "019a2f4e00007000800000000000abcd",
            "{019a2f4e-0000-7000-8000-00000000abcd}",
            "urn:uuid:019a2f4e-0000-7000-8000-00000000abcd",
            "019a2f4e-0000-7000-8000-00000000abc",
            "019a2f4e-0000-7000-8000-00000000abcg",
            "019a2f4e0000-7000-8000-00000000abcd-",
        ] {
            assert!(parse_uuid(other).is_none(), "{other}");
        }
    }
}

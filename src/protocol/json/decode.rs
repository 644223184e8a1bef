//! The serde deserialiser of a scanned [`Value`].
//!
//! It differs from a general JSON deserialiser where PROTOCOL section 1 requires it: every error has the JSON Pointer of the
//! invalid value, only an object is decoded into a struct, `null` never means absence, `1.0` is an integer, and [`WithRaw`]
//! keeps the raw text of a value.

use std::borrow::Cow;

use serde::de::{self, Deserializer, Expected, Visitor};
use serde::forward_to_deserialize_any;

use super::access::{Elements, Members, RawThenValue, TagThenBody};
use super::describe;
use super::with_raw::WITH_RAW;
use super::{DecodeError, Value, ValueKind};

/// Largest integer that every JSON reader represents exactly: 2^53 - 1 (PROTOCOL section 1.6).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The only enum whose `type` is optional, and its default (PROTOCOL section 1.2).
const DEFAULT_TAG: (&str, &str) = ("ClientFrame", "message");

impl Value<'_, '_> {
    /// The error for a value of an unexpected type.
    pub fn mismatch(self, expected: &dyn Expected) -> DecodeError {
        DecodeError::expected(expected, &describe::value(self))
    }

    fn float(self) -> f64 {
        // The scanner has checked the notation; `f64` parses every JSON number.
        self.raw().parse().unwrap_or(f64::NAN)
    }

    /// An integral number from 0 to 2^53 - 1, in any notation.
    fn integer(self) -> Option<u64> {
        if self.kind() != ValueKind::Number {
            return None;
        }
        let raw = self.raw();
        if raw.len() <= 16 && raw.bytes().all(|b| b.is_ascii_digit()) {
            return raw.parse().ok().filter(|n| *n <= MAX_INTEGER);
        }
        let value = self.float();
        if value.fract() == 0.0 && (0.0..=MAX_INTEGER as f64).contains(&value) {
            // The value is in range and has no fraction, so the cast is exact.
            #[allow(clippy::cast_sign_loss)]
            return Some(value as u64);
        }
        None
    }
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.kind() {
            ValueKind::Object => visitor.visit_map(Members::of(self, None)),
            ValueKind::Array => visitor.visit_seq(Elements::of(self)),
            ValueKind::Plain | ValueKind::Escaped => self.deserialize_str(visitor),
            ValueKind::Number => match self.integer() {
                Some(n) => visitor.visit_u64(n),
                None => visitor.visit_f64(self.float()),
            },
            ValueKind::True => visitor.visit_bool(true),
            ValueKind::False => visitor.visit_bool(false),
            ValueKind::Null => visitor.visit_unit(),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.text() {
            Some(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Some(Cow::Owned(text)) => visitor.visit_string(text),
            None => Err(self.mismatch(&"a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.integer() {
            Some(n) => visitor.visit_u64(n),
            None => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.kind() {
            ValueKind::Number => visitor.visit_f64(self.float()),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.kind() {
            ValueKind::True => visitor.visit_bool(true),
            ValueKind::False => visitor.visit_bool(false),
            _ => Err(self.mismatch(&"true or false")),
        }
    }

    /// An optional field that is present has a value: `null` never means absence.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self).map_err(|mut error| {
            if self.kind() == ValueKind::Null {
                error
                    .detail
                    .push_str("; leave out a field that has no value");
            }
            error
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == WITH_RAW {
            return visitor.visit_seq(RawThenValue {
                value: self,
                step: 0,
            });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.kind() {
            ValueKind::Object => visitor
                .visit_map(Members::of(self, None))
                .map_err(|e| e.without_tag().within(name)),
            _ => Err(self.mismatch(&"an object").within(name)),
        }
    }

    /// The member `type` names the variant. Content may also be a string: its visitor accepts strings.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.kind() {
            ValueKind::Object => {}
            ValueKind::Plain | ValueKind::Escaped => return self.deserialize_str(visitor),
            _ => return Err(self.mismatch(&visitor)),
        }
        let tag = match self.get("type") {
            Some(tag) => tag
                .text()
                .ok_or_else(|| tag.mismatch(&"a string").under("type"))?,
            None if name == DEFAULT_TAG.0 => Cow::Borrowed(DEFAULT_TAG.1),
            None => return Err(de::Error::missing_field("type")),
        };
        visitor.visit_enum(TagThenBody { tag, object: self })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier
    }
}

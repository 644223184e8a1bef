//! serde over a scanned frame: what turns a [`Value`] into the typed structs.
//!
//! It differs from a general JSON deserialiser where PROTOCOL section 1 asks for it: every error carries the JSON
//! Pointer of the offending place, a struct is filled from an object only, `null` never stands for absence, `1.0` is an
//! integer, and [`WithRaw`] keeps the raw text of a value beside its typed form.

use std::borrow::Cow;

use serde::de::{self, Deserializer, Expected, Visitor};
use serde::forward_to_deserialize_any;

use super::access::{Elements, Members, RawThenValue, TagThenBody};
use super::carried::WITH_RAW;
use super::describe;
use super::{DecodeError, Value, ValueKind};

/// Largest integer that every JSON reader can hold exactly (PROTOCOL section 1.6): 2^53 - 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The one enum whose `type` may be left out, and what it is then (PROTOCOL section 1.2).
const DEFAULT_TAG: (&str, &str) = ("ClientFrame", "message");

impl Value<'_, '_> {
    /// "expected ..., found ..." at this value.
    pub fn mismatch(self, expected: &dyn Expected) -> DecodeError {
        DecodeError::expected(expected, &describe::value(self))
    }

    fn float(self) -> f64 {
        // The scanner has checked the spelling, which is a subset of what `f64` reads.
        self.raw().parse().unwrap_or(f64::NAN)
    }

    /// A number of integral value from 0 to 2^53 - 1, however it is spelled.
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
            // In range and without a fraction: the cast is exact.
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

    /// An optional field that is there has a value: `null` is never absence.
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
                .map_err(|e| e.within(name)),
            _ => Err(self.mismatch(&"an object").within(name)),
        }
    }

    /// Enums are told apart by `type`. What may also be a string says so in its visitor.
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

//! serde over a scanned frame: what turns a [`Value`] into the typed structs.
//!
//! It differs from a general JSON deserialiser where PROTOCOL section 1 asks for it: every error carries the JSON
//! Pointer of the offending place, a struct is filled from an object only, `null` never stands for absence, `1.0` is an
//! integer, and [`Carried`] keeps the raw text of a value beside its typed form.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, CowStrDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Kind, Value, push_token};
use crate::protocol::error::ErrorCode;

/// Largest integer that every JSON reader can hold exactly (PROTOCOL section 1.6): 2^53 - 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A rule of the contract that a value broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The code to answer with.
    pub code: ErrorCode,
    /// For people: what was expected, what was found.
    pub detail: String,
    /// JSON Pointer of the offending place.
    pub path: String,
    /// Name of the definition in the schema that was broken.
    pub definition: Option<&'static str>,
}

impl DecodeError {
    /// A mismatch at the value that is being read.
    pub fn here(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            path: String::new(),
            definition: None,
        }
    }

    /// The same mismatch, seen from one level further out.
    #[must_use]
    pub fn under(mut self, token: &str) -> Self {
        let mut path = String::with_capacity(token.len() + 1 + self.path.len());
        push_token(&mut path, token);
        path.push_str(&self.path);
        self.path = path;
        self
    }

    /// Names the definition that was broken, unless a narrower one is named already.
    #[must_use]
    pub fn within(mut self, definition: &'static str) -> Self {
        self.definition.get_or_insert(definition);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at `{}`", self.detail, self.path)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::here(ErrorCode::InvalidFrame, message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {expected}, found {}",
            Found(unexpected)
        ))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {expected}, found {}",
            Found(unexpected)
        ))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = if expected.is_empty() {
            "no fields but `type` and `ref`".to_owned()
        } else {
            format!("one of the fields {}", expected.join(", "))
        };
        Self::custom(format_args!("expected {known}, found an unknown field")).under(field)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.join(", ");
        let detail = format!("expected one of {known}, found another type");
        Self::here(ErrorCode::UnknownType, detail).under("type")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("expected the field `{field}`, found none")).under(field)
    }
}

/// Says what a value is without repeating what is in it: contents do not belong in errors.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str("") => f.write_str("an empty string"),
            Unexpected::Str(text) => write!(f, "a string of {} characters", text.chars().count()),
            Unexpected::Unit | Unexpected::Option => f.write_str("null"),
            Unexpected::Seq => f.write_str("an array"),
            Unexpected::Map => f.write_str("an object"),
            Unexpected::Bool(value) => write!(f, "{value}"),
            Unexpected::Unsigned(n) => write!(f, "{n}"),
            Unexpected::Signed(n) => write!(f, "{n}"),
            Unexpected::Float(n) => write!(f, "{n}"),
            other => write!(f, "{other}"),
        }
    }
}

impl Value<'_, '_> {
    fn unexpected<R>(self, with: impl FnOnce(Unexpected<'_>) -> R) -> R {
        match self.kind() {
            Kind::Object => with(Unexpected::Map),
            Kind::Array => with(Unexpected::Seq),
            Kind::True => with(Unexpected::Bool(true)),
            Kind::False => with(Unexpected::Bool(false)),
            Kind::Null => with(Unexpected::Unit),
            Kind::Number => with(Unexpected::Float(self.float())),
            Kind::Plain | Kind::Escaped => with(Unexpected::Str(&self.text().unwrap_or_default())),
        }
    }

    /// "expected ..., found ..." at this value.
    pub fn mismatch(self, expected: &dyn Expected) -> DecodeError {
        self.unexpected(|found| de::Error::invalid_type(found, expected))
    }

    fn float(self) -> f64 {
        // The scanner has checked the spelling, which is a subset of what `f64` reads.
        self.raw().parse().unwrap_or(f64::NAN)
    }

    /// A number of integral value from 0 to 2^53 - 1, however it is spelled.
    fn integer(self) -> Option<u64> {
        if self.kind() != Kind::Number {
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

/// Name by which [`Carried`] asks for the raw text of a value.
const CARRIED: &str = "$dmwire::Carried";

/// A value that was checked as a `T` and is carried on as it came.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a, T> {
    /// The raw JSON.
    pub raw: &'a str,
    /// What it was found to be.
    pub value: T,
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Carried<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Both<T> {
            type Value = Carried<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scanned value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let missing = || de::Error::custom("raw text is only there in a scanned frame");
                let raw = seq.next_element()?.ok_or_else(missing)?;
                let value = seq.next_element()?.ok_or_else(missing)?;
                Ok(Carried { raw, value })
            }
        }

        deserializer.deserialize_newtype_struct(CARRIED, Both(PhantomData))
    }
}

/// Hands out the raw text of a value, then the value.
struct RawThenValue<'t, 'a> {
    value: Value<'t, 'a>,
    step: u8,
}

impl<'de> SeqAccess<'de> for RawThenValue<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        self.step += 1;
        match self.step {
            1 => seed
                .deserialize(BorrowedStrDeserializer::new(self.value.raw()))
                .map(Some),
            2 => seed.deserialize(self.value).map(Some),
            _ => Ok(None),
        }
    }
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.kind() {
            Kind::Object => visitor.visit_map(Members::of(self, None)),
            Kind::Array => visitor.visit_seq(Elements::of(self)),
            Kind::Plain | Kind::Escaped => self.deserialize_str(visitor),
            Kind::Number => match self.integer() {
                Some(n) => visitor.visit_u64(n),
                None => visitor.visit_f64(self.float()),
            },
            Kind::True => visitor.visit_bool(true),
            Kind::False => visitor.visit_bool(false),
            Kind::Null => visitor.visit_unit(),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.text() {
            Some(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Some(Cow::Owned(text)) => visitor.visit_string(text),
            None => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.integer() {
            Some(n) => visitor.visit_u64(n),
            None => Err(self.mismatch(&"an integer from 0 to 9007199254740991")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.kind() {
            Kind::Number => visitor.visit_f64(self.float()),
            _ => Err(self.mismatch(&"a number")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.kind() {
            Kind::True => visitor.visit_bool(true),
            Kind::False => visitor.visit_bool(false),
            _ => Err(self.mismatch(&"true or false")),
        }
    }

    /// An optional field that is there has a value: `null` is never absence.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == CARRIED {
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
            Kind::Object => visitor
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
            Kind::Object => {}
            Kind::Plain | Kind::Escaped => return self.deserialize_str(visitor),
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

/// The one enum whose `type` may be left out, and what it is then (PROTOCOL section 1.2).
const DEFAULT_TAG: (&str, &str) = ("ClientFrame", "message");

struct TagThenBody<'t, 'a> {
    tag: Cow<'a, str>,
    object: Value<'t, 'a>,
}

impl<'t, 'de> EnumAccess<'de> for TagThenBody<'t, 'de> {
    type Error = DecodeError;
    type Variant = Tagged<'t, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), DecodeError> {
        let tag = CowStrDeserializer::new(self.tag);
        Ok((seed.deserialize(tag)?, Tagged(self.object)))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Err(de::Error::custom("every variant has a struct of its own"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("every variant has a struct of its own"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("every variant has a struct of its own"))
    }
}

/// The members of an object, less the tag where the object is a tagged one.
struct Members<'t, 'a> {
    children: super::Children<'t, 'a>,
    tag: Option<&'static str>,
    current: Option<(Value<'t, 'a>, Value<'t, 'a>)>,
}

impl<'t, 'a> Members<'t, 'a> {
    fn of(object: Value<'t, 'a>, tag: Option<&'static str>) -> Self {
        Self {
            children: object.children(),
            tag,
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        for (key, value) in self.children.by_ref() {
            let Some(key) = key else { continue };
            if self.tag.is_some_and(|tag| key.is_text(tag)) {
                continue;
            }
            self.current = Some((key, value));
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(value)
            .map_err(|e| e.under(&key.text().unwrap_or_default()))
    }
}

struct Elements<'t, 'a> {
    children: super::Children<'t, 'a>,
    index: usize,
}

impl<'t, 'a> Elements<'t, 'a> {
    fn of(array: Value<'t, 'a>) -> Self {
        Self {
            children: array.children(),
            index: 0,
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let Some((_, value)) = self.children.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(value)
            .map(Some)
            .map_err(|e| e.under(&index.to_string()))
    }
}

/// An object whose `type` has been read already: what a variant's own struct is filled from.
#[derive(Clone, Copy, Debug)]
pub struct Tagged<'t, 'a>(pub Value<'t, 'a>);

impl<'de> Deserializer<'de> for Tagged<'_, 'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_map(Members::of(self.0, Some("type")))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor).map_err(|e| e.within(name))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

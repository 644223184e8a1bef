//! serde's access traits over a scanned document: members of objects, elements of arrays, variants of tagged enums.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, CowStrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::document::Children;
use super::{DecodeError, Value};

/// A sequence of two elements, for [`WithRaw`](super::WithRaw): the raw text of a value, then the value.
pub(super) struct RawThenValue<'t, 'a> {
    pub(super) value: Value<'t, 'a>,
    pub(super) step: u8,
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

pub(super) struct TagThenBody<'t, 'a> {
    pub(super) tag: Cow<'a, str>,
    pub(super) object: Value<'t, 'a>,
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
        Err(de::Error::custom("every variant contains a struct"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("every variant contains a struct"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom("every variant contains a struct"))
    }
}

/// The members of an object, without the tag if the object is tagged.
pub(super) struct Members<'t, 'a> {
    children: Children<'t, 'a>,
    tag: Option<&'static str>,
    current: Option<(Value<'t, 'a>, Value<'t, 'a>)>,
}

impl<'t, 'a> Members<'t, 'a> {
    pub(super) fn of(object: Value<'t, 'a>, tag: Option<&'static str>) -> Self {
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
            return Err(de::Error::custom("a value was requested before its key"));
        };
        seed.deserialize(value)
            .map_err(|e| e.under(&key.text().unwrap_or_default()))
    }
}

pub(super) struct Elements<'t, 'a> {
    children: Children<'t, 'a>,
    index: usize,
}

impl<'t, 'a> Elements<'t, 'a> {
    pub(super) fn of(array: Value<'t, 'a>) -> Self {
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

/// An object whose `type` has been read: the deserialiser of a variant's struct.
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

//! Values that are validated, and forwarded as they were received.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// The newtype name by which [`WithRaw`] requests the raw text from the deserialiser.
pub(super) const WITH_RAW: &str = "$dmwire::WithRaw";

/// A value of type `T` together with its JSON as it was received.
#[derive(Clone, Copy, Debug)]
pub struct WithRaw<'a, T> {
    /// The JSON as it was received.
    pub raw: &'a str,
    /// The decoded value.
    pub value: T,
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for WithRaw<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Both<T> {
            type Value = WithRaw<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scanned value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let missing = || de::Error::custom("only a scanned frame has raw text");
                let raw = seq.next_element()?.ok_or_else(missing)?;
                let value = seq.next_element()?.ok_or_else(missing)?;
                Ok(WithRaw { raw, value })
            }
        }

        deserializer.deserialize_newtype_struct(WITH_RAW, Both(PhantomData))
    }
}

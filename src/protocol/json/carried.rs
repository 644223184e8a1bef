//! Values that are checked and forwarded as they were received.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// Name by which [`WithRaw`] asks for the raw text of a value.
pub(super) const WITH_RAW: &str = "$dmwire::WithRaw";

/// A value that was checked as a `T` and is carried on as it came.
#[derive(Clone, Copy, Debug)]
pub struct WithRaw<'a, T> {
    /// The raw JSON.
    pub raw: &'a str,
    /// What it was found to be.
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
                let missing = || de::Error::custom("raw text is only there in a scanned frame");
                let raw = seq.next_element()?.ok_or_else(missing)?;
                let value = seq.next_element()?.ok_or_else(missing)?;
                Ok(WithRaw { raw, value })
            }
        }

        deserializer.deserialize_newtype_struct(WITH_RAW, Both(PhantomData))
    }
}

//! Enums told apart by their `type` member.

/// Declares an enum whose variants are structs told apart by `type`: described by schemars as the internally
/// tagged enum that serde knows, and read tag first, so that the variant's own struct reports exact places (PROTOCOL 1.3).
macro_rules! tagged {
    (
        $(#[$doc:meta])*
        pub enum $name:ident<$life:lifetime> {
            $($(#[$variant_doc:meta])* $variant:ident($body:ty) = $tag:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, schemars::JsonSchema)]
        #[serde(tag = "type")]
        pub enum $name<$life> {
            $($(#[$variant_doc])* #[serde(rename = $tag)] $variant($body),)+
        }

        impl<$life> $name<$life> {
            /// Every `type` that a value of this kind can have.
            pub const TAGS: &'static [&'static str] = &[$($tag),+];

            /// The `type` of this value.
            pub fn tag(&self) -> &'static str {
                match self { $(Self::$variant(_) => $tag,)+ }
            }

            /// Reads the variant that `access` has found the tag of.
            fn from_enum_access<A: serde::de::EnumAccess<$life>>(access: A) -> Result<Self, A::Error> {
                use serde::de::{Error as _, VariantAccess as _};
                let (tag, body) = access.variant::<std::borrow::Cow<'_, str>>()?;
                match tag.as_ref() {
                    $($tag => body.newtype_variant().map(Self::$variant),)+
                    unknown => Err(A::Error::unknown_variant(unknown, Self::TAGS)),
                }
            }
        }

        impl<$life> serde::Deserialize<$life> for $name<$life> {
            fn deserialize<D: serde::Deserializer<$life>>(deserializer: D) -> Result<Self, D::Error> {
                struct ByTag;

                impl<$life> serde::de::Visitor<$life> for ByTag {
                    type Value = $name<$life>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_enum<A: serde::de::EnumAccess<$life>>(self, access: A) -> Result<Self::Value, A::Error> {
                        $name::from_enum_access(access)
                    }
                }

                deserializer.deserialize_enum(stringify!($name), Self::TAGS, ByTag)
            }
        }
    };
}

pub(crate) use tagged;

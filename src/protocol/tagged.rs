//! Enums whose variants are named by the `type` member.

/// Declares an enum whose variants are structs, named by `type`. Its schema is that of serde's internally tagged enums. Its
/// deserialiser differs: it reads the tag first and then the struct in place, while serde buffers the members, which loses the
/// path of an invalid value (PROTOCOL section 1.3).
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
            /// The `type` of each variant.
            pub const TAGS: &'static [&'static str] = &[$($tag),+];

            /// The `type` of this value.
            pub fn tag(&self) -> &'static str {
                match self { $(Self::$variant(_) => $tag,)+ }
            }

            /// The place of this value's `type` in [`Self::TAGS`].
            #[allow(dead_code, reason = "not each of these types needs it")]
            pub(crate) fn index(&self) -> usize {
                enum Index { $($variant),+ }
                match self { $(Self::$variant(_) => Index::$variant as usize,)+ }
            }

            /// Decodes the tag, and then the struct of the variant that it names.
            fn from_enum_access<A: serde::de::EnumAccess<$life>>(access: A) -> Result<Self, A::Error> {
                let (tag, body) = access.variant::<std::borrow::Cow<'_, str>>()?;
                Self::from_variant(&tag, body)
            }

            /// Decodes the struct of the variant that `tag` names.
            fn from_variant<V: serde::de::VariantAccess<$life>>(tag: &str, body: V) -> Result<Self, V::Error> {
                use serde::de::Error as _;
                match tag {
                    $($tag => body.newtype_variant().map(Self::$variant),)+
                    unknown => Err(V::Error::unknown_variant(unknown, Self::TAGS)),
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

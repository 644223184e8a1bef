//! The content of a message: text, or an object of a known type (PROTOCOL section 3).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, EnumAccess, IgnoredAny, Visitor};
use serde_json::json;

use super::json::MAX_INTEGER;
use super::tagged::tagged;
use super::types::{Bounded, Degrees, Integer, WebUrl};

/// Text of a message: 1 to 16000 characters.
pub type Text<'a> = Bounded<'a, 1, 16000>;
/// An integer from 0 to 2^53 - 1, which every JSON reader represents exactly (JavaScript calls it a safe integer).
pub type SafeInteger = Integer<0, MAX_INTEGER>;
/// A number of pixels.
pub type Pixels = Integer<1, 65535>;
/// A media type such as `image/png`: at most 127 characters.
pub type MimeType<'a> = Bounded<'a, 0, 127>;

/// The content of a message.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// Plain text.
    Text(Text<'a>),
    /// An object. Its `type` names what it is.
    Typed(TypedContent<'a>),
    /// An object of an application's content type. The value is the `type`, which contains a dot;
    /// [`Contract`](super::Contract) validates the rest.
    Custom(Cow<'a, str>),
}

tagged! {
    /// Content other than plain text. `type` names what it is.
    pub enum TypedContent<'a> {
        /// Formatted text, in Markdown.
        Markdown(Markdown<'a>) = "markdown",
        /// An image, by URL.
        Image(Image<'a>) = "image",
        /// A file, by URL.
        File(File<'a>) = "file",
        /// An audio recording, by URL.
        Audio(Audio<'a>) = "audio",
        /// A video, by URL.
        Video(Video<'a>) = "video",
        /// A geographic location.
        Location(Location<'a>) = "location",
        /// Data of an application, in any shape.
        Data(Data<'a>) = "data",
    }
}

/// Text in Markdown.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "markdown", "text": "**now** or _never_"}))]
pub struct Markdown<'a> {
    /// The text, in Markdown.
    #[serde(borrow)]
    pub text: Text<'a>,
}

/// An image, by URL.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "image", "url": "https://example.org/cat.png", "alt": "A cat", "width": 640, "height": 480}))]
pub struct Image<'a> {
    /// The address of the image.
    #[serde(borrow)]
    pub url: WebUrl<'a>,
    /// A description of the image, for users who cannot see it.
    #[serde(default, borrow)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub alt: Option<Bounded<'a, 0, 1000>>,
    /// Media type, such as `image/png`.
    #[serde(default, borrow)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub mime: Option<MimeType<'a>>,
    /// Width in pixels.
    #[serde(default)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub width: Option<Pixels>,
    /// Height in pixels.
    #[serde(default)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub height: Option<Pixels>,
    /// Size in bytes.
    #[serde(default)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub size: Option<SafeInteger>,
}

/// A file, by URL.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "file", "url": "https://example.org/plan.pdf", "name": "plan.pdf", "size": 48213}))]
pub struct File<'a> {
    /// The address of the file.
    #[serde(borrow)]
    pub url: WebUrl<'a>,
    /// The file name to display and to save the file as.
    #[serde(borrow)]
    pub name: Bounded<'a, 1, 255>,
    /// Media type, such as `image/png`.
    #[serde(default, borrow)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub mime: Option<MimeType<'a>>,
    /// Size in bytes.
    #[serde(default)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub size: Option<SafeInteger>,
}

macro_rules! recording {
    ($(#[$doc:meta])* $name:ident, $example:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(example = $example)]
        pub struct $name<'a> {
            /// The address of the recording.
            #[serde(borrow)]
            pub url: WebUrl<'a>,
            /// Media type, such as `image/png`.
            #[serde(default, borrow)]
            #[schemars(skip_serializing_if = "Option::is_none")]
            pub mime: Option<MimeType<'a>>,
            /// Duration in milliseconds.
            #[serde(default)]
            #[schemars(skip_serializing_if = "Option::is_none")]
            pub duration_ms: Option<SafeInteger>,
            /// Size in bytes.
            #[serde(default)]
            #[schemars(skip_serializing_if = "Option::is_none")]
            pub size: Option<SafeInteger>,
        }
    };
}

recording! {
    /// An audio recording, by URL.
    Audio, json!({"type": "audio", "url": "https://example.org/hello.ogg", "duration_ms": 2400})
}

recording! {
    /// A video, by URL.
    Video, json!({"type": "video", "url": "https://example.org/hello.mp4", "mime": "video/mp4", "duration_ms": 9000})
}

/// A geographic location.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "location", "latitude": 48.2082, "longitude": 16.3738, "label": "Vienna"}))]
pub struct Location<'a> {
    /// Degrees north of the equator.
    pub latitude: Degrees<90>,
    /// Degrees east of Greenwich.
    pub longitude: Degrees<180>,
    /// The name of the place.
    #[serde(default, borrow)]
    #[schemars(skip_serializing_if = "Option::is_none")]
    pub label: Option<Bounded<'a, 0, 200>>,
}

/// Data of an application, in any shape.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"type": "data", "name": "cursor", "data": {"x": 3, "y": [1, 2]}}))]
pub struct Data<'a> {
    /// The application's name for this kind of data.
    #[serde(borrow)]
    pub name: Bounded<'a, 1, 128>,
    /// Any JSON value.
    pub data: AnyJson,
}

/// Any JSON value. It is forwarded as received and never parsed further.
#[derive(Clone, Copy, Debug)]
pub struct AnyJson;

impl<'de> Deserialize<'de> for AnyJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_ignored_any(IgnoredAny)
            .map(|_| Self)
    }
}

impl JsonSchema for AnyJson {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AnyJson".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({})
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTyped;

        const EXPECTED: &str = "a string of 1 to 16000 characters";

        fn rejected<E: de::Error>(text: &str) -> E {
            E::invalid_value(de::Unexpected::Str(text), &EXPECTED)
        }

        impl<'de> Visitor<'de> for TextOrTyped {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object with a `type`")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                let text = Text::new(text).ok_or_else(|| rejected(text))?;
                Ok(Content::Text(text))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let text = Text::new(text.to_owned()).ok_or_else(|| rejected(text))?;
                Ok(Content::Text(text))
            }

            fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Self::Value, A::Error> {
                let (tag, body) = access.variant::<Cow<'de, str>>()?;
                if tag.contains('.') {
                    return Ok(Content::Custom(tag));
                }
                TypedContent::from_variant(&tag, body).map(Content::Typed)
            }
        }

        deserializer.deserialize_enum("Content", TypedContent::TAGS, TextOrTyped)
    }
}

impl JsonSchema for Content<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<Text<'_>>();
        let typed = generator.subschema_for::<TypedContent<'_>>();
        json_schema!({
            "description": "The content of a message: text, or an object whose `type` names what it is.",
            "oneOf": [text, typed]
        })
    }
}

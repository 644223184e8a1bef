//! The type of a content in counters: a closed set.

use super::content::{Content, TypedContent};
use super::contract::Contract;
use super::json::{Value, ValueKind};

const TYPED: usize = TypedContent::TAGS.len();
const UNKNOWN: &str = "unknown";
const TEXT: &str = "text";
const CUSTOM: &str = "custom";

/// The type of a content: text, a built-in type, `custom` for all types of the application, or `unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentLabel(u8);

impl ContentLabel {
    /// The number of labels.
    pub const COUNT: usize = TYPED + 3;

    /// It is not known, or is no type at all.
    pub const UNKNOWN: Self = Self(0);
    const TEXT: Self = Self(1);
    const CUSTOM: Self = Self(2);

    /// All labels.
    pub fn all() -> impl Iterator<Item = Self> {
        // There are few.
        (0..Self::COUNT).map(|index| Self(index as u8))
    }

    /// The label with this index. One that does not exist is unknown.
    pub fn at(index: u8) -> Self {
        if usize::from(index) < Self::COUNT {
            Self(index)
        } else {
            Self::UNKNOWN
        }
    }

    /// A number less than [`ContentLabel::COUNT`].
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UNKNOWN => UNKNOWN,
            Self::TEXT => TEXT,
            Self::CUSTOM => CUSTOM,
            Self(index) => TypedContent::TAGS
                .get(usize::from(index) - 3)
                .unwrap_or(&UNKNOWN),
        }
    }

    fn typed(index: usize) -> Self {
        Self((index + 3) as u8)
    }

    /// The label of a value in the place of a content, which may be invalid.
    pub(super) fn of_value(content: Value<'_, '_>, contract: &Contract) -> Self {
        if matches!(content.kind(), ValueKind::Plain | ValueKind::Escaped) {
            return Self::TEXT;
        }
        let Some(tag) = content.get("type") else {
            return Self::UNKNOWN;
        };
        if let Some(index) = TypedContent::TAGS.iter().position(|name| tag.is_text(name)) {
            return Self::typed(index);
        }
        let name = tag.text();
        let is_loaded = name.is_some_and(|name| contract.custom_types().contains(&name));
        if is_loaded {
            Self::CUSTOM
        } else {
            Self::UNKNOWN
        }
    }
}

impl Content<'_> {
    /// The label of its type.
    pub fn label(&self) -> ContentLabel {
        match self {
            Self::Text(_) => ContentLabel::TEXT,
            Self::Typed(content) => ContentLabel::typed(content.index()),
            Self::Custom(_) => ContentLabel::CUSTOM,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_has_a_name_of_its_own() {
        let names: Vec<_> = ContentLabel::all().map(ContentLabel::as_str).collect();
        assert_eq!(names[..3], [UNKNOWN, TEXT, CUSTOM]);
        assert_eq!(names[3..], *TypedContent::TAGS);
        for label in ContentLabel::all() {
            assert_eq!(ContentLabel::at(label.0), label);
        }
        assert_eq!(ContentLabel::at(u8::MAX), ContentLabel::UNKNOWN);
    }
}

//! A scanned document and the values in it.

use std::borrow::Cow;

use super::escape::{unescape, unescape_one};
use super::tape::{Node, Tape, ValueKind};

/// A scanned document.
#[derive(Clone, Copy, Debug)]
pub struct Document<'t, 'a> {
    pub(super) text: &'a str,
    pub(super) tape: &'t Tape,
}

/// A value inside a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct Value<'t, 'a> {
    pub(super) doc: Document<'t, 'a>,
    pub(super) node: u32,
}

impl<'t, 'a> Document<'t, 'a> {
    /// The whole document.
    pub fn root(self) -> Value<'t, 'a> {
        Value { doc: self, node: 0 }
    }
}

impl<'t, 'a> Value<'t, 'a> {
    fn node(self) -> Node {
        self.doc.tape.nodes[self.node as usize]
    }

    /// The kind of the value.
    pub fn kind(self) -> ValueKind {
        self.node().kind
    }

    /// The value's JSON, as it was received.
    pub fn raw(self) -> &'a str {
        let node = self.node();
        &self.doc.text[node.start as usize..node.end as usize]
    }

    /// [`raw`](Self::raw) as bytes, for comparisons: slicing a `str` checks for character boundaries.
    pub(super) fn raw_bytes(self) -> &'a [u8] {
        let node = self.node();
        &self.doc.text.as_bytes()[node.start as usize..node.end as usize]
    }

    /// The text of a string; `None` for any other value.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.raw();
        match self.kind() {
            ValueKind::Plain => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
            ValueKind::Escaped => Some(Cow::Owned(unescape(&raw[1..raw.len() - 1]))),
            _ => None,
        }
    }

    /// The text of a string without escape sequences; `None` for any other value.
    pub fn plain(self) -> Option<&'a str> {
        let raw = self.raw();
        (self.kind() == ValueKind::Plain).then(|| &raw[1..raw.len() - 1])
    }

    /// Whether every surrogate among a string's escapes is part of a pair.
    pub fn is_well_formed(self) -> bool {
        let mut rest = self.raw();
        while let Some(at) = rest.find('\\') {
            let (c, used) = unescape_one(&rest[at..]);
            let escape = &rest[at..at + used];
            if c == '\u{FFFD}' && !escape.eq_ignore_ascii_case("\\ufffd") {
                return false;
            }
            rest = &rest[at + used..];
        }
        true
    }

    /// The members of an object, or the elements of an array; empty for other values.
    pub fn children(self) -> Children<'t, 'a> {
        let node = self.node();
        Children {
            doc: self.doc,
            object: node.kind == ValueKind::Object,
            at: self.node + 1,
            end: node.next,
        }
    }

    /// The first member of an object with this name.
    pub fn get(self, name: &str) -> Option<Value<'t, 'a>> {
        if self.kind() != ValueKind::Object {
            return None;
        }
        self.children()
            .find(|(key, _)| key.is_some_and(|key| key.is_text(name)))
            .map(|(_, value)| value)
    }

    /// Whether this is a string with the text `wanted`.
    pub fn is_text(self, wanted: &str) -> bool {
        let raw = self.raw_bytes();
        match self.kind() {
            ValueKind::Plain => &raw[1..raw.len() - 1] == wanted.as_bytes(),
            ValueKind::Escaped => self.text().is_some_and(|text| text == wanted),
            _ => false,
        }
    }
}

/// Iterator over the children of an object or array: `(key, value)`; the key is `None` in arrays.
#[derive(Clone, Debug)]
pub struct Children<'t, 'a> {
    doc: Document<'t, 'a>,
    object: bool,
    at: u32,
    end: u32,
}

impl<'t, 'a> Iterator for Children<'t, 'a> {
    type Item = (Option<Value<'t, 'a>>, Value<'t, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let doc = self.doc;
        let key = self.object.then(|| {
            let key = Value { doc, node: self.at };
            self.at += 1;
            key
        });
        let value = Value { doc, node: self.at };
        self.at = value.node().next;
        Some((key, value))
    }
}

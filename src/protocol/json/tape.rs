//! The tape: the index of a scanned document, in memory that is reused for the next one.

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `{...}`: its children are keys and values alternately.
    Object,
    /// `[...]`
    Array,
    /// A string or key without escape sequences: its text can be borrowed.
    Plain,
    /// A string or key with at least one escape sequence.
    Escaped,
    /// A number, in any notation.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// A value or a key in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: ValueKind,
    /// Byte span of the value's text, including quotes and brackets.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Index of the node after this value and the values in it.
    pub(super) next: u32,
}

/// An object or array whose end has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) node: u32,
    /// In an object, the node of the key whose value is being read; in an array, the index of the element.
    pub(super) at: u32,
}

/// The nodes of a scanned document, in document order. One tape per worker thread is enough.
#[derive(Debug, Default)]
pub struct Tape {
    pub(super) nodes: Vec<Node>,
    /// The containers around the position of the scanner; empty after a scan.
    pub(super) open: Vec<Open>,
}

/// A violation of a rule about JSON itself, before any field is decoded. The error code is always `invalid_json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct SyntaxError {
    /// What was expected, and what was found.
    pub detail: String,
    /// A JSON Pointer to the violation; `None` if the text is not JSON by its grammar.
    pub path: Option<String>,
}

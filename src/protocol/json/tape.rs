//! The tape: reusable memory for a scanned document.

use super::document::{Document, ValueKind};
use super::scanner::Scanner;

/// A tape that grew past this many nodes gives its memory back before the next frame.
const KEEP_NODES: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: ValueKind,
    /// Byte span of the value's text, quotes and brackets included.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Index of the node after this value and all that is in it.
    pub(super) next: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) node: u32,
    /// Node of the key whose value is being read (objects), or the index of the element (arrays).
    pub(super) at: u32,
}

/// Reusable memory for scanning; one per worker thread is enough.
#[derive(Debug, Default)]
pub struct Tape {
    pub(super) nodes: Vec<Node>,
    pub(super) open: Vec<Open>,
}

/// What is wrong with a document as JSON, before any type is looked at. Always answered `invalid_json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// For people: what was expected, what was found.
    pub detail: String,
    /// JSON Pointer, where one can be given.
    pub path: Option<String>,
}

impl Tape {
    /// Scans `text`. The document is `None` when the text is not JSON by its grammar, so that nothing can be said of
    /// its members; otherwise it is readable even if a [`SyntaxError`] forbids using it.
    pub fn scan<'t, 'a>(
        &'t mut self,
        text: &'a str,
    ) -> (Option<Document<'t, 'a>>, Option<SyntaxError>) {
        self.nodes.clear();
        self.open.clear();
        if self.nodes.capacity() > KEEP_NODES {
            self.nodes.shrink_to(KEEP_NODES);
        }
        let mut scanner = Scanner {
            text,
            bytes: text.as_bytes(),
            pos: 0,
            tape: self,
            problem: None,
        };
        match scanner.document() {
            Ok(()) => {
                let problem = scanner.problem.take();
                (Some(Document { text, tape: self }), problem)
            }
            Err(problem) => (None, Some(problem)),
        }
    }
}

//! The tape: the index of a scanned document, in memory that is reused for the next one.

use super::document::{Document, ValueKind};
use super::scanner::Scanner;

/// A tape with a capacity of more nodes is shrunk before the next frame.
const KEEP_NODES: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) kind: ValueKind,
    /// Byte span of the value's text, including quotes and brackets.
    pub(super) start: u32,
    pub(super) end: u32,
    /// Index of the node after this value and the values in it.
    pub(super) next: u32,
}

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

impl Tape {
    /// Scans `text`. The document is `None` if the text is not JSON by its grammar. Otherwise its members can be read, even if
    /// it violates another rule.
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

//! The wire contract (`docs/protocol.md`): the types of every frame, the only way in ([`Scanned::parse`]), and the
//! exported schema. Pure: no I/O, no clock but [`Timestamp::now`], nothing of the server.

pub mod client;
pub mod content;
pub mod error;
mod hints;
pub mod json;
pub mod schema;
pub mod server;
mod tagged;
pub mod timestamp;
pub mod types;

use serde::Deserialize;

pub use client::{ClientFrame, Target};
pub use error::{ErrorCode, FrameError};
pub use json::Tape;
pub use server::ServerFrame;
pub use timestamp::Timestamp;
// Transitional name of the module.
pub use types as ids;
pub use types::{MessageId, Ref};

use self::content::TypedContent;
use self::json::{DecodeError, Document, SyntaxError, ValueKind};

/// Name of this version of the protocol, also the WebSocket subprotocol.
pub const PROTOCOL: &str = "dmwire.v1";

/// Longest `detail` of an error, in bytes: names of unknown fields are the client's, and can be long.
const MAX_DETAIL: usize = 500;

/// A frame's text, read once, before its meaning is looked at.
#[derive(Debug)]
pub struct Scanned<'t, 'a> {
    doc: Option<Document<'t, 'a>>,
    problem: Option<SyntaxError>,
}

impl<'t, 'a> Scanned<'t, 'a> {
    /// Reads `text` into `tape`.
    pub fn new(tape: &'t mut Tape, text: &'a str) -> Self {
        let (doc, problem) = tape.scan(text);
        Self { doc, problem }
    }

    /// The frame's `ref`, from any JSON object whose `ref` is valid, whatever else is wrong with it.
    pub fn reference(&self) -> Option<Ref<'a>> {
        let root = self.doc?.root();
        let mut named = root
            .children()
            .filter_map(|(key, value)| key?.is_text("ref").then_some(value));
        let value = named.next()?;
        // Of two, neither can be meant; and one that is ill-formed is not valid.
        if named.next().is_some() || !value.is_well_formed() {
            return None;
        }
        Ref::new(value.text()?)
    }

    /// Whether the frame's `type` is this one.
    pub fn is_type(&self, tag: &str) -> bool {
        self.doc
            .and_then(|doc| doc.root().get("type"))
            .is_some_and(|value| value.is_text(tag))
    }

    /// The typed frame.
    ///
    /// # Errors
    /// [`FrameError`] names the rule that the frame breaks, and the place.
    pub fn parse(&self) -> Result<ClientFrame<'a>, FrameError> {
        if let Some(problem) = &self.problem {
            return Err(FrameError {
                code: ErrorCode::InvalidJson,
                detail: clipped(problem.detail.clone()),
                path: problem.path.clone(),
                definition: None,
            });
        }
        let Some(doc) = self.doc else {
            return Err(refused(DecodeError::here(
                ErrorCode::InvalidJson,
                "not JSON",
            )));
        };
        let root = doc.root();
        if root.kind() != ValueKind::Object {
            return Err(refused(root.mismatch(&"an object")));
        }
        let frame = ClientFrame::deserialize(root)
            .map_err(|error| refused(hints::complete(error, root, TypedContent::TAGS)))?;
        frame.check().map_err(refused)?;
        Ok(frame)
    }
}

fn refused(mismatch: DecodeError) -> FrameError {
    FrameError {
        code: mismatch.code,
        detail: clipped(mismatch.detail),
        path: Some(mismatch.path),
        definition: mismatch.definition,
    }
}

fn clipped(mut detail: String) -> String {
    if detail.len() > MAX_DETAIL {
        let mut end = MAX_DETAIL;
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
        detail.push('…');
    }
    detail
}

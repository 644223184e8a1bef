//! The wire contract (`docs/protocol.md`): the types of every frame, the only way in ([`Scanned::parse`]), and the
//! exported schema. Pure: no I/O, no clock but [`Timestamp::now`], nothing of the server.

pub mod client;
pub mod content;
pub mod error;
pub mod ids;
pub mod json;
pub mod schema;
pub mod server;
mod tagged;
pub mod timestamp;

use serde::Deserialize;

pub use client::{ClientFrame, Target};
pub use error::ErrorCode;
pub use ids::{MessageId, Ref};
pub use json::Tape;
pub use server::ServerFrame;
pub use timestamp::Timestamp;

use self::json::decode::DecodeError;
use self::json::{Document, Kind, SyntaxError};

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

/// Why a frame is refused; everything of an `error` frame but its `ref`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub detail: String,
    /// JSON Pointer of the offending place.
    pub path: Option<String>,
    /// Name of the definition in the schema of client frames that was broken.
    pub definition: Option<&'static str>,
}

impl FrameError {
    /// A refusal that is not about one place in the frame.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            path: None,
            definition: None,
        }
    }

    /// The room that a frame is addressed to is not there.
    pub fn unknown_room() -> Self {
        Self {
            path: Some("/target_room".to_owned()),
            ..Self::new(ErrorCode::UnknownRoom, "there is no such room")
        }
    }

    /// A message is not there, or not the asker's to see; `field` is where the frame names it.
    pub fn unknown_message(field: &str) -> Self {
        Self {
            path: Some(format!("/{field}")),
            ..Self::new(
                ErrorCode::UnknownMessage,
                "there is no such message in this conversation",
            )
        }
    }

    /// Only its author may change a message.
    pub fn not_author() -> Self {
        Self {
            path: Some("/id".to_owned()),
            ..Self::new(
                ErrorCode::NotAuthor,
                "only its author may change this message",
            )
        }
    }

    /// The addressed user takes nothing direct from the sender.
    pub fn blocked() -> Self {
        Self {
            path: Some("/target_user".to_owned()),
            ..Self::new(
                ErrorCode::Blocked,
                "this user takes no direct messages from you",
            )
        }
    }

    /// The addressed user has never connected, and such are not written to.
    pub fn unknown_user() -> Self {
        Self {
            path: Some("/target_user".to_owned()),
            ..Self::new(
                ErrorCode::Forbidden,
                "this user has never connected, and only those who have can be written to",
            )
        }
    }

    /// The addressed user has never connected, and the sender has written to such as often as one may.
    pub fn left_too_many() -> Self {
        Self {
            path: Some("/target_user".to_owned()),
            ..Self::new(
                ErrorCode::Forbidden,
                "this user has never connected, and as many messages as you may leave for such users are waiting",
            )
        }
    }

    /// Nobody can block themselves.
    pub fn own_block() -> Self {
        Self {
            path: Some("/user".to_owned()),
            ..Self::new(ErrorCode::Forbidden, "nobody can block themselves")
        }
    }

    /// The user has blocked as many others as one may.
    pub fn too_many_blocks() -> Self {
        Self {
            path: Some("/user".to_owned()),
            ..Self::new(
                ErrorCode::Forbidden,
                "you have blocked as many users as you may; unblock one first",
            )
        }
    }

    /// A message's id is taken by something else.
    pub fn id_conflict() -> Self {
        Self {
            path: Some("/id".to_owned()),
            ..Self::new(
                ErrorCode::IdConflict,
                "this id is taken in the conversation by a message with another author or content",
            )
        }
    }
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
        if root.kind() != Kind::Object {
            return Err(refused(root.mismatch(&"an object, as every frame is one")));
        }
        let frame = ClientFrame::deserialize(root).map_err(refused)?;
        frame.check().map_err(refused)?;
        Ok(frame)
    }
}

fn refused(mismatch: DecodeError) -> FrameError {
    // A bad tag reads the same at every level; what it is a tag of is told by where it stands.
    let code = match mismatch.code {
        ErrorCode::UnknownType if mismatch.path != "/type" => ErrorCode::UnknownContentType,
        code => code,
    };
    FrameError {
        code,
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

//! Replies to the session that acted: acks of earlier outcomes, `ok` and `error`.

use std::sync::Arc;

use super::CommandError;
use super::render::EntryView;
use crate::outbox::Outbox;
use crate::outbox::wakeup::Wakeup;
use crate::protocol::server::{ErrorFrame, OkFrame};
use crate::protocol::types::Integer;
use crate::protocol::{ErrorCode, FrameError, ServerFrame, schema};
use crate::writer::WriteError;

/// When a client may retry after `overloaded`, in milliseconds.
const RETRY_AFTER_MS: u64 = 500;
/// The same where the server cannot resolve the cause by itself, such as a full disk.
pub const RETRY_LATER_MS: u64 = 60_000;
/// The same while a file of the store is displaced: it may be back at any moment.
pub const RETRY_DISPLACED_MS: u64 = 5_000;

/// A session that waits for a reply, and the `ref` of its frame.
#[derive(Clone, Copy)]
pub(super) struct Reply<'a> {
    pub session: &'a Arc<Outbox>,
    pub reference: Option<&'a str>,
}

impl Reply<'_> {
    /// Sends `error`.
    pub fn error(self, rejected: &CommandError) -> Wakeup {
        let CommandError {
            error,
            retry_after_ms,
        } = rejected;
        let schema = definition(error);
        let frame = error_frame(error, self.reference, *retry_after_ms, schema.as_deref());
        self.session.reply(Some(&frame))
    }

    /// Sends `error` for a frame that counts as invalid.
    pub fn invalid(self, error: &FrameError) -> Wakeup {
        let schema = definition(error);
        let frame = error_frame(error, self.reference, None, schema.as_deref());
        self.session.reply_to_invalid(&frame)
    }

    /// Sends the ack of an operation that was stored before.
    pub fn duplicate(self, entry: &EntryView<'_>, seq: Option<u64>) -> Wakeup {
        let subject = entry.subject();
        let ack = subject.stored(seq, entry.stored_at, Some(true), self.reference);
        self.session.reply(Some(&ack))
    }

    /// Sends `ok`.
    pub fn ok(self) -> Wakeup {
        self.session.reply(Some(&ServerFrame::Ok(OkFrame {
            reference: self.reference,
        })))
    }

    /// The frame is not answered.
    pub fn none(self) -> Wakeup {
        self.session.reply(None)
    }
}

/// Answers a frame of the session's own client with `error`. Only for the session's task.
pub fn send_error(
    session: &Outbox,
    error: &FrameError,
    reference: Option<&str>,
    retry_after_ms: Option<u64>,
) {
    let schema = definition(error);
    let frame = error_frame(error, reference, retry_after_ms, schema.as_deref());
    session.send(&frame);
}

/// The reference to the violated definition.
fn definition(error: &FrameError) -> Option<String> {
    let definition = error.definition.as_ref()?;
    Some(format!("{}#/$defs/{definition}", schema::CLIENT))
}

fn error_frame<'a>(
    error: &'a FrameError,
    reference: Option<&'a str>,
    retry_after_ms: Option<u64>,
    schema: Option<&'a str>,
) -> ServerFrame<'a> {
    ServerFrame::Error(ErrorFrame {
        code: error.code,
        detail: &error.detail,
        path: error.path.as_deref(),
        schema,
        retryable: error.code.retryable(),
        retry_after_ms: retry_after_ms.map(Integer),
        reference,
    })
}

/// The error for a client whose write was not stored, and when it may retry.
impl From<WriteError> for CommandError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Overloaded => Self {
                error: overloaded(),
                retry_after_ms: Some(RETRY_AFTER_MS),
            },
            WriteError::Internal => Self::from(FrameError::new(
                ErrorCode::Internal,
                "the store failed and the outcome is unknown; send again with the same `id`",
            )),
        }
    }
}

/// The error for a write that the server cannot store at the moment.
pub fn overloaded() -> FrameError {
    FrameError::new(
        ErrorCode::Overloaded,
        "the server cannot store this now; nothing was stored",
    )
}

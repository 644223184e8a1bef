//! Direct replies: what is written when a question is answered or a frame refused.

use std::sync::Arc;

use super::render::View;
use crate::outbox::Outbox;
use crate::outbox::wakeup::Wakeup;
use crate::protocol::server::{Ack, AckStatus, ErrorFrame, OkFrame};
use crate::protocol::types::Integer;
use crate::protocol::{ErrorCode, FrameError, ServerFrame, schema};
use crate::writer::WriteError;

/// A session that waits for an answer, and the `ref` that it gave.
pub(super) struct Answer<'a> {
    pub(super) session: &'a Arc<Outbox>,
    pub(super) reference: Option<&'a str>,
}

impl Answer<'_> {
    pub(super) fn refuse(&self, refused: &FrameError, retry_after_ms: Option<u64>) -> Wakeup {
        let reference = self.reference;
        self.session
            .reply(Some(&error(refused, reference, retry_after_ms)))
    }

    /// What had been stored before is answered with the first ack again.
    pub(super) fn duplicate(&self, view: &View<'_>, seq: Option<u64>) -> Wakeup {
        self.session.reply(Some(&ServerFrame::Ack(Ack {
            id: view.id,
            seq: seq.map(Integer),
            status: AckStatus::Stored,
            sent_at: view.at,
            duplicate: Some(true),
            reference: self.reference,
        })))
    }

    /// It is done.
    pub(super) fn done(&self) -> Wakeup {
        self.session.reply(Some(&ServerFrame::Ok(OkFrame {
            reference: self.reference,
        })))
    }

    /// It is done, and there is nothing to say.
    pub(super) fn nothing(&self) -> Wakeup {
        self.session.reply(None)
    }
}

/// Answers a frame with `error`.
pub fn refuse(
    session: &Outbox,
    refused: &FrameError,
    reference: Option<&str>,
    retry_after_ms: Option<u64>,
) {
    let mut schema_reference = String::new();
    if let Some(definition) = refused.definition {
        schema_reference = format!("{}#/$defs/{definition}", schema::CLIENT);
    }
    let ServerFrame::Error(mut frame) = error(refused, reference, retry_after_ms) else {
        return;
    };
    frame.schema = refused.definition.map(|_| schema_reference.as_str());
    session.send(&ServerFrame::Error(frame));
}

fn error<'a>(
    refused: &'a FrameError,
    reference: Option<&'a str>,
    retry_after_ms: Option<u64>,
) -> ServerFrame<'a> {
    ServerFrame::Error(ErrorFrame {
        code: refused.code,
        detail: &refused.detail,
        path: refused.path.as_deref(),
        schema: None,
        retryable: refused.code.retryable(),
        retry_after_ms: retry_after_ms.map(Integer),
        reference,
    })
}

/// The error that a client gets for a write that was not done.
pub fn failed(failure: WriteError) -> FrameError {
    match failure {
        WriteError::Overloaded => FrameError::new(
            ErrorCode::Overloaded,
            "the server cannot store this now; nothing was stored",
        ),
        WriteError::Internal => FrameError::new(
            ErrorCode::Internal,
            "something failed and the outcome is unknown; send again with the same `id`",
        ),
    }
}

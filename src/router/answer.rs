//! Direct replies: what is written when a question is answered or a frame refused.

use std::sync::Arc;

use super::view::View;
use crate::outbox::Outbox;
use crate::outbox::wakeup::Wakeup;
use crate::protocol::server::{
    Ack, AckStatus, Conversation, Conversations, Done, ErrorFrame, History, PastMessage,
    RawContent, Reactions,
};
use crate::protocol::types::Integer;
use crate::protocol::{ErrorCode, FrameError, MessageId, ServerFrame, Timestamp, schema};
use crate::store::{ConversationsPage, HistoryPage, HistoryPosition, HistoryQuery, StoredMessage};
use crate::writer::WriteError;

/// A session that waits for an answer, and the `ref` that it gave.
pub(super) struct Answer<'a> {
    pub(super) session: &'a Arc<Outbox>,
    pub(super) reference: Option<Box<str>>,
}

impl Answer<'_> {
    pub(super) fn refuse(&self, refused: &FrameError, retry_after_ms: Option<u64>) -> Wakeup {
        let reference = self.reference.as_deref();
        self.session
            .answer(Some(&error(refused, reference, retry_after_ms)))
    }

    /// What had been stored before is answered with the first ack again.
    pub(super) fn duplicate(&self, view: &View<'_>, seq: Option<u64>) -> Wakeup {
        self.session.answer(Some(&ServerFrame::Ack(Ack {
            id: view.id,
            seq: seq.map(Integer),
            status: AckStatus::Stored,
            sent_at: view.at,
            duplicate: Some(true),
            reference: self.reference.as_deref(),
        })))
    }

    /// It is done.
    pub(super) fn done(&self) -> Wakeup {
        self.session.answer(Some(&ServerFrame::Ok(Done {
            reference: self.reference.as_deref(),
        })))
    }

    /// It is done, and there is nothing to say.
    pub(super) fn nothing(&self) -> Wakeup {
        self.session.answer(None)
    }
}

/// A message as `history`, `conversations` and exports show it.
pub fn past(message: &StoredMessage) -> PastMessage<'_> {
    PastMessage {
        r#type: "message",
        message: message
            .deleted_at
            .is_none()
            .then_some(RawContent(&message.content)),
        from_user: &message.from,
        target_user: Some(&message.to),
        target_room: None,
        id: MessageId(message.id),
        sent_at: Timestamp(message.sent_at),
        reply_to: message.reply_to.map(MessageId),
        edited_at: message.edited_at.map(Timestamp),
        deleted_at: message.deleted_at.map(Timestamp),
        reactions: message
            .reactions
            .iter()
            .map(|(emoji, users)| Reactions {
                emoji,
                users: users.iter().map(String::as_str).collect(),
            })
            .collect(),
    }
}

/// Answers `history`.
pub fn answer_history(
    session: &Outbox,
    query: &HistoryQuery,
    page: Option<&HistoryPage>,
    reference: Option<&str>,
) {
    let Some(page) = page else {
        let field = match query.anchor {
            Some(HistoryPosition::After(_)) => "after",
            _ => "before",
        };
        return refuse(
            session,
            &FrameError::unknown_message(field),
            reference,
            None,
        );
    };
    session.say(&ServerFrame::History(History {
        target_user: Some(&query.with),
        target_room: None,
        messages: page.messages.iter().map(past).collect(),
        more: page.more,
        reference,
    }));
}

/// Answers `conversations`.
pub fn answer_conversations(
    session: &Outbox,
    page: Option<&ConversationsPage>,
    reference: Option<&str>,
) {
    let Some(page) = page else {
        return refuse(
            session,
            &FrameError::unknown_message("cursor"),
            reference,
            None,
        );
    };
    let cursor = page.cursor.map(|id| id.hyphenated().to_string());
    session.say(&ServerFrame::Conversations(Conversations {
        items: page
            .items
            .iter()
            .map(|item| Conversation {
                target_user: Some(&item.with),
                target_room: None,
                last: past(&item.last),
                unread: Integer(item.unread),
                my_read: item.my_read.map(MessageId),
                their_read: item.their_read.map(MessageId),
                their_received: item.their_received.map(MessageId),
            })
            .collect(),
        cursor: cursor.as_deref(),
        reference,
    }));
}

/// Answers that a question could not be read from the store.
pub fn answer_failed(session: &Outbox, reference: Option<&str>) {
    let refused = FrameError::new(
        ErrorCode::Internal,
        "the store could not be read; ask again",
    );
    refuse(session, &refused, reference, None);
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
    session.say(&ServerFrame::Error(frame));
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

pub(super) fn failed(failure: WriteError) -> FrameError {
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

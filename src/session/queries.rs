//! Answers to the queries of a client.

use crate::delivery::{past, refuse, target, target_fields};
use crate::outbox::Outbox;
use crate::protocol::ids::Integer;
use crate::protocol::server::{Conversation, Conversations, History};
use crate::protocol::{ErrorCode, FrameError, MessageId, ServerFrame};
use crate::store::{ConversationsPage, HistoryAnswer, HistoryPosition, HistoryQuery};

/// Answers `history`.
pub fn answer_history(
    session: &Outbox,
    query: &HistoryQuery,
    answer: &HistoryAnswer,
    reference: Option<&str>,
) {
    let page = match answer {
        HistoryAnswer::Page(page) => page,
        HistoryAnswer::UnknownMessage => {
            let field = match query.position {
                Some(HistoryPosition::After(_)) => "after",
                _ => "before",
            };
            let error = FrameError::unknown_message(field);
            return refuse(session, &error, reference, None);
        }
        HistoryAnswer::UnknownRoom => {
            return refuse(session, &FrameError::unknown_room(), reference, None);
        }
    };
    let (target_user, target_room) = target_fields(target(&query.conversation));
    session.send(&ServerFrame::History(History {
        target_user,
        target_room,
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
    session.send(&ServerFrame::Conversations(Conversations {
        items: page
            .items
            .iter()
            .map(|item| {
                let (target_user, target_room) = target_fields(target(&item.conversation));
                Conversation {
                    target_user,
                    target_room,
                    last: past(&item.last),
                    unread: Integer(item.unread),
                    my_read: item.my_read.map(MessageId),
                    their_read: item.their_read.map(MessageId),
                    their_received: item.their_received.map(MessageId),
                }
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

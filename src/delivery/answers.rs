//! Frames that answer queries: of a session, or of the HTTP API on behalf of a user.

use super::render::{past_message, target_fields, target_of};
use crate::protocol::server::{Conversation, Conversations, History};
use crate::protocol::types::Integer;
use crate::protocol::{FrameError, MessageId, ServerFrame};
use crate::store::{ConversationsPage, HistoryAnswer, HistoryPosition, HistoryQuery};

/// The answer to `history`.
///
/// # Errors
/// The user may not read this, or the position does not exist.
pub fn history<'a>(
    query: &'a HistoryQuery,
    answer: &'a HistoryAnswer,
    reference: Option<&'a str>,
) -> Result<ServerFrame<'a>, FrameError> {
    let page = match answer {
        HistoryAnswer::Page(page) => page,
        HistoryAnswer::UnknownMessage => {
            return Err(FrameError::unknown_message(match query.position {
                Some(HistoryPosition::After(_)) => "after",
                _ => "before",
            }));
        }
        HistoryAnswer::UnknownRoom => return Err(FrameError::unknown_room("target_room")),
        HistoryAnswer::NotMember => return Err(FrameError::not_member("target_room")),
    };
    let (target_user, target_room) = target_fields(target_of(&query.conversation));
    Ok(ServerFrame::History(History {
        target_user,
        target_room,
        messages: page.messages.iter().map(past_message).collect(),
        more: page.more,
        reference,
    }))
}

/// Calls `send` with the answer to `conversations`.
pub fn conversations<R>(
    page: &ConversationsPage,
    reference: Option<&str>,
    send: impl FnOnce(&ServerFrame<'_>) -> R,
) -> R {
    let cursor = page.cursor.map(|id| id.hyphenated().to_string());
    let items = page.items.iter().map(|item| {
        let (target_user, target_room) = target_fields(target_of(&item.conversation));
        Conversation {
            target_user,
            target_room,
            members: item.members.map(Integer),
            last: item.last.as_ref().map(past_message),
            unread: Integer(item.unread),
            my_read: item.my_read.map(MessageId),
            their_read: item.their_read.map(MessageId),
            their_received: item.their_received.map(MessageId),
        }
    });
    send(&ServerFrame::Conversations(Conversations {
        items: items.collect(),
        cursor: cursor.as_deref(),
        reference,
    }))
}

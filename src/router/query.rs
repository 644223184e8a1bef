//! Queries: what a client asks for that is read from the store (`history`, `conversations`, `members`).

use std::sync::Arc;

use super::{CommandError, Router, conversation};
use crate::protocol::client::{
    ClientConversations, ClientHistory, ClientMembers, Cursor, DEFAULT_LIMIT, DEFAULT_MEMBERS_LIMIT,
};
use crate::protocol::types::parse_uuid;
use crate::protocol::{FrameError, Ref};
use crate::readers::PendingRead;
use crate::store::{
    ConversationsPage, ConversationsQuery, HistoryAnswer, HistoryPosition, HistoryQuery,
    MembersAnswer, MembersQuery,
};

/// Bytes of messages in one answer, so that the frame is smaller than 256 KiB (PROTOCOL section 6).
const ANSWER_BYTES: usize = 250 << 10;

/// A query that has not been started.
#[derive(Clone, Debug)]
pub struct Query {
    reference: Option<Box<str>>,
    kind: QueryKind,
}

#[derive(Clone, Debug)]
enum QueryKind {
    History(HistoryQuery),
    Conversations(ConversationsQuery),
    Members(MembersQuery),
}

/// A query that is being read.
#[derive(Debug)]
pub enum RunningQuery {
    /// Messages of a conversation.
    History(HistoryQuery, PendingRead<HistoryAnswer>),
    /// Conversations of a user.
    Conversations(PendingRead<Option<ConversationsPage>>),
    /// Members of a room.
    Members(MembersQuery, PendingRead<MembersAnswer>),
}

impl Query {
    /// The `ref` of the client's frame.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }
}

impl Router {
    /// The query of a `history` frame of `actor`.
    pub fn history(&self, frame: &ClientHistory<'_>, actor: &Arc<str>) -> Query {
        let before = frame.before.map(|id| HistoryPosition::Before(id.0));
        let after = frame.after.map(|id| HistoryPosition::After(id.0));
        Query {
            reference: owned(frame.reference.as_ref()),
            kind: QueryKind::History(HistoryQuery {
                user: actor.clone(),
                conversation: conversation(frame.target()),
                position: before.or(after),
                limit: frame.limit.map_or(DEFAULT_LIMIT, |limit| limit.0) as usize,
                not_before: self.not_before(),
                bytes: ANSWER_BYTES,
            }),
        }
    }

    /// The query of a `conversations` frame of `actor`.
    ///
    /// # Errors
    /// The cursor is not one.
    pub fn conversations(
        &self,
        frame: &ClientConversations<'_>,
        actor: &Arc<str>,
    ) -> Result<Query, CommandError> {
        let cursor = match &frame.cursor {
            None => None,
            Some(cursor) => Some(parse_uuid(&cursor.0).ok_or_else(FrameError::unknown_cursor)?),
        };
        Ok(Query {
            reference: owned(frame.reference.as_ref()),
            kind: QueryKind::Conversations(ConversationsQuery {
                user: actor.clone(),
                limit: frame.limit.map_or(DEFAULT_LIMIT, |limit| limit.0) as usize,
                cursor,
                not_before: self.not_before(),
                bytes: ANSWER_BYTES,
            }),
        })
    }

    /// Older messages are not shown (milliseconds since 1970-01-01T00:00:00Z). `None`: all are shown.
    fn not_before(&self) -> Option<i64> {
        let now = self.clock.expiry_now()?;
        self.history_ms.map(|ms| now.saturating_sub(ms))
    }

    /// Starts to read a query. `cap` reduces the size of the answer to the memory that is available now. Also returns the
    /// `ref` of the client's frame.
    pub fn start_query(
        &self,
        query: Query,
        cap: impl FnOnce(usize) -> usize,
    ) -> (Option<Box<str>>, RunningQuery) {
        let running = match query.kind {
            QueryKind::History(mut query) => {
                query.bytes = cap(query.bytes);
                let read = self.readers.history(query.clone());
                RunningQuery::History(query, read)
            }
            QueryKind::Conversations(mut query) => {
                query.bytes = cap(query.bytes);
                RunningQuery::Conversations(self.readers.conversations(query))
            }
            QueryKind::Members(query) => {
                let read = self.readers.members(query.clone());
                RunningQuery::Members(query, read)
            }
        };
        (query.reference, running)
    }
}

/// A query of the members of a room.
pub(super) fn members(frame: &ClientMembers<'_>, actor: &Arc<str>) -> Query {
    let limit = frame.limit.map_or(DEFAULT_MEMBERS_LIMIT, |limit| limit.0);
    // Whether the user is a member is checked first, so another text is a cursor that the user was not given.
    let parse = |cursor: &Cursor<'_>| parse_uuid(&cursor.0).unwrap_or_default();
    Query {
        reference: owned(frame.reference.as_ref()),
        kind: QueryKind::Members(MembersQuery {
            user: actor.clone(),
            room: frame.room.as_str().into(),
            limit: limit as usize,
            cursor: frame.cursor.as_ref().map(parse),
        }),
    }
}

fn owned(reference: Option<&Ref<'_>>) -> Option<Box<str>> {
    reference.map(|reference| reference.as_str().into())
}

//! Queries: what a client asks for that is read from the store (`history`, `conversations`, `members`, `watch`).

use std::sync::Arc;

use super::{CommandError, Router, conversation};
use crate::delivery::RETRY_LATER_MS;
use crate::outbox::Outbox;
use crate::presence::{StartedWatch, WatchError, Watches};
use crate::protocol::client::{
    ClientConversations, ClientHistory, ClientMembers, ClientUnwatch, ClientWatch, Cursor,
    DEFAULT_LIMIT, DEFAULT_MEMBERS_LIMIT, UserList,
};
use crate::protocol::types::parse_uuid;
use crate::protocol::{FrameError, Ref};
use crate::readers::PendingRead;
use crate::store::{
    Conversation, ConversationsPage, ConversationsQuery, HistoryAnswer, HistoryPosition,
    HistoryQuery, MembersAnswer, MembersQuery, Watched,
};

/// Bytes of messages in one answer, so that the frame is smaller than 256 KiB (PROTOCOL section 6).
pub(super) const ANSWER_BYTES: usize = 250 << 10;

/// Bytes of memory for each text of a query, besides its characters.
const BYTES_PER_TEXT: usize = 48;

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
    /// Of these users, who are listed once.
    Watch(Arc<[Arc<str>]>),
    Unwatch(Arc<[Arc<str>]>),
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
    /// Users who are watched from now on.
    Watch(StartedWatch, PendingRead<Vec<Watched>>),
    /// The users are not watched any more.
    Unwatched,
    /// The query is rejected.
    Rejected(CommandError),
}

/// A session that sends queries, and the users whom it watches; `None`: it has never watched any.
#[derive(Debug)]
pub struct Watching<'a> {
    /// The session.
    pub session: &'a Arc<Outbox>,
    /// The users.
    pub watches: &'a mut Option<Box<Watches>>,
}

impl Query {
    /// The `ref` of the client's frame.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let of = |text: &str| text.len() + BYTES_PER_TEXT;
        let fields = match &self.kind {
            QueryKind::History(query) => match &query.conversation {
                Conversation::Direct(name) | Conversation::Room(name) => of(name),
            },
            QueryKind::Conversations(_) => 0,
            QueryKind::Members(query) => of(&query.room),
            QueryKind::Watch(users) | QueryKind::Unwatch(users) => {
                users.iter().map(|user| of(user)).sum()
            }
        };
        size_of::<Self>() + self.reference.as_deref().map_or(0, of) + fields
    }

    /// True if it counts against the rate of queries: it reads from the store.
    pub fn has_rate(&self) -> bool {
        !matches!(self.kind, QueryKind::Unwatch(_))
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
    pub(super) fn not_before(&self) -> Option<i64> {
        let now = self.clock.expiry_now()?;
        self.history_ms.map(|ms| now.saturating_sub(ms))
    }

    /// Starts to read a query. Without a session, nobody is watched. `cap` reduces the size of the answer to the memory that is
    /// available now. Also returns the `ref` of the client's frame.
    pub fn start_query(
        &self,
        query: Query,
        watching: Option<Watching<'_>>,
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
            QueryKind::Watch(users) => match watching {
                Some(watching) => self.start_watch(users, watching),
                None => RunningQuery::Unwatched,
            },
            QueryKind::Unwatch(users) => {
                if let Some(watches) = watching.and_then(|watching| watching.watches.as_mut()) {
                    watches.stop(&users);
                }
                RunningQuery::Unwatched
            }
        };
        (query.reference, running)
    }

    fn start_watch(&self, users: Arc<[Arc<str>]>, watching: Watching<'_>) -> RunningQuery {
        let Watching { session, watches } = watching;
        let watches = watches.get_or_insert_with(|| {
            let presence = self.presence().clone();
            Box::new(Watches::new(presence, session.clone()))
        });
        match watches.start(users.clone()) {
            // Read only from now on, so that no change is missed.
            Ok(started) => {
                let read = self.readers.watched(session.user().clone(), users);
                RunningQuery::Watch(started, read)
            }
            Err(WatchError::Session) => {
                RunningQuery::Rejected(FrameError::too_many_watched().into())
            }
            Err(WatchError::Server) => RunningQuery::Rejected(CommandError {
                error: FrameError::too_many_watches(),
                retry_after_ms: Some(RETRY_LATER_MS),
            }),
        }
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

/// A query of the presence of users, and of its changes.
pub(super) fn watch(frame: &ClientWatch<'_>) -> Query {
    Query {
        reference: owned(frame.reference.as_ref()),
        kind: QueryKind::Watch(distinct(&frame.users)),
    }
}

/// Ends what [`watch`] has started. It is a query, so that the two take effect in the order of the frames.
pub(super) fn unwatch(frame: &ClientUnwatch<'_>) -> Query {
    Query {
        reference: owned(frame.reference.as_ref()),
        kind: QueryKind::Unwatch(distinct(&frame.users)),
    }
}

/// The users of a list, each once, in the order of the list.
fn distinct(list: &UserList<'_>) -> Arc<[Arc<str>]> {
    let mut users: Vec<Arc<str>> = Vec::with_capacity(list.0.len());
    for user in &list.0 {
        if !users.iter().any(|known| **known == *user.as_str()) {
            users.push(user.as_str().into());
        }
    }
    users.into()
}

fn owned(reference: Option<&Ref<'_>>) -> Option<Box<str>> {
    reference.map(|reference| reference.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_query_includes_its_texts() {
        let watch = |users: &[&str], reference: Option<&str>| Query {
            reference: reference.map(Into::into),
            kind: QueryKind::Watch(users.iter().map(|user| Arc::from(*user)).collect()),
        };
        let name = "x".repeat(128);
        let none = watch(&[], None).bytes();
        let many = watch(&[name.as_str(); 100], None).bytes();
        assert!(many >= none + 100 * 128);
        assert!(watch(&[], Some(&name)).bytes() >= none + 128);
        let members = Query {
            reference: None,
            kind: QueryKind::Members(MembersQuery {
                user: "ada".into(),
                room: name.as_str().into(),
                cursor: None,
                limit: 1,
            }),
        };
        assert!(members.bytes() >= size_of::<Query>() + 128);
    }
}

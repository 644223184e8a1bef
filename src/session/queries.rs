//! Queries of the client (`history`, `conversations`, `members`, `watch`): they are read and answered one after the other, because each answer
//! may be large.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::delivery::{answers, send_error};
use crate::outbox::Outbox;
use crate::presence::{Presence, Watches};
use crate::protocol::server::{Member, Members, OkFrame, PresenceStatus};
use crate::protocol::types::Integer;
use crate::protocol::{ErrorCode, FrameError, MessageId, ServerFrame, Timestamp};
use crate::router::{Query, Router, RunningQuery, Watching};
use crate::store::{
    ConversationsPage, HistoryAnswer, HistoryQuery, MemberItem, MembersAnswer, MembersQuery,
};

/// Number of queries that may wait before the session stops reading its client's frames.
const MAX_WAITING: usize = 64;

/// The queries of a session.
#[derive(Debug, Default)]
pub struct Queries {
    waiting: VecDeque<Query>,
    /// Bytes of memory of those that wait.
    waiting_bytes: usize,
    /// The query that is being read, with the `ref` of its frame.
    running: Option<(Option<Box<str>>, RunningQuery)>,
    /// The users whom the session watches; `None`: it has never watched any.
    watches: Option<Box<Watches>>,
}

impl Queries {
    /// Adds a query.
    pub fn push(&mut self, query: Query) {
        self.waiting_bytes += query.bytes();
        self.waiting.push_back(query);
    }

    /// Bytes of memory of the queries that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// True if no more frames should be read before a query has been answered.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// True if a query waits to be read.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// True if all queries have been answered.
    pub fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    /// Starts the next query while there is room, and answers the one that was read. True: something was done.
    pub fn poll(&mut self, cx: &mut Context<'_>, outbox: &Arc<Outbox>, router: &Router) -> bool {
        if let Some((reference, running)) = &mut self.running {
            let watches = self.watches.as_deref_mut();
            let answer = Answer {
                outbox,
                presence: router.presence(),
                watches,
                reference: reference.as_deref(),
            };
            if answer.poll(running, cx).is_pending() {
                return false;
            }
            self.running = None;
            return true;
        }
        if !self.has_waiting() || outbox.status().unsent >= outbox.limit() / 2 {
            return false;
        }
        let Some(query) = self.waiting.pop_front() else {
            return false;
        };
        self.waiting_bytes = self.waiting_bytes.saturating_sub(query.bytes());
        let cap = |bytes| outbox.cap(bytes);
        let watching = Watching {
            session: outbox,
            watches: &mut self.watches,
        };
        self.running = Some(router.start_query(query, Some(watching), cap));
        true
    }
}

/// How a query is answered.
struct Answer<'a> {
    outbox: &'a Outbox,
    presence: &'a Presence,
    watches: Option<&'a mut Watches>,
    reference: Option<&'a str>,
}

impl Answer<'_> {
    /// Answers a query when it has been read.
    fn poll(self, running: &mut RunningQuery, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            outbox,
            presence,
            watches,
            reference,
        } = self;
        let failed = match running {
            RunningQuery::History(query, read) => match ready!(Pin::new(read).poll(cx)) {
                Ok(Ok(answer)) => {
                    answer_history(outbox, query, &answer, reference);
                    return Poll::Ready(());
                }
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            },
            RunningQuery::Conversations(read) => match ready!(Pin::new(read).poll(cx)) {
                Ok(Ok(page)) => {
                    answer_conversations(outbox, page.as_ref(), reference);
                    return Poll::Ready(());
                }
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            },
            RunningQuery::Members(query, read) => match ready!(Pin::new(read).poll(cx)) {
                Ok(Ok(answer)) => {
                    answer_members(outbox, presence, query, &answer, reference);
                    return Poll::Ready(());
                }
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            },
            RunningQuery::Watch(started, read) => match ready!(Pin::new(read).poll(cx)) {
                Ok(Ok(found)) => {
                    if let Some(watches) = watches {
                        watches.answer(started, found, reference);
                    }
                    return Poll::Ready(());
                }
                failed => {
                    if let Some(watches) = watches {
                        watches.stop(&started.added);
                    }
                    failed.ok().and_then(Result::err)
                }
            },
            RunningQuery::Unwatched => {
                outbox.send(&ServerFrame::Ok(OkFrame { reference }));
                return Poll::Ready(());
            }
            RunningQuery::Rejected(error) => {
                send_error(outbox, &error.error, reference, error.retry_after_ms);
                return Poll::Ready(());
            }
        };
        // Without an error the readers have ended: the server shuts down.
        if let Some(error) = failed {
            log::error!("cannot read the answer to a query: {error}");
        }
        let error = FrameError::new(
            ErrorCode::Internal,
            "the store could not be read; ask again",
        );
        send_error(outbox, &error, reference, None);
        Poll::Ready(())
    }
}

fn answer_history(
    outbox: &Outbox,
    query: &HistoryQuery,
    answer: &HistoryAnswer,
    reference: Option<&str>,
) {
    match answers::history(query, answer, reference) {
        Ok(frame) => outbox.send(&frame),
        Err(error) => send_error(outbox, &error, reference, None),
    }
}

fn answer_members(
    outbox: &Outbox,
    presence: &Presence,
    query: &MembersQuery,
    answer: &MembersAnswer,
    reference: Option<&str>,
) {
    let error = match answer {
        MembersAnswer::Page(page) => {
            let cursor = page.cursor.map(|id| id.hyphenated().to_string());
            let status = |user: &str| {
                page.is_small
                    .then(|| presence.shown_to_member(&query.user, user))
            };
            return outbox.send(&ServerFrame::Members(Members {
                room: &query.room,
                users: page
                    .members
                    .iter()
                    .map(|item| member(item, status(&item.user)))
                    .collect(),
                total: Integer(page.total),
                cursor: cursor.as_deref(),
                reference,
            }));
        }
        MembersAnswer::NotMember => FrameError::not_member("room"),
        MembersAnswer::UnknownRoom => FrameError::unknown_room("room"),
        MembersAnswer::UnknownCursor => FrameError::unknown_cursor(),
    };
    send_error(outbox, &error, reference, None);
}

fn member(item: &MemberItem, status: Option<PresenceStatus>) -> Member<'_> {
    Member {
        user: &item.user,
        status,
        joined_at: Timestamp(item.joined_at),
        read: item.read.map(MessageId),
    }
}

fn answer_conversations(
    outbox: &Outbox,
    page: Option<&ConversationsPage>,
    reference: Option<&str>,
) {
    let Some(page) = page else {
        let error = FrameError::unknown_cursor();
        return send_error(outbox, &error, reference, None);
    };
    answers::conversations(page, reference, |frame| outbox.send(frame));
}

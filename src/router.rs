//! Executes the commands of clients: checks what needs no store, then queues a write, pushes an ephemeral frame, or starts a
//! query.
//!
//! A [`Command`] names the user who acts, the quota that applies and the source that gets the reply, so that commands do not
//! depend on sessions. The outcome of a write reaches the source through [`crate::delivery`].
//!
//! A [`Router`] is a cheap handle without a lock of its own.

mod ephemeral;
mod keys;
mod operators;
mod overview;
mod query;
mod rooms;

use std::sync::Arc;

use uuid::{ContextV7, Uuid};

pub use self::ephemeral::DeferredAck;
pub use self::keys::{KeyMessage, PartReply};
pub use self::query::{Query, RunningQuery, Watching};
use self::query::{members, unwatch, watch};
use self::rooms::{join, leave};
use crate::clock::Clock;
pub use crate::delivery::CommandError;
use crate::delivery::Signalled;
use crate::delivery::{Delivery, RETRY_DISPLACED_MS, RETRY_LATER_MS, ReplyTo, overloaded};
use crate::disk_space::DiskSpaceMonitor;
use crate::outbox::Outbox;
use crate::presence::Presence;
use crate::protocol::client::{ChosenStatus, ClientMessage, ClientTyping};
use crate::protocol::server::Pong;
use crate::protocol::types::is_erased_name;
use crate::protocol::{ClientFrame, FrameError, MessageId, Ref, ServerFrame, Target, Timestamp};
use crate::readers::{PendingRead, Readers};
use crate::store::{
    Authority, ContentHasher, Conversation, DeviceRef, InboxItem, InboxQuery, InboxRange,
    InboxState, MembershipKind, MessageRef, NewMessage, RecipientQuota, Repeated, RoomMode,
    UserStatus, Write,
};
use crate::writer::{QueueDepth, Unavailable, WriteError, Writer};

thread_local! {
    /// Counts the ids of a millisecond.
    static IDS: ContextV7 = const { ContextV7::new() };
}

/// Executes the commands of clients.
#[derive(Clone, Debug)]
pub struct Router {
    delivery: Delivery,
    disk_space: Arc<DiskSpaceMonitor>,
    writer: Writer<ReplyTo>,
    readers: Readers,
    clock: Arc<Clock>,
    /// Queries do not show messages that are older; in milliseconds.
    history_ms: Option<i64>,
    /// Hashes content here, so that the writer's thread need not.
    hasher: ContentHasher,
    /// There are rooms.
    has_rooms: bool,
}

/// A frame, and on whose behalf it is executed.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The user who acts.
    pub actor: &'a Arc<str>,
    /// Limits messages to users who have never connected; `None`: no limit.
    pub quota: Option<&'a Arc<dyn RecipientQuota>>,
    /// The frame.
    pub frame: &'a ClientFrame<'a>,
    /// Why the content of the frame must not be stored or passed on.
    pub invalid_content: Option<&'a FrameError>,
    /// Where the command comes from.
    pub source: Source<'a>,
    /// The time of the command, by [`Router::now`].
    pub time: Timestamp,
}

/// The source of a command. It gets the reply, and no copy of an ephemeral frame that it sends.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A session.
    Session(&'a Arc<Outbox>),
}

/// Result of [`Router::execute`].
#[derive(Debug)]
pub enum Executed<'a> {
    /// The command is accepted. If it has a reply, that follows when its write has been committed.
    Accepted,
    /// The command is done, and this is its reply.
    Reply(ServerFrame<'a>),
    /// The source asks for something that is read from the store with [`Router::start_query`].
    Query(Query),
    /// The command is done; its reply depends on a lookup in the store, for which the source's next command waits.
    Deferred(Box<DeferredAck>),
    /// The device of the source has received its inbox up to this entry.
    Received(u64),
}

impl<'a> Source<'a> {
    fn reply_to(self, reference: Option<&str>, invalid: Option<&FrameError>) -> ReplyTo {
        let Self::Session(outbox) = self;
        let (outbox, reference) = (outbox.clone(), reference.map(Into::into));
        match invalid {
            None => ReplyTo::Session(outbox, reference),
            Some(error) => ReplyTo::Invalid(outbox, reference, Box::new(error.clone())),
        }
    }

    fn outbox(self) -> &'a Arc<Outbox> {
        let Self::Session(outbox) = self;
        outbox
    }
}

impl Router {
    /// Creates a router without rooms. Queries do not show messages older than `history_ms` milliseconds.
    pub fn new(
        delivery: Delivery,
        disk_space: Arc<DiskSpaceMonitor>,
        writer: Writer<ReplyTo>,
        readers: Readers,
        clock: Arc<Clock>,
        history_ms: Option<i64>,
        hasher: ContentHasher,
    ) -> Self {
        Self {
            delivery,
            disk_space,
            writer,
            readers,
            clock,
            history_ms,
            hasher,
            has_rooms: false,
        }
    }

    /// The same with rooms, unless they are off.
    #[must_use]
    pub fn with_rooms(self, mode: RoomMode) -> Self {
        Self {
            has_rooms: mode != RoomMode::Off,
            ..self
        }
    }

    /// Who is online.
    pub fn presence(&self) -> &Presence {
        self.delivery.presence()
    }

    /// How much waits for a commit.
    pub fn queued_writes(&self) -> QueueDepth {
        self.writer.queued()
    }

    /// The numbers of short and of long jobs that wait for a reader.
    pub fn queued_reads(&self) -> (usize, usize) {
        self.readers.queued()
    }

    /// The free space of the disk with the store.
    pub fn disk_space(&self) -> &DiskSpaceMonitor {
        &self.disk_space
    }

    /// Whether there are rooms.
    pub fn has_rooms(&self) -> bool {
        self.has_rooms
    }

    /// The time of the server.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.now())
    }

    /// Reads the state of an inbox for a new session; see [`Writer::open`].
    pub fn open_inbox(
        &self,
        query: InboxQuery,
        reply: impl FnOnce(Result<InboxState, WriteError>) + Send + 'static,
    ) {
        self.writer.open(query, reply);
    }

    /// Why a message would not be stored at the moment; `None`: it would.
    pub fn unavailable(&self) -> Option<Unavailable> {
        let disk_is_full = || {
            self.disk_space
                .is_below_threshold()
                .then_some(Unavailable::NoRoom)
        };
        self.writer.unavailable().or_else(disk_is_full)
    }

    /// Reads part of an inbox.
    pub fn read_inbox(&self, range: InboxRange) -> PendingRead<Vec<InboxItem>> {
        self.readers.entries(range)
    }

    /// Records that a device has received its inbox up to `seq`, as `session` has reported.
    pub fn received(&self, device: DeviceRef, session: Uuid, seq: u64) {
        self.writer.received(device, session, seq);
    }

    /// Executes a command.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was stored or pushed.
    pub fn execute<'a>(&self, command: &Command<'a>) -> Result<Executed<'a>, CommandError> {
        if let Some(error) = command.invalid_content {
            return self.repeated(error, command);
        }
        self.check_rooms(command.frame)?;
        match command.frame {
            ClientFrame::Message(frame) => return self.message(frame, command),
            ClientFrame::Edit(frame) => {
                to_existing_user(frame.target())?;
                let message = message_ref(command, frame.target(), frame.id);
                let content = self.content(&frame.message);
                let write = Write::Edit(message, content);
                self.submit(write, frame.reference.as_ref(), command)?;
            }
            ClientFrame::Delete(frame) => {
                let write = Write::Delete(message_ref(command, frame.target(), frame.id));
                self.submit(write, frame.reference.as_ref(), command)?;
            }
            ClientFrame::React(frame) => {
                to_existing_user(frame.target())?;
                let write = Write::React {
                    message: message_ref(command, frame.target(), frame.id),
                    emoji: (*frame.emoji.0).into(),
                    remove: frame.remove.unwrap_or(false),
                };
                self.submit(write, frame.reference.as_ref(), command)?;
            }
            ClientFrame::Read(frame) => {
                let write = Write::Read(message_ref(command, frame.target(), frame.id));
                self.submit(write, frame.reference.as_ref(), command)?;
            }
            ClientFrame::Join(frame) => {
                let write = join(command.actor, frame.room.as_str(), MembershipKind::Lasting);
                self.submit(write, frame.reference.as_ref(), command)?;
            }
            ClientFrame::Leave(frame) => {
                let write = leave(command.actor, frame.room.as_str(), MembershipKind::Lasting);
                self.submit(write, frame.reference.as_ref(), command)?;
            }
            ClientFrame::Members(frame) => {
                return Ok(Executed::Query(members(frame, command.actor)));
            }
            ClientFrame::Block(frame) => {
                if frame.user.as_str() == &**command.actor {
                    return Err(FrameError::blocks_self().into());
                }
                self.block(frame.user.as_str(), true, frame.reference.as_ref(), command)?;
            }
            ClientFrame::Unblock(frame) => {
                self.block(
                    frame.user.as_str(),
                    false,
                    frame.reference.as_ref(),
                    command,
                )?;
            }
            ClientFrame::Typing(frame) => self.typing(frame, command),
            ClientFrame::Received(frame) => return Ok(Executed::Received(frame.seq.0)),
            ClientFrame::History(frame) => {
                return Ok(Executed::Query(self.history(frame, command.actor)));
            }
            ClientFrame::Conversations(frame) => {
                let query = self.conversations(frame, command.actor)?;
                return Ok(Executed::Query(query));
            }
            ClientFrame::Watch(frame) => return Ok(Executed::Query(watch(frame))),
            ClientFrame::Unwatch(frame) => return Ok(Executed::Query(unwatch(frame))),
            ClientFrame::Status(frame) => {
                let write = Write::Status {
                    user: command.actor.clone(),
                    status: stored_status(frame.status),
                };
                self.submit(write, frame.reference.as_ref(), command)?;
            }
            ClientFrame::Ping(frame) => {
                return Ok(Executed::Reply(ServerFrame::Pong(Pong {
                    server_time: command.time,
                    reference: frame.reference.as_ref().map(Ref::as_str),
                })));
            }
        }
        Ok(Executed::Accepted)
    }

    /// Finds out whether a message or an edit with invalid content repeats what was stored before: that is answered with
    /// `duplicate`. Nothing is stored.
    fn repeated<'a>(
        &self,
        invalid: &FrameError,
        command: &Command<'a>,
    ) -> Result<Executed<'a>, CommandError> {
        let found = match command.frame {
            ClientFrame::Message(frame) if frame.ephemeral != Some(true) => {
                let id = frame.id.map(|id| (id, Repeated::Message));
                id.map(|id| (id, frame.target(), &frame.message, &frame.reference))
            }
            ClientFrame::Edit(frame) => {
                let id = (frame.id, Repeated::Edit);
                Some((id, frame.target(), &frame.message, &frame.reference))
            }
            _ => None,
        };
        let invalid = || CommandError::from(invalid.clone());
        let ((id, repeated), target, message, reference) = found.ok_or_else(invalid)?;
        let message_ref = message_ref(command, target, id);
        let content = self.content(message);
        let write = Write::Repeat(message_ref, content, repeated);
        self.submit(write, reference.as_ref(), command)?;
        Ok(Executed::Accepted)
    }

    fn block(
        &self,
        user: &str,
        on: bool,
        reference: Option<&Ref<'_>>,
        command: &Command<'_>,
    ) -> Result<(), CommandError> {
        if is_erased_name(user) {
            return Err(FrameError::erased_user("user").into());
        }
        let write = Write::Block {
            actor: command.actor.clone(),
            user: user.into(),
            on,
        };
        self.submit(write, reference, command)
    }

    /// An id of version 7, which begins with the time.
    fn new_id(time: Timestamp) -> Uuid {
        let ms = u64::try_from(time.0).unwrap_or(0);
        let nanoseconds = (ms % 1000) as u32 * 1_000_000;
        IDS.with(|context| {
            Uuid::new_v7(uuid::Timestamp::from_unix(context, ms / 1000, nanoseconds))
        })
    }

    /// Rejects a write that the server cannot store at the moment.
    fn check_space(&self, write: &Write) -> Result<(), CommandError> {
        let needs_space = match write {
            Write::Message(_) | Write::Edit(..) | Write::React { .. } | Write::Join { .. } => true,
            Write::Block { on, .. } => *on,
            _ => false,
        };
        let retry_after_ms = if !self.writer.files_in_place() {
            Some(RETRY_DISPLACED_MS)
        } else if needs_space && self.disk_space.is_below_threshold() {
            Some(RETRY_LATER_MS)
        } else {
            None
        };
        if retry_after_ms.is_some() {
            return Err(CommandError {
                error: overloaded(),
                retry_after_ms,
            });
        }
        Ok(())
    }

    /// Queues a write.
    fn submit(
        &self,
        write: Write,
        reference: Option<&Ref<'_>>,
        command: &Command<'_>,
    ) -> Result<(), CommandError> {
        self.check_space(&write)?;
        let outbox = command.source.outbox();
        outbox.add_pending_write();
        let reference = reference.map(Ref::as_str);
        let reply_to = command.source.reply_to(reference, command.invalid_content);
        self.writer.write(write, reply_to).map_err(|_| {
            outbox.cancel_pending_write();
            CommandError::from(WriteError::Overloaded)
        })
    }

    fn message<'a>(
        &self,
        message: &'a ClientMessage<'a>,
        command: &Command<'a>,
    ) -> Result<Executed<'a>, CommandError> {
        to_existing_user(message.target())?;
        let id = message
            .id
            .map_or_else(|| Self::new_id(command.time), |id| id.0);
        if message.ephemeral == Some(true) {
            return self.ephemeral_message(message, MessageId(id), command);
        }
        let write = Write::Message(NewMessage {
            from: command.actor.clone(),
            to: conversation(message.target()),
            id,
            content: self.content(&message.message),
            reply_to: message.reply_to.map(|id| id.0),
            fresh: message.id.is_none(),
            ip_quota: command.quota.cloned(),
            authority: Authority::User,
        });
        self.submit(write, message.reference.as_ref(), command)?;
        Ok(Executed::Accepted)
    }

    /// Queues a notice, so that it follows the messages that were sent before it.
    fn typing(&self, typing: &ClientTyping<'_>, command: &Command<'_>) {
        let active = typing.active.unwrap_or(true);
        // Also here: the status of a user is not known for long after the end of the last session.
        let is_hidden = self.presence().is_invisible(command.actor);
        // If the queue is full, the notice is dropped: `typing` has no reply.
        match typing.target() {
            Target::User(_) if is_hidden => {}
            Target::User(to) => drop(self.writer.notify(ReplyTo::Typing {
                from: command.source.outbox().clone(),
                to: to.into(),
                active,
            })),
            Target::Room(room) => {
                let kind = Signalled::Typing { active, is_hidden };
                drop(self.signal(room, kind, typing.reference.as_ref(), command));
            }
        }
    }
}

/// Rejects frames that send something to an erased user. Reading the conversation and deleting one's own messages stay possible.
fn to_existing_user(target: Target<'_>) -> Result<(), CommandError> {
    match target {
        Target::User(user) if is_erased_name(user) => {
            Err(FrameError::erased_user("target_user").into())
        }
        _ => Ok(()),
    }
}

fn message_ref(command: &Command<'_>, target: Target<'_>, id: MessageId) -> MessageRef {
    MessageRef {
        actor: command.actor.clone(),
        conversation: conversation(target),
        id: id.0,
    }
}

/// The conversation that a frame addresses.
fn conversation(target: Target<'_>) -> Conversation {
    match target {
        Target::User(user) => Conversation::Direct(user.into()),
        Target::Room(room) => Conversation::Room(room.into()),
    }
}

fn stored_status(status: ChosenStatus) -> UserStatus {
    match status {
        ChosenStatus::Online => UserStatus::Online,
        ChosenStatus::Away => UserStatus::Away,
        ChosenStatus::Busy => UserStatus::Busy,
        ChosenStatus::Invisible => UserStatus::Invisible,
    }
}

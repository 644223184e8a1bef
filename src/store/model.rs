//! What is written to a store, and the outcomes.

use std::fmt::Debug;
use std::sync::Arc;

use uuid::Uuid;

use super::content::Content;
use super::erasure::ErasureStep;
use super::events::EventWrite;
use super::recipients::Recipients;
use super::rooms::{MembershipKind, RoomDeletionId, RoomDeletionStep, RoomMembers};
use super::user_status::UserStatus;

/// A conversation as one of its members addresses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conversation {
    /// The direct conversation with this other user; with oneself, if it is the acting user's own id.
    Direct(Arc<str>),
    /// A room, by its name.
    Room(Arc<str>),
}

impl Conversation {
    /// The other user of a direct conversation.
    pub fn peer(&self) -> Option<&Arc<str>> {
        match self {
            Self::Direct(user) => Some(user),
            Self::Room(_) => None,
        }
    }
}

/// A message to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The author.
    pub from: Arc<str>,
    /// The conversation that it is sent to.
    pub to: Conversation,
    /// Identifies the message within its conversation.
    pub id: Uuid,
    /// The content.
    pub content: Content,
    /// The message that this one replies to.
    pub reply_to: Option<Uuid>,
    /// The server has just generated the id: no stored message can have it, and the duplicate check is skipped.
    pub fresh: bool,
    /// Limits messages from the sender's IP address to users who have never connected; `None`: no limit.
    pub ip_quota: Option<Arc<dyn RecipientQuota>>,
    /// Who sends it in the name of the author.
    pub authority: Authority,
}

/// On whose behalf something is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authority {
    /// On behalf of the acting user, under the rules for users.
    #[default]
    User,
    /// On behalf of a key of the operator, in the name of a user. Rates and the limits of messages to unknown recipients do not
    /// apply, and the users that the operation names count as known. The author gets an entry only if the author has connected.
    Key,
    /// The same. The author of a message in a room need not be a member.
    KeyOfNonMember,
}

impl Authority {
    /// True if the rules for users do not apply.
    pub fn is_key(self) -> bool {
        self != Self::User
    }
}

impl NewMessage {
    /// True if the sender's IP address may send no more messages to users who have never connected.
    pub fn exceeds_ip_quota(&self) -> bool {
        let quota = self.ip_quota.as_ref();
        quota.is_some_and(|quota| quota.is_exhausted())
    }
}

/// A limit of messages to users who have never connected, such as the one of an IP address.
pub trait RecipientQuota: Debug + Send + Sync {
    /// True if no more messages are allowed.
    fn is_exhausted(&self) -> bool;

    /// Counts one message.
    fn consume(&self);

    /// Takes back a message that was counted: its commit has failed.
    fn release(&self);
}

/// Identifies a message for a user who acts on it.
#[derive(Clone, Debug)]
pub struct MessageRef {
    /// The user who acts.
    pub actor: Arc<str>,
    /// The conversation of the message, as the acting user addresses it.
    pub conversation: Conversation,
    /// The message.
    pub id: Uuid,
}

/// One operation. The operations of a batch are applied in order and committed together.
#[derive(Clone, Debug)]
pub enum Write {
    /// Store a message and append it to the inboxes of all members of the conversation.
    Message(NewMessage),
    /// Replace a message's content, and append the change to the inboxes.
    Edit(MessageRef, Content),
    /// Store nothing: find out whether the same message, or the same edit, was stored before. The content is not allowed any
    /// more. The outcome is a duplicate or [`Outcome::NotStored`].
    Repeat(MessageRef, Content, Repeated),
    /// Remove a message's content, and append the change to the inboxes.
    Delete(MessageRef),
    /// The same on behalf of a key, in the name of the author: the author need not be a member of the room, and may be blocked.
    Moderate(MessageRef),
    /// Add or remove a reaction, and append the change to the inboxes.
    React {
        /// The message.
        message: MessageRef,
        /// The reaction.
        emoji: Box<str>,
        /// True to remove it.
        remove: bool,
    },
    /// Move the acting user's read mark of the conversation to a message. It never moves back.
    Read(MessageRef),
    /// Block a user, or remove the block. Applies to all later operations.
    Block {
        /// The user who blocks.
        actor: Arc<str>,
        /// The user who is blocked.
        user: Arc<str>,
        /// True to block, false to remove the block.
        on: bool,
    },
    /// Record that a device has received its user's inbox up to an entry. It never moves back or beyond the newest entry. The
    /// user has connected, and the device is in use. The position of a device is stored from its first watermark on, unless the
    /// user has the maximum number of devices (PROTOCOL section 2).
    Watermark {
        /// The user.
        user: Arc<str>,
        /// The user's device.
        device: Arc<str>,
        /// The entry; 0: the device has acknowledged nothing.
        seq: u64,
    },
    /// Make a user a member of a room, which is created by the first join, and append the event to the inboxes: in a small room
    /// to those of all members, otherwise to that of the user.
    Join {
        /// The user.
        user: Arc<str>,
        /// The room.
        room: Arc<str>,
        /// How long the membership lasts.
        kind: MembershipKind,
    },
    /// Set the status of a user. With [`UserStatus::Invisible`], the user is not online any more for others.
    Status {
        /// The user.
        user: Arc<str>,
        /// The status.
        status: UserStatus,
    },
    /// End the deferral of receipts of a user who is not invisible any more, in some of the user's conversations.
    Reveal {
        /// The user.
        user: Arc<str>,
    },
    /// Record that a user is online for others, or when the user was last.
    Seen {
        /// The user.
        user: Arc<str>,
        /// `None`: the user is online.
        until: Option<i64>,
    },
    /// All users who are recorded as online were last seen at this time: the server has ended without recording when.
    LostSessions {
        /// The time.
        at: i64,
    },
    /// Begin to erase a user: the user gets another name, and the former one is free from then on.
    Erase {
        /// The user.
        user: Arc<str>,
    },
    /// Continue the erasure of a user.
    EraseStep {
        /// The user, by the number that [`Outcome::ErasureBegun`] has.
        user: i64,
        /// It is the first step since the store was opened or the erasure has begun.
        is_first: bool,
        /// About so many rows are examined.
        limit: u32,
        /// The erasure is complete when the log of the store has no copies of what was removed. Otherwise the caller removes them.
        awaits_log: bool,
    },
    /// Revoke the tokens of a user, who need not be known.
    Revoke {
        /// The user.
        user: Arc<str>,
        /// Tokens that were issued up to this time are not accepted, in milliseconds since 1970-01-01T00:00:00Z.
        until: i64,
    },
    /// Accept the tokens of a user again.
    EndRevocation {
        /// The user.
        user: Arc<str>,
    },
    /// Record how far receivers of events have got, or events that were found.
    Events(EventWrite),
    /// End the membership of a user in a room, and append the event to the inboxes like that of a join.
    Leave {
        /// The user.
        user: Arc<str>,
        /// The room.
        room: Arc<str>,
        /// [`MembershipKind::Session`]: a lasting membership stays.
        kind: MembershipKind,
    },
    /// Delete a room: its name is free from then on, and its messages count as deleted. Memberships end in this write and in those
    /// that continue the deletion.
    DeleteRoom {
        /// The room.
        room: Arc<str>,
    },
    /// The next step of a deletion.
    ContinueDeletion(RoomDeletionId),
}

/// The operation that [`Write::Repeat`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// [`Write::Message`]
    Message,
    /// [`Write::Edit`]
    Edit,
}

impl Write {
    /// True if the operation removes or replaces content.
    pub fn removes_content(&self) -> bool {
        matches!(
            self,
            Self::Delete(_) | Self::Moderate(_) | Self::Edit(..) | Self::ContinueDeletion(_)
        )
    }

    /// The conversation that the operation changes or reads.
    pub fn conversation(&self) -> Option<&Conversation> {
        match self {
            Self::Message(message) => Some(&message.to),
            Self::Edit(at, _)
            | Self::Repeat(at, ..)
            | Self::Delete(at)
            | Self::Moderate(at)
            | Self::React { message: at, .. }
            | Self::Read(at) => Some(&at.conversation),
            Self::Block { .. }
            | Self::Watermark { .. }
            | Self::Status { .. }
            | Self::Reveal { .. }
            | Self::Seen { .. }
            | Self::LostSessions { .. }
            | Self::Erase { .. }
            | Self::EraseStep { .. }
            | Self::Revoke { .. }
            | Self::EndRevocation { .. }
            | Self::Events(_)
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::DeleteRoom { .. }
            | Self::ContinueDeletion(_) => None,
        }
    }
}

/// The result of a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message or a change is stored.
    Stored {
        /// The entry in the acting user's inbox. `None`: the operation changes nothing and never has (such as removing a
        /// reaction that never existed), or a key has acted in the name of a user who has no entry ([`Authority::Key`]).
        seq: Option<u64>,
        /// The other users whose inboxes have a new entry. Empty for a message to oneself and for a duplicate.
        recipients: Recipients,
        /// When it was stored, in milliseconds since 1970-01-01T00:00:00Z.
        at: i64,
        /// It had been stored before: this repeats the first outcome, and nothing was appended.
        duplicate: bool,
        /// It is the first message by which the conversation has messages of both users.
        new_contact: bool,
        /// In a direct conversation: the newest message that the acting user has received, if the other user is informed of it only
        /// now.
        received: Option<Uuid>,
    },
    /// The operation that was to be repeated was not stored before.
    NotStored,
    /// The conversation has something else under this id.
    IdConflict,
    /// There is no such message, or it was deleted.
    UnknownMessage,
    /// There is no such room.
    UnknownRoom,
    /// Only the author may do this to the message.
    NotAuthor,
    /// The user has the maximum number of reactions on this message.
    TooManyReactions,
    /// The user has reached the limit of changes of this message.
    TooManyChanges {
        /// When the change may be made, in milliseconds.
        retry_after_ms: u64,
    },
    /// The read mark was applied.
    ReadMark {
        /// It has moved.
        moved: bool,
        /// One of the two users blocks the other: only the reader's own sessions may be notified.
        blocked: bool,
        /// As for [`Outcome::Stored`], if it is newer than what was read.
        received: Option<Uuid>,
        /// In a small room: its members, who may be notified. In a larger one only the reader's own sessions may.
        members: Option<RoomMembers>,
    },
    /// The recipient blocks the sender: nothing was stored.
    Blocked,
    /// The recipient has never connected, and such recipients are not allowed: nothing was stored.
    UnknownUser,
    /// The sender, or the sender's address, has reached its limit of messages to users who have never connected: nothing was
    /// stored.
    UnknownRecipientLimit,
    /// The server has reached its limit of messages to users who have never connected: nothing was stored.
    UnknownRecipientTotal,
    /// The user has reached the limit of bytes per day: nothing was stored.
    TooManyBytes {
        /// When it may be stored, in milliseconds.
        retry_after_ms: u64,
    },
    /// The block is set or removed as requested.
    BlockSet,
    /// The status is set.
    StatusSet {
        /// There are receipts that were deferred while the user was invisible: [`Write::Reveal`] is due.
        reveals: bool,
    },
    /// Others may know what the user has received.
    Revealed {
        /// The conversations in which the other user is to be informed.
        received: Vec<Received>,
        /// There are more.
        more: bool,
    },
    /// It is recorded when users were seen.
    SeenRecorded,
    /// The user has another name, and everything else is removed by [`Write::EraseStep`].
    ErasureBegun {
        /// The store's number of the user.
        user: i64,
    },
    /// A part of the user's data was removed.
    Erasing(Box<ErasureStep>),
    /// The store knows nothing of the user.
    NoSuchUser,
    /// The tokens of the user are revoked, or accepted, as requested.
    RevocationSet {
        /// They are revoked, or were before.
        was_revoked: bool,
    },
    /// What concerns events is recorded.
    EventsRecorded,
    /// The user has the maximum number of blocks.
    TooManyBlocks,
    /// The user is, or is not, a member of the room as requested.
    Membership {
        /// The entry in the user's inbox: of the join, if the user was a member already. `None`: the user was not a member and
        /// leaves.
        seq: Option<u64>,
        /// The other members whose inboxes have a new entry.
        recipients: Recipients,
        /// When, in milliseconds since 1970-01-01T00:00:00Z.
        at: i64,
        /// The number of members after the event.
        members: u64,
        /// Nothing has changed.
        duplicate: bool,
        /// The members whose relation to each other has changed, because the room has become a small one or is not one any more.
        /// The user who has joined or left is not among them. In a small room, the relation of the user and each of `recipients`
        /// has changed in any case.
        regrouped: Option<RoomMembers>,
    },
    /// A step of the deletion of a room. [`Outcome::UnknownRoom`]: no step is left.
    RoomDeletion(Box<RoomDeletionStep>),
    /// The user is not a member of the room, or there is no such room.
    NotMember,
    /// The room has the maximum number of members.
    RoomFull,
    /// The user is a member of the maximum number of rooms.
    TooManyRooms,
    /// The user may not join this room.
    RoomClosed,
    /// The user's frames have created the maximum number of inbox entries: nothing was stored.
    TooManyEntries {
        /// When it may be stored, in milliseconds.
        retry_after_ms: u64,
    },
    /// The watermark is recorded. Lists the conversations in which the user has received more than any of the user's devices
    /// had before.
    Received(Vec<Received>),
}

impl Outcome {
    /// The outcome for a caller that is refused: a duplicate is still answered as before, anything else with `refusal`.
    pub(super) fn unless_duplicate(self, refusal: Self) -> Self {
        match self {
            Self::Stored {
                duplicate: true, ..
            } => self,
            _ => refusal,
        }
    }
}

/// How far a user has received a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The other user.
    pub peer: String,
    /// The newest message received.
    pub id: Uuid,
    /// The other user may know it; otherwise only the user's own sessions may be notified.
    pub visible: bool,
}

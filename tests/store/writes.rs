//! Constructors of writes and queries, and checks of outcomes. Messages are identified by small numbers.

use dmwire::store::{
    Authority, Conversation, ConversationsQuery, HistoryPosition, HistoryQuery, MessageRef,
    NewMessage, Outcome, StoredMessage, UserStatus, Write,
};
use uuid::Uuid;

/// The id of message `n`.
pub fn id(n: u32) -> Uuid {
    Uuid::from_u128(n.into())
}

pub fn number(message: &StoredMessage) -> u32 {
    message.id.as_u128() as u32
}

pub fn message(from: &str, to: &str, n: u32, text: &str) -> Write {
    Write::Message(NewMessage {
        from: from.into(),
        to: Conversation::Direct(to.into()),
        id: id(n),
        content: format!("\"{text}\"").into(),
        reply_to: None,
        fresh: false,
        ip_quota: None,
        authority: Authority::User,
    })
}

/// A message of the conversation of two users, as the first of them names it.
fn message_ref(by: &str, peer: &str, n: u32) -> MessageRef {
    MessageRef {
        actor: by.into(),
        conversation: Conversation::Direct(peer.into()),
        id: id(n),
    }
}

pub fn status(user: &str, status: UserStatus) -> Write {
    Write::Status {
        user: user.into(),
        status,
    }
}

pub fn edit(by: &str, peer: &str, n: u32, text: &str) -> Write {
    Write::Edit(message_ref(by, peer, n), format!("\"{text}\"").into())
}

pub fn delete(by: &str, peer: &str, n: u32) -> Write {
    Write::Delete(message_ref(by, peer, n))
}

pub fn react(by: &str, peer: &str, n: u32, emoji: &str) -> Write {
    reaction(by, peer, n, emoji, false)
}

pub fn unreact(by: &str, peer: &str, n: u32, emoji: &str) -> Write {
    reaction(by, peer, n, emoji, true)
}

fn reaction(by: &str, peer: &str, n: u32, emoji: &str, remove: bool) -> Write {
    Write::React {
        message: message_ref(by, peer, n),
        emoji: emoji.into(),
        remove,
    }
}

/// Marks a conversation as read up to message `n`.
pub fn read(by: &str, peer: &str, n: u32) -> Write {
    Write::Read(message_ref(by, peer, n))
}

/// Confirms that a device holds all entries up to `seq`.
pub fn receive(user: &str, device: &str, seq: u64) -> Write {
    Write::Watermark {
        user: user.into(),
        device: device.into(),
        seq,
    }
}

pub fn block(by: &str, user: &str) -> Write {
    blocking(by, user, true)
}

pub fn unblock(by: &str, user: &str) -> Write {
    blocking(by, user, false)
}

fn blocking(by: &str, user: &str, on: bool) -> Write {
    Write::Block {
        actor: by.into(),
        user: user.into(),
        on,
    }
}

pub fn history_query(
    user: &str,
    peer: &str,
    position: Option<HistoryPosition>,
    limit: usize,
) -> HistoryQuery {
    HistoryQuery {
        user: user.into(),
        conversation: Conversation::Direct(peer.into()),
        position,
        limit,
        not_before: None,
        bytes: usize::MAX,
    }
}

pub fn conversations_query(user: &str, cursor: Option<Uuid>, limit: usize) -> ConversationsQuery {
    ConversationsQuery {
        user: user.into(),
        limit,
        cursor,
        not_before: None,
        bytes: usize::MAX,
    }
}

/// The sequence numbers of a new entry in the inboxes of the actor and of the peer; the same for a message to oneself.
pub fn stored(outcome: &Outcome) -> (u64, u64) {
    match outcome {
        Outcome::Stored {
            seq: Some(seq),
            recipients,
            duplicate: false,
            ..
        } => (*seq, recipients.first().map_or(*seq, |peer| peer.seq)),
        other => panic!("expected a new entry, found {other:?}"),
    }
}

/// The sequence number, in the actor's inbox, and the time of the entry that a duplicate repeats.
pub fn duplicate(outcome: &Outcome) -> (Option<u64>, i64) {
    match outcome {
        Outcome::Stored {
            seq,
            at,
            duplicate: true,
            ..
        } => (*seq, *at),
        other => panic!("expected a duplicate, found {other:?}"),
    }
}

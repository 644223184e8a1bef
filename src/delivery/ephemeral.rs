//! Frames that are not stored: ephemeral messages and `typing`. They reach connected sessions only.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Delivery;
use super::signal_ack::{SignalAck, SignalSource};
use crate::contacts::Signal;
use crate::metrics::DELIVERIES;
use crate::outbox::Outbox;
use crate::outbox::wakeup::{WakeupBatch, WrittenBy};
use crate::protocol::server::{AckStatus, ServerTyping};
use crate::protocol::{FrameError, MessageId, ServerFrame, Timestamp};
use crate::store::Relation;
use crate::websocket;

/// Result of [`Delivery::push_ephemeral`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// At least one session gets the frame.
    Sent,
    /// No session is connected, or none has room. The same of a user who is invisible, whose sessions get the frame.
    Dropped,
    /// The user blocks the sender.
    Blocked,
}

impl Push {
    /// The status in the ack. Between users who do not see each other, it does not depend on whether a session received the message.
    pub fn status(self, visible: bool) -> AckStatus {
        match self {
            _ if !visible => AckStatus::Sent,
            Self::Sent => AckStatus::Relayed,
            Self::Dropped | Self::Blocked => AckStatus::Dropped,
        }
    }
}

/// Who sends a frame that is not stored: a user, and the session, which does not get the frame. A key has no session.
type Sender<'a> = (&'a str, Option<&'a Arc<Outbox>>);

impl Delivery {
    /// Pushes an encoded message that is not stored to the sessions of user `to`, except to `from` itself.
    pub fn push_ephemeral(
        &self,
        to: &str,
        frame: &[u8],
        from: &Arc<Outbox>,
        wakeups: &mut WakeupBatch,
    ) -> Push {
        self.push_message((from.user(), Some(from)), to, frame, wakeups)
    }

    /// The same for a message of a key. `source` gets the ack.
    ///
    /// # Errors
    /// The user blocks the author.
    pub fn push_by_key(
        &self,
        source: SignalSource,
        to: &Arc<str>,
        (id, sent_at): (MessageId, Timestamp),
        frame: &[u8],
        wakeups: &mut WakeupBatch,
    ) -> Result<(), FrameError> {
        let author = source.user().clone();
        let push = self.push_message((&author, None), to, frame, wakeups);
        if push == Push::Blocked {
            return Err(FrameError::blocked());
        }
        let ack = SignalAck::new(source, id, sent_at, None);
        if let Some(visible) = self.visibility(&author, to) {
            ack.send(push.status(visible), wakeups);
            return Ok(());
        }
        let (delivery, user, recipient) = (self.clone(), author.clone(), to.clone());
        self.contacts.ask(&author, to, move |is_mutual| {
            let visible = delivery.are_visible(&user, &recipient, is_mutual);
            let mut wakeups = WakeupBatch::default();
            ack.send(push.status(visible), &mut wakeups);
            wakeups.run();
        });
        Ok(())
    }

    fn push_message(
        &self,
        from: Sender<'_>,
        to: &str,
        frame: &[u8],
        wakeups: &mut WakeupBatch,
    ) -> Push {
        let (push, sessions) = self.push_live(from, to, frame, wakeups);
        DELIVERIES.add(sessions);
        push
    }

    /// Pushes a frame. Also returns the number of sessions that get it.
    fn push_live(
        &self,
        (user, from): Sender<'_>,
        to: &str,
        frame: &[u8],
        wakeups: &mut WakeupBatch,
    ) -> (Push, u64) {
        let is_sender = |session: &Arc<Outbox>| from.is_some_and(|from| Arc::ptr_eq(session, from));
        self.registry.with(to, |sessions| {
            // Checked while the registry is locked, so that no frame follows the `ok` of a block.
            if self.blocks.contains(to, user) {
                return (Push::Blocked, 0);
            }
            let mut reached = 0;
            for session in sessions.iter().filter(|other| !is_sender(other)) {
                let (sent, wakeup) = session.push_ephemeral(frame, WrittenBy::AppendingThread);
                reached += u64::from(sent);
                wakeups.add(session, wakeup);
            }
            // While the registry is locked, so that the status is known: a session of the user is registered.
            let is_seen = reached > 0 && !self.presence.is_invisible(to);
            let push = if is_seen { Push::Sent } else { Push::Dropped };
            (push, reached)
        })
    }

    /// Whether two users see each other. `None`: it must be looked up, with [`Delivery::look_up_visibility`].
    pub fn visibility(&self, a: &str, b: &str) -> Option<bool> {
        // The store is asked only if the answer depends on it.
        match [false, true].map(|is_mutual| self.are_visible(a, b, is_mutual)) {
            [false, true] => self.contacts.are_contacts(a, b),
            [_, visible] => Some(visible),
        }
    }

    /// Whether two users see each other, who are contacts or not. It has to be called after a lookup, too: either of the two may have
    /// blocked the other meanwhile.
    pub(super) fn are_visible(&self, a: &str, b: &str, is_mutual: bool) -> bool {
        let relation = Relation {
            is_self: a == b,
            is_mutual,
            has_block: self.is_blocked(a, b),
        };
        relation.is_visible(self.presence_mode)
    }

    /// Looks up whether two users see each other. If the receiver gets no result, the store could not be asked.
    pub fn look_up_visibility(&self, a: &Arc<str>, b: &Arc<str>) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        let (delivery, user, other) = (self.clone(), a.clone(), b.clone());
        self.contacts.ask(a, b, move |is_mutual| {
            // The session may have ended.
            let _ = sender.send(delivery.are_visible(&user, &other, is_mutual));
        });
        receiver
    }

    /// Notifies user `to` that the user of `from` is typing, if the two see each other and the user is not invisible.
    pub(super) fn typing(
        &self,
        from: &Arc<Outbox>,
        to: &Arc<str>,
        active: bool,
        wakeups: &mut WakeupBatch,
    ) {
        let user = from.user();
        if self.presence.is_invisible(user) {
            return;
        }
        match self.visibility(user, to) {
            Some(true) => return self.push_typing(from, to, active, wakeups),
            Some(false) => return,
            None => {}
        }
        let (delivery, session, recipient) = (self.clone(), from.clone(), to.clone());
        let push = move |wakeups: &mut WakeupBatch| {
            let is_invisible = delivery.presence.is_invisible(session.user());
            if !is_invisible && delivery.are_visible(session.user(), &recipient, true) {
                delivery.push_typing(&session, &recipient, active, wakeups);
            }
        };
        let signal = Signal {
            from: user.clone(),
            active,
            push: Box::new(push),
        };
        self.contacts.look_up(user, to, signal);
    }

    /// True if one of the two users blocks the other.
    fn is_blocked(&self, a: &str, b: &str) -> bool {
        self.blocks.contains(a, b) || self.blocks.contains(b, a)
    }

    fn push_typing(&self, from: &Arc<Outbox>, to: &str, active: bool, wakeups: &mut WakeupBatch) {
        let mut frame = Vec::new();
        websocket::write_text(&mut frame, |out| {
            ServerFrame::Typing(ServerTyping {
                from_user: from.user(),
                target_user: Some(to),
                target_room: None,
                active,
            })
            .write(out);
        });
        self.push_live((from.user(), Some(from)), to, &frame, wakeups);
    }
}

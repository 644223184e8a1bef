//! Frames that are not stored: ephemeral messages and `typing`. They reach connected sessions only.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Delivery;
use crate::contacts::Signal;
use crate::metrics::DELIVERIES;
use crate::outbox::Outbox;
use crate::outbox::wakeup::{WakeupBatch, WrittenBy};
use crate::protocol::ServerFrame;
use crate::protocol::server::ServerTyping;
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

impl Delivery {
    /// Pushes an encoded frame that is not stored to the sessions of user `to`, except to `from` itself.
    pub fn push_ephemeral(
        &self,
        to: &str,
        frame: &[u8],
        from: &Arc<Outbox>,
        wakeups: &mut WakeupBatch,
    ) -> Push {
        let (push, sessions) = self.push_live(to, frame, from, wakeups);
        DELIVERIES.add(sessions);
        push
    }

    /// As [`Delivery::push_ephemeral`], for frames that are not messages. Also returns the number of sessions that get the frame.
    fn push_live(
        &self,
        to: &str,
        frame: &[u8],
        from: &Arc<Outbox>,
        wakeups: &mut WakeupBatch,
    ) -> (Push, u64) {
        self.registry.with(to, |sessions| {
            // Checked while the registry is locked, so that no frame follows the `ok` of a block.
            if self.blocks.contains(to, from.user()) {
                return (Push::Blocked, 0);
            }
            let mut reached = 0;
            for session in sessions.iter().filter(|other| !Arc::ptr_eq(other, from)) {
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
        self.push_live(to, &frame, from, wakeups);
    }
}

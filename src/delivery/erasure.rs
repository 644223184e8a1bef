//! The erasure of users: what is known of them in memory, and the new entries of others.

use std::sync::Arc;

use super::{Delivery, ReplyTo};
use crate::outbox::Outbox;
use crate::outbox::wakeup::WakeupBatch;
use crate::store::{Outcome, Write};
use crate::writer::ErasureUpdate;

impl Delivery {
    /// Delivers what a write of an operator has changed. If a user has got another name, nothing is known of a user with the former one.
    pub(super) fn note_operation(
        &self,
        write: &Write,
        outcome: &Outcome,
        wakeups: &mut WakeupBatch,
    ) {
        match (write, outcome) {
            (_, Outcome::RoomDeletion(step)) => self.push_ends(step, wakeups),
            (Write::Erase { user }, Outcome::ErasureBegun { .. }) => self.presence.forget(user),
            _ => {}
        }
    }

    /// Delivers steps of erasures.
    pub(super) fn erasure_steps(
        &self,
        updates: &[ErasureUpdate<ReplyTo>],
        wakeups: &mut WakeupBatch,
    ) {
        for update in updates {
            self.erasure_step(update, wakeups);
        }
    }

    /// Delivers a step of an erasure. The entries are few for each session, so they are read from the store.
    fn erasure_step(&self, update: &ErasureUpdate<ReplyTo>, wakeups: &mut WakeupBatch) {
        let step = &update.step;
        for recipient in &step.entries {
            self.contacts.forget(&step.name, &recipient.user);
            self.presence.relation_changed(&step.name, &recipient.user);
            self.registry.with(&recipient.user, |sessions| {
                for session in sessions {
                    wakeups.add(session, session.note_entry(recipient.seq));
                }
            });
        }
        for user in &step.left {
            self.contacts.forget(&step.renamed_to, user);
        }
        if let Some(members) = &step.regrouped {
            self.contacts.forget_among(&members.users);
            self.presence.relations_changed_among(&members.users);
        }
        for (actor, user) in &step.unblocked {
            self.set_block((actor, user), false, wakeups);
        }
        if let Some(ReplyTo::Operator(sender)) = &update.reply_to {
            // The operator may have given up in the meantime.
            let _ = sender.send(Ok(Outcome::Erasing(Box::new(step.clone()))));
        }
    }

    /// A block was stored, or removed.
    pub(super) fn set_block(
        &self,
        (actor, user): (&Arc<str>, &Arc<str>),
        on: bool,
        wakeups: &mut WakeupBatch,
    ) {
        // While nothing can be pushed to the user who blocks.
        let set = |_: &[Arc<Outbox>]| self.blocks.set(actor, user, on);
        if self.registry.with(actor, set) {
            self.presence.block_changed(actor, user, on, wakeups);
        }
    }
}

//! Delivers the steps by which a room is deleted.

use super::Delivery;
use super::render::EntryView;
use super::rooms::FanOut;
use crate::outbox::wakeup::WakeupBatch;
use crate::store::RoomDeletionStep;

impl Delivery {
    /// Pushes the end of each membership to the sessions of its user.
    pub(super) fn push_ends(&self, step: &RoomDeletionStep, wakeups: &mut WakeupBatch) {
        if let Some(members) = &step.regrouped {
            self.contacts.forget_among(&members.users);
            self.presence.relations_changed_among(&members.users);
        }
        let mut fan_out = FanOut::default();
        for member in &step.members {
            self.registry.with(&member.user, |sessions| {
                if sessions.is_empty() {
                    return;
                }
                let frame = EntryView::of_deletion(step, &member.user).encode(member.seq);
                for session in sessions {
                    let wakeup = session.push_entry(member.seq, &frame, fan_out.written_by());
                    wakeups.add(session, wakeup);
                }
            });
        }
    }
}

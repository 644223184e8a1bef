//! The rule by which users see each other (PROTOCOL section 8).

use crate::config::PresenceMode;

/// What two users have in common, as far as it decides whether they see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Both are the same user.
    pub is_self: bool,
    /// Their direct conversation has messages of both, also deleted ones, or they are members of a small room.
    pub is_mutual: bool,
    /// One of them blocks the other.
    pub has_block: bool,
}

impl Relation {
    /// The relation of two users. `is_mutual` is called only if that decides whether they see each other.
    ///
    /// # Errors
    /// If `is_mutual` returns one.
    pub fn of<E>(
        mode: PresenceMode,
        (is_self, has_block): (bool, bool),
        is_mutual: impl FnOnce() -> Result<bool, E>,
    ) -> Result<Self, E> {
        let decides = mode == PresenceMode::Contacts && !is_self && !has_block;
        Ok(Self {
            is_self,
            is_mutual: decides && is_mutual()?,
            has_block,
        })
    }

    /// True if the two users see whether the other is online and has received something. Everything that would tell it to
    /// strangers asks here: presence, acks of ephemeral messages, `typing`, `received` receipts and `their_received`.
    pub fn is_visible(self, mode: PresenceMode) -> bool {
        let are_related = match mode {
            PresenceMode::Contacts => self.is_mutual,
            PresenceMode::Everyone => true,
            PresenceMode::Off => false,
        };
        self.is_self || are_related && !self.has_block
    }

    /// What one of the users may know of what the other one, who may be invisible, has received in their conversation.
    pub fn received_view(self, mode: PresenceMode, is_invisible: bool) -> ReceivedView {
        if self.is_self || self.has_block {
            ReceivedView::Nothing
        } else if mode == PresenceMode::Off {
            ReceivedView::Shown
        } else if !self.is_visible(mode) {
            ReceivedView::Read
        } else if is_invisible {
            ReceivedView::Shown
        } else {
            ReceivedView::All
        }
    }
}

/// What a user may know of what another one has received in their conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedView {
    /// Not even what was read.
    Nothing,
    /// What was read. A user reveals that by an own action.
    Read,
    /// What was received when the other user has last read or written in the conversation, or was visible.
    Shown,
    /// All.
    All,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_decides_who_sees_whom_unless_one_blocks_the_other() {
        for bits in 0..8 {
            let [is_self, is_mutual, has_block] = [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0];
            let relation = Relation {
                is_self,
                is_mutual,
                has_block,
            };
            for (mode, others) in [
                (PresenceMode::Contacts, bits == 2),
                (PresenceMode::Everyone, !has_block),
                (PresenceMode::Off, false),
            ] {
                let visible = relation.is_visible(mode);
                assert_eq!(visible, is_self || others, "{mode:?}: {relation:?}");
                for is_invisible in [false, true] {
                    let expected = match (mode, others) {
                        _ if is_self || has_block => ReceivedView::Nothing,
                        (PresenceMode::Off, _) => ReceivedView::Shown,
                        (_, false) => ReceivedView::Read,
                        (_, true) if is_invisible => ReceivedView::Shown,
                        (_, true) => ReceivedView::All,
                    };
                    assert_eq!(relation.received_view(mode, is_invisible), expected);
                }
                let mut asked = false;
                let found = Relation::of(mode, (is_self, has_block), || {
                    asked = true;
                    Ok::<_, ()>(is_mutual)
                });
                assert_eq!(found.map(|found| found.is_visible(mode)), Ok(visible));
                let decides = mode == PresenceMode::Contacts && bits & !2 == 0;
                assert_eq!(asked, decides, "{mode:?}: {relation:?}");
            }
        }
    }
}

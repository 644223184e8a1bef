//! The members to whom a notice about a room goes.
//!
//! The members are looked up after the commit of the batch. A notice must be handled as if it had been handled in its place among the
//! writes of the same session, so it matters whether its sender was a member there: if the sender joins or leaves the room in
//! the same batch, the outcomes of these writes tell it.

use std::sync::Arc;

use super::completed::Completed;
use crate::store::{MembershipKind, Outcome, Write};

/// A notice about a room, and its place.
pub struct RoomNotice {
    /// The sender; `None`: the sender need not be a member.
    pub user: Option<Arc<str>>,
    pub room: Arc<str>,
    /// The index in the batch.
    pub index: usize,
}

/// Whether the sender of a notice was a member of the room in the place of the notice, as far as the outcomes of a batch tell it.
/// `memberships`: the indices of the joins and leaves.
pub fn was_member<R>(
    notice: &RoomNotice,
    items: &[Completed<R>],
    memberships: &[usize],
) -> Option<bool> {
    let at = memberships.partition_point(|index| *index < notice.index);
    let (before, after) = memberships.split_at(at);
    let change = |index: &usize| change(notice, items.get(*index)?);
    let before = before.iter().rev().find_map(change);
    // The state before the first change is that in the place of the notice.
    before
        .map(|change| change.after)
        .or_else(|| after.iter().find_map(change).map(|change| change.before))
}

/// Whether a user was a member before a write and after it.
struct Change {
    before: bool,
    after: bool,
}

fn change<R>(notice: &RoomNotice, item: &Completed<R>) -> Option<Change> {
    let Completed::Write {
        write,
        outcome: Ok(outcome),
        ..
    } = item
    else {
        return None;
    };
    let (user, room, kind, is_join) = match write {
        Write::Join { user, room, kind } => (user, room, kind, true),
        Write::Leave { user, room, kind } => (user, room, kind, false),
        _ => return None,
    };
    if Some(user) != notice.user.as_ref() || *room != notice.room {
        return None;
    }
    let (before, after) = match outcome {
        Outcome::Membership {
            duplicate: false, ..
        } => (!is_join, is_join),
        // A lasting membership stays, or there was none.
        Outcome::Membership { .. } if !is_join && *kind == MembershipKind::Session => return None,
        Outcome::Membership { .. } => (is_join, is_join),
        // The write was refused.
        _ => (!is_join, !is_join),
    };
    Some(Change { before, after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Recipients;

    fn item(is_join: bool, kind: MembershipKind, outcome: Outcome) -> Completed<()> {
        let (user, room) = ("u".into(), "r".into());
        let write = if is_join {
            Write::Join { user, room, kind }
        } else {
            Write::Leave { user, room, kind }
        };
        Completed::Write {
            write,
            reply_to: (),
            outcome: Ok(outcome),
        }
    }

    fn membership(duplicate: bool) -> Outcome {
        Outcome::Membership {
            seq: None,
            recipients: Recipients::NONE,
            at: 0,
            members: 1,
            duplicate,
            regrouped: None,
        }
    }

    #[test]
    fn joins_and_leaves_of_the_batch_tell_who_was_a_member() {
        let lasting = MembershipKind::Lasting;
        let notice = |user: &str, index| RoomNotice {
            user: Some(user.into()),
            room: "r".into(),
            index,
        };
        for (is_join, kind, outcome, before, after) in [
            (true, lasting, membership(false), Some(false), Some(true)),
            (true, lasting, membership(true), Some(true), Some(true)),
            (false, lasting, membership(false), Some(true), Some(false)),
            (false, lasting, membership(true), Some(false), Some(false)),
            (true, lasting, Outcome::RoomFull, Some(false), Some(false)),
            (
                false,
                lasting,
                Outcome::TooManyEntries { retry_after_ms: 1 },
                Some(true),
                Some(true),
            ),
            // It tells nothing: the user has a lasting membership, or none.
            (false, MembershipKind::Session, membership(true), None, None),
        ] {
            let items = [
                Completed::Notice(()),
                item(is_join, kind, outcome),
                Completed::Notice(()),
            ];
            assert_eq!(was_member(&notice("u", 0), &items, &[1]), before);
            assert_eq!(was_member(&notice("u", 2), &items, &[1]), after);
            assert_eq!(was_member(&notice("v", 2), &items, &[1]), None);
            assert_eq!(was_member(&notice("u", 2), &items, &[]), None);
        }
        // Of several, the last one before the notice counts.
        let items = [
            item(true, lasting, membership(false)),
            item(false, lasting, membership(false)),
            Completed::Notice(()),
            item(true, lasting, membership(false)),
        ];
        let index = [0, 1, 3];
        assert_eq!(was_member(&notice("u", 2), &items, &index), Some(false));
    }
}

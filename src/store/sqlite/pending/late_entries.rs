//! Inbox entries about messages in large rooms, and about their changes and members. They move after what they are about, in portions.
//!
//! Each inbox is in another part of the table, so an entry alone costs a page, which is written to the write-ahead log and copied from
//! there. Several entries of an inbox that are about a room share these pages if they move together, inbox by inbox. A portion is
//! small, so that commits wait for none of them for long.
//!
//! The entries about a room move in the order in which they were added, as far as an entry may supersede another: changes of a message
//! are added with their commits.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::item::{About, Item};
use super::record::Record;
use crate::store::sqlite::rooms::is_room;

/// Entries for more recipients than this move late.
const FEW_RECIPIENTS: usize = 2;
/// How long entries wait for further ones about the room.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The number of entries that move together, if they are about several messages or changes.
const MAX_GROUP: usize = 1 << 16;
/// The work of one portion: an entry counts 1, one that may supersede others [`SUPERSEDING`] more, and an inbox [`INBOX`].
const PORTION: usize = 160;
const INBOX: usize = 4;
const SUPERSEDING: usize = 3;
/// With more entries than this, none waits, and for each [`EXCESS_STEP`] beyond it the work of a portion grows by [`PORTION`].
const MAX_ENTRIES: usize = 1 << 16;
const EXCESS_STEP: usize = 1024;

/// The entries that have not moved, while what they are about is in its table.
#[derive(Debug, Default)]
pub struct LateEntries {
    /// The oldest is first. The number of a group is that of the first plus its index.
    groups: VecDeque<Group>,
    first: u64,
    /// The groups that still grow, by conversation.
    open: HashMap<i64, u64>,
    /// The number of entries in all groups.
    count: usize,
    /// The number of items in all groups that may supersede entries.
    superseding: usize,
}

/// The entries of an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late {
    pub conversation: i64,
    /// The number of entries.
    pub count: usize,
    /// They may supersede others.
    pub may_supersede: bool,
    /// The number of the row and the byte in it.
    pub place: (i64, u32),
}

/// Entries of one room that move together.
#[derive(Debug)]
struct Group {
    conversation: i64,
    since: Instant,
    /// The places of the items.
    items: Vec<(i64, u32)>,
    count: usize,
    superseding: usize,
    /// Set when the first portion is prepared: nothing is added from then on.
    moving: Option<Moving>,
}

/// A group of which entries move.
#[derive(Debug)]
struct Moving {
    items: Vec<About>,
    /// By user, then by number.
    entries: Vec<LateEntry>,
    /// The first entry that has not moved.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct LateEntry {
    user: i64,
    seq: u64,
    /// The index of the item.
    item: u32,
}

/// Entries that move in one transaction: those of the first group up to this index.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    end: usize,
}

/// True if entries about this conversation for so many recipients move late.
pub fn are_late(conversation: i64, recipients: usize) -> bool {
    is_room(conversation) && recipients > FEW_RECIPIENTS
}

/// The entries of a message, if they move late.
pub(super) fn late_entries(record: &Record<'_>, place: (i64, u32)) -> Option<Late> {
    let conversation = record.conversation;
    are_late(conversation, record.recipients.len()).then(|| Late {
        conversation,
        count: record.entries().count(),
        may_supersede: false,
        place,
    })
}

impl LateEntries {
    /// True if all entries have moved.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// True if there are entries of this conversation.
    pub fn has_conversation(&self, conversation: i64) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| group.conversation == conversation)
    }

    /// The number of items that may supersede entries.
    pub fn superseding(&self) -> u64 {
        self.superseding as u64
    }

    /// Adds the entries of an item.
    pub fn add(&mut self, late: Late) {
        let Late {
            conversation,
            count,
            place,
            ..
        } = late;
        let superseding = usize::from(late.may_supersede);
        let group = match self.open.get(&conversation) {
            Some(number) if *number >= self.first => {
                self.groups.get_mut((number - self.first) as usize)
            }
            _ => None,
        };
        let group =
            group.filter(|group| group.moving.is_none() && group.count + count <= MAX_GROUP);
        self.count += count;
        self.superseding += superseding;
        if let Some(group) = group {
            group.count += count;
            group.superseding += superseding;
            group.items.push(place);
            return;
        }
        self.open.insert(conversation, self.end());
        self.groups.push_back(Group {
            conversation,
            since: Instant::now(),
            items: vec![place],
            count,
            superseding,
            moving: None,
        });
    }

    /// When the next portion is to move. `None`: all entries have moved.
    pub fn due(&self) -> Option<Instant> {
        let group = self.groups.front()?;
        let waits = group.moving.is_none() && self.count <= MAX_ENTRIES;
        Some(group.since + if waits { MAX_WAIT } else { Duration::ZERO })
    }

    /// The number of the next group. Entries that are added later are in that group or in later ones.
    pub fn close(&mut self) -> u64 {
        self.open.clear();
        self.end()
    }

    /// True if all groups before this number have moved.
    pub fn have_moved(&self, number: u64) -> bool {
        self.first >= number
    }

    fn end(&self) -> u64 {
        self.first + self.groups.len() as u64
    }

    /// Prepares the next portion; with `all`, it is what is left of a group. `None`: all entries have moved. `read` reads the
    /// item in a place.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn next<'r>(
        &mut self,
        all: bool,
        read: impl Fn((i64, u32)) -> rusqlite::Result<Item<'r>>,
    ) -> rusqlite::Result<Option<Portion>> {
        let excess = self.count.saturating_sub(MAX_ENTRIES) / EXCESS_STEP;
        let Some(group) = self.groups.front_mut() else {
            return Ok(None);
        };
        let moving = match &mut group.moving {
            Some(moving) => moving,
            none => none.insert(Moving::begin(&group.items, group.count, read)?),
        };
        if all {
            let end = moving.entries.len();
            return Ok(Some(Portion { end }));
        }
        let limit = PORTION * (1 + excess);
        let (mut work, mut user) = (0, None);
        let rest = &moving.entries[moving.next..];
        let count = rest
            .iter()
            .take_while(|entry| {
                if user != Some(entry.user) {
                    user = Some(entry.user);
                    work += INBOX;
                }
                let about = moving.items.get(entry.item as usize);
                work += match about {
                    Some(about) if about.may_supersede => 1 + SUPERSEDING,
                    _ => 1,
                };
                work <= limit
            })
            .count();
        let end = moving.next + count;
        Ok(Some(Portion { end }))
    }

    /// The entries of a portion: user, number, and what each is about.
    pub(super) fn entries(
        &self,
        portion: Portion,
    ) -> Option<impl Iterator<Item = (i64, u64, &About)>> {
        let moving = self.groups.front()?.moving.as_ref()?;
        let entries = moving.entries.get(moving.next..portion.end)?.iter();
        Some(entries.map(|entry| (entry.user, entry.seq, &moving.items[entry.item as usize])))
    }

    /// True if nothing is left after this portion.
    pub fn ends_with(&self, portion: Portion) -> bool {
        let moving = self.groups.front().and_then(|group| group.moving.as_ref());
        self.groups.len() == 1 && moving.is_some_and(|moving| portion.end == moving.entries.len())
    }

    /// A portion has moved. Returns the places of the items of which all entries have moved now.
    pub fn moved(&mut self, portion: Portion) -> Vec<(i64, u32)> {
        let Some(group) = self.groups.front_mut() else {
            return Vec::new();
        };
        let Some(moving) = &mut group.moving else {
            return Vec::new();
        };
        self.count -= portion.end - moving.next;
        moving.next = portion.end;
        if moving.next < moving.entries.len() {
            return Vec::new();
        }
        let number = self.first;
        self.open.retain(|_, open| *open != number);
        self.first += 1;
        let Some(group) = self.groups.pop_front() else {
            return Vec::new();
        };
        self.superseding -= group.superseding;
        group.items
    }
}

impl Moving {
    fn begin<'r>(
        places: &[(i64, u32)],
        count: usize,
        read: impl Fn((i64, u32)) -> rusqlite::Result<Item<'r>>,
    ) -> rusqlite::Result<Self> {
        let mut items = Vec::with_capacity(places.len());
        let mut entries = Vec::with_capacity(count);
        for place in places {
            let read = read(*place)?;
            let item = items.len() as u32;
            entries.extend(
                read.entries()
                    .map(|(user, seq)| LateEntry { user, seq, item }),
            );
            items.push(read.about());
        }
        // Stable: the recipients of each item are in order already.
        entries.sort_by_key(|entry| (entry.user, entry.seq));
        Ok(Self {
            items,
            entries,
            next: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::counts::Counts;
    use crate::store::{Recipient, Recipients};

    fn added(n: i64, users: i64) -> Late {
        late_entries(&record(n, users), (n, 0)).expect("they are late")
    }

    fn message(n: i64, users: i64) -> Item<'static> {
        Item::Message(record(n, users))
    }

    fn record(n: i64, users: i64) -> Record<'static> {
        let recipients: Vec<_> = (2..2 + users)
            .map(|user| Recipient {
                user,
                seq: n.cast_unsigned(),
            })
            .collect();
        Record {
            conversation: -1,
            n,
            id: &[0; 16],
            sender: 1,
            sender_seq: n.cast_unsigned(),
            recipients: Recipients::from(recipients),
            sent_at: 0,
            counts: Counts::NONE,
            reply_to: None,
            hash: None,
            content: "\"x\"",
        }
    }

    #[test]
    fn every_entry_is_in_one_portion_and_those_of_an_inbox_are_together() {
        let mut late = LateEntries::default();
        for n in 1..=10 {
            late.add(added(n, 99));
        }
        let end = late.close();
        late.add(added(11, 99));
        let mut seen = Vec::new();
        let mut portions = 0;
        while !late.have_moved(end) {
            let portion = late.next(false, |(n, _)| Ok(message(n, 99)));
            let portion = portion.expect("it is read").expect("there is one");
            let entries = late.entries(portion).expect("it has entries");
            let found: Vec<_> = entries
                .map(|(user, seq, about)| (user, seq, about.n))
                .collect();
            assert!(!late.ends_with(portion), "a group is left");
            assert!(!found.is_empty() && found.len() < PORTION);
            seen.extend(found);
            portions += 1;
            late.moved(portion);
        }
        assert!(portions > 5);
        let expected =
            (1..=100).flat_map(|user| (1..=10_i64).map(move |n| (user, n.cast_unsigned(), n)));
        assert_eq!(seen, expected.collect::<Vec<_>>());
        assert!(
            late.has_conversation(-1),
            "the last message is in another group"
        );
        let rest = late.next(true, |(n, _)| Ok(message(n, 99)));
        let rest = rest.expect("it is read").expect("there is one");
        assert!(late.ends_with(rest));
        assert_eq!(late.moved(rest), [(11, 0)]);
        assert!(late.is_empty() && late.count == 0 && late.open.is_empty());
    }

    #[test]
    fn portions_grow_with_the_number_of_entries_that_wait() {
        let mut late = LateEntries::default();
        let first = |late: &mut LateEntries| {
            let portion = late.next(false, |(n, _)| Ok(message(n, 1000)));
            portion.expect("it is read").expect("there is one").end
        };
        late.add(added(1, 1000));
        let small = first(&mut late);
        let waits = late.groups[0].since + MAX_WAIT;
        assert!(
            late.due() < Some(waits),
            "a group that has begun to move does not wait"
        );
        for n in 2..=200 {
            late.add(added(n, 1000));
        }
        assert!(first(&mut late) > 5 * small);
        assert!(late.groups.len() > 2, "a group has a largest size");
    }
}

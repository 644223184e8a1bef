//! Inbox entries of messages in large rooms. They move after their messages, in portions.
//!
//! Each inbox is in another part of the table, so an entry alone costs a page, which is written to the write-ahead log and copied from
//! there. The entries of several messages of a room share these pages if they move together, inbox by inbox. A portion is small, so
//! that commits wait for none of them for long.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::record::Record;
use crate::store::sqlite::rooms::is_room;

/// The entries of a message with more recipients than this move after it.
const FEW_RECIPIENTS: usize = 2;
/// How long entries wait for those of further messages of the room.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The number of entries that move together, if they are of several messages.
const MAX_GROUP: usize = 1 << 16;
/// The work of one portion: an entry counts 1, and an inbox [`INBOX`].
const PORTION: usize = 160;
const INBOX: usize = 4;
/// With more entries than this, none waits, and for each [`EXCESS_STEP`] beyond it the work of a portion grows by [`PORTION`].
const MAX_ENTRIES: usize = 1 << 16;
const EXCESS_STEP: usize = 1024;

/// The entries that have not moved, of messages that have.
#[derive(Debug, Default)]
pub struct LateEntries {
    /// The oldest is first. The number of a group is that of the first plus its index.
    groups: VecDeque<Group>,
    first: u64,
    /// The groups to which messages are added, by conversation.
    open: HashMap<i64, u64>,
    /// The number of entries in all groups.
    count: usize,
}

/// Entries of one room that move together.
#[derive(Debug)]
struct Group {
    conversation: i64,
    since: Instant,
    /// The number of the row and the byte in it of each message.
    messages: Vec<(i64, u32)>,
    count: usize,
    /// Set when the first portion is prepared: no message is added from then on.
    moving: Option<Moving>,
}

/// A group of which entries move.
#[derive(Debug)]
struct Moving {
    messages: Vec<Message>,
    /// By user, then by number.
    entries: Vec<LateEntry>,
    /// The first entry that has not moved.
    next: usize,
}

/// What an entry tells of its message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub n: i64,
    pub sender: i64,
    pub sent_at: i64,
}

#[derive(Clone, Copy, Debug)]
struct LateEntry {
    user: i64,
    seq: u64,
    /// The index of the message.
    message: u32,
}

/// Entries that move in one transaction: those of the first group up to this index.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    end: usize,
}

/// True if the entries of this message move after it.
pub(super) fn are_late(record: &Record<'_>) -> bool {
    is_room(record.conversation) && record.recipients.len() > FEW_RECIPIENTS
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

    /// Adds the entries of a message that has moved.
    pub fn add(&mut self, record: &Record<'_>, place: (i64, u32)) {
        let count = record.entries().count();
        let conversation = record.conversation;
        let group = match self.open.get(&conversation) {
            Some(number) if *number >= self.first => {
                self.groups.get_mut((number - self.first) as usize)
            }
            _ => None,
        };
        let group =
            group.filter(|group| group.moving.is_none() && group.count + count <= MAX_GROUP);
        self.count += count;
        if let Some(group) = group {
            group.count += count;
            group.messages.push(place);
            return;
        }
        self.open.insert(conversation, self.end());
        self.groups.push_back(Group {
            conversation,
            since: Instant::now(),
            messages: vec![place],
            count,
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
    /// message in a place.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn next<'r>(
        &mut self,
        all: bool,
        read: impl Fn((i64, u32)) -> rusqlite::Result<Record<'r>>,
    ) -> rusqlite::Result<Option<Portion>> {
        let excess = self.count.saturating_sub(MAX_ENTRIES) / EXCESS_STEP;
        let Some(group) = self.groups.front_mut() else {
            return Ok(None);
        };
        let moving = match &mut group.moving {
            Some(moving) => moving,
            none => none.insert(Moving::begin(&group.messages, group.count, read)?),
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
                work += 1;
                work <= limit
            })
            .count();
        let end = moving.next + count;
        Ok(Some(Portion { end }))
    }

    /// The entries of a portion: the conversation, and user, number and message of each.
    pub(super) fn entries(
        &self,
        portion: Portion,
    ) -> Option<(i64, impl Iterator<Item = (i64, u64, Message)>)> {
        let group = self.groups.front()?;
        let moving = group.moving.as_ref()?;
        let entries = moving.entries.get(moving.next..portion.end)?.iter();
        let entries = entries.map(|entry| {
            let message = moving.messages[entry.message as usize];
            (entry.user, entry.seq, message)
        });
        Some((group.conversation, entries))
    }

    /// True if nothing is left after this portion.
    pub fn ends_with(&self, portion: Portion) -> bool {
        let moving = self.groups.front().and_then(|group| group.moving.as_ref());
        self.groups.len() == 1 && moving.is_some_and(|moving| portion.end == moving.entries.len())
    }

    /// A portion has moved. Returns the places of the messages of which all entries have moved now.
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
        let group = self.groups.pop_front();
        group.map(|group| group.messages).unwrap_or_default()
    }
}

impl Moving {
    fn begin<'r>(
        places: &[(i64, u32)],
        count: usize,
        read: impl Fn((i64, u32)) -> rusqlite::Result<Record<'r>>,
    ) -> rusqlite::Result<Self> {
        let mut messages = Vec::with_capacity(places.len());
        let mut entries = Vec::with_capacity(count);
        for place in places {
            let record = read(*place)?;
            let message = messages.len() as u32;
            entries.extend(
                record
                    .entries()
                    .map(|(user, seq)| LateEntry { user, seq, message }),
            );
            messages.push(Message {
                n: record.n,
                sender: record.sender,
                sent_at: record.sent_at,
            });
        }
        // Stable: the recipients of each message are in order already.
        entries.sort_by_key(|entry| (entry.user, entry.seq));
        Ok(Self {
            messages,
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
            late.add(&record(n, 99), (n, 0));
        }
        let end = late.close();
        late.add(&record(11, 99), (11, 0));
        let mut seen = Vec::new();
        let mut portions = 0;
        while !late.have_moved(end) {
            let portion = late.next(false, |(n, _)| Ok(record(n, 99)));
            let portion = portion.expect("it is read").expect("there is one");
            let (conversation, entries) = late.entries(portion).expect("it has entries");
            assert_eq!(conversation, -1);
            assert!(!late.ends_with(portion), "a group is left");
            let before = seen.len();
            seen.extend(entries.map(|(user, seq, message)| (user, seq, message.n)));
            assert!(seen.len() > before && seen.len() - before < PORTION);
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
        let rest = late.next(true, |(n, _)| Ok(record(n, 99)));
        let rest = rest.expect("it is read").expect("there is one");
        assert!(late.ends_with(rest));
        assert_eq!(late.moved(rest), [(11, 0)]);
        assert!(late.is_empty() && late.count == 0 && late.open.is_empty());
    }

    #[test]
    fn portions_grow_with_the_number_of_entries_that_wait() {
        let mut late = LateEntries::default();
        let first = |late: &mut LateEntries| {
            let portion = late.next(false, |(n, _)| Ok(record(n, 1000)));
            portion.expect("it is read").expect("there is one").end
        };
        late.add(&record(1, 1000), (1, 0));
        let small = first(&mut late);
        let waits = late.groups[0].since + MAX_WAIT;
        assert!(
            late.due() < Some(waits),
            "a group that has begun to move does not wait"
        );
        for n in 2..=200 {
            late.add(&record(n, 1000), (n, 0));
        }
        assert!(first(&mut late) > 5 * small);
        assert!(late.groups.len() > 2, "a group has a largest size");
    }
}

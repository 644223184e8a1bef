//! The pending log in memory: what it holds, and what of that is to move next.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::encoding::Id;
use super::item::Item;
use super::late_entries::{Late, LateEntries};
use super::record::Record;
use super::rows::{Located, PendingBatch, weight};
use crate::store::sqlite::counts::Counts;
use crate::store::sqlite::number::unsigned;
use crate::store::sqlite::rooms::is_room;

/// How long a message may wait for more messages of its conversation, so that they move together.
const MAX_WAIT: Duration = Duration::from_millis(150);
/// With more messages or bytes in the log than this, none waits.
const MAX_MESSAGES: usize = 8192;
const MAX_BYTES: usize = 2 << 20;

/// The pending log: a copy of the rows of the table, and an index of what is in them.
#[derive(Debug, Default)]
pub struct PendingLog {
    /// Rows that hold messages or entries which have not moved. The first of them has the number `first_row`.
    pub(super) rows: VecDeque<Row>,
    pub(super) first_row: i64,
    /// Rows before this one are removed from the table.
    pub(super) removed_to: i64,
    pub(super) conversations: HashMap<i64, PendingConversation>,
    /// Conversations in the order in which their oldest pending message was added, each with its generation. Entries of
    /// conversations that have moved since are skipped.
    pub(super) order: VecDeque<(i64, u64)>,
    pub(super) generations: u64,
    /// The pending direct conversations of each user. Those of rooms are never looked for by user.
    pub(super) by_user: HashMap<i64, Vec<i64>>,
    /// Conversation and id of each message.
    pub(super) ids: HashSet<(i64, Id)>,
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// The entries whose messages have moved, or have not been in the log.
    pub(super) late: LateEntries,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    /// Empty if nothing of it is needed any more.
    pub bytes: Vec<u8>,
    /// The number of its items that have not moved with all of their entries.
    pub pending: usize,
}

/// The messages of a conversation that have not moved.
#[derive(Debug)]
pub(super) struct PendingConversation {
    /// Distinguishes this entry in `order` from one that the conversation had earlier.
    pub generation: u64,
    since: Instant,
    /// The users of a direct conversation, whose inboxes the messages belong to.
    pub users: Vec<i64>,
    /// The number of entries that its first message makes.
    entries: usize,
    /// The number of the row and the byte in it of each message, oldest first.
    pub messages: VecDeque<(i64, u32)>,
}

/// Messages that are to move to their tables.
#[derive(Debug)]
pub struct Selection {
    /// Conversations, each with the number of its oldest messages that are selected.
    pub(super) conversations: Vec<(i64, usize)>,
    /// The conversations were removed from `order`.
    pub(super) dequeued: bool,
}

impl Selection {
    /// True if nothing is selected.
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }
}

impl PendingLog {
    /// Reads the messages that an earlier run has left in the table. They are not moved here: that needs space on the disk, and
    /// a store of this version must open and be readable when the disk is full. (A store of an older version needs space for
    /// its migration.)
    pub fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let (batch, first) = PendingBatch::load(connection)?;
        let mut log = Self::default();
        log.append(batch, first);
        Ok(log)
    }

    /// Adds a batch that has been committed; `first` is the number of its first row.
    pub fn append(&mut self, batch: PendingBatch, first: i64) {
        if batch.rows.is_empty() {
            return;
        }
        if self.rows.is_empty() {
            self.first_row = first;
            self.removed_to = first;
        }
        let next = self.first_row + self.rows.len() as i64;
        debug_assert_eq!(next, first, "rows are numbered without gaps");
        let now = Instant::now();
        for bytes in batch.rows {
            self.bytes += bytes.len();
            self.rows.push_back(Row { bytes, pending: 0 });
        }
        for record in batch.records {
            let number = first + record.row as i64;
            let index = self.index_of(number);
            self.rows[index].pending += 1;
            let place = (number, record.offset);
            let id = match record.content {
                Located::Message(id) => id,
                Located::Entries(may_supersede) => {
                    self.late.add(Late {
                        conversation: record.conversation,
                        count: record.count(),
                        may_supersede,
                        place,
                    });
                    continue;
                }
            };
            self.messages += 1;
            self.ids.insert((record.conversation, id));
            let conversation = self
                .conversations
                .entry(record.conversation)
                .or_insert_with(|| {
                    self.generations += 1;
                    let generation = self.generations;
                    self.order.push_back((record.conversation, generation));
                    let others = record.recipients.iter().map(|recipient| recipient.user);
                    let users: Vec<i64> = if is_room(record.conversation) {
                        Vec::new()
                    } else {
                        std::iter::once(record.by).chain(others).collect()
                    };
                    for user in &users {
                        let conversations = self.by_user.entry(*user).or_default();
                        conversations.push(record.conversation);
                    }
                    PendingConversation {
                        generation,
                        since: now,
                        users,
                        entries: 1 + record.recipients.len(),
                        messages: VecDeque::new(),
                    }
                });
            conversation.messages.push_back(place);
        }
    }

    /// The time of the newest item. `None`: it has moved with all of its entries.
    pub fn newest_time(&self) -> Option<i64> {
        let mut bytes = self.rows.back()?.bytes.as_slice();
        let mut newest = None;
        while let Some(item) = Item::read(&mut bytes) {
            newest = Some(item.at());
        }
        newest
    }

    /// True if everything has moved.
    pub fn is_empty(&self) -> bool {
        self.messages == 0 && self.late.is_empty()
    }

    /// True if there are messages of this conversation, or entries about it.
    pub fn has_conversation(&self, conversation: i64) -> bool {
        self.conversations.contains_key(&conversation) || self.late.has_conversation(conversation)
    }

    /// True if there is a message with this id.
    pub fn has_id(&self, conversation: i64, id: &Id) -> bool {
        self.ids.contains(&(conversation, *id))
    }

    /// The newest inbox entry in the log of each user whom it names.
    pub fn heads(&self) -> HashMap<i64, u64> {
        let mut heads = HashMap::new();
        // Some of them have moved already; their entries are not newer than those in the tables.
        for row in &self.rows {
            let mut bytes = row.bytes.as_slice();
            while let Some(item) = Item::read(&mut bytes) {
                for (user, seq) in item.users() {
                    let head: &mut u64 = heads.entry(user).or_default();
                    *head = seq.max(*head);
                }
            }
        }
        heads
    }

    /// The index in `rows` of the row with this number.
    pub(super) fn index_of(&self, number: i64) -> usize {
        unsigned(number - self.first_row) as usize
    }

    /// When entries are to move next whose messages have moved. `None` if there are none.
    pub fn entries_due(&self) -> Option<Instant> {
        self.late.due()
    }

    /// True if there are entries whose messages have moved.
    pub fn has_late_entries(&self) -> bool {
        !self.late.is_empty()
    }

    /// The number of changes whose entries have not moved, and may supersede others.
    pub fn superseding(&self) -> u64 {
        self.late.superseding()
    }

    /// A number for [`PendingLog::have_entries_moved`].
    pub fn close_groups(&mut self) -> u64 {
        self.late.close()
    }

    /// True if all entries have moved whose messages had moved when [`PendingLog::close_groups`] returned this number.
    pub fn have_entries_moved(&self, number: u64) -> bool {
        self.late.have_moved(number)
    }

    /// When messages are to move next. `None` if there are none.
    pub fn due(&mut self) -> Option<Instant> {
        let full = self.messages >= MAX_MESSAGES || self.bytes >= MAX_BYTES;
        let wait = if full { Duration::ZERO } else { MAX_WAIT };
        self.oldest().map(|(_, oldest)| oldest.since + wait)
    }

    /// The conversation that has been pending for longest.
    fn oldest(&mut self) -> Option<(i64, &PendingConversation)> {
        loop {
            let (conversation, generation) = *self.order.front()?;
            let pending = self.conversations.get(&conversation);
            if pending.is_some_and(|pending| pending.generation == generation) {
                return Some((conversation, &self.conversations[&conversation]));
            }
            self.order.pop_front();
        }
    }

    /// Selects up to `limit` direct messages that are due, or fewer in rooms, which make more entries; with `all`, also messages that are not due.
    pub fn select(&mut self, limit: usize, all: bool) -> Selection {
        let now = Instant::now();
        let mut conversations = Vec::new();
        let mut count = 0;
        while count < limit && self.due().is_some_and(|due| all || due <= now) {
            let Some((conversation, pending)) = self.oldest() else {
                break;
            };
            let weight = weight(pending.entries);
            let take = pending.messages.len().min((limit - count).div_ceil(weight));
            conversations.push((conversation, take));
            count += take.saturating_mul(weight);
            // `finish` puts it back if messages of it are left.
            self.order.pop_front();
        }
        Selection {
            conversations,
            dequeued: true,
        }
    }

    /// Selects all messages of these conversations.
    pub fn select_conversations(&self, conversations: impl Iterator<Item = i64>) -> Selection {
        let mut conversations: Vec<_> = conversations
            .filter_map(|conversation| {
                let pending = self.conversations.get(&conversation)?;
                Some((conversation, pending.messages.len()))
            })
            .collect();
        conversations.sort_unstable();
        conversations.dedup();
        Selection {
            conversations,
            dequeued: false,
        }
    }

    /// The conversations with pending messages.
    pub fn conversations(&self) -> impl Iterator<Item = i64> {
        self.conversations.keys().copied()
    }

    /// The conversations with pending messages that make an entry up to `seq` in this user's inbox.
    pub fn conversations_of(&self, user: i64, seq: u64) -> impl Iterator<Item = i64> {
        let all = self.by_user.get(&user).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(move |conversation| {
            self.oldest_record(*conversation).is_some_and(|record| {
                let mut entries = record.entries();
                entries.any(|(member, entry)| member == user && entry <= seq)
            })
        })
    }

    /// The counts of the newest message of a conversation. `None`: there is none.
    pub fn newest_counts(&self, conversation: i64) -> Option<Counts> {
        let pending = self.conversations.get(&conversation)?;
        let (row, offset) = pending.messages.back()?;
        let bytes = &self.rows[self.index_of(*row)].bytes[*offset as usize..];
        Record::read(&mut &*bytes).map(|record| record.counts)
    }

    fn oldest_record(&self, conversation: i64) -> Option<Record<'_>> {
        let pending = self.conversations.get(&conversation)?;
        let (row, offset) = pending.messages.front()?;
        Record::read(&mut &self.rows[self.index_of(*row)].bytes[*offset as usize..])
    }
}

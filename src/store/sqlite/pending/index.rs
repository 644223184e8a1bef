//! What is in the log, by what it is looked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::record::{Id, PendingBatch, Placed, Record, Result, damaged};
use crate::store::sqlite::file::unsigned;

/// How long a message may wait for others of its conversation.
const WAIT: Duration = Duration::from_millis(150);

/// Messages, and bytes of them, beyond which none waits longer.
const MANY: usize = 8192;

const MANY_BYTES: usize = 2 << 20;

/// A row of the log.
#[derive(Debug)]
pub struct Row {
    pub bytes: Vec<u8>,
    /// Its messages that have not moved.
    pub left: usize,
}

/// Messages of a conversation that have not moved, oldest first.
#[derive(Debug)]
pub struct Waiting {
    /// Tells this wait of the conversation from an earlier one.
    pub ticket: u64,
    pub since: Instant,
    pub users: (i64, i64),
    /// The number of the row, and the byte in it.
    pub messages: VecDeque<(i64, u32)>,
}

/// What is in the log, by what it is looked for.
#[derive(Debug, Default)]
pub struct PendingLog {
    /// Rows of the log that are still needed, from number `first` on.
    pub rows: VecDeque<Row>,
    pub first: i64,
    /// Rows before this one are not in the log any more.
    pub removed: i64,
    pub conversations: HashMap<i64, Waiting>,
    /// Conversations in the order in which they began to wait, each with its ticket. Some have moved since.
    pub order: VecDeque<(i64, u64)>,
    pub tickets: u64,
    pub of_user: HashMap<i64, Vec<i64>>,
    pub ids: HashSet<(i64, Id)>,
    pub messages: usize,
    pub bytes: usize,
}

/// Messages that are to be moved: conversations, and how many of the messages of each.
#[derive(Debug)]
pub struct Chosen {
    pub conversations: Vec<(i64, usize)>,
    /// They were taken out of the order.
    pub in_turn: bool,
}

impl Chosen {
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }
}

impl PendingLog {
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Adds what has been committed; `first` is the number of its first row.
    pub fn take(&mut self, stage: PendingBatch, first: i64) {
        if stage.rows.is_empty() {
            return;
        }
        if self.rows.is_empty() {
            self.first = first;
            self.removed = first;
        }
        let base = self.first + self.rows.len() as i64;
        debug_assert_eq!(base, first, "rows are numbered without gaps");
        let now = Instant::now();
        self.messages += stage.placed.len();
        for bytes in stage.rows {
            self.bytes += bytes.len();
            self.rows.push_back(Row { bytes, left: 0 });
        }
        for placed in stage.placed {
            let number = first + placed.row as i64;
            let at = self.at(number);
            self.rows[at].left += 1;
            self.ids.insert((placed.conversation, placed.id));
            let waiting = self
                .conversations
                .entry(placed.conversation)
                .or_insert_with(|| {
                    let (a, b) = placed.users;
                    self.tickets += 1;
                    self.order.push_back((placed.conversation, self.tickets));
                    self.of_user.entry(a).or_default().push(placed.conversation);
                    if a != b {
                        self.of_user.entry(b).or_default().push(placed.conversation);
                    }
                    Waiting {
                        ticket: self.tickets,
                        since: now,
                        users: placed.users,
                        messages: VecDeque::new(),
                    }
                });
            waiting.messages.push_back((number, placed.offset));
        }
    }

    /// What an earlier run has left in the log. It is not moved here: that takes room on the disk, which there may not be.
    pub fn load(connection: &Connection) -> Result<Self> {
        let mut stage = PendingBatch::default();
        let mut first = None;
        let mut statement = connection.prepare("SELECT n, records FROM pending ORDER BY n")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let (number, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let first = *first.get_or_insert(number);
            if number != first + stage.rows.len() as i64 {
                return Err(damaged());
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let offset = (bytes.len() - rest.len()) as u32;
                let record = Record::read(&mut rest).ok_or_else(damaged)?;
                stage.placed.push(Placed {
                    conversation: record.conversation,
                    users: (record.sender, record.recipient),
                    id: *record.id,
                    row: stage.rows.len(),
                    offset,
                });
            }
            stage.rows.push(bytes);
        }
        let mut pool = Self::default();
        pool.take(stage, first.unwrap_or_default());
        Ok(pool)
    }

    /// Whether messages of a conversation are here.
    pub fn waits(&self, conversation: i64) -> bool {
        self.conversations.contains_key(&conversation)
    }

    pub fn has_id(&self, conversation: i64, id: &Id) -> bool {
        self.ids.contains(&(conversation, *id))
    }

    /// The newest entry of each user that is here.
    pub fn heads(&self) -> HashMap<i64, u64> {
        let mut heads = HashMap::new();
        let mut raise = |user, seq: u64| {
            let head: &mut u64 = heads.entry(user).or_default();
            *head = seq.max(*head);
        };
        // Also of messages that have moved already: that changes nothing.
        for row in &self.rows {
            let mut bytes = row.bytes.as_slice();
            while let Some(record) = Record::read(&mut bytes) {
                raise(record.sender, record.from_seq);
                raise(record.recipient, record.to_seq);
            }
        }
        heads
    }

    /// Where in `rows` the row of this number is.
    pub fn at(&self, number: i64) -> usize {
        unsigned(number - self.first) as usize
    }

    /// When messages are to move at the latest.
    pub fn due(&mut self) -> Option<Instant> {
        let many = self.messages >= MANY || self.bytes >= MANY_BYTES;
        let wait = if many { Duration::ZERO } else { WAIT };
        self.front().map(|(_, waiting)| waiting.since + wait)
    }

    /// The conversation that has waited longest.
    pub fn front(&mut self) -> Option<(i64, &Waiting)> {
        loop {
            let (conversation, ticket) = *self.order.front()?;
            let waiting = self.conversations.get(&conversation);
            if waiting.is_some_and(|waiting| waiting.ticket == ticket) {
                return Some((conversation, &self.conversations[&conversation]));
            }
            self.order.pop_front();
        }
    }

    /// Up to `limit` messages that have waited long enough; with `all`, also those that have not.
    pub fn choose(&mut self, limit: usize, all: bool) -> Chosen {
        let now = Instant::now();
        let mut conversations = Vec::new();
        let mut count = 0;
        while count < limit && self.due().is_some_and(|due| all || due <= now) {
            let Some((conversation, waiting)) = self.front() else {
                break;
            };
            let take = waiting.messages.len().min(limit - count);
            conversations.push((conversation, take));
            count += take;
            // Whatever is not moved is put back by `moved`.
            self.order.pop_front();
        }
        Chosen {
            conversations,
            in_turn: true,
        }
    }

    /// All messages of these conversations.
    pub fn of_conversations(&self, conversations: impl Iterator<Item = i64>) -> Chosen {
        let mut conversations: Vec<_> = conversations
            .filter_map(|conversation| {
                let waiting = self.conversations.get(&conversation)?;
                Some((conversation, waiting.messages.len()))
            })
            .collect();
        conversations.sort_unstable();
        conversations.dedup();
        Chosen {
            conversations,
            in_turn: false,
        }
    }

    /// The conversations of a user that have messages here among the entries up to `seq`.
    pub fn of_user(&self, user: i64, seq: u64) -> impl Iterator<Item = i64> {
        let all = self.of_user.get(&user).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(move |conversation| {
            self.oldest(*conversation).is_some_and(|record| {
                let own = record.sender == user;
                seq >= if own { record.from_seq } else { record.to_seq }
            })
        })
    }

    pub fn oldest(&self, conversation: i64) -> Option<Record<'_>> {
        let waiting = self.conversations.get(&conversation)?;
        let (row, offset) = waiting.messages.front()?;
        Record::read(&mut &self.rows[self.at(*row)].bytes[*offset as usize..])
    }
}

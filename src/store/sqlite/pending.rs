//! Messages that are committed and not yet in their tables.
//!
//! A message has its place in four b-trees, and a batch of messages of many users touches pages all over the file, each of
//! which a commit would write whole. So a batch is committed as a few rows of a log, the table `pending`, side by side on one
//! page or two; that is what is acknowledged. A little later the messages move to their tables, conversation by conversation,
//! many to a page. Whoever reads the tables waits until that is done ([`Store::settle`](crate::store::Store::settle)).
//!
//! Moving a message twice changes nothing, and rows leave the log only when all their messages have moved. So what a crash
//! leaves in the log is moved after the next start, whatever of it had moved before.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use rusqlite::{CachedStatement, Connection, params};

use super::{signed, unsigned};

/// Bytes of a row of the log, so that it fits a page; a longer message has a row of its own.
const ROW: usize = 3800;
/// How long a message may wait for others of its conversation.
const WAIT: Duration = Duration::from_millis(150);
/// Messages, and bytes of them, beyond which none waits longer.
const MANY: usize = 8192;
const MANY_BYTES: usize = 2 << 20;
/// Rows of the log that are removed at a time, while there are others.
const ROWS: i64 = 64;

type Id = [u8; 16];
type Result<T> = rusqlite::Result<T>;

/// A message and where its entries belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub conversation: i64,
    pub n: i64,
    pub id: &'a Id,
    pub sender: i64,
    pub recipient: i64,
    pub from_seq: u64,
    pub to_seq: u64,
    pub sent_at: i64,
    pub reply_to: Option<&'a Id>,
    pub content: &'a str,
}

impl<'a> Record<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        let numbers = [
            self.conversation,
            self.n,
            self.sender,
            self.recipient,
            signed(self.from_seq),
            signed(self.to_seq),
            self.sent_at,
        ];
        for number in numbers {
            write_number(out, number.cast_unsigned());
        }
        out.extend_from_slice(self.id);
        match self.reply_to {
            Some(id) => {
                out.push(1);
                out.extend_from_slice(id);
            }
            None => out.push(0),
        }
        write_number(out, self.content.len() as u64);
        out.extend_from_slice(self.content.as_bytes());
    }

    /// Takes the record at the start of `bytes` off them. `None`: there is none, or it is damaged.
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = read_number(bytes)?;
        }
        let [
            conversation,
            n,
            sender,
            recipient,
            from_seq,
            to_seq,
            sent_at,
        ] = numbers;
        let id = take_id(bytes)?;
        let (flag, rest) = bytes.split_first()?;
        *bytes = rest;
        let reply_to = match flag {
            0 => None,
            1 => Some(take_id(bytes)?),
            _ => return None,
        };
        let length = usize::try_from(read_number(bytes)?).ok()?;
        let (content, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(Self {
            conversation: conversation.cast_signed(),
            n: n.cast_signed(),
            id,
            sender: sender.cast_signed(),
            recipient: recipient.cast_signed(),
            from_seq,
            to_seq,
            sent_at: sent_at.cast_signed(),
            reply_to,
            content: std::str::from_utf8(content).ok()?,
        })
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_id<'a>(bytes: &mut &'a [u8]) -> Option<&'a Id> {
    let (id, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(id)
}

/// Messages of the batch under way.
#[derive(Debug, Default)]
pub struct PendingBatch {
    rows: Vec<Vec<u8>>,
    placed: Vec<Placed>,
}

/// Where a message of a [`PendingBatch`] is: the number of its row, and the byte in it.
#[derive(Debug)]
struct Placed {
    conversation: i64,
    users: (i64, i64),
    id: Id,
    row: usize,
    offset: u32,
}

impl PendingBatch {
    pub fn add(&mut self, record: &Record<'_>) {
        let full = |row: &Vec<u8>| row.len() + record.content.len() + 96 > ROW;
        if self.rows.last().is_none_or(full) {
            self.rows.push(Vec::new());
        }
        let row = self.rows.len() - 1;
        let bytes = &mut self.rows[row];
        let offset = bytes.len() as u32;
        record.write(bytes);
        self.placed.push(Placed {
            conversation: record.conversation,
            users: (record.sender, record.recipient),
            id: *record.id,
            row,
            offset,
        });
    }

    /// Whether there are messages of a conversation.
    pub fn has(&self, conversation: i64) -> bool {
        let of = |placed: &Placed| placed.conversation == conversation;
        self.placed.iter().any(of)
    }

    /// Writes the rows. Gives the number of the first; those of the others follow it.
    pub fn log(&self, connection: &Connection) -> Result<i64> {
        let mut first = 0;
        for (n, row) in self.rows.iter().enumerate() {
            connection
                .prepare_cached("INSERT INTO pending (records) VALUES (?1)")?
                .execute([row])?;
            if n == 0 {
                first = connection.last_insert_rowid();
            }
        }
        Ok(first)
    }
}

/// A row of the log.
#[derive(Debug)]
struct Row {
    bytes: Vec<u8>,
    /// Its messages that have not moved.
    left: usize,
}

/// Messages of a conversation that have not moved, oldest first.
#[derive(Debug)]
struct Waiting {
    /// Tells this wait of the conversation from an earlier one.
    ticket: u64,
    since: Instant,
    users: (i64, i64),
    /// The number of the row, and the byte in it.
    messages: VecDeque<(i64, u32)>,
}

/// What is in the log, by what it is looked for.
#[derive(Debug, Default)]
pub struct PendingLog {
    /// Rows of the log that are still needed, from number `first` on.
    rows: VecDeque<Row>,
    first: i64,
    /// Rows before this one are not in the log any more.
    removed: i64,
    conversations: HashMap<i64, Waiting>,
    /// Conversations in the order in which they began to wait, each with its ticket. Some have moved since.
    order: VecDeque<(i64, u64)>,
    tickets: u64,
    of_user: HashMap<i64, Vec<i64>>,
    ids: HashSet<(i64, Id)>,
    messages: usize,
    bytes: usize,
}

/// The newest entry of a user's inbox that is not kept any more, where it was looked up.
pub type Floors = HashMap<i64, u64>;

/// Messages that are to be moved: conversations, and how many of the messages of each.
#[derive(Debug)]
pub struct Chosen {
    conversations: Vec<(i64, usize)>,
    /// They were taken out of the order.
    in_turn: bool,
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
    fn at(&self, number: i64) -> usize {
        unsigned(number - self.first) as usize
    }

    /// When messages are to move at the latest.
    pub fn due(&mut self) -> Option<Instant> {
        let many = self.messages >= MANY || self.bytes >= MANY_BYTES;
        let wait = if many { Duration::ZERO } else { WAIT };
        self.front().map(|(_, waiting)| waiting.since + wait)
    }

    /// The conversation that has waited longest.
    fn front(&mut self) -> Option<(i64, &Waiting)> {
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

    fn oldest(&self, conversation: i64) -> Option<Record<'_>> {
        let waiting = self.conversations.get(&conversation)?;
        let (row, offset) = waiting.messages.front()?;
        Record::read(&mut &self.rows[self.at(*row)].bytes[*offset as usize..])
    }

    /// Moves messages to their tables, and removes rows of the log that are not needed any more.
    pub fn apply(
        &self,
        connection: &Connection,
        chosen: &Chosen,
        floors: &mut Floors,
    ) -> Result<()> {
        let mut count = 0;
        let mut mover = Mover::new(connection, floors)?;
        for (conversation, take) in &chosen.conversations {
            let Some(waiting) = self.conversations.get(conversation) else {
                continue;
            };
            count += take;
            for (row, offset) in waiting.messages.iter().take(*take) {
                let row = &self.rows[self.at(*row)];
                let record =
                    Record::read(&mut &row.bytes[*offset as usize..]).ok_or_else(damaged)?;
                mover.insert(&record)?;
            }
        }
        if count == self.messages {
            connection.execute("DELETE FROM pending", ())?;
        } else if self.first - self.removed >= ROWS {
            connection
                .prepare_cached("DELETE FROM pending WHERE n < ?1")?
                .execute([self.first])?;
        }
        Ok(())
    }

    /// After the commit of what [`PendingLog::apply`] did, or, with `done` false, after its undoing.
    pub fn moved(&mut self, chosen: &Chosen, done: bool) {
        if done && self.first - self.removed >= ROWS {
            self.removed = self.first;
        }
        for (conversation, take) in chosen.conversations.iter().rev() {
            let Some(waiting) = self.conversations.get_mut(conversation) else {
                continue;
            };
            let turn = (*conversation, waiting.ticket);
            if !done {
                if chosen.in_turn {
                    self.order.push_front(turn);
                }
                continue;
            }
            for (number, offset) in waiting.messages.drain(..*take) {
                let row = &mut self.rows[unsigned(number - self.first) as usize];
                row.left -= 1;
                if let Some(record) = Record::read(&mut &row.bytes[offset as usize..]) {
                    self.ids.remove(&(*conversation, *record.id));
                }
            }
            self.messages -= take;
            if !waiting.messages.is_empty() {
                if chosen.in_turn {
                    self.order.push_front(turn);
                }
                continue;
            }
            let (a, b) = waiting.users;
            self.conversations.remove(conversation);
            for user in [a, b] {
                if let Some(list) = self.of_user.get_mut(&user) {
                    list.retain(|other| other != conversation);
                    if list.is_empty() {
                        self.of_user.remove(&user);
                    }
                }
            }
        }
        while let Some(row) = self.rows.front().filter(|row| row.left == 0) {
            self.bytes -= row.bytes.len();
            self.rows.pop_front();
            self.first += 1;
        }
        if self.messages == 0 {
            *self = Self::default();
        }
    }
}

/// Puts messages into the tables, and their entries into the inboxes that still keep them.
struct Mover<'a> {
    connection: &'a Connection,
    message: CachedStatement<'a>,
    entry: CachedStatement<'a>,
    floors: &'a mut Floors,
}

impl<'a> Mover<'a> {
    fn new(connection: &'a Connection, floors: &'a mut Floors) -> Result<Self> {
        Ok(Self {
            connection,
            message: connection.prepare_cached(
                "INSERT INTO messages
                 (conversation, n, id, sender, recipient, from_seq, to_seq, sent_at, reply_to, content)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
            )?,
            entry: connection.prepare_cached(
                "INSERT INTO inbox (user, seq, at, conversation, message, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO NOTHING",
            )?,
            floors,
        })
    }

    fn insert(&mut self, record: &Record<'_>) -> Result<()> {
        self.message.execute(params![
            record.conversation,
            record.n,
            record.id,
            record.sender,
            record.recipient,
            signed(record.from_seq),
            signed(record.to_seq),
            record.sent_at,
            record.reply_to,
            record.content
        ])?;
        let sides = [
            (record.sender, record.from_seq),
            (record.recipient, record.to_seq),
        ];
        let to_oneself = record.sender == record.recipient;
        for (user, seq) in sides.into_iter().take(if to_oneself { 1 } else { 2 }) {
            if seq <= floor(self.connection, self.floors, user)? {
                continue;
            }
            self.entry.execute(params![
                user,
                signed(seq),
                record.sent_at,
                record.conversation,
                record.n,
                (user == record.sender).then_some(user),
            ])?;
        }
        Ok(())
    }
}

fn floor(connection: &Connection, floors: &mut Floors, user: i64) -> Result<u64> {
    if let Some(floor) = floors.get(&user) {
        return Ok(*floor);
    }
    let floor: i64 = connection
        .prepare_cached("SELECT floor FROM users WHERE n = ?1")?
        .query_row([user], |row| row.get(0))?;
    let floor = unsigned(floor);
    floors.insert(user, floor);
    Ok(floor)
}

/// Moves all that a log holds to the tables of this connection.
fn recover(connection: &Connection) -> Result<()> {
    let mut floors = Floors::new();
    let mut mover = Mover::new(connection, &mut floors)?;
    let mut statement = connection.prepare("SELECT records FROM pending ORDER BY n")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let mut bytes = row.get_ref(0)?.as_blob()?;
        while !bytes.is_empty() {
            let record = Record::read(&mut bytes).ok_or_else(damaged)?;
            mover.insert(&record)?;
        }
    }
    Ok(())
}

/// Shows this connection the tables as they were before [`overlay`].
pub fn uncover(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "DROP VIEW IF EXISTS temp.messages; DROP VIEW IF EXISTS temp.inbox;
         DROP TABLE IF EXISTS temp.waiting_messages; DROP TABLE IF EXISTS temp.waiting_inbox;",
    )
}

/// Shows this connection the tables with what the log holds now, without writing to the file. It costs a copy of the log, and
/// later queries more than they usually do.
pub fn overlay(connection: &Connection) -> Result<()> {
    let waits: bool = connection.query_row("SELECT EXISTS (SELECT 1 FROM pending)", (), |row| {
        row.get(0)
    })?;
    if !waits {
        return Ok(());
    }
    // A temporary table hides the file's own of the same name.
    for table in ["messages", "inbox"] {
        let sql: String = connection.query_row(
            "SELECT sql FROM main.sqlite_schema WHERE name = ?1",
            [table],
            |row| row.get(0),
        )?;
        connection.execute_batch(&sql.replacen("CREATE TABLE", "CREATE TEMP TABLE", 1))?;
    }
    recover(connection)?;
    connection.execute_batch(
        "ALTER TABLE temp.messages RENAME TO waiting_messages;
         ALTER TABLE temp.inbox RENAME TO waiting_inbox;
         CREATE TEMP VIEW messages AS SELECT * FROM main.messages
            UNION ALL SELECT * FROM waiting_messages AS w WHERE NOT EXISTS
            (SELECT 1 FROM main.messages AS m WHERE m.conversation = w.conversation AND m.n = w.n);
         CREATE TEMP VIEW inbox AS SELECT * FROM main.inbox
            UNION ALL SELECT * FROM waiting_inbox AS w WHERE NOT EXISTS
            (SELECT 1 FROM main.inbox AS i WHERE i.user = w.user AND i.seq = w.seq);",
    )
}

fn damaged() -> rusqlite::Error {
    let text = "the log of pending messages is damaged";
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_none_is_made_of_less() {
        let long = "\u{1F600}".repeat(300);
        let mut bytes = Vec::new();
        let records = [
            (None, ""),
            (Some(&[7; 16]), "\"hi\""),
            (None, long.as_str()),
        ]
        .map(|(reply_to, content)| Record {
            conversation: 1,
            n: i64::MAX,
            id: &[9; 16],
            sender: 300,
            recipient: 2,
            from_seq: 127,
            to_seq: 128,
            sent_at: -5,
            reply_to,
            content,
        });
        let mut ends = vec![0];
        for record in &records {
            record.write(&mut bytes);
            ends.push(bytes.len());
        }
        let mut rest = bytes.as_slice();
        for record in records {
            assert_eq!(Record::read(&mut rest), Some(record));
        }
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            let whole = ends[1..].iter().filter(|end| **end <= cut).count();
            let read = std::iter::from_fn(|| Record::read(&mut rest)).count();
            assert_eq!(read, whole, "cut at {cut}");
        }
    }
}

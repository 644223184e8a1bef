//! Moving messages from the log to their tables.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, params};

use super::index::{Chosen, PendingLog};
use super::record::{Record, Result, damaged};
use crate::store::sqlite::file::{signed, unsigned};

/// Rows of the log that are removed at a time, while there are others.
const ROWS: i64 = 64;

/// The newest entry of a user's inbox that is not kept any more, where it was looked up.
pub type Floors = HashMap<i64, u64>;

impl PendingLog {
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
pub fn recover(connection: &Connection) -> Result<()> {
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

//! Counts messages to users who have never connected: their ids may be made up. The total and the number per sender are
//! limited, so that messages to made-up ids cannot fill the disk. The table `unclaimed` is exact; a user's rows are removed
//! when the user connects, and a message is subtracted when retention removes it.

use std::collections::HashMap;

use rusqlite::Connection;

use super::number::{signed, unsigned};
use crate::store::{Outcome, Quotas};

type Result<T> = rusqlite::Result<T>;

/// The counts, as far as they have been needed; others are looked up in the table.
#[derive(Debug, Default)]
pub struct UnknownRecipients {
    total: Option<u64>,
    by_sender: HashMap<i64, u64>,
    /// Messages of the current batch, by recipient and sender.
    new: HashMap<(i64, i64), u64>,
}

impl UnknownRecipients {
    /// Checks the limits for one more message of a sender. `None`: it may be stored.
    pub fn check(
        &mut self,
        connection: &Connection,
        quotas: &Quotas,
        sender: i64,
    ) -> Result<Option<Outcome>> {
        if self.is_exhausted(connection, quotas, sender)? {
            return Ok(Some(Outcome::UnknownRecipientLimit));
        }
        let is_full = self.total(connection)? >= quotas.unknown_recipients;
        Ok(is_full.then_some(Outcome::UnknownRecipientTotal))
    }

    /// True if a sender may send no more of these messages.
    pub fn is_exhausted(
        &mut self,
        connection: &Connection,
        quotas: &Quotas,
        sender: i64,
    ) -> Result<bool> {
        Ok(self.of_sender(connection, sender)? >= quotas.unknown_recipients_per_user)
    }

    fn total(&mut self, connection: &Connection) -> Result<u64> {
        if let Some(total) = self.total {
            return Ok(total);
        }
        let total = connection
            .prepare_cached("SELECT coalesce(sum(messages), 0) FROM unclaimed")?
            .query_row((), |row| row.get(0).map(unsigned))?;
        self.total = Some(total);
        Ok(total)
    }

    fn of_sender(&mut self, connection: &Connection, sender: i64) -> Result<u64> {
        if let Some(count) = self.by_sender.get(&sender) {
            return Ok(*count);
        }
        let count = connection
            .prepare_cached("SELECT coalesce(sum(messages), 0) FROM unclaimed WHERE sender = ?1")?
            .query_row([sender], |row| row.get(0).map(unsigned))?;
        self.by_sender.insert(sender, count);
        Ok(count)
    }

    /// Counts a message that [`UnknownRecipients::check`] has allowed.
    pub fn count(&mut self, recipient: i64, sender: i64) {
        if let Some(total) = &mut self.total {
            *total += 1;
        }
        *self.by_sender.entry(sender).or_default() += 1;
        *self.new.entry((recipient, sender)).or_default() += 1;
    }

    /// Writes the messages of the current batch to the table.
    pub fn write(&mut self, connection: &Connection) -> Result<()> {
        for ((recipient, sender), count) in self.new.drain() {
            connection
                .prepare_cached(
                    "INSERT INTO unclaimed (recipient, sender, messages) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET messages = messages + ?3",
                )?
                .execute([recipient, sender, signed(count)])?;
        }
        Ok(())
    }

    /// A recipient has connected, or a key has named the recipient: messages to this user count no longer.
    pub fn recipient_known(&mut self, connection: &Connection, recipient: i64) -> Result<()> {
        self.write(connection)?;
        let mut statement = connection.prepare_cached(
            "DELETE FROM unclaimed WHERE recipient = ?1 RETURNING sender, messages",
        )?;
        let mut rows = statement.query([recipient])?;
        while let Some(row) = rows.next()? {
            self.subtract(row.get(0)?, unsigned(row.get(1)?));
        }
        Ok(())
    }

    /// A sender was erased: the sender's messages count no longer.
    pub fn sender_removed(&mut self, connection: &Connection, sender: i64) -> Result<()> {
        self.write(connection)?;
        let removed: Vec<i64> = connection
            .prepare_cached("DELETE FROM unclaimed WHERE sender = ?1 RETURNING messages")?
            .query_map([sender], |row| row.get(0))?
            .collect::<Result<_>>()?;
        self.subtract(sender, removed.into_iter().map(unsigned).sum());
        Ok(())
    }

    /// A message was removed from the store.
    pub fn message_removed(
        &mut self,
        connection: &Connection,
        recipient: i64,
        sender: i64,
    ) -> Result<()> {
        let counted = connection
            .prepare_cached(
                "UPDATE unclaimed SET messages = messages - 1 WHERE recipient = ?1 AND sender = ?2",
            )?
            .execute([recipient, sender])?;
        if counted > 0 {
            self.subtract(sender, 1);
            connection
                .prepare_cached(
                    "DELETE FROM unclaimed WHERE recipient = ?1 AND sender = ?2 AND messages <= 0",
                )?
                .execute([recipient, sender])?;
        }
        Ok(())
    }

    fn subtract(&mut self, sender: i64, count: u64) {
        if let Some(total) = &mut self.total {
            *total = total.saturating_sub(count);
        }
        if let Some(of_sender) = self.by_sender.get_mut(&sender) {
            *of_sender = of_sender.saturating_sub(count);
        }
    }

    /// Forgets the counts; they are looked up again when they are needed.
    pub fn clear(&mut self) {
        self.total = None;
        self.by_sender = HashMap::new();
    }

    /// The number of senders in memory.
    pub fn len(&self) -> usize {
        self.by_sender.len()
    }
}

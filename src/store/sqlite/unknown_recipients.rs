//! Messages to users who have never connected: names that perhaps nobody has. How many there are is bounded, in all and by
//! who left them, so that made-up names fill no disk. The table is exact; it forgets a name when its user comes, and a message
//! when retention removes it.

use std::collections::HashMap;

use rusqlite::Connection;

use super::file::{signed, unsigned};
use crate::store::{Outcome, Quotas};

type Result<T> = rusqlite::Result<T>;

/// How many there are. What is not known yet is looked up.
#[derive(Debug, Default)]
pub struct UnknownRecipients {
    all: Option<u64>,
    by_sender: HashMap<i64, u64>,
    /// Left in the batch under way: by recipient and sender.
    new: HashMap<(i64, i64), u64>,
}

impl UnknownRecipients {
    /// Why a sender may leave no more; `None`: one more is fine.
    pub fn refuses(
        &mut self,
        connection: &Connection,
        quotas: &Quotas,
        sender: i64,
    ) -> Result<Option<Outcome>> {
        if self.of(connection, sender)? >= quotas.unclaimed_of_one {
            return Ok(Some(Outcome::LeftTooMany));
        }
        Ok((self.all(connection)? >= quotas.unclaimed).then_some(Outcome::NoRoom))
    }

    fn all(&mut self, connection: &Connection) -> Result<u64> {
        if let Some(all) = self.all {
            return Ok(all);
        }
        let all = connection
            .prepare_cached("SELECT coalesce(sum(messages), 0) FROM unclaimed")?
            .query_row((), |row| row.get(0).map(unsigned))?;
        self.all = Some(all);
        Ok(all)
    }

    fn of(&mut self, connection: &Connection, sender: i64) -> Result<u64> {
        if let Some(count) = self.by_sender.get(&sender) {
            return Ok(*count);
        }
        let count = connection
            .prepare_cached("SELECT coalesce(sum(messages), 0) FROM unclaimed WHERE sender = ?1")?
            .query_row([sender], |row| row.get(0).map(unsigned))?;
        self.by_sender.insert(sender, count);
        Ok(count)
    }

    /// Counts one message, which [`UnknownRecipients::refuses`] had nothing against.
    pub fn add(&mut self, recipient: i64, sender: i64) {
        if let Some(all) = &mut self.all {
            *all += 1;
        }
        *self.by_sender.entry(sender).or_default() += 1;
        *self.new.entry((recipient, sender)).or_default() += 1;
    }

    /// Writes what the batch has added.
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

    /// The recipient is there.
    pub fn claimed(&mut self, connection: &Connection, recipient: i64) -> Result<()> {
        self.write(connection)?;
        let mut statement = connection.prepare_cached(
            "DELETE FROM unclaimed WHERE recipient = ?1 RETURNING sender, messages",
        )?;
        let mut rows = statement.query([recipient])?;
        while let Some(row) = rows.next()? {
            self.take(row.get(0)?, unsigned(row.get(1)?));
        }
        Ok(())
    }

    /// A message is gone.
    pub fn removed(&mut self, connection: &Connection, recipient: i64, sender: i64) -> Result<()> {
        let known = connection
            .prepare_cached(
                "UPDATE unclaimed SET messages = messages - 1 WHERE recipient = ?1 AND sender = ?2",
            )?
            .execute([recipient, sender])?;
        if known > 0 {
            self.take(sender, 1);
            connection
                .prepare_cached(
                    "DELETE FROM unclaimed WHERE recipient = ?1 AND sender = ?2 AND messages <= 0",
                )?
                .execute([recipient, sender])?;
        }
        Ok(())
    }

    /// So many messages of a sender count no longer.
    fn take(&mut self, sender: i64, count: u64) {
        if let Some(all) = &mut self.all {
            *all = all.saturating_sub(count);
        }
        if let Some(of_one) = self.by_sender.get_mut(&sender) {
            *of_one = of_one.saturating_sub(count);
        }
    }

    /// Looks everything up again when it is asked for next.
    pub fn forget(&mut self) {
        self.all = None;
        self.by_sender = HashMap::new();
    }

    /// Senders that are remembered.
    pub fn len(&self) -> usize {
        self.by_sender.len()
    }
}

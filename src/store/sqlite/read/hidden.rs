//! Which messages a conversation hides because of their age: its oldest messages, as long as every one of them has expired. One
//! message with a time that is too early hides nothing that was stored before it, as in retention.

use std::cell::RefCell;
use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Result, params};

use super::SqliteReader;

/// The maximum number of conversations in memory. Beyond it all are forgotten.
const MAX_KNOWN: usize = 10_000;

/// For conversations: a number up to which all messages were older than a time, and that time. A later search begins there, so
/// that hidden messages are not examined for each query.
#[derive(Debug, Default)]
pub struct HiddenMessages(RefCell<HashMap<i64, (i64, i64)>>);

impl HiddenMessages {
    /// Messages up to this number are older than `not_before`.
    fn up_to(&self, conversation: i64, not_before: i64) -> i64 {
        match self.0.borrow().get(&conversation) {
            // The time moves back when the clock was wrong.
            Some((older_than, n)) if *older_than <= not_before => *n,
            _ => 0,
        }
    }

    fn set(&self, conversation: i64, not_before: i64, n: i64) {
        let mut known = self.0.borrow_mut();
        if known.len() >= MAX_KNOWN {
            *known = HashMap::new();
        }
        known.insert(conversation, (not_before, n));
    }
}

impl SqliteReader {
    /// The number of the first message that a conversation shows. `None`: it shows none.
    pub(super) fn first_shown(
        &self,
        conversation: i64,
        not_before: Option<i64>,
    ) -> Result<Option<i64>> {
        let Some(not_before) = not_before else {
            return Ok(Some(0));
        };
        let hidden = self.hidden.up_to(conversation, not_before);
        let first: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT n FROM messages WHERE conversation = ?1 AND n > ?2 AND sent_at >= ?3 ORDER BY n LIMIT 1",
            )?
            .query_row(params![conversation, hidden, not_before], |row| row.get(0))
            .optional()?;
        let last_hidden = match first {
            Some(first) => Some(first - 1),
            None => self
                .connection
                .prepare_cached("SELECT max(n) FROM messages WHERE conversation = ?1")?
                .query_row([conversation], |row| row.get(0))?,
        };
        if let Some(last) = last_hidden.filter(|last| *last > hidden) {
            self.hidden.set(conversation, not_before, last);
        }
        Ok(first)
    }
}

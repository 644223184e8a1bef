//! Which messages a conversation hides because of their age: its oldest messages, as long as every one of them has expired. One
//! message with a time that is too early hides nothing that was stored before it, as in retention.

use rusqlite::{OptionalExtension as _, Result};

use super::SqliteReader;

/// A message with the latest time of all messages up to it, which never decreases.
pub struct Latest {
    pub n: i64,
    pub at: i64,
}

impl SqliteReader {
    /// The number of the first message after message `after` that a conversation shows. `None`: it shows none. It takes time
    /// logarithmic in the number of messages.
    pub(super) fn first_shown(
        &self,
        conversation: i64,
        after: i64,
        not_before: i64,
    ) -> Result<Option<i64>> {
        let Some(first) = self.next_latest(conversation, after)? else {
            return Ok(None);
        };
        if first.at >= not_before {
            return Ok(Some(first.n));
        }
        let newest = self.newest_latest(conversation)?;
        let Some(newest) = newest.filter(|newest| newest.at >= not_before) else {
            return Ok(None);
        };
        // Up to `hidden` all are hidden, after `end` all are shown, and `shown` is the first of these.
        let (mut hidden, mut end, mut shown) = (first.n, newest.n - 1, newest.n);
        while hidden < end {
            let middle = hidden + (end - hidden) / 2;
            let Some(next) = self.next_latest(conversation, middle)? else {
                break;
            };
            if next.at < not_before {
                hidden = next.n;
            } else {
                shown = next.n;
                end = middle;
            }
        }
        Ok(Some(shown))
    }

    fn next_latest(&self, conversation: i64, after: i64) -> Result<Option<Latest>> {
        self.connection
            .prepare_cached(
                "SELECT n, sent_at + behind FROM messages WHERE conversation = ?1 AND n > ?2 ORDER BY n LIMIT 1",
            )?
            .query_row([conversation, after], |row| {
                Ok(Latest {
                    n: row.get(0)?,
                    at: row.get(1)?,
                })
            })
            .optional()
    }

    /// The newest message of a conversation.
    pub(super) fn newest_latest(&self, conversation: i64) -> Result<Option<Latest>> {
        self.connection
            .prepare_cached(
                "SELECT n, sent_at + behind FROM messages WHERE conversation = ?1 ORDER BY n DESC LIMIT 1",
            )?
            .query_row([conversation], |row| {
                Ok(Latest {
                    n: row.get(0)?,
                    at: row.get(1)?,
                })
            })
            .optional()
    }
}

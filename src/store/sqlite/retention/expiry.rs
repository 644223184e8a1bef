//! Removes the messages of a conversation that have expired: its oldest ones, except for those that an inbox still shows.

use rusqlite::{Connection, OptionalExtension as _};

use super::REMOVE;
use crate::store::sqlite::cache::Cache;
use crate::store::sqlite::pending::PendingLog;
use crate::store::sqlite::rooms::is_room;
use crate::store::sqlite::{counts, listed, long_contents, uncounted};

type Result<T> = rusqlite::Result<T>;

/// The work of recording a gap between kept messages, in messages to remove: it changes the sums of both users.
const GAP: i64 = 8;

/// Messages of a conversation that have expired, as far as one step goes.
#[derive(Debug, Default)]
pub struct OldMessages {
    messages: Vec<OldMessage>,
    /// The work of examining them, and of removing those that are to be removed, of which `REMOVE` is enough for one step.
    pub work: i64,
    /// Later ones may have expired, too.
    has_more: bool,
}

#[derive(Clone, Copy, Debug)]
struct OldMessage {
    n: i64,
    sender: i64,
    is_deleted: bool,
    /// It is in no inbox: it is to be removed.
    gone: bool,
}

impl OldMessages {
    /// The numbers of those that are to be removed.
    pub fn to_remove(&self) -> impl Iterator<Item = i64> {
        let gone = self.messages.iter().filter(|message| message.gone);
        gone.map(|message| message.n)
    }

    /// The numbers of those that an inbox still shows, and that were not deleted.
    pub fn to_clear(&self) -> impl Iterator<Item = i64> {
        let kept = self.messages.iter().filter(|message| !message.gone);
        kept.filter(|message| !message.is_deleted)
            .map(|message| message.n)
    }

    /// The number of those that were not deleted.
    pub fn not_deleted(&self) -> u64 {
        let messages = self.messages.iter();
        messages.filter(|message| !message.is_deleted).count() as u64
    }

    /// None of them is to be removed: inboxes may get entries of them.
    pub fn keep_all(&mut self) {
        for message in &mut self.messages {
            message.gone = false;
        }
    }

    pub fn has_some_to_remove(&self) -> bool {
        self.messages.iter().any(|message| message.gone)
    }

    /// The last of them, if later ones may have expired, too.
    pub fn unfinished(&self) -> Option<i64> {
        let last = self.messages.last().filter(|_| self.has_more)?;
        Some(last.n)
    }
}

/// The messages of a conversation after message `after` that have expired with all messages before them.
pub fn old_messages(
    connection: &Connection,
    (conversation, after): (i64, i64),
    cutoff: i64,
) -> Result<OldMessages> {
    // Inboxes are examined for expired messages only. A long message occupies many pages.
    macro_rules! select {
        ($is_unused:literal) => {
            concat!(
                "SELECT n, 1 + coalesce((SELECT octet_length(x.content) FROM contents AS x WHERE x.n = messages.n), 0) / 4096,
                    CASE WHEN sent_at < ?3 THEN ",
                $is_unused,
                " AND NOT EXISTS (SELECT 1 FROM inbox AS i
                        WHERE i.conversation = ?1 AND i.message = messages.n AND i.kind BETWEEN 1 AND 4)
                    END, sender, deleted_at IS NOT NULL
                 FROM messages WHERE conversation = ?1 AND n > ?4 ORDER BY n LIMIT ?2"
            )
        };
    }
    let sql = if is_room(conversation) {
        select!(
            "NOT EXISTS (SELECT 1 FROM inbox AS i WHERE i.conversation = ?1 AND i.message = messages.n
                AND i.conversation < 0 AND i.kind IN (0, 6, 7))"
        )
    } else {
        select!(
            "from_seq <= (SELECT floor FROM users WHERE users.n = sender)
             AND to_seq <= (SELECT floor FROM users WHERE users.n = recipient)"
        )
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([conversation, REMOVE, cutoff, after])?;
    let mut old = OldMessages::default();
    while let Some(row) = rows.next()? {
        // `None`: it has not expired.
        let Some(gone) = row.get::<_, Option<bool>>(2)? else {
            break;
        };
        old.messages.push(OldMessage {
            n: row.get(0)?,
            sender: row.get(3)?,
            is_deleted: row.get(4)?,
            gone,
        });
        let starts_gap =
            gone && old.messages.len() > 1 && !old.messages[old.messages.len() - 2].gone;
        old.work += if gone { row.get::<_, i64>(1)? } else { 1 };
        old.work += if starts_gap { GAP } else { 0 };
        if old.work >= REMOVE {
            old.has_more = true;
            break;
        }
    }
    Ok(old)
}

/// Removes messages of a conversation. Returns its users if they are no contacts any more.
pub fn remove(
    tx: &Connection,
    (cache, log): (&mut Cache, &PendingLog),
    conversation: i64,
    old: &OldMessages,
) -> Result<Option<(i64, i64)>> {
    let mut last = None;
    for message in old.messages.iter().filter(|message| message.gone) {
        let (recipient, low, high): (i64, i64, i64) = tx
            .prepare_cached(
                "DELETE FROM messages WHERE conversation = ?1 AND n = ?2 RETURNING recipient, low_count, high_count",
            )?
            .query_row([conversation, message.n], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let sender = message.sender;
        cache
            .unknown_recipients
            .message_removed(tx, recipient, sender)?;
        long_contents::remove(tx, message.n)?;
        tx.prepare_cached("DELETE FROM reactions WHERE conversation = ?1 AND message = ?2")?
            .execute([conversation, message.n])?;
        let pair = (sender.min(recipient), sender.max(recipient));
        last = Some((message.n, pair, (low, high)));
    }
    let Some((n, pair, (low, high))) = last else {
        return Ok(None);
    };
    // Later messages may have been removed before. Without messages, the conversation does not have their numbers any more.
    let after = |user| uncounted::after(tx, (conversation, user, n)).map(|counts| counts.removed);
    let is_of_two = pair.0 != pair.1;
    let removed = (
        low + after(pair.0)?,
        high + if is_of_two { after(pair.1)? } else { 0 },
    );
    subtract(tx, conversation, pair, &old.messages)?;
    let are_strangers = counts::update_wrote(tx, (cache, log), pair, removed)?;
    listed::remove_empty(tx, conversation, pair)?;
    Ok(are_strangers.then_some(pair))
}

/// Records the removed messages that the counts of later ones include, and that are not before the oldest message.
fn subtract(
    tx: &Connection,
    conversation: i64,
    pair: (i64, i64),
    messages: &[OldMessage],
) -> Result<()> {
    let place = |sql: &str, n: i64| -> Result<Option<i64>> {
        tx.prepare_cached(sql)?
            .query_row([conversation, n], |row| row.get(0))
            .optional()
    };
    let next = |n| {
        place(
            "SELECT n FROM messages WHERE conversation = ?1 AND n > ?2 ORDER BY n LIMIT 1",
            n,
        )
    };
    uncounted::forget_before(tx, conversation, pair, next(0)?)?;
    // Neighbours that were removed make one gap.
    for gap in messages.chunk_by(|a, b| a.gone == b.gone) {
        let (Some(first), Some(last)) = (gap.first(), gap.last()) else {
            continue;
        };
        let before = place(
            "SELECT n FROM messages WHERE conversation = ?1 AND n < ?2 ORDER BY n DESC LIMIT 1",
            first.n,
        )?;
        let Some(before) = before.filter(|_| first.gone) else {
            continue;
        };
        let end = next(last.n)?.unwrap_or(i64::MAX);
        let users = [Some(pair.0), (pair.0 != pair.1).then_some(pair.1)];
        for user in users.into_iter().flatten() {
            let is_new = |message: &&OldMessage| message.sender == user && !message.is_deleted;
            let count = gap.iter().filter(is_new).count() as i64;
            uncounted::merge_removed(tx, (conversation, user), (before, end), (last.n, count))?;
        }
    }
    Ok(())
}

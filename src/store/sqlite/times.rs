//! The times of the newest commits, in two rows of `meta`: the next start compares the clock with them.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::store::StoredTimes;

/// The rows are written when the time of a commit differs by this much, in milliseconds.
const PRECISION: u64 = 60_000;
/// The keys of the rows: the time of the newest commit, and that of the newest one made while the present time was certain.
const NEWEST: &str = "time";
const TRUSTED: &str = "trusted_time";
/// In a file of a version that did not have the rows: the number of conversations that are searched for the newest message.
const SEARCHED: i64 = 256;

/// What the rows hold, as far as this run has written them.
#[derive(Debug, Default)]
pub struct RecordedTimes {
    newest: Option<i64>,
    trusted: Option<i64>,
}

impl RecordedTimes {
    /// Writes the rows, if necessary, within the transaction of a commit at `now`. To be replaced by a default after a
    /// rollback.
    pub fn update(
        &mut self,
        connection: &Connection,
        now: i64,
        is_certain: bool,
    ) -> rusqlite::Result<()> {
        record(connection, NEWEST, &mut self.newest, now)?;
        if is_certain {
            record(connection, TRUSTED, &mut self.trusted, now)?;
        }
        Ok(())
    }
}

fn record(
    connection: &Connection,
    key: &str,
    recorded: &mut Option<i64>,
    now: i64,
) -> rusqlite::Result<()> {
    if recorded.is_some_and(|recorded| recorded.abs_diff(now) < PRECISION) {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2",
        )?
        .execute(params![key, now])?;
    *recorded = Some(now);
    Ok(())
}

/// Reads the rows. The newest commit counts, not the latest time: a single time that was too late would otherwise count
/// forever. `pending`: the time of the newest message in the pending log, for a file of a version that did not have the rows.
pub fn read(
    connection: &Connection,
    pending: Option<i64>,
) -> rusqlite::Result<Option<StoredTimes>> {
    let row = |key: &str| {
        connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
    };
    let newest: Option<i64> = match row(NEWEST)? {
        Some(newest) => Some(newest),
        None if pending.is_some() => pending,
        None => newest_message(connection)?,
    };
    let Some(newest) = newest else {
        return Ok(None);
    };
    Ok(Some(StoredTimes {
        newest,
        trusted: row(TRUSTED)?.unwrap_or(newest),
    }))
}

/// The time of the newest message, by its number, among the conversations that began last. An approximation: a search of all
/// conversations would take too long.
fn newest_message(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row(
            "SELECT m.sent_at FROM
             (SELECT c.n AS conversation, (SELECT max(n) FROM messages WHERE conversation = c.n) AS newest
              FROM (SELECT n FROM conversations ORDER BY n DESC LIMIT ?1) AS c) AS l
             JOIN messages AS m ON m.conversation = l.conversation AND m.n = l.newest
             ORDER BY m.n DESC LIMIT 1",
            [SEARCHED],
            |row| row.get(0),
        )
        .optional()
}

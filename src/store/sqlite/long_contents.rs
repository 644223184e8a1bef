//! Content that does not fit in the row of its message.
//!
//! SQLite keeps about 1,000 bytes of a row of `messages` on its page and the rest on pages of its own, which are read or written
//! with every use of the row: with each part of it that is changed, and with each column that is looked up behind the content of
//! another row. So longer content is in a table of its own (`contents`), by the number of the message, and the rows of `messages`
//! are small: a query of the counts, times or ids of many messages reads few pages.

use rusqlite::{Connection, OptionalExtension as _, params};

type Result<T> = rusqlite::Result<T>;

/// Content with more bytes is not in the row of its message.
pub const MAX_IN_ROW: usize = 768;

/// The content as it is in the row of its message. `None`: it is in a row of its own.
pub fn in_row(content: &str) -> Option<&str> {
    (content.len() <= MAX_IN_ROW).then_some(content)
}

/// Writes the content of message `n` if it is not in the message's row.
pub fn insert(connection: &Connection, n: i64, content: &str) -> Result<()> {
    if in_row(content).is_some() {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT INTO contents (n, content) VALUES (?1, ?2)")?
        .execute(params![n, content])
        .map(drop)
}

/// Removes the content of message `n` if it is not in the message's row.
pub fn remove(connection: &Connection, n: i64) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM contents WHERE n = ?1")?
        .execute([n])
        .map(drop)
}

/// The content of message `n`, whose row has `in_row`. `None`: the message is deleted.
pub fn read(connection: &Connection, n: i64, in_row: Option<String>) -> Result<Option<String>> {
    if in_row.is_some() {
        return Ok(in_row);
    }
    connection
        .prepare_cached("SELECT content FROM contents WHERE n = ?1")?
        .query_row([n], |row| row.get(0))
        .optional()
}

//! Reading what the log holds without moving it.

use rusqlite::Connection;

use super::flush::recover;
use super::record::Result;

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

//! Temporary views through which a reading connection sees the tables with the log included.

use rusqlite::Connection;

use super::encoding::damaged;
use super::item::Item;
use super::legacy::{self, VERSIONED_RECORDS};
use super::tables::{Tables, TrimmedTo};
use crate::store::sqlite::migrations::COUNTED;

/// Makes this connection see the tables with what the log holds now, without writing to the file. It costs a
/// copy of the log, and slower queries.
pub fn include(connection: &Connection) -> rusqlite::Result<()> {
    let is_old = version(connection)? < COUNTED;
    // Columns that older files do not have.
    let added = [
        "low_count INTEGER NOT NULL DEFAULT 0",
        "high_count INTEGER NOT NULL DEFAULT 0",
        "behind INTEGER NOT NULL DEFAULT 0",
        "hash BLOB",
    ];
    let columns = if is_old {
        "*, 0 AS low_count, 0 AS high_count, 0 AS behind, NULL AS hash"
    } else {
        "*"
    };
    let is_empty: bool =
        connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM pending)", (), |row| {
            row.get(0)
        })?;
    if is_empty {
        return if is_old {
            connection.execute_batch(&format!(
                "CREATE TEMP VIEW messages AS SELECT {columns} FROM main.messages"
            ))
        } else {
            Ok(())
        };
    }
    // A temporary table hides the file's own table of the same name.
    for table in ["messages", "inbox"] {
        let sql: String = connection.query_row(
            "SELECT sql FROM main.sqlite_schema WHERE name = ?1",
            [table],
            |row| row.get(0),
        )?;
        connection.execute_batch(&sql.replacen("CREATE TABLE", "CREATE TEMP TABLE", 1))?;
    }
    if is_old {
        for column in added {
            connection.execute_batch(&format!("ALTER TABLE temp.messages ADD COLUMN {column}"))?;
        }
    }
    // The entries that those of the log supersede.
    connection.execute_batch(
        "CREATE TEMP TABLE pending_superseded (user INTEGER, seq INTEGER, PRIMARY KEY (user, seq)) WITHOUT ROWID",
    )?;
    copy(connection)?;
    let supersedes: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM temp.pending_superseded)",
        (),
        |row| row.get(0),
    )?;
    let inbox = if supersedes {
        "SELECT * FROM main.inbox AS i WHERE NOT EXISTS
            (SELECT 1 FROM temp.pending_superseded AS s WHERE s.user = i.user AND s.seq = i.seq)
         UNION ALL SELECT i.user, i.seq, i.at, i.conversation, i.message, 5, NULL, NULL
            FROM temp.pending_superseded AS s CROSS JOIN main.inbox AS i ON i.user = s.user AND i.seq = s.seq"
    } else {
        "SELECT * FROM main.inbox"
    };
    connection.execute_batch(&format!(
        "ALTER TABLE temp.messages RENAME TO pending_messages;
         ALTER TABLE temp.inbox RENAME TO pending_inbox;
         CREATE TEMP VIEW messages AS SELECT {columns} FROM main.messages
            UNION ALL SELECT * FROM pending_messages AS p WHERE NOT EXISTS
            (SELECT 1 FROM main.messages AS m WHERE m.conversation = p.conversation AND m.n = p.n);
         CREATE TEMP VIEW inbox AS {inbox}
            UNION ALL SELECT * FROM pending_inbox AS p WHERE NOT EXISTS
            (SELECT 1 FROM main.inbox AS i WHERE i.user = p.user AND i.seq = p.seq);"
    ))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", (), |row| row.get(0))
}

/// Reverts [`include`]: this connection sees the tables as they are in the file.
pub fn exclude(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DROP VIEW IF EXISTS temp.messages; DROP VIEW IF EXISTS temp.inbox;
         DROP TABLE IF EXISTS temp.pending_messages; DROP TABLE IF EXISTS temp.pending_inbox;
         DROP TABLE IF EXISTS temp.pending_superseded;",
    )
}

/// Inserts what the log has into the (temporary) tables. The file may be of an older version: the commands that only
/// read do not migrate it.
fn copy(connection: &Connection) -> rusqlite::Result<()> {
    let is_versioned = version(connection)? >= VERSIONED_RECORDS;
    let mut trimmed_to = TrimmedTo::new();
    let mut tables = Tables::new(connection, &mut trimmed_to, false)?;
    let mut statement = connection.prepare("SELECT records FROM pending ORDER BY n")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let mut bytes = row.get_ref(0)?.as_blob()?;
        while !bytes.is_empty() {
            let item = if is_versioned {
                Item::read(&mut bytes)
            } else {
                legacy::read(&mut bytes).map(Item::Message)
            };
            tables.insert_item(&item.ok_or_else(damaged)?)?;
        }
    }
    Ok(())
}

//! A migration that is interrupted, and the space that it needs.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::*;
use crate::store::sqlite::{Durability, Sqlite, admin, migrations};
use crate::store::{Retention, StoreOptions};

const RETENTION: Retention = Retention {
    inbox_ms: i64::MAX / 4,
    inbox_limit: 1_000_000,
    history_ms: None,
    device_ms: i64::MAX / 4,
};
const START: i64 = 1_800_000_000_000;
const USERS: i64 = 40;

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("dmwire-migration-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).expect("the folder is created");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Writes a store of version 6 with `count` messages, of which some are deleted or edited.
// All numbers are positive.
#[allow(clippy::cast_sign_loss)]
fn store_of_version_6(path: &Path, count: i64) {
    let mut connection = Connection::open(path).expect("the file is created");
    migrations::configure(&connection, "OFF").expect("it is configured");
    let tx = connection.transaction().expect("it begins");
    for step in &migrations::STEPS[..6] {
        tx.execute_batch(step).expect("the tables are created");
    }
    tx.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 6;
         INSERT INTO meta (key, value) VALUES ('epoch', randomblob(16)), ('key', x'07'), ('next', 1000000);",
        migrations::APPLICATION
    ))
    .expect("it is a store");
    let mut heads = vec![0_i64; USERS as usize + 1];
    for user in 1..=USERS {
        tx.execute(
            "INSERT INTO users (n, id) VALUES (?1, 'user' || ?1)",
            [user],
        )
        .expect("a user");
        tx.execute(
            "INSERT INTO devices (user, device, received, used) VALUES (?1, 'default', 0, ?2)",
            [user, START],
        )
        .expect("a device");
    }
    let mut entry = |user: i64, n: i64, conversation: i64, kind: i64, by: Option<i64>| -> i64 {
        heads[user as usize] += 1;
        let seq = heads[user as usize];
        tx.prepare_cached(
            "INSERT INTO inbox (user, seq, at, conversation, message, kind, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .expect("it is prepared")
        .execute(params![user, seq, START + n, conversation, n, kind, by])
        .expect("an entry");
        seq
    };
    for n in 1..=count {
        // Neighbours and oneself.
        let sender = n * 7 % USERS + 1;
        let recipient = (sender + n * 11 % 4).min(USERS);
        let (low, high) = (sender.min(recipient), sender.max(recipient));
        let conversation = low * 100 + high;
        tx.prepare_cached("INSERT OR IGNORE INTO conversations (n, low, high) VALUES (?1, ?2, ?3)")
            .expect("it is prepared")
            .execute([conversation, low, high])
            .expect("a conversation");
        let from_seq = entry(sender, n, conversation, 0, Some(sender));
        let to_seq = if sender == recipient {
            from_seq
        } else {
            entry(recipient, n, conversation, 0, None)
        };
        let (is_edited, is_deleted) = (n % 5 == 0, n % 9 == 0);
        let mut change = None;
        let kinds: &[i64] = match (is_edited, is_deleted) {
            (false, false) => &[],
            (true, false) => &[1, 1],
            (false, true) => &[2],
            (true, true) => &[1, 1, 2],
        };
        for kind in kinds {
            change = Some(entry(sender, n, conversation, *kind, Some(sender)));
            if sender != recipient {
                entry(recipient, n, conversation, *kind, Some(sender));
            }
        }
        let length = [10, 700, 800, 1500, 5000][n as usize % 5];
        let content = format!("\"{n} {}\"", "x".repeat(length));
        let changed_at = START + n;
        tx.prepare_cached(
            "INSERT INTO messages (conversation, n, id, sender, recipient, from_seq, to_seq, sent_at, edited_at, deleted_at,
                change_seq, first, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )
        .expect("it is prepared")
        .execute(params![
            conversation,
            n,
            Uuid::from_u128(n as u128).as_bytes(),
            sender,
            recipient,
            from_seq,
            to_seq,
            START + n * 1000 - n % 3 * 5000,
            is_edited.then_some(changed_at),
            is_deleted.then_some(changed_at),
            change,
            change.map(|_| [7_u8; 16]),
            (!is_deleted).then_some(content),
        ])
        .expect("a message");
    }
    tx.commit().expect("it is committed");
}

/// All rows of the tables.
fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).expect("it opens");
    let tables: Vec<String> = connection
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name != 'meta' ORDER BY name",
        )
        .and_then(|mut tables| tables.query_map((), |row| row.get(0))?.collect())
        .expect("they are listed");
    let mut rows = Vec::new();
    for table in tables {
        let mut statement = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .expect("it is a table");
        let columns = statement.column_count();
        let read = statement.query_map((), |row| {
            let values: Result<Vec<_>> = (0..columns)
                .map(|column| row.get::<_, rusqlite::types::Value>(column))
                .collect();
            Ok(format!("{table} {:?}", values?))
        });
        rows.extend(read.expect("it is read").map(|row| row.expect("a row")));
    }
    rows
}

/// A connection that leaves its log when it is closed, like a process that is killed.
fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("it opens");
    let keep = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(keep, true).expect("it is set");
    migrations::configure(&connection, "OFF").expect("it is configured");
    connection
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, Durability::Normal, StoreOptions::new(RETENTION)).expect("the store opens")
}

#[test]
fn an_interrupted_migration_continues() {
    let folder = Folder::new();
    let [whole, interrupted] = ["whole.db", "interrupted.db"].map(|name| folder.0.join(name));
    store_of_version_6(&whole, 4000);
    assert_eq!(
        admin::verify(&whole).expect("it is readable"),
        [] as [&str; 0]
    );
    std::fs::copy(&whole, &interrupted).expect("it is copied");
    drop(open(&whole));
    let size = |path: &Path| std::fs::metadata(path).expect("there is a file").len();
    let (before, mut longest_log) = (size(&whole), 0);
    let mut parts = 0;
    let mut connection = connect(&interrupted);
    migrations::run_steps(&mut connection, 6).expect("it begins");
    loop {
        if parts % 3 == 2 {
            let tx = connection.transaction().expect("it begins");
            copy_messages(&tx).expect("messages are copied");
            tx.rollback().expect("it is rolled back");
        }
        let has_more = run_part(&mut connection).expect("a part is done");
        parts += 1;
        longest_log = longest_log.max(size(&folder.0.join("interrupted.db-wal")));
        if !has_more {
            break;
        }
        if parts % 10 > 0 {
            continue;
        }
        // Only a server uses the file until it is finished.
        drop(connection);
        for checked in [
            admin::verify(&interrupted).map(drop),
            admin::backup(&interrupted, &folder.0.join("backup.db")).map(drop),
            admin::restore(&interrupted, &folder.0.join("restored.db")).map(drop),
        ] {
            let error = checked.expect_err("it is refused").to_string();
            assert!(error.contains("migration"), "{error}");
        }
        connection = connect(&interrupted);
    }
    assert!(parts > 20, "{parts}");
    // SQLite copies the log after the commit with which it has 1,000 pages (4 MiB): it has at most these and the pages of a part.
    assert!(longest_log < 8 << 20, "{longest_log}");
    drop(open(&interrupted));
    let after = size(&interrupted);
    assert!(after < before + before / 4, "{before} {after}");
    for path in [&whole, &interrupted] {
        let findings = admin::verify(path).expect("it is readable");
        assert_eq!(findings, [] as [&str; 0]);
    }
    let (whole, interrupted) = (dump(&whole), dump(&interrupted));
    assert_eq!(whole.len(), interrupted.len());
    for (a, b) in whole.iter().zip(&interrupted) {
        assert_eq!(a, b);
    }
}

//! Files that an older version has written.

use rusqlite::Connection;
use serde_json::json;

use crate::helpers::{assert_verified, replay, used_store};
use crate::support::{Client, Server, dmwire, to};

/// What versions 8 to 10 of the tables have added.
const UNDO_VERSIONS_8_TO_10: &str = "
    DROP TABLE revocations;
    DROP TABLE room_deletions;
    ALTER TABLE rooms DROP COLUMN former;
    ALTER TABLE rooms DROP COLUMN deleted_at;
    DROP TABLE events;
    DROP TABLE receivers;
    DROP TABLE erasures;
    DROP TABLE erasure_recipients;
    DROP INDEX removed_members_by_user;
    DROP INDEX room_reactions;
    ALTER TABLE users DROP COLUMN generation;
    ALTER TABLE users DROP COLUMN first_seen;
    ALTER TABLE users DROP COLUMN known;
    ALTER TABLE users DROP COLUMN status;
    ALTER TABLE users DROP COLUMN last_seen;
    DROP TABLE removed_members;
    DROP TABLE deferred;
    DROP TABLE online;
    PRAGMA user_version = 7";

#[test]
fn a_file_of_version_7_is_read_and_continued() {
    let folder = used_store();
    let file = Connection::open(folder.0.join("dmwire.db")).expect("the file is there");
    file.execute_batch(UNDO_VERSIONS_8_TO_10)
        .expect("it is changed");
    drop(file);

    assert_verified(&folder.0, "dmwire.db");
    let output = dmwire(&folder.0, &["backup", "copy.db"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_verified(&folder.0, "copy.db");
    let output = dmwire(&folder.0, &["export", "--user", "a"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = dmwire(&folder.0, &["erase", "--user", "nobody"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(!output.err.contains("no such"), "{output:?}");

    let mut server = Server::start_in(&folder, &["--store", "sqlite:dmwire.db"]);
    let mut a = Client::connect(&server, "a", "?since=0");
    assert!(!replay(&mut a).is_empty());
    assert_eq!(a.ask(&to("b", "after"))["status"], "stored");
    let answer = a.ask(&json!({"type": "status", "status": "away"}));
    assert_eq!(answer["type"], "ok", "{answer}");
    let answer = a.ask(&json!({"type": "join", "room": "lobby"}));
    assert_eq!(answer["status"], "stored", "{answer}");
    server.stop();
    assert_verified(&folder.0, "dmwire.db");
}

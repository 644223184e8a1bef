//! Deletions.

use super::{
    ID, OTHER_ID, assert_duplicate, assert_refused, edit, history, react, stored, talk, twin,
    unreact,
};
use crate::support::{Server, about, assert_has, to, with};
use serde_json::json;

#[test]
fn a_deleted_message_cannot_be_changed_and_only_its_author_may_delete_it_again() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = &first["id"];
    a.ask(&edit("b", id, "second"));
    b.expect("edited");
    let liked = b.ask(&react("a", id, "+"));
    stored(&liked);
    a.expect("reacted");
    let gone = a.ask(&about("delete", "b", id));
    stored(&gone);
    b.expect("deleted");
    let again = a.ask(&with(about("delete", "b", id), &json!({"ref": "d"})));
    assert_duplicate(&again, &gone);
    assert_eq!(again["ref"], "d");
    for content in ["first", "second", "third"] {
        let error = a.ask(&with(edit("b", id, content), &json!({"ref": "r"})));
        assert_refused(&error, "unknown_message", "r");
        let error = b.ask(&with(edit("a", id, content), &json!({"ref": "r"})));
        assert_refused(&error, "unknown_message", "r");
    }
    let error = b.ask(&with(about("delete", "a", id), &json!({"ref": "r"})));
    assert_refused(&error, "unknown_message", "r");
    // Also what would have been a repetition before.
    for frame in [react("a", id, "+"), unreact("a", id, "+")] {
        let error = b.ask(&with(frame, &json!({"ref": "r"})));
        assert_refused(&error, "unknown_message", "r");
    }
    let error = a.ask(&with(react("b", id, "+"), &json!({"ref": "r"})));
    assert_refused(&error, "unknown_message", "r");
    assert_duplicate(&twin(&server, "a").ask(&about("delete", "b", id)), &gone);
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn a_delete_is_told_to_every_session_and_the_content_is_gone() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let (mut a2, mut b2) = (twin(&server, "a"), twin(&server, "b"));
    let id = &first["id"];
    b.ask(&react("a", id, "👍"));
    a.expect("reacted");
    a2.expect("reacted");
    b2.expect("reacted");
    let ack = a.ask(&with(about("delete", "b", id), &json!({"ref": "d"})));
    stored(&ack);
    assert_has(&ack, &json!({"id": id, "seq": 3, "ref": "d"}));
    for (client, seq) in [(&mut a2, 3), (&mut b, 4), (&mut b2, 4)] {
        assert_eq!(
            client.expect("deleted"),
            json!({
                "type": "deleted", "id": id, "seq": seq, "from_user": "a", "target_user": "b",
                "deleted_at": ack["sent_at"],
            })
        );
    }
    for (client, user) in [(&mut a, "b"), (&mut b, "a")] {
        assert_eq!(
            history(client, user),
            [json!({
                "type": "message", "id": id, "from_user": "a", "target_user": "b",
                "sent_at": first["sent_at"], "deleted_at": ack["sent_at"],
            })]
        );
    }
    a.assert_quiet();
}

#[test]
fn deleted_content_leaves_the_store() {
    let mut server = Server::start(&[]);
    let (mut a, b, first) = talk(&server);
    let id = &first["id"];
    // Long contents go to pages of their own; between others they share one.
    let secrets = ["swordfish-first", "swordfish-second", "swordfish-long"];
    let long = format!("{} {}", secrets[2], "x".repeat(15_000));
    a.ask(&to("b", "before"));
    a.ask(&json!({"message": secrets[0], "target_user": "b", "id": ID}));
    a.ask(&json!({"message": long, "target_user": "b", "id": OTHER_ID}));
    a.ask(&to("b", "after"));
    a.ask(&edit("b", &json!(ID), secrets[1]));
    a.ask(&edit("b", id, "kept-in-the-store"));
    for id in [ID, OTHER_ID] {
        stored(&a.ask(&about("delete", "b", &json!(id))));
    }
    a.close();
    b.close();
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
    let path = server.folder().join("dmwire.db");
    // What is still in the log of the database is moved into it, as the next start would.
    let database = rusqlite::Connection::open(&path).expect("the store can be opened");
    let _: i64 = database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .expect("the log can be moved");
    drop(database);
    let holds = |text: &str| {
        let files = std::fs::read_dir(server.folder()).expect("the folder is there");
        files.map(|file| file.expect("a file").path()).any(|path| {
            let bytes = std::fs::read(path).expect("the file can be read");
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
    };
    assert!(holds("kept-in-the-store"));
    for secret in secrets {
        assert!(!holds(secret), "{secret}");
    }
}

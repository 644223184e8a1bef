//! Deletions.

use serde_json::json;

use super::{
    ID, OTHER_ID, assert_duplicate, assert_error, assert_stored, conversation, edit, messages,
    react, second_session, unreact,
};
use crate::support::{Server, about, assert_has, to, with};

#[test]
fn a_deleted_message_cannot_be_changed_and_a_repeated_deletion_is_a_duplicate_for_its_author() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let id = &first["id"];
    a.ask(&edit("b", id, "second"));
    b.expect("edited");
    let liked = b.ask(&react("a", id, "+"));
    assert_stored(&liked);
    a.expect("reacted");
    let gone = a.ask(&about("delete", "b", id));
    assert_stored(&gone);
    b.expect("deleted");
    let again = a.ask(&with(about("delete", "b", id), &json!({"ref": "d"})));
    assert_duplicate(&again, &gone);
    assert_eq!(again["ref"], "d");
    for content in ["first", "second", "third"] {
        let error = a.ask(&with(edit("b", id, content), &json!({"ref": "r"})));
        assert_error(&error, "unknown_message", "r");
        let error = b.ask(&with(edit("a", id, content), &json!({"ref": "r"})));
        assert_error(&error, "unknown_message", "r");
    }
    let error = b.ask(&with(about("delete", "a", id), &json!({"ref": "r"})));
    assert_error(&error, "unknown_message", "r");
    // Also changes that would have been duplicates before.
    for frame in [react("a", id, "+"), unreact("a", id, "+")] {
        let error = b.ask(&with(frame, &json!({"ref": "r"})));
        assert_error(&error, "unknown_message", "r");
    }
    let error = a.ask(&with(react("b", id, "+"), &json!({"ref": "r"})));
    assert_error(&error, "unknown_message", "r");
    assert_duplicate(
        &second_session(&server, "a").ask(&about("delete", "b", id)),
        &gone,
    );
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn a_deletion_reaches_every_session_and_removes_the_content() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let (mut a2, mut b2) = (second_session(&server, "a"), second_session(&server, "b"));
    let id = &first["id"];
    b.ask(&react("a", id, "👍"));
    a.expect("reacted");
    a2.expect("reacted");
    b2.expect("reacted");
    let ack = a.ask(&with(about("delete", "b", id), &json!({"ref": "d"})));
    assert_stored(&ack);
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
            messages(client, user),
            [json!({
                "type": "message", "id": id, "from_user": "a", "target_user": "b",
                "sent_at": first["sent_at"], "deleted_at": ack["sent_at"],
            })]
        );
    }
    a.assert_quiet();
}

#[test]
fn deleted_content_is_removed_from_the_database_file() {
    let mut server = Server::start(&[]);
    let (mut a, b, first) = conversation(&server);
    let id = &first["id"];
    // Long contents have pages of their own, short ones share a page.
    let secrets = ["swordfish-first", "swordfish-second", "swordfish-long"];
    let long = format!("{} {}", secrets[2], "x".repeat(15_000));
    a.ask(&to("b", "before"));
    a.ask(&json!({"message": secrets[0], "target_user": "b", "id": ID}));
    a.ask(&json!({"message": long, "target_user": "b", "id": OTHER_ID}));
    a.ask(&to("b", "after"));
    a.ask(&edit("b", &json!(ID), secrets[1]));
    a.ask(&edit("b", id, "kept-in-the-store"));
    for id in [ID, OTHER_ID] {
        assert_stored(&a.ask(&about("delete", "b", &json!(id))));
    }
    a.close();
    b.close();
    server.stop();
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

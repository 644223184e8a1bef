//! Changes of messages from outside: edits, deletes and reactions, their acks, and what replay makes of them (PROTOCOL
//! sections 5 and 10).

use crate::support::{Client, Server, about, assert_has, burst, to, with};
use serde_json::{Value, json};

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
const OTHER_ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5c";

/// A second session of a user, on a device of its own, that has seen all there was.
fn twin(server: &Server, user: &str) -> Client {
    let mut twin = Client::connect(server, user, "?device=twin&since=0");
    twin.until("synced");
    twin
}

fn edit(user: &str, id: &Value, content: impl Into<Value>) -> Value {
    with(about("edit", user, id), &json!({"message": content.into()}))
}

fn react(user: &str, id: &Value, emoji: &str) -> Value {
    with(about("react", user, id), &json!({"emoji": emoji}))
}

fn unreact(user: &str, id: &Value, emoji: &str) -> Value {
    with(react(user, id, emoji), &json!({"remove": true}))
}

fn stored(ack: &Value) {
    assert_has(
        ack,
        &json!({"type": "ack", "status": "stored", "duplicate": null}),
    );
}

/// `again` is the answer to what was done before, by the entry that `first` is the ack of.
#[track_caller]
fn assert_duplicate(again: &Value, first: &Value) {
    assert_has(
        again,
        &json!({
            "type": "ack", "status": "stored", "duplicate": true,
            "id": first["id"], "seq": first["seq"], "sent_at": first["sent_at"],
        }),
    );
}

#[track_caller]
fn assert_refused(error: &Value, code: &str, reference: &str) {
    assert_has(
        error,
        &json!({"type": "error", "code": code, "ref": reference, "retryable": false}),
    );
}

/// The messages of the conversation with a user, as a session is shown them now.
fn history(client: &mut Client, user: &str) -> Vec<Value> {
    let page = client.ask(&json!({"type": "history", "target_user": user, "limit": 200}));
    assert_has(&page, &json!({"type": "history", "more": false}));
    page["messages"].as_array().expect("messages").clone()
}

/// Two users of whom `a` has sent "first" to `b`. It is entry 1 of `a`, and entry 2 of `b`, who has heard from `c` before.
fn talk(server: &Server) -> (Client, Client, Value) {
    let mut c = Client::fresh(server, "c");
    let mut a = Client::fresh(server, "a");
    let mut b = Client::fresh(server, "b");
    c.ask(&to("b", "before"));
    b.expect("message");
    let first = a.ask(&to("b", "first"));
    stored(&first);
    assert_eq!(b.expect("message")["seq"], 2);
    (a, b, first)
}

#[test]
fn an_edit_is_told_to_every_session_of_both_sides() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let (mut a2, mut b2) = (twin(&server, "a"), twin(&server, "b"));
    let content = json!({"type": "markdown", "text": "*second*"});
    let ack = a.ask(&with(
        edit("b", &first["id"], content.clone()),
        &json!({"ref": "e"}),
    ));
    stored(&ack);
    assert_has(&ack, &json!({"id": first["id"], "seq": 2, "ref": "e"}));
    for (client, seq) in [(&mut a2, 2), (&mut b, 3), (&mut b2, 3)] {
        let edited = client.expect("edited");
        assert_eq!(
            edited,
            json!({
                "type": "edited", "id": first["id"], "seq": seq, "from_user": "a", "target_user": "b",
                "message": content, "edited_at": ack["sent_at"],
            })
        );
    }
    for client in [&mut a, &mut a2, &mut b, &mut b2] {
        client.assert_quiet();
    }
    // What follows takes the next place in each inbox.
    assert_eq!(a.ask(&to("b", "next"))["seq"], 3);
    assert_eq!(b.expect("message")["seq"], 4);
}

#[test]
fn what_was_edited_in_is_what_is_delivered() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = first["id"].as_str().expect("an id");
    let content = r#"{ "type":"data", "name":"n", "data":{"b":1.0,"a":[1e2,"\u00e9",52.520006599999998,18446744073709551617]} }"#;
    a.send_text(&format!(
        r#"{{"type":"edit","message":{content},"target_user":"b","id":"{}"}}"#,
        id.to_uppercase()
    ));
    assert_has(&a.expect("ack"), &json!({"id": id, "seq": 2}));
    let text = |client: &mut Client| match client.next_message() {
        Ok(tungstenite::Message::Text(text)) => text.to_string(),
        other => panic!("a text message was due, not {other:?}"),
    };
    // `b` may be sent a ping first.
    while let Ok(message) = b.next_message() {
        if let tungstenite::Message::Text(text) = message {
            assert!(text.contains(content), "{text}");
            break;
        }
    }
    let mut later = Client::connect(&server, "a", "?since=0&ack=manual");
    for _ in 0..2 {
        let text = text(&mut later);
        assert!(text.contains(content), "{text}");
    }
    later.expect("synced");
    later.send(&json!({"type": "history", "target_user": "b"}));
    let text = text(&mut later);
    assert!(text.contains(content), "{text}");
}

#[test]
fn only_the_author_edits_and_deletes() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = &first["id"];
    for (n, frame) in [
        edit("a", id, "mine"),
        edit("a", id, "first"),
        about("delete", "a", id),
    ]
    .into_iter()
    .enumerate()
    {
        let reference = n.to_string();
        let error = b.ask(&with(frame, &json!({"ref": reference})));
        assert_refused(&error, "not_author", &reference);
    }
    a.assert_quiet();
    b.assert_quiet();
    let shown = history(&mut a, "b");
    assert_has(&shown[0], &json!({"message": "first", "edited_at": null}));
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let here = &first["id"];
    let nowhere = &json!(OTHER_ID);
    a.ask(&json!({"message": "elsewhere", "target_user": "c", "id": ID}));
    let elsewhere = &json!(ID);
    // Not there; in another conversation; of a user who was never talked to, or never seen; to oneself.
    for (user, id) in [
        ("b", nowhere),
        ("b", elsewhere),
        ("c", here),
        ("d", here),
        ("d", nowhere),
        ("a", here),
    ] {
        for frame in [
            edit(user, id, "x"),
            about("delete", user, id),
            react(user, id, "+"),
            unreact(user, id, "+"),
        ] {
            let error = a.ask(&with(frame.clone(), &json!({"ref": "r"})));
            assert_refused(&error, "unknown_message", "r");
            assert_eq!(error["path"], "/id", "{frame}");
        }
    }
    // A stranger sees the same answer for a message that is there.
    let mut c = Client::connect(&server, "c", "");
    c.until("synced");
    for user in ["a", "b"] {
        let error = c.ask(&with(edit(user, here, "x"), &json!({"ref": "r"})));
        assert_refused(&error, "unknown_message", "r");
    }
    b.assert_quiet();
    // Looking made no users and no conversations.
    let items = a.ask(&json!({"type": "conversations"}))["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(2), "{items}");
}

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

#[test]
fn an_identical_edit_repeated_changes_nothing() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = json!({"type": "data", "name": "n", "data": {"x": 1, "y": [2]}});
    let first = a.ask(&json!({"message": content, "target_user": "b", "id": ID}));
    a.ask(&to("b", "another"));
    let id = &first["id"];
    // To what a message never edited carries: the message's own entry made it so.
    let again = a.ask(&with(edit("b", id, content), &json!({"ref": "e"})));
    assert_duplicate(&again, &first);
    assert_eq!((&again["seq"], &again["ref"]), (&json!(1), &json!("e")));
    // In another spelling it is the same.
    a.send_text(&format!(
        r#"{{"type":"edit","message":{{"data":{{"y":[2.0],"x":1e0}},"name":"\u006e","type":"data"}},
            "target_user":"b","id":"{ID}"}}"#
    ));
    assert_duplicate(&a.expect("ack"), &first);
    let second = a.ask(&edit("b", id, "second"));
    stored(&second);
    assert_eq!(second["seq"], 3);
    a.ask(&to("b", "one more"));
    for _ in 0..2 {
        assert_duplicate(&a.ask(&edit("b", id, "second")), &second);
    }
    assert_duplicate(&twin(&server, "a").ask(&edit("b", id, "second")), &second);
    for tag in ["message", "message", "edited", "message"] {
        b.expect(tag);
    }
    b.assert_quiet();
}

#[test]
fn an_edit_back_and_forth_is_a_change_each_time() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = &first["id"];
    let mut last = first.clone();
    for (n, content) in ["second", "first", "second", "first"].iter().enumerate() {
        let ack = a.ask(&edit("b", id, *content));
        stored(&ack);
        assert_eq!(ack["seq"], n + 2);
        let edited = b.expect("edited");
        assert_has(&edited, &json!({"seq": n + 3, "message": content}));
        assert_eq!(edited["edited_at"], ack["sent_at"]);
        last = ack;
    }
    // Back at what was first sent, but not by the first entry.
    assert_duplicate(&a.ask(&edit("b", id, "first")), &last);
    assert_has(
        &history(&mut b, "a")[0],
        &json!({"message": "first", "sent_at": first["sent_at"], "edited_at": last["sent_at"]}),
    );
    b.assert_quiet();
}

#[test]
fn either_side_reacts_and_takes_it_back() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let (mut a2, mut b2) = (twin(&server, "a"), twin(&server, "b"));
    let id = &first["id"];
    // b's reaction is entry 3 of b and entry 2 of a; its target is that of the frame that made it.
    let liked = b.ask(&with(react("a", id, "👍"), &json!({"ref": "r"})));
    stored(&liked);
    assert_has(&liked, &json!({"id": id, "seq": 3, "ref": "r"}));
    for (client, seq) in [(&mut a, 2), (&mut a2, 2), (&mut b2, 3)] {
        assert_eq!(
            client.expect("reacted"),
            json!({
                "type": "reacted", "id": id, "seq": seq, "from_user": "b", "target_user": "a", "emoji": "👍",
            })
        );
    }
    // The author too, with the same emoji: it is another reaction.
    let own = a.ask(&react("b", id, "👍"));
    stored(&own);
    assert_eq!(own["seq"], 3);
    for (client, seq) in [(&mut a2, 3), (&mut b, 4), (&mut b2, 4)] {
        assert_has(
            &client.expect("reacted"),
            &json!({"seq": seq, "from_user": "a", "target_user": "b", "emoji": "👍", "removed": null}),
        );
    }
    stored(&b.ask(&with(react("a", id, "🎉"), &json!({"remove": false}))));
    a.expect("reacted");
    let reactions = json!([{"emoji": "👍", "users": ["b", "a"]}, {"emoji": "🎉", "users": ["b"]}]);
    assert_eq!(history(&mut a, "b")[0]["reactions"], reactions);
    assert_eq!(history(&mut b, "a")[0]["reactions"], reactions);
    // Taken back by one, it is still the other's.
    let back = b.ask(&unreact("a", id, "👍"));
    stored(&back);
    assert_eq!(back["seq"], 6);
    assert_eq!(
        a.expect("reacted"),
        json!({
            "type": "reacted", "id": id, "seq": 5, "from_user": "b", "target_user": "a", "emoji": "👍",
            "removed": true,
        })
    );
    let reactions = json!([{"emoji": "👍", "users": ["a"]}, {"emoji": "🎉", "users": ["b"]}]);
    assert_eq!(history(&mut a, "b")[0]["reactions"], reactions);
    stored(&a.ask(&unreact("b", id, "👍")));
    b.expect("reacted");
    stored(&b.ask(&unreact("a", id, "🎉")));
    a.expect("reacted");
    assert_eq!(history(&mut b, "a")[0].get("reactions"), None);
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn a_repeated_reaction_changes_nothing() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = &first["id"];
    // Nothing ever removed what never was.
    for emoji in ["+", "-"] {
        let never = b.ask(&with(unreact("a", id, emoji), &json!({"ref": "n"})));
        assert_has(
            &never,
            &json!({
                "type": "ack", "id": id, "status": "stored", "duplicate": true, "seq": null, "ref": "n",
            }),
        );
    }
    let liked = b.ask(&react("a", id, "+"));
    stored(&liked);
    b.ask(&to("a", "between"));
    assert_duplicate(&b.ask(&react("a", id, "+")), &liked);
    // The other's reaction is another one.
    let own = a.until("message");
    assert_eq!(own["message"], "between");
    let never = a.ask(&unreact("b", id, "+"));
    assert_has(&never, &json!({"duplicate": true, "seq": null}));
    let back = b.ask(&unreact("a", id, "+"));
    stored(&back);
    b.ask(&to("a", "between"));
    for _ in 0..2 {
        assert_duplicate(&b.ask(&unreact("a", id, "+")), &back);
    }
    let anew = b.ask(&react("a", id, "+"));
    stored(&anew);
    assert_eq!(anew["seq"], 7);
    assert_duplicate(&b.ask(&react("a", id, "+")), &anew);
    assert_duplicate(&twin(&server, "b").ask(&react("a", id, "+")), &anew);
    for tag in ["reacted", "message", "reacted"] {
        a.expect(tag);
    }
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn emojis_are_compared_by_their_code_points() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = first["id"].as_str().expect("an id");
    // With and without a variation selector, a skin tone, a letter in two normal forms, sixteen of one, a NUL.
    let long = "😀".repeat(16);
    let emojis = [
        "❤",
        "❤\u{fe0f}",
        "👍",
        "👍🏽",
        "é",
        "e\u{301}",
        &long,
        "\0",
        "\"",
    ];
    for emoji in emojis {
        stored(&b.ask(&react("a", &json!(id), emoji)));
        assert_eq!(a.expect("reacted")["emoji"], emoji);
    }
    let reactions = history(&mut a, "b")[0]["reactions"].clone();
    let found: Vec<_> = reactions
        .as_array()
        .expect("reactions")
        .iter()
        .map(|reaction| reaction["emoji"].as_str().expect("an emoji"))
        .collect();
    assert_eq!(found, emojis);
    // An escape is only another spelling.
    b.send_text(&format!(
        r#"{{"type":"react","target_user":"a","id":"{id}","emoji":"\ud83d\udc4d"}}"#
    ));
    assert_eq!(b.expect("ack")["duplicate"], true);
}

#[test]
fn changes_in_a_conversation_with_oneself_are_one_entry_and_the_session_gets_both() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut a2 = twin(&server, "a");
    let first = a.ask(&to("a", "note"));
    a.expect("message");
    a2.expect("message");
    let id = &first["id"];
    let who = json!({"from_user": "a", "target_user": "a", "id": id});
    let frames = [
        (edit("a", id, "better"), "edited"),
        (react("a", id, "+"), "reacted"),
        (unreact("a", id, "+"), "reacted"),
        (react("a", id, "-"), "reacted"),
        (about("delete", "a", id), "deleted"),
    ];
    for (seq, (frame, tag)) in (2..).zip(&frames) {
        let ack = a.ask(&with(frame.clone(), &json!({"ref": "r"})));
        stored(&ack);
        assert_has(&ack, &json!({"id": id, "seq": seq, "ref": "r"}));
        let own = a.expect(tag);
        assert_has(&own, &with(who.clone(), &json!({"seq": seq})));
        assert_eq!(a2.expect(tag), own);
    }
    assert_duplicate(
        &a.ask(&about("delete", "a", id)),
        &json!({"id": id, "seq": 6, "sent_at": history(&mut a2, "a")[0]["deleted_at"]}),
    );
    a.assert_quiet();
    a2.assert_quiet();
    // The log has each of them once.
    let mut later = Client::connect(&server, "a", "?since=0");
    let tags = [
        "deleted", "deleted", "deleted", "deleted", "deleted", "deleted",
    ];
    for (seq, tag) in (1..).zip(tags) {
        assert_eq!(later.expect(tag)["seq"], seq);
    }
    assert_eq!(later.expect("synced")["seq"], 6);
}

#[test]
fn what_was_first_sent_may_be_sent_again_after_an_edit_and_after_a_delete() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = json!({"type": "data", "name": "n", "data": {"x": 1, "y": [2, true, null, "é"]}});
    let frame = json!({"message": content, "target_user": "b", "id": ID});
    let first = a.ask(&frame);
    stored(&first);
    let spelled = format!(
        r#"{{"message":{{"data":{{"y":[2.0,true,null,"\u00e9"],"x":1e0}},"type":"data","name":"n"}},
            "target_user":"b","id":"{ID}","reply_to":"{OTHER_ID}"}}"#
    );
    let id = &first["id"];
    for change in [
        edit("b", id, "second"),
        edit("b", id, "third"),
        edit("b", id, content.clone()),
        edit("b", id, "fourth"),
        about("delete", "b", id),
    ] {
        stored(&a.ask(&change));
        assert_duplicate(&a.ask(&frame), &first);
        a.send_text(&spelled);
        assert_duplicate(&a.expect("ack"), &first);
        // What it has become is not what was first sent.
        for other in ["second", "third", "fourth", "other"] {
            let frame = json!({"message": other, "target_user": "b", "id": ID, "ref": "c"});
            assert_refused(&a.ask(&frame), "id_conflict", "c");
        }
        let frame = json!({"message": content, "target_user": "a", "id": ID, "ref": "c"});
        assert_refused(&past_inbox(&mut b, &frame), "id_conflict", "c");
    }
}

/// Sends a frame and reads its reply, past the entries of the inbox that came before.
fn past_inbox(client: &mut Client, frame: &Value) -> Value {
    client.send(frame);
    client.until("error")
}

#[test]
fn numbers_are_compared_by_value_also_after_an_edit() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    // The same number in two spellings, as PROTOCOL section 1.6 has it: 1.0 is 1.
    let pairs = [
        ("1", "1.0"),
        ("0", "-0"),
        ("0", "-0.0"),
        ("100", "1e2"),
        ("0.5", "5e-1"),
        ("9007199254740991", "9007199254740991.0"),
        ("9100000000000000", "9.1e15"),
        ("10000000000000000", "1e16"),
        ("-10000000000000000", "-1e16"),
        ("1e300", "10e299"),
    ];
    let mut wrong = Vec::new();
    for (n, (one, other)) in pairs.iter().enumerate() {
        let id = format!("019a2f4e-7b1c-7d3e-9a55-{n:012}");
        let send = |number: &str| {
            format!(
                r#"{{"message":{{"type":"data","name":"n","data":[{number}]}},"target_user":"b","id":"{id}"}}"#
            )
        };
        a.send_text(&send(one));
        stored(&a.recv());
        a.send_text(&send(other));
        let before = a.recv();
        a.ask(&edit("b", &json!(id), "edited"));
        a.send_text(&send(other));
        let after = a.recv();
        if before["duplicate"] != true || after["duplicate"] != true {
            wrong.push(format!("{one} and {other}: {before} {after}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_replay_shows_the_present() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let sent: Vec<Value> = (1..=4).map(|n| a.ask(&to("b", &format!("m{n}")))).collect();
    let id = |n: usize| &sent[n - 1]["id"];
    a.ask(&edit("b", id(1), "m1, second"));
    let edited = a.ask(&edit("b", id(1), "m1, third"));
    let deleted = a.ask(&about("delete", "b", id(2)));
    let frames = [
        react("a", id(3), "+"),
        unreact("a", id(3), "+"),
        react("a", id(4), "+"),
    ];
    for frame in &frames {
        b.send(frame);
    }
    for _ in &frames {
        a.expect("reacted");
    }
    a.ask(&edit("b", id(4), "m4, second"));
    let last = a.ask(&about("delete", "b", id(4)));
    let of_a = json!({"from_user": "a", "target_user": "b"});
    let of_b = json!({"from_user": "b", "target_user": "a"});
    let third = with(
        of_a.clone(),
        &json!({"id": id(1), "message": "m1, third", "edited_at": edited["sent_at"]}),
    );
    let gone = |n: usize, ack: &Value| {
        with(
            of_a.clone(),
            &json!({"type": "deleted", "id": id(n), "message": null, "deleted_at": ack["sent_at"]}),
        )
    };
    let expected = [
        with(
            third.clone(),
            &json!({"type": "message", "sent_at": sent[0]["sent_at"]}),
        ),
        gone(2, &deleted),
        with(
            of_a.clone(),
            &json!({"type": "message", "id": id(3), "message": "m3", "edited_at": null}),
        ),
        gone(4, &last),
        // An edit that was followed by another shows what has become of the message.
        with(third.clone(), &json!({"type": "edited"})),
        with(third, &json!({"type": "edited"})),
        gone(2, &deleted),
        with(
            of_b.clone(),
            &json!({"type": "reacted", "id": id(3), "emoji": "+", "removed": null}),
        ),
        with(
            of_b,
            &json!({"type": "reacted", "id": id(3), "emoji": "+", "removed": true}),
        ),
        // Whatever was done to a message that is gone: it is gone.
        gone(4, &last),
        gone(4, &last),
        gone(4, &last),
    ];
    for user in ["a", "b"] {
        let mut later = Client::connect(&server, user, "?since=0&device=later");
        assert_eq!(later.welcome["seq"], expected.len());
        for (seq, expected) in (1..).zip(&expected) {
            let frame = later.recv();
            assert_has(&frame, &with(expected.clone(), &json!({"seq": seq})));
        }
        later.expect("synced");
        later.assert_quiet();
    }
}

#[test]
fn changes_wait_for_those_who_are_not_there() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = first["id"].clone();
    let own = b.ask(&to("a", "from b"));
    a.expect("message");
    let epoch = b.epoch().to_owned();
    b.close();
    let edited = a.ask(&edit("b", &id, "second"));
    a.ask(&react("b", &own["id"], "+"));
    let second = a.ask(&to("b", "another"));
    let deleted = a.ask(&about("delete", "b", &second["id"]));
    let mut b = Client::connect(&server, "b", &format!("?since=3&epoch={epoch}"));
    assert_has(
        &b.expect("edited"),
        &json!({"seq": 4, "id": id, "message": "second", "edited_at": edited["sent_at"]}),
    );
    assert_has(
        &b.expect("reacted"),
        &json!({"seq": 5, "id": own["id"], "from_user": "a", "target_user": "b", "emoji": "+"}),
    );
    for seq in [6, 7] {
        assert_has(
            &b.expect("deleted"),
            &json!({"seq": seq, "id": second["id"], "deleted_at": deleted["sent_at"]}),
        );
    }
    assert_eq!(b.expect("synced")["seq"], 7);
    b.assert_quiet();
}

#[test]
fn changes_outlive_the_server() {
    let mut server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let first = a.ask(&json!({"message": "first", "target_user": "b", "id": ID}));
    let gone = a.ask(&json!({"message": "gone", "target_user": "b", "id": OTHER_ID}));
    let edited = a.ask(&edit("b", &first["id"], "second"));
    let deleted = a.ask(&about("delete", "b", &gone["id"]));
    let reacted = a.ask(&react("b", &first["id"], "+"));
    let removed = {
        a.ask(&react("b", &first["id"], "-"));
        a.ask(&unreact("b", &first["id"], "-"))
    };
    server.kill();
    server.restart();
    let mut a = Client::connect(&server, "a", "?since=7");
    a.expect("synced");
    assert_duplicate(&a.ask(&edit("b", &first["id"], "second")), &edited);
    assert_duplicate(&a.ask(&about("delete", "b", &gone["id"])), &deleted);
    assert_duplicate(&a.ask(&react("b", &first["id"], "+")), &reacted);
    assert_duplicate(&a.ask(&unreact("b", &first["id"], "-")), &removed);
    let again = json!({"message": "first", "target_user": "b", "id": ID});
    assert_duplicate(&a.ask(&again), &first);
    let again = json!({"message": "gone", "target_user": "b", "id": OTHER_ID});
    assert_duplicate(&a.ask(&again), &gone);
    assert_eq!(a.ask(&edit("b", &first["id"], "third"))["seq"], 8);
}

#[test]
fn acks_of_a_mixed_burst_come_in_order_and_every_frame_is_answered() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let id = &json!(ID);
    let frames = [
        (to("b", "1"), true),
        (with(to("b", "first"), &json!({"id": id})), true),
        (edit("b", id, "second"), true),
        (with(to("b", "first"), &json!({"id": id})), false),
        (react("b", id, "+"), true),
        (react("b", id, "+"), false),
        (edit("b", &json!(OTHER_ID), "x"), false),
        (unreact("b", id, "+"), true),
        (json!({"type": "ping"}), false),
        (edit("b", id, "third"), true),
        (edit("b", id, "third"), false),
        (about("read", "b", &json!(OTHER_ID)), false),
        (json!({"type": "history", "target_user": "b"}), false),
        (json!({"type": "nonsense"}), false),
        (about("delete", "b", id), true),
        (about("delete", "b", id), false),
        (edit("b", id, "fourth"), false),
        (to("b", "last"), true),
    ];
    let rounds: Vec<Value> = frames
        .iter()
        .enumerate()
        .map(|(n, (frame, _))| with(frame.clone(), &json!({"ref": n.to_string()})))
        .collect();
    burst(&mut a, &rounds);
    let replies: Vec<Value> = frames.iter().map(|_| a.recv()).collect();
    a.assert_quiet();
    let reference = |reply: &Value| -> usize {
        let reference = reply["ref"].as_str().and_then(|text| text.parse().ok());
        reference.unwrap_or_else(|| panic!("no ref of ours: {reply}"))
    };
    let mut answered: Vec<usize> = replies.iter().map(reference).collect();
    answered.sort_unstable();
    assert_eq!(answered, (0..frames.len()).collect::<Vec<_>>());
    let acks = replies
        .iter()
        .filter(|reply| reply["type"] == "ack" && reply.get("duplicate").is_none());
    let found: Vec<_> = acks
        .map(|ack| (reference(ack), ack["seq"].clone()))
        .collect();
    let stored = frames.iter().enumerate().filter(|(_, (_, stored))| *stored);
    let expected: Vec<_> = stored
        .zip(1..)
        .map(|((n, _), seq)| (n, json!(seq)))
        .collect();
    assert_eq!(found, expected, "{replies:#?}");
    let of = |n: usize| replies.iter().find(|reply| reference(reply) == n);
    for (n, code) in [
        (6, "unknown_message"),
        (11, "unknown_message"),
        (13, "unknown_type"),
        (16, "unknown_message"),
    ] {
        assert_eq!(of(n).expect("answered")["code"], code);
    }
    for (n, seq) in [(3, 2), (5, 4), (10, 6), (15, 7)] {
        assert_has(
            of(n).expect("answered"),
            &json!({"type": "ack", "duplicate": true, "seq": seq}),
        );
    }
    for seq in 1..=8 {
        assert_eq!(b.recv()["seq"], seq);
    }
    b.assert_quiet();
}

#[test]
fn acks_of_changes_keep_their_place_behind_a_replay() {
    let server = Server::start(&["--outbox-bytes", "20000", "--max-frame-bytes", "16000"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let first = b.ask(&to("a", "from b"));
    let theirs = a.expect("message");
    assert_eq!(theirs["id"], first["id"]);
    let long = "x".repeat(4000);
    let mut newest = Value::Null;
    for n in 2..=60 {
        newest = a.ask(&to("b", &format!("{n} {long}")))["id"].clone();
        b.expect("message");
    }
    // A session with a long replay ahead of it makes changes at once.
    let mut late = Client::dial(&server, "/ws/b?since=0&device=late", &[]).expect("a connection");
    let frames = [
        edit("a", &first["id"], "from b, second"),
        react("a", &newest, "+"),
        edit("a", &first["id"], "from b, third"),
        unreact("a", &newest, "+"),
        about("delete", "a", &first["id"]),
    ];
    for (n, frame) in frames.iter().enumerate() {
        late.send(&with(frame.clone(), &json!({"ref": n.to_string()})));
    }
    late.expect("welcome");
    let mut seq = 0;
    let mut refs = Vec::new();
    while seq < 65 {
        let frame = late.recv();
        if frame["type"] == "synced" {
            continue;
        }
        seq += 1;
        assert_eq!(frame["seq"], seq, "{frame}");
        assert_eq!(frame["type"] == "ack", seq > 60, "{frame}");
        refs.extend(frame["ref"].as_str().map(str::to_owned));
    }
    assert_eq!(refs, ["0", "1", "2", "3", "4"]);
    late.assert_quiet();
    for (seq, tag) in (61..).zip(["edited", "reacted", "edited", "reacted", "deleted"]) {
        assert_eq!(a.expect(tag)["seq"], seq);
        assert_eq!(b.expect(tag)["seq"], seq);
    }
}

#[test]
fn two_who_change_a_message_at_once_see_the_same_order_without_gaps() {
    const EACH: usize = 100;
    let server = Server::start(&["--messages-per-second", "10000", "--burst", "10000"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let id = a.ask(&to("b", "first"))["id"].clone();
    b.expect("message");
    let run = |mut client: Client, frames: Vec<Value>, them: &'static str| {
        move || {
            burst(&mut client, &frames);
            let mut order = Vec::new();
            for seq in 2..=2 * EACH + 1 {
                let frame = client.recv();
                assert_eq!(frame["seq"], seq, "{frame}");
                let own = frame["type"] == "ack";
                order.push(if own {
                    frame["ref"] == them
                } else {
                    frame["from_user"] == them
                });
            }
            client.assert_quiet();
            order
        }
    };
    let edits = (0..EACH)
        .map(|n| with(edit("b", &id, n.to_string()), &json!({"ref": "own"})))
        .collect();
    let reactions = (0..EACH)
        .map(|n| {
            with(
                react("a", &id, "+"),
                &json!({"remove": n % 2 == 1, "ref": "own"}),
            )
        })
        .collect();
    let a = std::thread::spawn(run(a, edits, "b"));
    let b = std::thread::spawn(run(b, reactions, "a"));
    let of_b: Vec<bool> = a.join().expect("a is done");
    let of_a: Vec<bool> = b.join().expect("b is done");
    assert!(of_b.iter().zip(&of_a).all(|(by_b, by_a)| by_b != by_a));
    assert_eq!(of_a.iter().filter(|by_a| **by_a).count(), EACH);
}

#[test]
fn rooms_do_not_exist_yet_for_changes_either() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for frame in [
        json!({"type": "edit", "message": "x", "id": ID}),
        json!({"type": "delete", "id": ID}),
        json!({"type": "react", "emoji": "+", "id": ID}),
        json!({"type": "read", "id": ID}),
        json!({"type": "history"}),
    ] {
        let error = a.ask(&with(frame, &json!({"target_room": "lobby", "ref": "m"})));
        assert_refused(&error, "unknown_room", "m");
    }
}

//! Edits.

use super::{
    ID, OTHER_ID, assert_duplicate, assert_refused, edit, history, react, stored, talk, twin,
    unreact,
};
use crate::support::{Client, Server, about, assert_has, to, with};
use serde_json::{Value, json};

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

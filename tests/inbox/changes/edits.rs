//! Edits.

use serde_json::{Value, json};

use super::{
    ID, OTHER_ID, assert_duplicate, assert_error, assert_stored, conversation, edit, messages,
    react, second_session, unreact,
};
use crate::support::{Client, Server, about, assert_has, to, with};

#[test]
fn an_edit_reaches_every_session_of_both_users() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let (mut a2, mut b2) = (second_session(&server, "a"), second_session(&server, "b"));
    let content = json!({"type": "markdown", "text": "*second*"});
    let ack = a.ask(&with(
        edit("b", &first["id"], content.clone()),
        &json!({"ref": "e"}),
    ));
    assert_stored(&ack);
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
    // The next message is the next entry of each inbox.
    assert_eq!(a.ask(&to("b", "next"))["seq"], 3);
    assert_eq!(b.expect("message")["seq"], 4);
}

#[test]
fn delivered_content_equals_the_edited_content() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let id = first["id"].as_str().expect("an id");
    let content = r#"{ "type":"data", "name":"n", "data":{"b":1.0,"a":[1e2,"\u00e9",52.520006599999998,18446744073709551617]} }"#;
    a.send_text(&format!(
        r#"{{"type":"edit","message":{content},"target_user":"b","id":"{}"}}"#,
        id.to_uppercase()
    ));
    assert_has(&a.expect("ack"), &json!({"id": id, "seq": 2}));
    let text = |client: &mut Client| match client.next_message() {
        Ok(tungstenite::Message::Text(text)) => text.to_string(),
        other => panic!("expected a text message, found {other:?}"),
    };
    // A ping may arrive first.
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
fn only_the_author_may_edit_and_delete() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
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
        assert_error(&error, "not_author", &reference);
    }
    a.assert_quiet();
    b.assert_quiet();
    let shown = messages(&mut a, "b");
    assert_has(&shown[0], &json!({"message": "first", "edited_at": null}));
}

#[test]
fn unknown_messages_cannot_be_changed() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let here = &first["id"];
    let nowhere = &json!(OTHER_ID);
    a.ask(&json!({"message": "elsewhere", "target_user": "c", "id": ID}));
    let elsewhere = &json!(ID);
    // An unknown message; one of another conversation; a user without a conversation; an unknown user; oneself.
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
            assert_error(&error, "unknown_message", "r");
            assert_eq!(error["path"], "/id", "{frame}");
        }
    }
    // Another user gets the same answer for a message that exists.
    let mut c = Client::connect(&server, "c", "");
    c.until("synced");
    for user in ["a", "b"] {
        let error = c.ask(&with(edit(user, here, "x"), &json!({"ref": "r"})));
        assert_error(&error, "unknown_message", "r");
    }
    b.assert_quiet();
    // The attempts created no users and no conversations.
    let items = a.ask(&json!({"type": "conversations"}))["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(2), "{items}");
}

#[test]
fn a_repeated_edit_is_a_duplicate() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = json!({"type": "data", "name": "n", "data": {"x": 1, "y": [2]}});
    let first = a.ask(&json!({"message": content, "target_user": "b", "id": ID}));
    a.ask(&to("b", "another"));
    let id = &first["id"];
    // An edit to the present content of an unedited message: the duplicate refers to the message's own entry.
    let again = a.ask(&with(edit("b", id, content), &json!({"ref": "e"})));
    assert_duplicate(&again, &first);
    assert_eq!((&again["seq"], &again["ref"]), (&json!(1), &json!("e")));
    // Another spelling of the same content is the same.
    a.send_text(&format!(
        r#"{{"type":"edit","message":{{"data":{{"y":[2.0],"x":1e0}},"name":"\u006e","type":"data"}},
            "target_user":"b","id":"{ID}"}}"#
    ));
    assert_duplicate(&a.expect("ack"), &first);
    let second = a.ask(&edit("b", id, "second"));
    assert_stored(&second);
    assert_eq!(second["seq"], 3);
    a.ask(&to("b", "one more"));
    for _ in 0..2 {
        assert_duplicate(&a.ask(&edit("b", id, "second")), &second);
    }
    assert_duplicate(
        &second_session(&server, "a").ask(&edit("b", id, "second")),
        &second,
    );
    for tag in ["message", "message", "edited", "message"] {
        b.expect(tag);
    }
    b.assert_quiet();
}

#[test]
fn every_edit_back_and_forth_is_a_change() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let id = &first["id"];
    let mut last = first.clone();
    for (n, content) in ["second", "first", "second", "first"].iter().enumerate() {
        let ack = a.ask(&edit("b", id, *content));
        assert_stored(&ack);
        assert_eq!(ack["seq"], n + 2);
        let edited = b.expect("edited");
        assert_has(&edited, &json!({"seq": n + 3, "message": content}));
        assert_eq!(edited["edited_at"], ack["sent_at"]);
        last = ack;
    }
    // The first content again, but by a new entry.
    assert_duplicate(&a.ask(&edit("b", id, "first")), &last);
    assert_has(
        &messages(&mut b, "a")[0],
        &json!({"message": "first", "sent_at": first["sent_at"], "edited_at": last["sent_at"]}),
    );
    b.assert_quiet();
}

#[test]
fn a_message_can_be_resent_after_an_edit_and_after_a_deletion() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let content = json!({"type": "data", "name": "n", "data": {"x": 1, "y": [2, true, null, "é"]}});
    let frame = json!({"message": content, "target_user": "b", "id": ID});
    let first = a.ask(&frame);
    assert_stored(&first);
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
        assert_stored(&a.ask(&change));
        assert_duplicate(&a.ask(&frame), &first);
        a.send_text(&spelled);
        assert_duplicate(&a.expect("ack"), &first);
        // The edited content is not the content that was sent.
        for other in ["second", "third", "fourth", "other"] {
            let frame = json!({"message": other, "target_user": "b", "id": ID, "ref": "c"});
            assert_error(&a.ask(&frame), "id_conflict", "c");
        }
        let frame = json!({"message": content, "target_user": "a", "id": ID, "ref": "c"});
        assert_error(&ask_skipping_entries(&mut b, &frame), "id_conflict", "c");
    }
}

/// Sends a frame and returns its reply; entries of the inbox before it are skipped.
fn ask_skipping_entries(client: &mut Client, frame: &Value) -> Value {
    client.send(frame);
    client.until("error")
}

#[test]
fn numbers_are_compared_by_value_after_an_edit_too() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    // The same number in two spellings (PROTOCOL section 1.6): 1.0 equals 1.
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
        assert_stored(&a.recv());
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

//! The list of conversations.

use serde_json::{Value, json};

use super::{
    FAST, ask, assert_unknown, connect_manual, history_frame, large_content, peers,
    query_conversations, send_all,
};
use crate::support::{Client, Server, about, assert_has, burst, to, with};

#[test]
fn conversations_are_listed_newest_first_with_unread_counts() {
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let mut c = connect_manual(&server, "c", "one");
    let mut d = connect_manual(&server, "d", "one");
    let of_b = send_all(&mut b, "a", ["1", "2", "3"].iter());
    send_all(&mut c, "a", ["1"].iter());
    let own = send_all(&mut a, "d", ["1", "2"].iter());
    let answer = query_conversations(&mut a, &json!({}));
    assert_eq!(peers(&answer), ["d", "c", "b"]);
    assert_has(&answer, &json!({"cursor": null}));
    let items = answer["items"].as_array().expect("items");
    let nothing =
        json!({"my_read": null, "their_read": null, "their_received": null, "target_room": null});
    assert_has(&items[0], &with(nothing.clone(), &json!({"unread": 0})));
    assert_has(&items[1], &with(nothing.clone(), &json!({"unread": 1})));
    assert_has(&items[2], &with(nothing, &json!({"unread": 3})));
    assert_has(
        &items[0]["last"],
        &json!({
            "type": "message", "id": own[1], "seq": null, "from_user": "a", "target_user": "d", "message": "2",
            "edited_at": null, "deleted_at": null, "reactions": null,
        }),
    );
    // The list of the other user; the target of `last` is the same.
    d.expect("message");
    d.expect("message");
    let answer = query_conversations(&mut d, &json!({}));
    assert_eq!(peers(&answer), ["a"]);
    assert_has(&answer["items"][0], &json!({"unread": 2}));
    assert_has(
        &answer["items"][0]["last"],
        &json!({"from_user": "a", "target_user": "d"}),
    );
    // Marks: how far a has read b's messages, and how far b has read and received a's.
    a.send(&about("read", "b", &of_b[1]));
    let reply = send_all(&mut a, "b", ["4", "5"].iter());
    b.send(&about("read", "a", &reply[0]));
    b.until("message");
    b.until("message");
    b.send(&json!({"type": "received", "seq": 5}));
    crate::support::eventually("the mark is stored", || {
        query_conversations(&mut a, &json!({}))["items"][0]["their_received"] == reply[1]
    });
    let answer = query_conversations(&mut a, &json!({}));
    assert_eq!(peers(&answer), ["b", "d", "c"]);
    assert_has(
        &answer["items"][0],
        &json!({"unread": 1, "my_read": of_b[1], "their_read": reply[0], "their_received": reply[1]}),
    );
    let answer = query_conversations(&mut b, &json!({}));
    assert_has(
        &answer["items"][0],
        &json!({"unread": 1, "my_read": reply[0], "their_read": of_b[1], "their_received": of_b[1]}),
    );
}

#[test]
fn deleted_messages_are_not_unread_but_may_be_the_last_message() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send_all(&mut a, "b", 1..=4);
    let edited = a.ask(&with(about("edit", "b", &ids[0]), &json!({"message": "x"})));
    a.ask(&about("delete", "b", &ids[1]));
    assert_eq!(
        query_conversations(&mut b, &json!({}))["items"][0]["unread"],
        3
    );
    let deleted = a.ask(&about("delete", "b", &ids[3]));
    let item = query_conversations(&mut b, &json!({}))["items"][0].clone();
    assert_eq!(item["unread"], 2);
    assert_eq!(
        item["last"],
        json!({
            "type": "message", "id": ids[3], "from_user": "a", "target_user": "b",
            "sent_at": item["last"]["sent_at"], "deleted_at": deleted["sent_at"],
        })
    );
    // The last message shows its changes too.
    let last = a.ask(&to("b", "last"))["id"].clone();
    let edited_last = a.ask(&with(about("edit", "b", &last), &json!({"message": "new"})));
    assert_ne!(edited["seq"], edited_last["seq"]);
    b.send(&with(about("react", "a", &last), &json!({"emoji": "+"})));
    b.until("ack");
    let item = query_conversations(&mut b, &json!({}))["items"][0].clone();
    assert_eq!(item["unread"], 3);
    assert_has(
        &item["last"],
        &json!({
            "id": last, "message": "new", "edited_at": edited_last["sent_at"],
            "reactions": [{"emoji": "+", "users": ["b"]}],
        }),
    );
}

#[test]
fn notes_to_oneself_are_a_conversation() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let note = a.ask(&to("a", "note"));
    a.expect("message");
    a.ask(&to("b", "hello"));
    let second = a.ask(&to("a", "another"));
    a.expect("message");
    let (answer, _) = ask(&mut a, &history_frame("a", &json!({})));
    assert_eq!(answer["messages"].as_array().map(Vec::len), Some(2));
    assert_has(
        &answer["messages"][0],
        &json!({"id": note["id"], "from_user": "a", "target_user": "a", "message": "note", "seq": null}),
    );
    let answer = query_conversations(&mut a, &json!({}));
    assert_eq!(peers(&answer), ["a", "b"]);
    assert_has(&answer["items"][0], &json!({"unread": 0}));
    assert_eq!(answer["items"][0]["last"]["id"], second["id"]);
}

#[test]
fn conversations_are_read_in_pages() {
    const COUNT: usize = 7;
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let names: Vec<String> = (0..COUNT).map(|n| format!("u{n}")).collect();
    for name in &names {
        a.ask(&to(name, "hello"));
        a.ask(&to(name, "again"));
    }
    let newest_first: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    for limit in [1, 2, 3, 6, 7, 8, 200] {
        let mut found = Vec::new();
        let mut fields = json!({"limit": limit});
        for pages in 1.. {
            let answer = query_conversations(&mut a, &fields);
            found.extend(peers(&answer).into_iter().map(str::to_owned));
            let Some(cursor) = answer.get("cursor") else {
                assert_eq!(pages, COUNT.div_ceil(limit));
                break;
            };
            assert_eq!(peers(&answer).len(), limit);
            // The same query has the same answer.
            fields["cursor"] = cursor.clone();
        }
        assert_eq!(found, newest_first, "{limit}");
    }
    let cursor = query_conversations(&mut a, &json!({"limit": 2}))["cursor"].clone();
    let twice =
        [(); 2].map(|()| query_conversations(&mut a, &json!({"limit": 2, "cursor": cursor})));
    assert_eq!(twice[0], twice[1]);
    for unknown in ["x", "nonsense", "c", "0", "-1", " ", "😀", &"c".repeat(64)] {
        let frame = json!({"type": "conversations", "cursor": unknown});
        assert_unknown(&ask(&mut a, &frame).0, "/cursor");
    }
}

#[test]
fn the_default_page_has_fifty_conversations() {
    const COUNT: usize = 201;
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, "a", "one");
    let frames: Vec<Value> = (0..COUNT).map(|n| to(&format!("u{n}"), "x")).collect();
    burst(&mut a, &frames);
    for _ in &frames {
        a.expect("ack");
    }
    let answer = query_conversations(&mut a, &json!({}));
    assert_eq!((peers(&answer).len(), peers(&answer)[0]), (50, "u200"));
    let mut answer = query_conversations(&mut a, &json!({"limit": 200}));
    assert_eq!(peers(&answer).len(), 200);
    let rest = query_conversations(&mut a, &json!({"cursor": answer["cursor"].take()}));
    assert_eq!((peers(&rest), rest.get("cursor")), (vec!["u0"], None));
}

#[test]
fn pages_with_large_messages_stay_small_and_list_each_conversation_once() {
    const COUNT: usize = 12;
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, "a", "one");
    for n in 0..COUNT {
        a.ask(&json!({"message": large_content(n), "target_user": format!("u{n}")}));
    }
    let mut found = Vec::new();
    let mut fields = json!({"limit": 200});
    loop {
        let answer = query_conversations(&mut a, &fields);
        found.extend(peers(&answer).into_iter().map(str::to_owned));
        let Some(cursor) = answer.get("cursor") else {
            break;
        };
        fields["cursor"] = cursor.clone();
    }
    let expected: Vec<String> = (0..COUNT).rev().map(|n| format!("u{n}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn conversations_whose_last_messages_have_the_same_id_are_listed_once_each() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let id = "0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e";
    for user in ["u0", "u1", "u2"] {
        let mut sender = Client::fresh(&server, user);
        let frame = json!({"message": "hello", "target_user": "a", "id": id});
        assert_eq!(sender.ask(&frame)["type"], "ack");
    }
    let mut found = Vec::new();
    let mut fields = json!({"limit": 1});
    for _ in 0..4 {
        let mut answer = query_conversations(&mut a, &fields);
        found.extend(peers(&answer).into_iter().map(str::to_owned));
        match answer["cursor"].take() {
            Value::Null => break,
            cursor => fields["cursor"] = cursor,
        }
    }
    assert_eq!(found, ["u2", "u1", "u0"]);
}

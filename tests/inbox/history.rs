//! Histories and lists of conversations from outside: order, pages, marks, size (PROTOCOL sections 4, 6 and 10).

use std::collections::BTreeSet;

use crate::support::{Client, Server, about, assert_has, assert_server_frame, burst, to, with};
use serde_json::{Value, json};
use tungstenite::Message;

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
/// Answers stay under so many bytes.
const MOST: usize = 256 * 1024;
/// For tests that send more at once than clients may.
const FAST: &[&str] = &["--messages-per-second", "100000", "--burst", "100000"];

/// A session whose inbox counts as received by `received` frames only, so that nobody is told anything by itself.
fn manual(server: &Server, user: &str, device: &str) -> Client {
    let mut client = Client::connect(
        server,
        user,
        &format!("?ack=manual&device={device}&since=0"),
    );
    client.until("synced");
    client
}

/// Sends these texts to a user in one go, and gives the ids of the messages.
fn send_all<T: ToString>(
    from: &mut Client,
    user: &str,
    texts: impl Iterator<Item = T>,
) -> Vec<Value> {
    let frames: Vec<Value> = texts.map(|text| to(user, &text.to_string())).collect();
    burst(from, &frames);
    let acks = frames.iter().map(|_| from.until("ack")["id"].clone());
    acks.collect()
}

fn history(user: &str, fields: &Value) -> Value {
    with(json!({"type": "history", "target_user": user}), fields)
}

/// Asks, and gives the answer with its size in bytes. What else comes meanwhile is passed over.
fn ask(client: &mut Client, frame: &Value) -> (Value, usize) {
    client.send(&with(frame.clone(), &json!({"ref": "asked"})));
    loop {
        let Ok(Message::Text(text)) = client.next_message() else {
            continue;
        };
        let answer: Value = serde_json::from_str(&text).expect("server frames are JSON");
        assert_server_frame(&answer);
        if answer["ref"] == "asked" {
            return (answer, text.len());
        }
    }
}

/// A page of a history: the ids of its messages, and whether there are more.
#[track_caller]
fn page(client: &mut Client, user: &str, fields: &Value) -> (Vec<Value>, bool) {
    let (answer, _) = ask(client, &history(user, fields));
    assert_has(
        &answer,
        &json!({"type": "history", "target_user": user, "target_room": null}),
    );
    let messages = answer["messages"].as_array().expect("messages");
    let ids = messages.iter().map(|message| message["id"].clone());
    (ids.collect(), answer["more"] == true)
}

fn conversations(client: &mut Client, fields: &Value) -> Value {
    let (answer, size) = ask(client, &with(json!({"type": "conversations"}), fields));
    assert!(size < MOST, "{size}");
    assert_eq!(answer["type"], "conversations", "{answer}");
    answer
}

/// The users of the conversations in an answer.
fn users(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().expect("items").iter();
    items
        .map(|item| item["target_user"].as_str().expect("a user"))
        .collect()
}

#[track_caller]
fn assert_unknown(error: &Value, path: &str) {
    assert_has(
        error,
        &json!({"type": "error", "code": "unknown_message", "path": path, "ref": "asked", "retryable": false}),
    );
}

#[test]
fn a_history_is_read_page_by_page_both_ways() {
    let server = Server::start(FAST);
    let mut a = manual(&server, "a", "one");
    let mut b = manual(&server, "b", "one");
    let ids = send_all(&mut a, "b", 1..=60);
    let id = |n: usize| &ids[n - 1];
    // What is asked for, the first and the last message of the answer, and whether there are more.
    let cases = [
        (json!({}), 11, 60, true),
        (json!({"limit": 1}), 60, 60, true),
        (json!({"limit": 59}), 2, 60, true),
        (json!({"limit": 60}), 1, 60, false),
        (json!({"limit": 200}), 1, 60, false),
        (json!({"before": id(11)}), 1, 10, false),
        (json!({"before": id(11), "limit": 10}), 1, 10, false),
        (json!({"before": id(11), "limit": 9}), 2, 10, true),
        (json!({"before": id(60), "limit": 3.0}), 57, 59, true),
        (json!({"before": id(60)}), 10, 59, true),
        (json!({"before": id(2)}), 1, 1, false),
        (json!({"before": id(1)}), 1, 0, false),
        (json!({"after": id(1)}), 2, 51, true),
        (json!({"after": id(10), "limit": 5}), 11, 15, true),
        (json!({"after": id(10), "limit": 50}), 11, 60, false),
        (json!({"after": id(55)}), 56, 60, false),
        (json!({"after": id(55), "limit": 5}), 56, 60, false),
        (json!({"after": id(55), "limit": 4}), 56, 59, true),
        (json!({"after": id(60)}), 61, 60, false),
    ];
    for (fields, first, last, more) in cases {
        let expected = (ids[first - 1..last].to_vec(), more);
        assert_eq!(page(&mut a, "b", &fields), expected, "{fields}");
        // Both sides see the same; the id is an id in either case.
        let mut fields = fields;
        for anchor in ["before", "after"] {
            if let Some(id) = fields.get(anchor).and_then(Value::as_str) {
                fields[anchor] = json!(id.to_uppercase());
            }
        }
        assert_eq!(page(&mut b, "a", &fields), expected, "{fields}");
    }
}

#[test]
fn messages_in_a_history_keep_their_target_and_have_no_seq() {
    let server = Server::start(&[]);
    let mut a = manual(&server, "a", "one");
    let mut b = manual(&server, "b", "one");
    let content =
        json!({"type": "location", "latitude": 52.52, "longitude": 13.4, "label": "here"});
    let first = a.ask(&json!({"message": content, "target_user": "b"}));
    b.expect("message");
    let second = b.ask(&json!({"message": "where", "target_user": "a", "reply_to": first["id"]}));
    a.expect("message");
    let message = |ack: &Value, from: &str, to: &str, fields: Value| {
        let message = json!({
            "type": "message", "id": ack["id"], "from_user": from, "target_user": to, "sent_at": ack["sent_at"],
        });
        with(message, &fields)
    };
    let expected = json!([
        message(&first, "a", "b", json!({"message": content})),
        message(
            &second,
            "b",
            "a",
            json!({"message": "where", "reply_to": first["id"]})
        ),
    ]);
    for (client, other) in [(&mut a, "b"), (&mut b, "a")] {
        let answer = client.ask(&history(other, &json!({"ref": "h"})));
        assert_eq!(
            answer,
            json!({"type": "history", "target_user": other, "messages": expected, "more": false, "ref": "h"})
        );
        let answer = client.ask(&history(other, &json!({})));
        assert_eq!(answer.get("ref"), None);
    }
}

#[test]
fn ephemeral_messages_have_no_history() {
    let server = Server::start(&[]);
    let mut a = manual(&server, "a", "one");
    a.ask(&with(
        to("b", "psst"),
        &json!({"ephemeral": true, "id": ID}),
    ));
    assert_eq!(page(&mut a, "b", &json!({})), (vec![], false));
    assert_unknown(
        &ask(&mut a, &history("b", &json!({"after": ID}))).0,
        "/after",
    );
    assert_eq!(conversations(&mut a, &json!({}))["items"], json!([]));
}

#[test]
fn a_history_is_in_the_order_of_commit_also_when_both_write_at_once() {
    const EACH: usize = 90;
    let server = Server::start(FAST);
    let write = |mut client: Client, user: &'static str| {
        std::thread::spawn(move || {
            let frames: Vec<Value> = (0..EACH).map(|n| to(user, &n.to_string())).collect();
            burst(&mut client, &frames);
            let entries = (1..=2 * EACH).map(|seq| {
                let entry = client.recv();
                assert_eq!(entry["seq"], seq, "{entry}");
                entry["id"].clone()
            });
            let ids: Vec<Value> = entries.collect();
            (client, ids)
        })
    };
    let (a, b) = (manual(&server, "a", "one"), manual(&server, "b", "one"));
    let (a, b) = (write(a, "b"), write(b, "a"));
    let (mut a, of_a) = a.join().expect("a is done");
    let (mut b, of_b) = b.join().expect("b is done");
    assert_eq!(of_a, of_b);
    assert_eq!(
        page(&mut a, "b", &json!({"limit": 200})),
        (of_a.clone(), false)
    );
    assert_eq!(page(&mut b, "a", &json!({"limit": 200})), (of_a, false));
}

#[test]
fn a_history_shows_the_present() {
    let server = Server::start(&[]);
    let mut a = manual(&server, "a", "one");
    let mut b = manual(&server, "b", "one");
    let ids = send_all(&mut a, "b", 1..=4);
    let react = |n: usize, emoji: &str, user: &str| {
        with(about("react", user, &ids[n]), &json!({"emoji": emoji}))
    };
    let edited = a.ask(&with(
        about("edit", "b", &ids[0]),
        &json!({"message": "one"}),
    ));
    let deleted = a.ask(&about("delete", "b", &ids[1]));
    // The reactions in the order of the first of each kind, the users in theirs.
    for (emoji, by_a) in [
        ("🎉", false),
        ("👍", true),
        ("🎉", true),
        ("👍", false),
        ("❤", true),
    ] {
        let ack = if by_a {
            a.send(&react(2, emoji, "b"));
            a.until("ack")
        } else {
            b.send(&react(2, emoji, "a"));
            b.until("ack")
        };
        assert_eq!(ack.get("duplicate"), None);
    }
    a.send(&with(react(2, "❤", "b"), &json!({"remove": true})));
    a.until("ack");
    for (client, other) in [(&mut a, "b"), (&mut b, "a")] {
        let (answer, _) = ask(client, &history(other, &json!({})));
        let messages = answer["messages"].as_array().expect("messages");
        assert_eq!(messages.len(), 4);
        assert_has(
            &messages[0],
            &json!({
                "id": ids[0], "message": "one", "edited_at": edited["sent_at"], "deleted_at": null,
                "reactions": null,
            }),
        );
        assert_has(
            &messages[1],
            &json!({
                "type": "message", "id": ids[1], "message": null, "deleted_at": deleted["sent_at"],
                "edited_at": null, "from_user": "a", "target_user": "b",
            }),
        );
        assert_has(
            &messages[2],
            &json!({
                "message": "3", "edited_at": null,
                "reactions": [{"emoji": "🎉", "users": ["b", "a"]}, {"emoji": "👍", "users": ["a", "b"]}],
            }),
        );
        assert_has(
            &messages[3],
            &json!({"message": "4", "edited_at": null, "deleted_at": null, "reactions": null}),
        );
        // A deleted message is still a place to go on from.
        assert_eq!(
            page(client, other, &json!({"before": ids[1]})),
            (vec![ids[0].clone()], false)
        );
    }
}

#[test]
fn a_history_begins_nowhere_but_at_a_message_of_the_conversation() {
    let server = Server::start(&[]);
    let mut a = manual(&server, "a", "one");
    let here = a.ask(&to("b", "here"))["id"].clone();
    let elsewhere = a.ask(&to("c", "elsewhere"))["id"].clone();
    for (user, id) in [
        ("b", &json!(ID)),
        ("b", &elsewhere),
        ("nobody", &here),
        ("a", &here),
    ] {
        for anchor in ["before", "after"] {
            let (error, _) = ask(&mut a, &history(user, &json!({anchor: id})));
            assert_unknown(&error, &format!("/{anchor}"));
        }
    }
    // Others' conversations are nobody's business.
    let mut c = manual(&server, "c", "one");
    for user in ["a", "b"] {
        let (error, _) = ask(&mut c, &history(user, &json!({"before": here})));
        assert_unknown(&error, "/before");
    }
    assert_eq!(page(&mut c, "b", &json!({})), (vec![], false));
    assert_eq!(page(&mut c, "a", &json!({})), (vec![elsewhere], false));
}

#[test]
fn with_whom_one_never_talked_there_is_an_empty_history() {
    let server = Server::start(&[]);
    let mut new = manual(&server, "new", "one");
    for user in ["nobody", "new"] {
        assert_eq!(page(&mut new, user, &json!({})), (vec![], false));
        assert_eq!(page(&mut new, user, &json!({"limit": 1})), (vec![], false));
    }
    // To have asked makes no conversation.
    let answer = conversations(&mut new, &json!({}));
    assert_has(&answer, &json!({"items": [], "cursor": null}));
}

/// A content of about 60,000 bytes, and what tells it from the others.
fn large(n: usize) -> Value {
    json!({"type": "data", "name": n.to_string(), "data": format!("{n} {}", "x\u{1f600}\n".repeat(9_000))})
}

#[test]
fn a_history_of_large_messages_comes_in_answers_that_stay_small() {
    const COUNT: usize = 40;
    let server = Server::start(FAST);
    let mut a = manual(&server, "a", "one");
    let ids: Vec<Value> = (0..COUNT)
        .map(|n| a.ask(&json!({"message": large(n), "target_user": "b"}))["id"].clone())
        .collect();
    let mut b = manual(&server, "b", "one");
    // From the newest to the oldest.
    let mut found: Vec<Value> = Vec::new();
    let mut fields = json!({"limit": 200});
    loop {
        let (answer, size) = ask(&mut b, &history("a", &fields));
        assert!(size < MOST, "{size}");
        let mut page = answer["messages"].as_array().expect("messages").clone();
        assert!(!page.is_empty());
        // Not one by one, when more would do.
        assert!(page.len() > 2 || answer["more"] == false, "{}", page.len());
        fields["before"] = page[0]["id"].clone();
        page.append(&mut found);
        found = page;
        if answer["more"] == false {
            break;
        }
    }
    let contents: Vec<&Value> = found.iter().map(|message| &message["message"]).collect();
    assert_eq!(contents.len(), COUNT);
    assert!(
        contents
            .iter()
            .enumerate()
            .all(|(n, content)| **content == large(n))
    );
    // And from the oldest to the newest.
    let mut found = vec![ids[0].clone()];
    loop {
        let fields = json!({"limit": 200, "after": found.last()});
        let (answer, size) = ask(&mut b, &history("a", &fields));
        assert!(size < MOST, "{size}");
        let page = answer["messages"].as_array().expect("messages");
        assert!(!page.is_empty());
        found.extend(page.iter().map(|message| message["id"].clone()));
        if answer["more"] == false {
            break;
        }
    }
    assert_eq!(found, ids);
}

#[test]
fn small_messages_with_many_reactions_stay_small_too() {
    const COUNT: usize = 60;
    let long = |letter: char| letter.to_string().repeat(64);
    let (one, two) = (long('1'), long('2'));
    let server = Server::start(FAST);
    let mut a = manual(&server, &one, "one");
    let mut b = manual(&server, &two, "one");
    let ids = send_all(&mut a, &two, 0..COUNT);
    // Characters that take six bytes each when they are escaped.
    let emoji = |n: usize| format!("{n:04}{}", "\u{1}".repeat(12));
    for (client, other) in [(&mut a, &two), (&mut b, &one)] {
        for id in &ids {
            let frames: Vec<Value> = (0..30)
                .map(|n| with(about("react", other, id), &json!({"emoji": emoji(n)})))
                .collect();
            burst(client, &frames);
            for _ in &frames {
                client.until("ack");
            }
        }
    }
    let mut found = 0;
    let mut fields = json!({"limit": 200});
    loop {
        let (answer, size) = ask(&mut b, &history(&one, &fields));
        assert!(size < MOST, "{size}");
        let page = answer["messages"].as_array().expect("messages");
        for message in page {
            assert_eq!(message["reactions"].as_array().map(Vec::len), Some(30));
        }
        found += page.len();
        fields["before"] = page[0]["id"].clone();
        if answer["more"] == false {
            break;
        }
    }
    assert_eq!(found, COUNT);
}

#[test]
fn conversations_come_newest_first_with_what_is_unread() {
    let server = Server::start(FAST);
    let mut a = manual(&server, "a", "one");
    let mut b = manual(&server, "b", "one");
    let mut c = manual(&server, "c", "one");
    let mut d = manual(&server, "d", "one");
    let of_b = send_all(&mut b, "a", ["1", "2", "3"].iter());
    send_all(&mut c, "a", ["1"].iter());
    let own = send_all(&mut a, "d", ["1", "2"].iter());
    let answer = conversations(&mut a, &json!({}));
    assert_eq!(users(&answer), ["d", "c", "b"]);
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
    // As the other side sees it, and the target of `last` stays that of the message.
    d.expect("message");
    d.expect("message");
    let answer = conversations(&mut d, &json!({}));
    assert_eq!(users(&answer), ["a"]);
    assert_has(&answer["items"][0], &json!({"unread": 2}));
    assert_has(
        &answer["items"][0]["last"],
        &json!({"from_user": "a", "target_user": "d"}),
    );
    // Marks: what a has read of b's, and what b has read and received of a's.
    a.send(&about("read", "b", &of_b[1]));
    let reply = send_all(&mut a, "b", ["4", "5"].iter());
    b.send(&about("read", "a", &reply[0]));
    b.until("message");
    b.until("message");
    b.send(&json!({"type": "received", "seq": 5}));
    crate::support::eventually("the mark is known", || {
        conversations(&mut a, &json!({}))["items"][0]["their_received"] == reply[1]
    });
    let answer = conversations(&mut a, &json!({}));
    assert_eq!(users(&answer), ["b", "d", "c"]);
    assert_has(
        &answer["items"][0],
        &json!({"unread": 1, "my_read": of_b[1], "their_read": reply[0], "their_received": reply[1]}),
    );
    let answer = conversations(&mut b, &json!({}));
    assert_has(
        &answer["items"][0],
        &json!({"unread": 1, "my_read": reply[0], "their_read": of_b[1], "their_received": of_b[1]}),
    );
}

#[test]
fn deleted_messages_are_not_unread_and_may_be_the_last() {
    let server = Server::start(&[]);
    let mut a = manual(&server, "a", "one");
    let mut b = manual(&server, "b", "one");
    let ids = send_all(&mut a, "b", 1..=4);
    let edited = a.ask(&with(about("edit", "b", &ids[0]), &json!({"message": "x"})));
    a.ask(&about("delete", "b", &ids[1]));
    assert_eq!(conversations(&mut b, &json!({}))["items"][0]["unread"], 3);
    let deleted = a.ask(&about("delete", "b", &ids[3]));
    let item = conversations(&mut b, &json!({}))["items"][0].clone();
    assert_eq!(item["unread"], 2);
    assert_eq!(
        item["last"],
        json!({
            "type": "message", "id": ids[3], "from_user": "a", "target_user": "b",
            "sent_at": item["last"]["sent_at"], "deleted_at": deleted["sent_at"],
        })
    );
    // The newest shows its changes too.
    let last = a.ask(&to("b", "last"))["id"].clone();
    let edited_last = a.ask(&with(about("edit", "b", &last), &json!({"message": "new"})));
    assert_ne!(edited["seq"], edited_last["seq"]);
    b.send(&with(about("react", "a", &last), &json!({"emoji": "+"})));
    b.until("ack");
    let item = conversations(&mut b, &json!({}))["items"][0].clone();
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
fn a_conversation_with_oneself_is_one_too() {
    let server = Server::start(&[]);
    let mut a = manual(&server, "a", "one");
    let note = a.ask(&to("a", "note"));
    a.expect("message");
    a.ask(&to("b", "hello"));
    let second = a.ask(&to("a", "another"));
    a.expect("message");
    let (answer, _) = ask(&mut a, &history("a", &json!({})));
    assert_eq!(answer["messages"].as_array().map(Vec::len), Some(2));
    assert_has(
        &answer["messages"][0],
        &json!({"id": note["id"], "from_user": "a", "target_user": "a", "message": "note", "seq": null}),
    );
    let answer = conversations(&mut a, &json!({}));
    assert_eq!(users(&answer), ["a", "b"]);
    assert_has(&answer["items"][0], &json!({"unread": 0}));
    assert_eq!(answer["items"][0]["last"]["id"], second["id"]);
}

#[test]
fn the_list_of_conversations_is_read_page_by_page() {
    const COUNT: usize = 7;
    let server = Server::start(&[]);
    let mut a = manual(&server, "a", "one");
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
            let answer = conversations(&mut a, &fields);
            found.extend(users(&answer).into_iter().map(str::to_owned));
            let Some(cursor) = answer.get("cursor") else {
                assert_eq!(pages, COUNT.div_ceil(limit));
                break;
            };
            assert_eq!(users(&answer).len(), limit);
            // The same question has the same answer.
            fields["cursor"] = cursor.clone();
        }
        assert_eq!(found, newest_first, "{limit}");
    }
    let cursor = conversations(&mut a, &json!({"limit": 2}))["cursor"].clone();
    let twice = [(); 2].map(|()| conversations(&mut a, &json!({"limit": 2, "cursor": cursor})));
    assert_eq!(twice[0], twice[1]);
    for unknown in ["x", "nonsense", "c", "0", "-1", " ", "😀", &"c".repeat(64)] {
        let frame = json!({"type": "conversations", "cursor": unknown});
        assert_unknown(&ask(&mut a, &frame).0, "/cursor");
    }
}

#[test]
fn fifty_conversations_come_unless_more_are_asked_for() {
    const COUNT: usize = 201;
    let server = Server::start(FAST);
    let mut a = manual(&server, "a", "one");
    let frames: Vec<Value> = (0..COUNT).map(|n| to(&format!("u{n}"), "x")).collect();
    burst(&mut a, &frames);
    for _ in &frames {
        a.expect("ack");
    }
    let answer = conversations(&mut a, &json!({}));
    assert_eq!((users(&answer).len(), users(&answer)[0]), (50, "u200"));
    let mut answer = conversations(&mut a, &json!({"limit": 200}));
    assert_eq!(users(&answer).len(), 200);
    let rest = conversations(&mut a, &json!({"cursor": answer["cursor"].take()}));
    assert_eq!((users(&rest), rest.get("cursor")), (vec!["u0"], None));
}

#[test]
fn a_list_with_large_messages_stays_small_and_has_each_conversation_once() {
    const COUNT: usize = 12;
    let server = Server::start(FAST);
    let mut a = manual(&server, "a", "one");
    for n in 0..COUNT {
        a.ask(&json!({"message": large(n), "target_user": format!("u{n}")}));
    }
    let mut found = Vec::new();
    let mut fields = json!({"limit": 200});
    loop {
        let answer = conversations(&mut a, &fields);
        found.extend(users(&answer).into_iter().map(str::to_owned));
        let Some(cursor) = answer.get("cursor") else {
            break;
        };
        fields["cursor"] = cursor.clone();
    }
    let expected: Vec<String> = (0..COUNT).rev().map(|n| format!("u{n}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn all_pipelined_questions_are_answered() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=5 {
        a.ask(&to("b", &n.to_string()));
    }
    let mut b = manual(&server, "b", "one");
    let questions: Vec<Value> = (0..100)
        .map(|n| {
            let frame = match n % 3 {
                0 => json!({"type": "conversations"}),
                1 => history("a", &json!({"limit": 2})),
                _ => history("a", &json!({"before": ID})),
            };
            with(frame, &json!({"ref": n.to_string()}))
        })
        .collect();
    burst(&mut b, &questions);
    let mut refs = BTreeSet::new();
    for _ in &questions {
        let answer = b.recv();
        let n: usize = answer["ref"]
            .as_str()
            .and_then(|n| n.parse().ok())
            .expect("a ref of ours");
        assert_eq!(
            answer["type"],
            ["conversations", "history", "error"][n % 3],
            "{answer}"
        );
        refs.insert(n);
    }
    assert_eq!(refs.len(), questions.len());
    b.assert_quiet();
}

#[test]
fn all_pipelined_questions_are_answered_also_when_the_answers_are_large() {
    let server = Server::start(FAST);
    let mut a = manual(&server, "a", "one");
    for n in 0..5 {
        a.ask(&json!({"message": large(n), "target_user": "b"}));
    }
    let mut b = manual(&server, "b", "one");
    // More than the server holds for a session, and than the sockets do: it must wait until `b` reads.
    let questions: Vec<Value> = (0..100)
        .map(|n| history("a", &json!({"ref": n.to_string()})))
        .collect();
    burst(&mut b, &questions);
    // The server has heard them and all that it could answer is on the way.
    let ids = send_all(&mut a, "c", 0..3);
    assert_eq!(ids.len(), 3);
    let mut refs = BTreeSet::new();
    for _ in &questions {
        let answer = b.expect("history");
        assert!(!answer["messages"].as_array().expect("messages").is_empty());
        refs.insert(answer["ref"].as_str().map(str::to_owned));
    }
    assert_eq!(refs.len(), questions.len());
    b.assert_quiet();
}

#[test]
fn who_reads_histories_slowly_keeps_nobody_waiting() {
    let server = Server::start(FAST);
    let mut a = manual(&server, "a", "one");
    for n in 0..5 {
        a.ask(&json!({"message": large(n), "target_user": "b"}));
    }
    // It asks for 25 MB and reads nothing.
    let mut slow = manual(&server, "b", "slow");
    let questions: Vec<Value> = (0..100)
        .map(|n| history("a", &json!({"ref": n.to_string()})))
        .collect();
    burst(&mut slow, &questions);
    let mut b = manual(&server, "b", "quick");
    let mut c = manual(&server, "c", "one");
    for n in 0..100 {
        let text = n.to_string();
        assert_eq!(a.ask(&to("b", &text))["status"], "stored");
        assert_eq!(b.expect("message")["message"], text);
        assert_eq!(c.ask(&to("d", &text))["seq"], n + 1);
        let page = c.ask(&history("d", &json!({"limit": 1})));
        assert_eq!(page["messages"][0]["message"], text);
    }
    // And it has missed nothing.
    let (mut entries, mut answers) = (5, 0);
    while entries < 105 || answers < questions.len() {
        let frame = slow.recv();
        if frame["type"] == "history" {
            answers += 1;
        } else {
            entries += 1;
            assert_eq!(frame["seq"], entries, "{}", frame["type"]);
        }
    }
    slow.assert_quiet();
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
        let mut answer = conversations(&mut a, &fields);
        found.extend(users(&answer).into_iter().map(str::to_owned));
        match answer["cursor"].take() {
            Value::Null => break,
            cursor => fields["cursor"] = cursor,
        }
    }
    assert_eq!(found, ["u2", "u1", "u0"]);
}

//! Pages of a history.

use serde_json::{Value, json};

use super::{
    FAST, ID, MAX_BYTES, ask, assert_unknown, connect_manual, history_frame, large_content, page,
    query_conversations, send_all,
};
use crate::support::{Client, Server, about, assert_has, burst, to, with};

#[test]
fn a_history_is_read_in_pages_in_both_directions() {
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send_all(&mut a, "b", 1..=60);
    let id = |n: usize| &ids[n - 1];
    // The query, the first and last message of the answer, and whether there are more.
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
        // Both users see the same pages; ids are case-insensitive.
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
fn history_messages_have_a_target_and_no_seq() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
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
        let answer = client.ask(&history_frame(other, &json!({"ref": "h"})));
        assert_eq!(
            answer,
            json!({"type": "history", "target_user": other, "messages": expected, "more": false, "ref": "h"})
        );
        let answer = client.ask(&history_frame(other, &json!({})));
        assert_eq!(answer.get("ref"), None);
    }
}

#[test]
fn ephemeral_messages_are_not_in_the_history() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    a.ask(&with(
        to("b", "psst"),
        &json!({"ephemeral": true, "id": ID}),
    ));
    assert_eq!(page(&mut a, "b", &json!({})), (vec![], false));
    assert_unknown(
        &ask(&mut a, &history_frame("b", &json!({"after": ID}))).0,
        "/after",
    );
    assert_eq!(query_conversations(&mut a, &json!({}))["items"], json!([]));
}

#[test]
fn simultaneous_messages_have_the_same_order_in_both_histories() {
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
    let (a, b) = (
        connect_manual(&server, "a", "one"),
        connect_manual(&server, "b", "one"),
    );
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
fn a_history_shows_the_present_state_of_messages() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let mut b = connect_manual(&server, "b", "one");
    let ids = send_all(&mut a, "b", 1..=4);
    let react = |n: usize, emoji: &str, user: &str| {
        with(about("react", user, &ids[n]), &json!({"emoji": emoji}))
    };
    let edited = a.ask(&with(
        about("edit", "b", &ids[0]),
        &json!({"message": "one"}),
    ));
    let deleted = a.ask(&about("delete", "b", &ids[1]));
    // Reactions in the order of their first users, and users in the order of their reactions.
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
        let (answer, _) = ask(client, &history_frame(other, &json!({})));
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
        // A deleted message is still a valid anchor.
        assert_eq!(
            page(client, other, &json!({"before": ids[1]})),
            (vec![ids[0].clone()], false)
        );
    }
}

#[test]
fn the_anchor_must_be_a_message_of_the_conversation() {
    let server = Server::start(&[]);
    let mut a = connect_manual(&server, "a", "one");
    let here = a.ask(&to("b", "here"))["id"].clone();
    let elsewhere = a.ask(&to("c", "elsewhere"))["id"].clone();
    for (user, id) in [
        ("b", &json!(ID)),
        ("b", &elsewhere),
        ("nobody", &here),
        ("a", &here),
    ] {
        for anchor in ["before", "after"] {
            let (error, _) = ask(&mut a, &history_frame(user, &json!({anchor: id})));
            assert_unknown(&error, &format!("/{anchor}"));
        }
    }
    // Messages of other conversations are unknown.
    let mut c = connect_manual(&server, "c", "one");
    for user in ["a", "b"] {
        let (error, _) = ask(&mut c, &history_frame(user, &json!({"before": here})));
        assert_unknown(&error, "/before");
    }
    assert_eq!(page(&mut c, "b", &json!({})), (vec![], false));
    assert_eq!(page(&mut c, "a", &json!({})), (vec![elsewhere], false));
}

#[test]
fn the_history_with_an_unknown_user_is_empty() {
    let server = Server::start(&[]);
    let mut new = connect_manual(&server, "new", "one");
    for user in ["nobody", "new"] {
        assert_eq!(page(&mut new, user, &json!({})), (vec![], false));
        assert_eq!(page(&mut new, user, &json!({"limit": 1})), (vec![], false));
    }
    // The query creates no conversation.
    let answer = query_conversations(&mut new, &json!({}));
    assert_has(&answer, &json!({"items": [], "cursor": null}));
}

#[test]
fn histories_of_large_messages_come_in_small_pages() {
    const COUNT: usize = 40;
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, "a", "one");
    let ids: Vec<Value> = (0..COUNT)
        .map(|n| a.ask(&json!({"message": large_content(n), "target_user": "b"}))["id"].clone())
        .collect();
    let mut b = connect_manual(&server, "b", "one");
    // From the newest to the oldest.
    let mut found: Vec<Value> = Vec::new();
    let mut fields = json!({"limit": 200});
    loop {
        let (answer, size) = ask(&mut b, &history_frame("a", &fields));
        assert!(size < MAX_BYTES, "{size}");
        let mut page = answer["messages"].as_array().expect("messages").clone();
        assert!(!page.is_empty());
        // Pages contain more than one message if they fit.
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
            .all(|(n, content)| **content == large_content(n))
    );
    // From the oldest to the newest.
    let mut found = vec![ids[0].clone()];
    loop {
        let fields = json!({"limit": 200, "after": found.last()});
        let (answer, size) = ask(&mut b, &history_frame("a", &fields));
        assert!(size < MAX_BYTES, "{size}");
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
fn pages_of_messages_with_many_reactions_stay_small_too() {
    const COUNT: usize = 60;
    let long = |letter: char| letter.to_string().repeat(64);
    let (one, two) = (long('1'), long('2'));
    let server = Server::start(FAST);
    let mut a = connect_manual(&server, &one, "one");
    let mut b = connect_manual(&server, &two, "one");
    let ids = send_all(&mut a, &two, 0..COUNT);
    // Characters that take six bytes each when escaped.
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
        let (answer, size) = ask(&mut b, &history_frame(&one, &fields));
        assert!(size < MAX_BYTES, "{size}");
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

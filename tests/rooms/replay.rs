//! Replay of entries of rooms.

use serde_json::{Value, json};

use crate::helpers::{about_in, assert_room, connect_members, join, leave, open, to_room};
use crate::support::{Client, Server, assert_has, with};

/// The entries of a user's inbox, as a new session is sent them.
fn replayed(server: &Server, user: &str, query: &str) -> Vec<Value> {
    let mut client = Client::connect(server, user, query);
    let mut frames = Vec::new();
    loop {
        let frame = client.recv();
        if frame["type"] == "synced" {
            return frames;
        }
        frames.push(frame);
    }
}

#[test]
fn entries_are_replayed_as_they_were_sent() {
    let mut server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let id = clients[0].ask(&to_room("lobby", "hello"))["id"].clone();
    let react = with(about_in("react", "lobby", &id), &json!({"emoji": "+"}));
    clients[0].ask(&react);
    let mut c = Client::fresh(&server, "c");
    c.ask(&join("lobby"));
    c.ask(&leave("lobby"));
    let live: Vec<Value> = (0..4).map(|_| clients[1].recv()).collect();
    assert_eq!(live[0]["message"], "hello");
    assert_eq!(live[1]["emoji"], "+");
    assert_room(&live[2], "joined", "c", 3);
    assert_room(&live[3], "left", "c", 2);
    let check = |server: &Server| {
        let frames = replayed(server, "b", "?since=0");
        assert_room(&frames[0], "joined", "b", 2);
        assert_eq!(frames[1..], live);
        // The number of members is that after the event.
        let frames = replayed(server, "a", "?since=0");
        let counts: Vec<_> = frames.iter().map(|frame| frame.get("members")).collect();
        let count = |n: u64| json!(n);
        let (one, two, three) = (count(1), count(2), count(3));
        assert_eq!(
            counts,
            [Some(&one), Some(&two), None, None, Some(&three), Some(&two)]
        );
        assert_eq!(replayed(server, "b", "?since=3"), live[2..]);
    };
    check(&server);
    server.kill();
    server.restart();
    check(&server);
}

/// The entries of changes move to the inboxes after them. A session that reads an inbox gets them all the same, also after a crash.
#[test]
fn changes_are_replayed_before_and_after_a_crash() {
    let mut server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b", "c", "d", "e", "f"]);
    clients.pop().expect("a member").close();
    let ids: Vec<Value> = (0..2)
        .map(|n| clients[0].ask(&to_room("lobby", &n.to_string()))["id"].clone())
        .collect();
    let edit = |text: &str| {
        with(
            about_in("edit", "lobby", &ids[0]),
            &json!({"message": text}),
        )
    };
    for text in ["first", "second", "third"] {
        assert_eq!(clients[0].ask(&edit(text))["type"], "ack");
    }
    let react = with(about_in("react", "lobby", &ids[0]), &json!({"emoji": "+"}));
    assert_eq!(clients[1].until("edited")["message"], "first");
    for _ in 0..2 {
        clients[1].expect("edited");
    }
    assert_eq!(clients[1].ask(&react)["type"], "ack");
    let delete = about_in("delete", "lobby", &ids[1]);
    clients[0].send(&delete);
    clients[0].until("ack");
    let kinds = |frames: &[Value]| -> Vec<String> {
        let text = |frame: &Value| {
            let id = ids.iter().position(|id| frame["id"] == *id);
            let id = id.map_or_else(String::new, |id| format!(" {id}"));
            format!("{}{id}", frame["type"].as_str().expect("a type"))
        };
        frames.iter().map(text).collect()
    };
    // Each member has the own join, and those after it.
    let check = |server: &Server| {
        let expected = [
            "message 0",
            "deleted 1",
            "skipped",
            "skipped",
            "edited 0",
            "reacted 0",
            "deleted 1",
        ];
        for (user, since) in [("f", 1), ("e", 2), ("c", 4)] {
            let frames = replayed(server, user, &format!("?since={since}"));
            assert_eq!(kinds(&frames), expected, "{user}");
            let content = json!("third");
            assert_eq!(
                (&frames[0]["message"], &frames[4]["message"]),
                (&content, &content)
            );
            assert_eq!(frames[6]["seq"], since + 7);
        }
        let frames = replayed(server, "d", "?since=7");
        assert_eq!(kinds(&frames), expected[4..]);
    };
    for seq in 3..=9 {
        // What a session was sent when it was committed has the same numbers.
        let frame = clients[4].recv();
        assert_eq!(frame["seq"], seq, "{frame}");
    }
    check(&server);
    assert_eq!(clients[0].ask(&edit("fourth"))["type"], "ack");
    server.kill();
    server.restart();
    let frames = replayed(&server, "f", "?since=1");
    let expected = [
        "skipped",
        "skipped",
        "skipped",
        "reacted 0",
        "deleted 1",
        "edited 0",
    ];
    assert_eq!(kinds(&frames[2..]), expected);
}

#[test]
fn a_member_who_was_away_gets_everything_up_to_leaving() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let b = clients.pop().expect("a member");
    b.close();
    let a = &mut clients[0];
    a.ask(&to_room("lobby", "1"));
    let mut other = Client::connect(&server, "b", "?device=other&since=1");
    other.until("synced");
    other.ask(&leave("lobby"));
    a.expect("room");
    a.ask(&to_room("lobby", "not for b"));
    let frames = replayed(&server, "b", "?since=1");
    assert_eq!(frames.len(), 2, "{frames:?}");
    assert_eq!(frames[0]["message"], "1");
    assert_room(&frames[1], "left", "b", 1);
    // Joining again, only what follows is in the inbox.
    other.ask(&join("lobby"));
    a.expect("room");
    a.ask(&to_room("lobby", "2"));
    let frames = replayed(&server, "b", "?since=3");
    assert_room(&frames[0], "joined", "b", 2);
    assert_eq!(frames[1]["message"], "2");
    assert_eq!(frames.len(), 2, "{frames:?}");
}

#[test]
fn changed_messages_are_replayed_as_they_are_now() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let ids: Vec<Value> = ["1", "2"]
        .map(|text| clients[0].ask(&to_room("lobby", text))["id"].clone())
        .into();
    for text in ["1a", "1b"] {
        let edit = about_in("edit", "lobby", &ids[0]);
        clients[0].ask(&with(edit, &json!({"message": text})));
    }
    clients[0].ask(&about_in("delete", "lobby", &ids[1]));
    for user in ["a", "b"] {
        let joins = if user == "a" { 2 } else { 1 };
        let frames = replayed(&server, user, &format!("?since={joins}"));
        let tags: Vec<&str> = frames
            .iter()
            .filter_map(|frame| frame["type"].as_str())
            .collect();
        assert_eq!(tags, ["message", "deleted", "skipped", "edited", "deleted"]);
        assert_has(
            &frames[0],
            &json!({"message": "1b", "target_room": "lobby"}),
        );
        assert_has(&frames[4], &json!({"id": ids[1], "target_room": "lobby"}));
    }
}

#[test]
fn retention_of_an_inbox_includes_entries_of_rooms() {
    let server = open(&["--inbox-limit", "3"]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let b = clients.pop().expect("a member");
    b.close();
    for n in 0..20 {
        clients[0].ask(&to_room("lobby", &n.to_string()));
    }
    crate::support::eventually("old entries are removed", || {
        let frames = replayed(&server, "b", "?since=1");
        frames[0]["type"] == "truncated" && frames.len() == 4
    });
    let frames = replayed(&server, "b", "?since=1");
    assert_has(
        &frames[0],
        &json!({"type": "truncated", "reason": "retention", "oldest_seq": 19}),
    );
    let texts: Vec<&Value> = frames[1..].iter().map(|frame| &frame["message"]).collect();
    assert_eq!(texts, ["17", "18", "19"]);
}

#[test]
fn a_client_can_name_the_entry_of_a_room_at_its_cursor() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let ack = clients[1].ask(&join("lobby"));
    let at = ack["sent_at"].as_str().expect("a time");
    for (since, at, tag) in [
        (2, at, "synced"),
        (2, "2001-01-01T00:00:00.000Z", "truncated"),
    ] {
        let query = format!("?since={since}&since_at={at}");
        let mut a = Client::connect(&server, "a", &query);
        a.expect(tag);
    }
}

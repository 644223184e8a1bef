//! `members`, `history` and `conversations`.

use serde_json::{Value, json};

use crate::helpers::{
    ID, about_in, assert_error, connect_members, join, leave, members, names, open, to_room,
};
use crate::support::{Client, assert_has, to, with};

#[test]
fn members_are_ordered_by_the_bytes_of_their_ids() {
    let server = open(&[]);
    // Not the order of the letters, and not that in which they join.
    let mut clients = connect_members(&server, "lobby", &["b", "Z", "a", "~", "0", "a.b"]);
    let answer = clients[0].ask(&with(members("lobby"), &json!({"ref": "m"})));
    assert_has(
        &answer,
        &json!({"type": "members", "room": "lobby", "total": 6, "ref": "m", "cursor": null}),
    );
    assert_eq!(
        names(&mut clients[1], "lobby"),
        ["0", "Z", "a", "a.b", "b", "~"]
    );
    for user in answer["users"].as_array().expect("a list") {
        assert!(user["joined_at"].is_string(), "{user}");
    }
    let mut pages = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let mut frame = with(members("lobby"), &json!({"limit": 2}));
        if !cursor.is_null() {
            frame["cursor"] = cursor;
        }
        let page = clients[0].ask(&frame);
        assert_eq!(page["total"], 6);
        let users = page["users"].as_array().expect("a list");
        pages.push(
            users
                .iter()
                .map(|user| user["user"].clone())
                .collect::<Vec<_>>(),
        );
        match page.get("cursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(pages, [["0", "Z"], ["a", "a.b"], ["b", "~"]]);
    for cursor in ["x", ID] {
        let frame = with(members("lobby"), &json!({"cursor": cursor}));
        assert_error(&clients[0].ask(&frame), "unknown_message", "/cursor");
    }
}

#[test]
fn members_of_a_small_room_see_each_others_read_marks() {
    let server = open(&["--small-room", "2"]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let id = clients[0].ask(&to_room("lobby", "hello"))["id"].clone();
    clients[1].expect("message");
    clients[1].send(&about_in("read", "lobby", &id));
    clients[0].receipt();
    let reads = |client: &mut Client| -> Vec<Option<Value>> {
        let answer = client.ask(&members("lobby"));
        let users = answer["users"].as_array().expect("a list");
        users.iter().map(|user| user.get("read").cloned()).collect()
    };
    assert_eq!(reads(&mut clients[0]), [None, Some(id)]);
    let mut c = Client::fresh(&server, "c");
    c.ask(&join("lobby"));
    assert_eq!(reads(&mut c), [None, None, None]);
}

#[test]
fn history_of_a_room_has_the_messages_of_all_members() {
    let server = open(&[]);
    let mut clients = connect_members(&server, "lobby", &["a", "b"]);
    let mut ids = Vec::new();
    for n in 0..6 {
        let (from, other) = (n % 2, (n + 1) % 2);
        ids.push(clients[from].ask(&to_room("lobby", &n.to_string()))["id"].clone());
        clients[other].expect("message");
    }
    let react = with(about_in("react", "lobby", &ids[0]), &json!({"emoji": "+"}));
    clients[1].ask(&react);
    // A later member reads everything.
    let mut c = Client::fresh(&server, "c");
    c.ask(&join("lobby"));
    let history = c.ask(&json!({"type": "history", "target_room": "lobby", "limit": 4}));
    assert_has(
        &history,
        &json!({"type": "history", "target_room": "lobby", "more": true, "target_user": null}),
    );
    let texts = |history: &Value| -> Vec<String> {
        let messages = history["messages"].as_array().expect("a list").iter();
        messages
            .map(|message| message["message"].as_str().expect("a text").to_owned())
            .collect()
    };
    assert_eq!(texts(&history), ["2", "3", "4", "5"]);
    let before = json!({"type": "history", "target_room": "lobby", "before": ids[2]});
    let history = c.ask(&before);
    assert_eq!(texts(&history), ["0", "1"]);
    assert_has(
        &history["messages"][0],
        &json!({
            "from_user": "a", "target_room": "lobby", "id": ids[0],
            "reactions": [{"emoji": "+", "users": ["b"]}]
        }),
    );
    let unknown = json!({"type": "history", "target_room": "lobby", "before": ID});
    assert_error(&c.ask(&unknown), "unknown_message", "/before");
}

#[test]
fn conversations_list_rooms_and_users_together() {
    let server = open(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    b.ask(&join("lobby"));
    b.ask(&to_room("lobby", "before"));
    a.ask(&to("b", "direct"));
    b.expect("message");
    a.ask(&join("lobby"));
    b.expect("room");
    a.ask(&join("empty"));
    let listed = |client: &mut Client| -> Vec<Value> {
        let answer = client.ask(&json!({"type": "conversations"}));
        answer["items"].as_array().expect("a list").clone()
    };
    let items = listed(&mut a);
    assert_eq!(items.len(), 3, "{items:?}");
    assert_has(
        &items[0],
        &json!({"target_room": "empty", "members": 1, "last": null, "unread": 0}),
    );
    // Messages from before the join are not unread.
    assert_has(
        &items[1],
        &json!({"target_room": "lobby", "members": 2, "unread": 0, "my_read": null}),
    );
    assert_eq!(items[1]["last"]["message"], "before");
    assert_has(&items[2], &json!({"target_user": "b", "members": null}));
    let ids: Vec<Value> = ["1", "2"]
        .map(|text| b.ask(&to_room("lobby", text))["id"].clone())
        .into();
    a.expect("message");
    a.expect("message");
    let items = listed(&mut a);
    assert_has(&items[0], &json!({"target_room": "lobby", "unread": 2}));
    assert_eq!(items[0]["last"]["id"], ids[1]);
    a.send(&about_in("read", "lobby", &ids[0]));
    b.receipt();
    let items = listed(&mut a);
    assert_has(&items[0], &json!({"unread": 1, "my_read": ids[0]}));
    a.ask(&leave("lobby"));
    let items = listed(&mut a);
    assert_eq!(items.len(), 2, "{items:?}");
    assert_has(&items[0], &json!({"target_room": "empty"}));
}

#[test]
fn with_joined_history_earlier_messages_do_not_exist() {
    let server = open(&["--room-history", "joined"]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&join("lobby"));
    let old = a.ask(&to_room("lobby", "old"))["id"].clone();
    let mut b = Client::fresh(&server, "b");
    b.ask(&join("lobby"));
    a.expect("room");
    let history = json!({"type": "history", "target_room": "lobby"});
    assert_eq!(b.ask(&history)["messages"], json!([]));
    let item = b.ask(&json!({"type": "conversations"}))["items"][0].clone();
    assert_has(
        &item,
        &json!({"target_room": "lobby", "last": null, "unread": 0}),
    );
    for (field, path) in [("before", "/before"), ("after", "/after")] {
        let frame = with(history.clone(), &json!({field: old}));
        assert_error(&b.ask(&frame), "unknown_message", path);
    }
    for frame in [
        about_in("read", "lobby", &old),
        about_in("delete", "lobby", &old),
        with(about_in("react", "lobby", &old), &json!({"emoji": "+"})),
        with(about_in("edit", "lobby", &old), &json!({"message": "x"})),
    ] {
        assert_error(&b.ask(&frame), "unknown_message", "/id");
    }
    // Changes of such messages are not entries of the inbox.
    let edit = with(about_in("edit", "lobby", &old), &json!({"message": "new"}));
    assert_eq!(a.ask(&edit)["type"], "ack");
    b.assert_quiet();
    let id = a.ask(&to_room("lobby", "hello"))["id"].clone();
    assert_eq!(b.expect("message")["id"], id);
    assert_eq!(b.ask(&history)["messages"][0]["id"], id);
    assert_eq!(a.ask(&history)["messages"][0]["id"], old);
}

#[test]
fn queries_of_members_count_as_queries() {
    let server = open(&["--queries-per-second", "1", "--query-burst", "3"]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&join("lobby"));
    for _ in 0..20 {
        let answer = a.ask(&members("lobby"));
        if answer["type"] == "error" {
            assert_eq!(answer["code"], "rate_limited");
            return;
        }
    }
    panic!("all queries were answered");
}

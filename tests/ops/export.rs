//! `GET /v1/users/{user}/export`.

use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::helpers::{Ops, Response, answer, new_key};
use crate::support::{Client, DEADLINE, Folder, dmwire, eventually, to};

const FAST: [&str; 6] = [
    "--messages-per-second",
    "100000",
    "--burst",
    "100000",
    "--user-bytes-per-day",
    "1000000000",
];
const EXPORT: &str = "/v1/users/ann/export";
/// Exports at the same time.
const MAX_EXPORTS: usize = 16;

fn request_of(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// A body in chunks, decoded. `None`: it is incomplete.
fn decoded(mut body: &str) -> Option<String> {
    let mut text = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(text);
        }
        text.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

fn lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).expect("a line is JSON");
    text.lines().map(parse).collect()
}

/// The messages of a complete export.
#[track_caller]
fn exported(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.head);
    let media_type = "content-type: application/x-ndjson\r\n";
    assert!(response.head.contains(media_type), "{}", response.head);
    lines(&decoded(&response.body).expect("the body is complete"))
}

/// What `dmwire export` prints.
#[track_caller]
fn printed(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["export", "--user", "ann"], arguments].concat();
    let output = dmwire(&folder.0, &arguments);
    assert_eq!(output.code, Some(0), "{}", output.err);
    lines(&output.out)
}

fn texts(messages: &[Value]) -> Vec<&str> {
    let text = |message: &Value| message["message"].as_str().map(str::len);
    let texts = messages.iter().filter(|message| text(message).is_some());
    texts
        .filter_map(|message| message["message"].as_str())
        .collect()
}

fn in_room(room: &str, text: &str) -> Value {
    json!({"message": text, "target_room": room})
}

fn send_all(client: &mut Client, frames: &[Value]) {
    for part in frames.chunks(50) {
        for frame in part {
            client.send(frame);
        }
        for _ in part {
            client.until("ack");
        }
    }
}

#[test]
fn an_export_has_the_messages_of_all_conversations_like_that_of_the_command() {
    let folder = Arc::new(Folder::new());
    let mut ops = Ops::start_in(&folder, &FAST);
    let mut ann = Client::fresh(&ops.server, "ann");
    let mut ben = Client::fresh(&ops.server, "ben");
    for room in ["lobby", "left"] {
        for client in [&mut ann, &mut ben] {
            client.send(&json!({"type": "join", "room": room}));
            client.until("ack");
        }
    }
    let many: Vec<_> = (0..5_000)
        .map(|n| to("ben", &format!("{n} {}", "x".repeat(n % 500))))
        .collect();
    send_all(&mut ann, &many);
    // Conversations of one message each.
    let users: Vec<_> = (0..600).map(|n| format!("user{n}")).collect();
    let body = json!({"from_user": "ann", "target_users": users, "message": "to all"});
    ops.post("/v1/messages", &body).assert_ok();
    for (text, change) in [
        ("of ben", json!({"type": "react", "emoji": "+"})),
        ("deleted", json!({"type": "delete"})),
        ("edited", json!({"type": "edit", "message": "new text"})),
    ] {
        ben.send(&to("ann", text));
        let mut change = change;
        change["id"] = ben.until("ack")["id"].clone();
        change["target_user"] = json!("ann");
        ben.send(&change);
        ben.until("ack");
    }
    ben.send(&to("user1", "not Ann's"));
    ben.until("ack");
    for client in [&mut ann, &mut ben] {
        let frames = [
            in_room("lobby", "in the lobby"),
            in_room("left", "in the room"),
        ];
        send_all(client, &frames);
    }
    ann.send(&to("ann", "to myself"));
    ann.until("ack");
    ann.send(&json!({"type": "leave", "room": "left"}));
    ann.until("ack");
    send_all(&mut ben, &[in_room("left", "after Ann")]);

    let messages = exported(&ops.get(EXPORT));
    assert_eq!(messages.len(), 5_000 + 600 + 3 + 2 + 1 + 1);
    let place = |message: &Value| {
        let fields = ["id", "from_user", "target_user", "target_room"];
        fields.map(|field| message[field].to_string())
    };
    let places: HashSet<_> = messages.iter().map(place).collect();
    assert_eq!(places.len(), messages.len());
    let of = |key: &str, value: &str| -> Vec<Value> {
        let of = messages.iter().filter(|message| message[key] == value);
        of.cloned().collect()
    };
    // The messages of a conversation are in order.
    let with_ben = of("target_user", "ben");
    let numbers = with_ben.iter().filter_map(|message| {
        let text = message["message"].as_str()?;
        text.split(' ').next()?.parse::<usize>().ok()
    });
    assert!(numbers.eq(0..5_000));
    let ben = of("from_user", "ben");
    assert_eq!(texts(&ben), ["of ben", "new text", "in the lobby"]);
    assert_eq!(
        ben[0]["reactions"],
        json!([{"emoji": "+", "users": ["ben"]}])
    );
    assert!(ben[1]["deleted_at"].is_string() && ben[1].get("message").is_none());
    assert!(ben[2]["edited_at"].is_string());
    let to_ann = of("target_user", "ann");
    assert!(texts(&to_ann).contains(&"to myself"));
    assert_eq!(of("target_room", "lobby").len(), 2);
    let left = of("target_room", "left");
    assert_eq!(texts(&left), ["in the room"]);
    assert_eq!(left[0]["from_user"], "ann");

    assert_eq!(printed(&folder, &[]), messages);
    ops.server.stop();
    assert_eq!(printed(&folder, &[]), messages);
}

#[test]
fn an_export_has_own_messages_from_before_the_last_join() {
    let folder = Arc::new(Folder::new());
    let rule = ["--room-history", "joined"];
    let ops = Ops::start_in(&folder, &rule);
    let mut ann = Client::fresh(&ops.server, "ann");
    let mut ben = Client::fresh(&ops.server, "ben");
    let ask = |client: &mut Client, frame: &Value| {
        client.send(frame);
        client.until("ack");
    };
    let change = |tag: &str| json!({"type": tag, "room": "lobby"});
    ask(&mut ben, &change("join"));
    ask(&mut ben, &in_room("lobby", "before Ann"));
    ask(&mut ann, &change("join"));
    ask(&mut ben, &in_room("lobby", "to Ann"));
    ask(&mut ann, &in_room("lobby", "hello"));
    assert_eq!(texts(&exported(&ops.get(EXPORT))), ["to Ann", "hello"]);
    ask(&mut ann, &change("leave"));
    ask(&mut ben, &in_room("lobby", "without Ann"));
    assert_eq!(texts(&exported(&ops.get(EXPORT))), ["hello"]);
    ask(&mut ann, &change("join"));
    ask(&mut ben, &in_room("lobby", "again"));
    let messages = exported(&ops.get(EXPORT));
    assert_eq!(texts(&messages), ["hello", "again"]);
    assert_eq!(printed(&folder, &rule), messages);
}

#[test]
fn an_export_needs_the_scope_admin_and_a_known_user() {
    let folder = Arc::new(Folder::new());
    let (reader, reader_line) = new_key("reader");
    let (admin, admin_line) = new_key("admin");
    let keys = format!("{reader_line} read,write\n{admin_line} admin\n");
    fs::write(folder.0.join("keys"), keys).expect("a writable folder");
    let ops = Ops::start_in(&folder, &["--api-key-file", "keys"]);
    ops.get(EXPORT).assert_error(401, "unauthorized", None);
    let response = ops.get_with(EXPORT, &reader);
    response.assert_error(403, "forbidden", None);
    let erased = format!("/v1/users/erased.{}/export", "0".repeat(32));
    for path in [EXPORT, &erased] {
        let response = ops.get_with(path, &admin);
        response.assert_error(404, "unknown_user", Some("/user"));
    }
    let mut ann = Client::fresh(&ops.server, "ann");
    assert_eq!(exported(&ops.get_with(EXPORT, &admin)), [Value::Null; 0]);
    ann.ask(&to("ben", "hello"));
    for (path, code, at) in [
        ("/v1/users/a%20b/export", "invalid_request", "/user"),
        ("/v1/users/ann/export?limit=1", "invalid_request", "/limit"),
    ] {
        let response = ops.get_with(path, &admin);
        response.assert_error(400, code, Some(at));
    }
    // Who has only received a message is known, too.
    for user in ["ann", "ben"] {
        let response = ops.get_with(&format!("/v1/users/{user}/export"), &admin);
        assert_eq!(texts(&exported(&response)), ["hello"]);
    }
}

/// A user with messages of 23 MB, more than the buffers of a connection hold.
fn with_long_messages() -> (Ops, Client) {
    let ops = Ops::start(&FAST);
    let mut ann = Client::fresh(&ops.server, "ann");
    send_long(&mut ann, 1_500);
    (ops, ann)
}

fn send_long(ann: &mut Client, count: usize) {
    let text = "x".repeat(15_000);
    let frames: Vec<_> = (0..count).map(|_| to("ben", &text)).collect();
    send_all(ann, &frames);
}

/// Starts an export that the caller does not read. Returns the beginning of the response.
fn start(ops: &Ops) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(ops.address).expect("the port accepts");
    let timeout = stream.set_read_timeout(Some(DEADLINE));
    timeout.expect("a timeout can be set");
    let request = request_of(EXPORT);
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut first = vec![0; 12];
    stream.read_exact(&mut first).expect("it is answered");
    (stream, first)
}

#[test]
fn a_caller_who_reads_slowly_keeps_neither_the_log_nor_memory() {
    let (ops, mut ann) = with_long_messages();
    let before = ops.server.memory_kib();
    let (mut stream, mut all) = start(&ops);
    send_long(&mut ann, 500);
    // A reader that still saw the store as it was would keep it from being truncated.
    let log = ops.server.folder().join("dmwire.db-wal");
    eventually("the write-ahead log is truncated", || {
        fs::metadata(&log).is_ok_and(|log| log.len() < 1 << 20)
    });
    let grown = ops.server.memory_kib().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB");
    stream.read_to_end(&mut all).expect("the rest is sent");
    let all = String::from_utf8(all).expect("UTF-8");
    let (head, body) = all.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let messages = lines(&decoded(body).expect("the body is complete"));
    assert!(messages.len() >= 1_500, "{}", messages.len());
}

#[test]
fn callers_who_do_not_read_delay_no_others_and_end_their_exports_by_disconnecting() {
    let (ops, _ann) = with_long_messages();
    let mut exports: Vec<_> = (0..MAX_EXPORTS)
        .map(|_| {
            let (stream, first) = start(&ops);
            assert_eq!(first, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let refused = ops.get("/v1/users/ben/export");
    refused.assert_error(503, "overloaded", None);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    // Calls and sessions that read from the store.
    ops.get("/v1/users/ann/history?target_user=ben&limit=1")
        .assert_ok();
    ops.get("/v1/rooms").assert_ok();
    let mut ben = Client::connect(&ops.server, "ben", "");
    ben.until("message");
    // One that ends makes room for another one.
    drop(exports.pop());
    let mut next = None;
    eventually("another export starts", || {
        let (stream, first) = start(&ops);
        next = Some(stream);
        first == b"HTTP/1.1 200"
    });
    drop((exports, next));
    let mut started = Vec::new();
    while started.len() < MAX_EXPORTS {
        eventually("all exports have ended", || {
            let (stream, first) = start(&ops);
            let has_started = first == b"HTTP/1.1 200";
            if has_started {
                started.push(stream);
            }
            has_started
        });
    }
}

#[test]
fn an_export_that_fails_is_incomplete() {
    let ops = Ops::start(&FAST);
    let mut ann = Client::fresh(&ops.server, "ann");
    let text = "x".repeat(1_000);
    let frames: Vec<_> = (0..2_000).map(|_| to("ben", &text)).collect();
    send_all(&mut ann, &frames);
    assert_eq!(exported(&ops.get(EXPORT)).len(), 2_000);
    let database = Connection::open(ops.server.store()).expect("the store can be opened");
    let spoil = |which: &str| {
        // Text that is not UTF-8 cannot be read.
        let spoil = format!(
            "UPDATE messages SET content = CAST(x'ff' AS TEXT) WHERE n = (SELECT {which}(n) FROM messages)"
        );
        eventually("a message is changed", || {
            database.execute(&spoil, []) == Ok(1)
        });
    };
    spoil("max");
    let stream = TcpStream::connect(ops.address).expect("the port accepts");
    let sent = (&stream).write_all(request_of(EXPORT).as_bytes());
    sent.expect("it is sent");
    let response = answer(stream);
    assert_eq!(response.status, 200);
    assert!(response.body.len() > 250 << 10, "{}", response.body.len());
    assert_eq!(decoded(&response.body), None);
    let log = ops.server.wait_for_log("an export is incomplete");
    assert!(log.contains("ERROR") && log.contains("ann"), "{log}");
    // The failure of the first page has a status.
    spoil("min");
    ops.get(EXPORT).assert_error(500, "internal", None);
}

#[test]
fn an_export_is_incomplete_if_the_user_is_erased_meanwhile() {
    let (ops, ann) = with_long_messages();
    ann.close();
    let (mut stream, mut all) = start(&ops);
    assert_eq!(all, b"HTTP/1.1 200");
    ops.request("DELETE /v1/users/ann", &[], b"").assert_ok();
    // Another user of the name, whose messages do not belong to the export.
    Client::fresh(&ops.server, "ann").ask(&to("ben", "of another user"));
    drop(stream.read_to_end(&mut all));
    let all = String::from_utf8(all).expect("UTF-8");
    let (_, body) = all.split_once("\r\n\r\n").expect("a head");
    assert_eq!(decoded(body), None);
    assert!(!body.contains("of another user"));
    let log = ops.server.wait_for_log("an export is incomplete");
    assert!(log.contains("erased"), "{log}");
    let messages = exported(&ops.get(EXPORT));
    assert_eq!(texts(&messages), ["of another user"]);
}

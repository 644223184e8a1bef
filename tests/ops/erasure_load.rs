//! Erasing a user under load, and kills meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::helpers::Ops;
use crate::support::{Client, Folder, dmwire, eventually, to};

const USER: &str = "zaphod.beeblebrox";
const TEXT: &str = "heart of gold";
const FAST: [&str; 6] = [
    "--messages-per-second",
    "100000",
    "--burst",
    "100000",
    "--room-entries-per-second",
    "100000",
];

fn to_room(room: &str, text: &str) -> serde_json::Value {
    json!({"target_room": room, "message": text})
}

fn join(client: &mut Client, room: &str) {
    client.send(&json!({"type": "join", "room": room}));
    let answer = client.until("ack");
    assert_eq!(answer["status"], "stored", "{answer}");
}

fn read_only(store: &Path) -> Connection {
    Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the file opens")
}

/// Sends as fast as the server answers, until the session ends. Returns the number of acks.
fn send_until_closed(mut client: Client, targets: &[&str]) -> usize {
    let mut acks = 0;
    for n in 0.. {
        let text = format!("{TEXT} {n}");
        let frame = match targets[n % targets.len()] {
            "hall" => to_room("hall", &text),
            user => to(user, &text),
        };
        if !client.try_send_text(&frame.to_string()) {
            break;
        }
        loop {
            match client.next() {
                Ok(frame) if frame["type"] == "ack" => break,
                Ok(frame) if frame["type"] == "goodbye" => return acks,
                Ok(_) => {}
                Err(_) => return acks,
            }
        }
        acks += 1;
    }
    acks
}

#[test]
fn a_user_who_sends_from_many_sessions_leaves_nothing_in_the_files_of_a_running_server() {
    let folder = Arc::new(Folder::new());
    let ops = Ops::start_in(&folder, &FAST);
    let users = ["ann", "ben", "cid", "dan"];
    let mut others: Vec<Client> = users
        .iter()
        .map(|user| {
            let mut client = Client::connect(&ops.server, user, "?ack=manual");
            client.until("synced");
            join(&mut client, "hall");
            client
        })
        .collect();
    let mut first = Client::fresh(&ops.server, USER);
    join(&mut first, "hall");
    let acked = AtomicUsize::new(0);
    let is_done = AtomicBool::new(false);
    let messages = std::thread::scope(|scope| {
        for device in 0..8 {
            // Two sessions of each device.
            let query = format!("?device=d{}", device / 2);
            let client = Client::connect(&ops.server, USER, &query);
            let acked = &acked;
            scope.spawn(move || {
                let acks = send_until_closed(client, &["ann", "hall", "ben"]);
                acked.fetch_add(acks, Ordering::SeqCst);
            });
        }
        // Others write meanwhile.
        let mut writer = others.pop().expect("a client");
        let is_done = &is_done;
        scope.spawn(move || {
            while !is_done.load(Ordering::SeqCst) {
                writer.ask(&to_room("hall", "hello"));
            }
        });
        let watched = &mut others[0];
        for _ in 0..100 {
            watched.until("message");
        }
        let answer = ops
            .request(&format!("DELETE /v1/users/{USER}"), &[], b"")
            .assert_ok();
        assert_eq!(answer["closed"], 9, "{answer}");
        let file = std::fs::read(format!("{}-wal", ops.server.store().display()));
        let log = file.unwrap_or_default();
        is_done.store(true, Ordering::SeqCst);
        let mut parts = log.windows(USER.len());
        assert!(!parts.any(|part| part == USER.as_bytes()));
        answer["messages"].as_u64().expect("a number")
    });
    assert!(messages >= acked.load(Ordering::SeqCst) as u64);
    let file = read_only(&ops.server.store());
    for (sql, text) in [
        ("SELECT count(*) FROM users WHERE id = ?1", USER),
        ("SELECT count(*) FROM erasures WHERE ?1 NOT NULL", USER),
        (
            "SELECT count(*) FROM pending WHERE instr(records, CAST(?1 AS BLOB))",
            TEXT,
        ),
        (
            "SELECT count(*) FROM contents WHERE instr(content, ?1)",
            TEXT,
        ),
        (
            "SELECT count(*) FROM messages WHERE instr(content, ?1)",
            TEXT,
        ),
        (
            "SELECT count(*) FROM inbox AS i JOIN users AS u ON u.n = i.user WHERE u.id LIKE ?1",
            "erased.%",
        ),
    ] {
        let found = file.query_row(sql, [text], |row| row.get::<_, i64>(0));
        assert_eq!(found.expect("a number"), 0, "{sql}");
    }
    drop(file);
    let output = dmwire(&folder.0, &["verify"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Stores what an erasure of the user removes: content, reactions, memberships, entries of the inbox.
fn fill(ops: &Ops, member: &str, users: &[String]) {
    let mut zaphod = Client::fresh(&ops.server, USER);
    let mut ann = Client::fresh(&ops.server, member);
    for client in [&mut zaphod, &mut ann] {
        join(client, "hall");
    }
    for room in 0..20 {
        join(&mut zaphod, &format!("room{room}"));
    }
    for n in 0..400 {
        let text = format!("{TEXT} {n}");
        zaphod.send(&to_room("hall", &text));
        zaphod.send(&to(&users[n % users.len()], &text));
    }
    for _ in 0..800 {
        zaphod.until("ack");
    }
    for n in 0..200 {
        let id = ann.ask(&to_room("hall", &n.to_string()))["id"].clone();
        zaphod.send(&json!({"type": "react", "target_room": "hall", "id": id, "emoji": "+"}));
    }
    for _ in 0..200 {
        zaphod.until("ack");
    }
}

#[test]
fn an_erasure_is_completed_after_a_kill_in_any_phase() {
    let folder = Arc::new(Folder::new());
    let mut arguments = FAST.to_vec();
    arguments.extend(["--durability", "normal"]);
    let users: Vec<String> = (0..100).map(|n| format!("user{n}")).collect();
    let mut found = Vec::new();
    for phase in 0..=10 {
        let mut ops = Ops::start_in(&folder, &arguments);
        // Another member each time, whose inbox is empty.
        fill(&ops, &format!("member{phase}"), &users);
        let file = read_only(&ops.server.store());
        let present = || {
            let sql = "SELECT max(phase) FROM erasures";
            let phase = file.query_row(sql, (), |row| row.get::<_, Option<i64>>(0));
            phase.expect("a number")
        };
        let is_answered = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let answered = &is_answered;
            let address = ops.address;
            scope.spawn(move || {
                // It is not answered if the server is killed before.
                let mut stream = TcpStream::connect(address).expect("the port accepts");
                let head = format!("DELETE /v1/users/{USER} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream.write_all(head.as_bytes()).expect("it is sent");
                drop(stream.read(&mut [0; 1024]));
                answered.store(true, Ordering::SeqCst);
            });
            while present() < Some(phase) && !is_answered.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            ops.server.kill();
        });
        found.push(present());
        drop(file);
        verify(&folder);
        drop(ops);
        let mut ops = Ops::start_in(&folder, &arguments);
        let file = read_only(&ops.server.store());
        let left = || {
            let sql = "SELECT count(*) FROM erasures";
            file.query_row(sql, (), |row| row.get::<_, i64>(0))
        };
        eventually("it is complete", || left() == Ok(0));
        let names = file.query_row("SELECT count(*) FROM users WHERE id = ?1", [USER], |row| {
            row.get::<_, i64>(0)
        });
        assert_eq!(names, Ok(0));
        drop(file);
        ops.server.stop();
        verify(&folder);
    }
    assert!(
        found.iter().any(Option::is_some),
        "no erasure was interrupted"
    );
}

fn verify(folder: &Folder) {
    let output = dmwire(&folder.0, &["verify"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

//! Erasing a user while the server runs.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::helpers::{Ops, Response};
use crate::support::{Client, DEADLINE, Folder, dmwire, eventually, to};

const FAST: [&str; 4] = ["--messages-per-second", "100000", "--burst", "100000"];

fn erase(ops: &Ops, user: &str) -> Response {
    ops.request(&format!("DELETE /v1/users/{user}"), &[], b"")
}

/// The hash of a former name, for a client.
fn user_hash(client: &Client, user: &str) -> String {
    let text = format!("{}:{user}", client.epoch());
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()
        .iter()
        .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

/// Checks an entry about the erasure of `user`, and returns the name that the user has got.
#[track_caller]
fn assert_erased(entry: &Value, client: &Client, user: &str) -> String {
    assert_eq!(entry["user_hash"], user_hash(client, user), "{entry}");
    assert!(entry["at"].is_string() && entry["seq"].is_u64(), "{entry}");
    let name = entry["as"].as_str().expect("a name").to_owned();
    let hex = name.strip_prefix("erased.").expect("a name of that form");
    assert!(hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(!entry.to_string().contains(user), "{entry}");
    name
}

fn join(client: &mut Client, room: &str) {
    let answer = client.ask(&json!({"type": "join", "room": room}));
    assert_eq!(answer["status"], "stored", "{answer}");
}

fn verify(folder: &Folder) {
    let output = dmwire(&folder.0, &["verify"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn users_who_share_a_conversation_get_one_entry_and_keep_their_messages() {
    let ops = Ops::start(&FAST);
    let server = &ops.server;
    let mut zoe = Client::fresh(server, "zoe");
    let mut ann = Client::fresh(server, "ann");
    let mut ben = Client::fresh(server, "ben");
    let mut cid = Client::fresh(server, "cid");
    // Ann shares a direct conversation and a room with Zoe, Ben a room, and Cid nothing.
    let theirs = zoe.ask(&to("ann", "secret"))["id"].clone();
    let own = ann.until("message");
    let kept = ann.ask(&to("zoe", "kept"))["id"].clone();
    zoe.until("message");
    zoe.ask(&json!({"type": "react", "target_user": "ann", "id": kept, "emoji": "+"}));
    ann.until("reacted");
    for client in [&mut zoe, &mut ann, &mut ben] {
        join(client, "lobby");
    }
    zoe.ask(&json!({"target_room": "lobby", "message": "to all"}));
    ann.until("message");
    ben.until("message");
    cid.ask(&to("ben", "hello"));
    ben.until("message");

    let answer = erase(&ops, "zoe").assert_ok();
    assert_eq!(
        (
            &answer["closed"],
            &answer["messages"],
            &answer["reactions"],
            &answer["notified"]
        ),
        (&json!(1), &json!(2), &json!(1), &json!(2)),
        "{answer}"
    );
    let goodbye = zoe.until("goodbye");
    assert_eq!(
        (&goodbye["code"], &goodbye["reconnect"]),
        (&json!(4403), &json!(false)),
        "{goodbye}"
    );
    let mut names = HashSet::new();
    for client in [&mut ann, &mut ben] {
        let entry = client.until("erased");
        names.insert(assert_erased(&entry, client, "zoe"));
        // The membership ends under the new name.
        let left = client.until("room");
        assert_eq!(
            (&left["event"], &left["user"]),
            (&json!("left"), &entry["as"]),
            "{left}"
        );
        assert_eq!(left["members"], 2, "{left}");
    }
    assert_eq!(names.len(), 1, "{names:?}");
    cid.assert_quiet();
    ann.assert_quiet();
    ben.assert_quiet();

    // The same is replayed, and nothing of the user.
    let name = names.into_iter().next().expect("a name");
    let mut again = Client::connect(server, "ann", "?since=0&device=other&ack=manual");
    let mut erased = 0;
    loop {
        let entry = again.recv();
        assert!(!entry.to_string().contains("zoe"), "{entry}");
        assert!(!entry.to_string().contains("secret"), "{entry}");
        match entry["type"].as_str() {
            Some("synced") => break,
            Some("erased") => {
                erased += 1;
                assert_eq!(assert_erased(&entry, &again, "zoe"), name);
            }
            Some("deleted") => assert_eq!(entry["from_user"], *name, "{entry}"),
            Some("message") => {
                assert_eq!((&entry["id"], &entry["target_user"]), (&kept, &json!(name)));
            }
            _ => {}
        }
    }
    assert_eq!(erased, 1);
    let history = again.ask(&json!({"type": "history", "target_user": name}));
    let messages = history["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), 2, "{history}");
    assert_eq!(
        (&messages[0]["id"], &messages[0]["message"]),
        (&theirs, &Value::Null)
    );
    assert_eq!(own["id"], theirs);
    assert_eq!(messages[1]["message"], "kept");
    let reactions = messages[1].get("reactions");
    assert!(
        reactions.is_none_or(|reactions| *reactions == json!([])),
        "{history}"
    );
    let history = ann.ask(&json!({"type": "history", "target_user": "zoe"}));
    assert_eq!(history["messages"], json!([]), "{history}");

    let left = ops.get(&format!("/v1/users/{name}")).assert_ok();
    assert_eq!(left["first_seen"], Value::Null, "{left}");
    erase(&ops, "zoe").assert_error(404, "unknown_user", Some("/user"));
    erase(&ops, &name).assert_error(404, "unknown_user", Some("/user"));
    erase(&ops, "nobody").assert_error(404, "unknown_user", Some("/user"));
    let output = dmwire(server.folder(), &["verify"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn the_next_user_of_the_name_begins_with_another_epoch_and_nothing_else() {
    let ops = Ops::start(&FAST);
    let server = &ops.server;
    let mut zoe = Client::fresh(server, "zoe");
    let mut ann = Client::fresh(server, "ann");
    assert_eq!(zoe.epoch(), ann.epoch());
    zoe.ask(&to("ann", "hello"));
    ann.until("message");
    ann.ask(&to("zoe", "hello"));
    let seq = zoe.until("message")["seq"].clone();
    zoe.ask(&json!({"type": "block", "user": "ben"}));
    ann.ask(&json!({"type": "block", "user": "zoe"}));
    zoe.ask(&json!({"type": "status", "status": "busy"}));
    let epoch = zoe.epoch().to_owned();
    erase(&ops, "zoe").assert_ok();
    ann.until("erased");
    let kept = ann.epoch().to_owned();

    let mut next = Client::connect(server, "zoe", &format!("?since={seq}&epoch={epoch}"));
    assert_eq!(next.welcome["seq"], 0);
    assert_ne!(next.epoch(), epoch);
    assert_eq!(next.expect("truncated")["reason"], "reset");
    next.expect("synced");
    assert_eq!(
        next.ask(&json!({"type": "conversations"}))["items"],
        json!([])
    );
    // No block of the former user, or against that user, applies.
    assert_eq!(next.ask(&to("ann", "I am new"))["seq"], 1);
    let message = ann.until("message");
    assert_eq!(message["from_user"], "zoe", "{message}");
    let mut ben = Client::fresh(server, "ben");
    assert_eq!(ben.ask(&to("zoe", "hi"))["status"], "stored");
    next.until("message");
    // Others keep their epoch, and their place.
    let again = Client::connect(
        server,
        "ann",
        &format!("?since=1&epoch={kept}&device=other"),
    );
    assert_eq!(again.epoch(), kept);
    assert_eq!(again.welcome["resumed"], "cursor");
    // A second erasure gives the name a third epoch.
    let second = next.epoch().to_owned();
    erase(&ops, "zoe").assert_ok();
    let entry = ann.until("erased");
    assert_erased(&entry, &ann, "zoe");
    let entry = ben.until("erased");
    assert_erased(&entry, &ben, "zoe");
    let third = Client::connect(server, "zoe", "").epoch().to_owned();
    assert!(
        third != second && third != epoch,
        "{third} {second} {epoch}"
    );
}

#[test]
fn a_user_who_is_sending_is_erased_with_all_that_was_acknowledged() {
    let folder = Arc::new(Folder::new());
    let ops = Ops::start_in(&folder, &FAST);
    let mut ann = Client::connect(&ops.server, "ann", "?ack=manual");
    ann.until("synced");
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..2)
            .map(|device| {
                let mut zoe = Client::connect(&ops.server, "zoe", &format!("?device=d{device}"));
                scope.spawn(move || {
                    let mut acks = 0_usize;
                    for n in 0.. {
                        if !zoe.try_send_text(&to("ann", &format!("text {n}")).to_string()) {
                            break;
                        }
                        if n % 64 == 63 {
                            // Not far ahead of the server.
                            loop {
                                match zoe.next() {
                                    Ok(frame) if frame["type"] == "ack" => acks += 1,
                                    Ok(frame) if frame["type"] == "goodbye" => return acks,
                                    Ok(_) => continue,
                                    Err(_) => return acks,
                                }
                                if acks.is_multiple_of(64) {
                                    break;
                                }
                            }
                        }
                    }
                    acks
                })
            })
            .collect();
        // Both are sending.
        for _ in 0..300 {
            ann.until("message");
        }
        let answer = erase(&ops, "zoe").assert_ok();
        assert_eq!(answer["closed"], 2);
        let acks: usize = senders
            .into_iter()
            .map(|sender| sender.join().expect("it ends"))
            .sum();
        assert!(
            answer["messages"].as_u64() >= Some(acks as u64),
            "{answer} {acks}"
        );
        // Nothing is stored under the former name.
        assert_eq!(
            ops.get("/v1/users/ann/history?target_user=zoe").assert_ok()["messages"],
            json!([])
        );
    });
    ann.until("erased");
    let history = ops.get("/v1/users/ann/conversations").assert_ok();
    assert_eq!(
        history["items"].as_array().map(Vec::len),
        Some(1),
        "{history}"
    );
    drop(ops);
    verify(&folder);
}

#[test]
fn a_user_who_reconnects_all_the_time_is_refused_or_another_user() {
    let ops = Ops::start(&FAST);
    let mut ann = Client::fresh(&ops.server, "ann");
    let mut zoe = Client::fresh(&ops.server, "zoe");
    let epoch = zoe.epoch().to_owned();
    for n in 0..2_000 {
        zoe.send(&to("ann", &format!("text {n}")));
    }
    while zoe.until("ack")["seq"] != 2_000 {}
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reconnecting = scope.spawn(|| {
            let mut epochs = HashSet::new();
            while !is_done.load(Ordering::Relaxed) {
                if let Some(mut client) = Client::try_connect(&ops.server, "zoe", "?since=0") {
                    let is_former = client.epoch() == epoch;
                    let seq = client.welcome["seq"].as_u64();
                    assert!(if is_former {
                        seq >= Some(2_000)
                    } else {
                        seq < Some(2_000)
                    });
                    epochs.insert(client.epoch().to_owned());
                    client.send(&to("ann", "again"));
                    // Whatever the server does.
                    while client.next().is_ok_and(|frame| frame["type"] != "ack") {}
                }
            }
            epochs
        });
        erase(&ops, "zoe").assert_ok();
        eventually("the user is another one", || {
            Client::try_connect(&ops.server, "zoe", "")
                .is_some_and(|client| client.epoch() != epoch)
        });
        is_done.store(true, Ordering::Relaxed);
        let epochs = reconnecting.join().expect("it ends");
        assert!(epochs.len() <= 2, "{epochs:?}");
    });
    let entry = ann.until("erased");
    assert_erased(&entry, &ann, "zoe");
    let output = dmwire(ops.server.folder(), &["verify"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Sends `count` messages of a user to these users and a room.
fn fill(ops: &Ops, user: &str, users: &[String], count: usize) {
    let mut zoe = Client::fresh(&ops.server, user);
    join(&mut zoe, "lobby");
    for n in 0..count {
        let text = format!("heartofgold {n} {}", "x".repeat(n * 37 % 900));
        match users.get(n % (users.len() + 1)) {
            Some(user) => zoe.send(&to(user, &text)),
            None => zoe.send(&json!({"target_room": "lobby", "message": text})),
        }
    }
    for _ in 0..count {
        zoe.until("ack");
    }
}

#[test]
fn an_erasure_that_a_kill_interrupts_is_completed_by_the_next_start() {
    const USER: &str = "zaphod.beeblebrox";
    let folder = Arc::new(Folder::new());
    let users: Vec<String> = (0..10).map(|n| format!("user{n}")).collect();
    let mut unfinished = 0;
    let history = format!("/v1/users/user0/history?target_user={USER}&limit=1");
    let mut arguments = FAST.to_vec();
    arguments.extend(["--durability", "normal", "--queries-per-second", "100000"]);
    for round in 0..3 {
        let mut ops = Ops::start_in(&folder, &arguments);
        let mut members: Vec<Client> = users
            .iter()
            .map(|user| {
                let mut client = Client::connect(&ops.server, user, "?ack=manual");
                client.until("synced");
                join(&mut client, "lobby");
                client
            })
            .collect();
        let hash = user_hash(&members[0], USER);
        fill(&ops, USER, &users, 2_000);
        let before = members[0].until("message")["seq"].as_u64();
        std::thread::scope(|scope| {
            let request = scope.spawn(|| {
                // It is not answered if the server is killed before.
                let mut stream = TcpStream::connect(ops.address).expect("the port accepts");
                let head = format!("DELETE /v1/users/{USER} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream.write_all(head.as_bytes()).expect("it is sent");
                drop(stream.read(&mut [0; 1024]));
            });
            // Others write meanwhile. The server is killed at once, or some answers after the erasure has begun.
            if round > 0 {
                eventually("the erasure has begun", || {
                    ops.get(&history).assert_ok()["messages"] == json!([])
                });
            }
            let mut writer = members.pop().expect("a member");
            for _ in 0..round * 2 {
                writer.ask(&to("user0", "meanwhile"));
            }
            let pid = ops.server.pid().to_string();
            let killed = std::process::Command::new("kill")
                .args(["-KILL", &pid])
                .status();
            assert!(killed.is_ok_and(|status| status.success()));
            drop(request.join());
        });
        ops.server.kill();
        verify(&folder);
        drop(ops);
        let ops = Ops::start_in(&folder, &arguments);
        let was_begun = ops.get(&history).assert_ok()["messages"] == json!([]);
        if was_begun {
            unfinished += usize::from(ops.server.log().contains("continuing the erasure"));
            eventually("it is complete", || {
                let mut client = Client::connect(
                    &ops.server,
                    "user0",
                    &format!("?since={}&device=check&ack=manual", before.unwrap_or(0)),
                );
                let mut found = 0;
                loop {
                    let frame = client.recv();
                    match frame["type"].as_str() {
                        Some("synced") => break,
                        Some("erased") if frame["user_hash"] == hash => found += 1,
                        _ => {}
                    }
                }
                assert!(found <= 1, "{found}");
                found == 1 && !has_member(&mut client)
            });
        } else {
            // Nothing has happened.
            assert_eq!(erase(&ops, USER).status, 200);
        }
        let mut server = ops.server;
        server.stop();
        verify(&folder);
        let bytes = std::fs::read(server.store()).expect("the file");
        assert!(
            !bytes
                .windows(USER.len())
                .any(|bytes| bytes == USER.as_bytes()),
            "the name is in the file"
        );
    }
    assert!(unfinished > 0, "no erasure was interrupted");
}

#[test]
fn a_shutdown_does_not_wait_for_an_erasure() {
    let folder = Arc::new(Folder::new());
    let ops = Ops::start_in(&folder, &FAST);
    let users: Vec<_> = (0..10).map(|n| format!("user{n}")).collect();
    for user in &users {
        Client::fresh(&ops.server, user).close();
    }
    fill(&ops, "zoe", &users, 2_000);
    std::thread::scope(|scope| {
        let address = ops.address;
        scope.spawn(move || {
            // It is not answered before the server is killed.
            let mut stream = TcpStream::connect(address).expect("the port accepts");
            let head = "DELETE /v1/users/zoe HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("it is sent");
            drop(stream.read(&mut [0; 1024]));
        });
        eventually("the erasure has begun", || {
            ops.get("/v1/users/zoe").status == 404
        });
        drop(ops);
    });
    // Each run makes some steps.
    for _ in 0..5 {
        let mut ops = Ops::start_in(&folder, &FAST);
        ops.server.signal("TERM");
        assert!(ops.server.wait(DEADLINE).success(), "{}", ops.server.log());
    }
    let ops = Ops::start_in(&folder, &FAST);
    let database = rusqlite::Connection::open(ops.server.store()).expect("the store can be opened");
    eventually("it is complete", || {
        let sql = "SELECT count(*) FROM erasures";
        let left: u32 = database
            .query_row(sql, (), |row| row.get(0))
            .expect("a number");
        left == 0
    });
}

/// Whether the room has a member who was erased.
fn has_member(client: &mut Client) -> bool {
    client.send(&json!({"type": "members", "room": "lobby", "limit": 1000}));
    // The membership may end meanwhile.
    let answer = client.until("members");
    let users = answer["users"].as_array().expect("a list");
    users.iter().any(|member| {
        member["user"]
            .as_str()
            .is_some_and(|user| user.starts_with("erased."))
    })
}

#[test]
fn a_large_erasure_does_not_delay_others() {
    let ops = Ops::start(&FAST);
    let users: Vec<String> = (0..300).map(|n| format!("user{n}")).collect();
    let mut ann = Client::fresh(&ops.server, "ann");
    let mut ben = Client::fresh(&ops.server, "ben");
    fill(&ops, "zoe", &users, 6_000);
    let is_done = AtomicBool::new(false);
    let during = std::thread::scope(|scope| {
        let request = scope.spawn(|| {
            let answer = erase(&ops, "zoe").assert_ok();
            is_done.store(true, Ordering::SeqCst);
            answer
        });
        let mut during = 0;
        while !is_done.load(Ordering::SeqCst) {
            ann.ask(&to("ben", "meanwhile"));
            ben.until("message");
            during += 1;
        }
        let answer = request.join().expect("it ends");
        assert_eq!(answer["messages"], 6_000);
        during
    });
    // Each step is followed by a turn for others.
    assert!(during > 10, "{during} messages while the user was erased");
}

#[test]
fn an_account_without_an_inbox_gets_no_entry() {
    let ops = Ops::start(&[]);
    let mut zoe = Client::fresh(&ops.server, "zoe");
    let sent = json!({"from_user": "system", "target_user": "zoe", "message": "hello"});
    ops.post("/v1/messages", &sent).assert_ok();
    zoe.until("message");
    // One who has an inbox, but has never connected, gets one.
    let sent = json!({"from_user": "zoe", "target_user": "ann", "message": "hello"});
    ops.post("/v1/messages", &sent).assert_ok();
    zoe.until("message");
    assert_eq!(erase(&ops, "zoe").assert_ok()["notified"], 1);
    let system = Client::connect(&ops.server, "system", "?since=0");
    assert_eq!(system.welcome["seq"], 0);
    let mut ann = Client::connect(&ops.server, "ann", "?since=0");
    assert_eq!(ann.expect("deleted")["seq"], 1);
    let entry = ann.expect("erased");
    assert_erased(&entry, &ann, "zoe");
}

#[test]
fn the_offline_command_gives_the_same_entries() {
    let folder = Arc::new(Folder::new());
    let mut ops = Ops::start_in(&folder, &FAST);
    let mut zoe = Client::fresh(&ops.server, "zoe");
    let mut ann = Client::fresh(&ops.server, "ann");
    zoe.ask(&to("ann", "hello"));
    let seq = ann.until("message")["seq"].clone();
    let epoch = ann.epoch().to_owned();
    drop((zoe, ann));
    ops.server.stop();
    let output = dmwire(&folder.0, &["erase", "--user", "zoe"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let ops = Ops::start_in(&folder, &FAST);
    let mut ann = Client::connect(&ops.server, "ann", &format!("?since={seq}&epoch={epoch}"));
    assert_eq!(ann.epoch(), epoch);
    let entry = ann.expect("erased");
    assert_erased(&entry, &ann, "zoe");
    ann.expect("synced");
}

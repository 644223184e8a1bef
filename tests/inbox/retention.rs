//! Retention: inboxes by age and count, histories by age, and the release of disk space (PROTOCOL section 5, "Two lifetimes").

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dmwire::store::sqlite::{Durability, Sqlite};
use dmwire::store::{
    Authority, Conversation, NewMessage, Retention, Store as _, StoreOptions, Write,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Folder, Raw, Server, eventually, to};

const FAST: [&str; 4] = ["--messages-per-second", "1000000", "--burst", "1000000"];

fn start(arguments: &[&str]) -> Server {
    Server::start(&[&FAST, arguments].concat())
}

/// Sends many messages at once and reads all acks.
fn send_all(client: &mut Client, frames: impl Iterator<Item = Value>) {
    let mut count = 0;
    for frame in frames {
        client.send(&frame);
        count += 1;
        // In small parts, so that neither side blocks while the other one writes.
        if count % 50 == 0 {
            (0..50).for_each(|_| drop(client.expect("ack")));
        }
    }
    (0..count % 50).for_each(|_| drop(client.expect("ack")));
}

/// The oldest entry by the `truncated` frame of a new connection; 1 if there is none.
fn oldest(server: &Server, user: &str) -> u64 {
    let mut client = Client::connect(server, user, "?since=0&ack=manual");
    let frame = client.recv();
    match frame["type"].as_str() {
        Some("truncated") => {
            assert_eq!(frame["reason"], "retention", "{frame}");
            frame["oldest_seq"].as_u64().expect("a number")
        }
        _ => 1,
    }
}

#[test]
fn an_inbox_beyond_its_limit_is_truncated_and_the_history_is_complete() {
    let server = start(&["--inbox-limit", "5"]);
    let mut a = Client::fresh(&server, "a");
    let epoch = a.epoch().to_owned();
    send_all(&mut a, (1..=12).map(|n| to("b", &n.to_string())));
    // Each user has their own inbox, and both are trimmed.
    for user in ["a", "b"] {
        let query = format!("?since=0&epoch={epoch}&ack=manual&device=new");
        let mut client = Client::connect(&server, user, &query);
        assert_eq!(client.welcome["seq"], 12);
        let truncated = client.expect("truncated");
        assert_eq!(
            (&truncated["reason"], &truncated["oldest_seq"]),
            (&json!("retention"), &json!(8))
        );
        for n in 8..=12 {
            let message = client.expect("message");
            assert_eq!(
                (&message["seq"], &message["message"]),
                (&json!(n), &json!(n.to_string()))
            );
        }
        assert_eq!(client.expect("synced")["seq"], 12);
        client.assert_quiet();
    }
    // A resume at exactly the oldest kept entry is not truncated.
    let mut b = Client::connect(&server, "b", "?since=7&ack=manual");
    assert_eq!(b.expect("message")["seq"], 8);
    let mut b = Client::connect(&server, "b", "?since=6&ack=manual");
    assert_eq!(b.expect("truncated")["oldest_seq"], 8);
    let mut b = Client::connect(&server, "b", "?since=12&ack=manual");
    b.expect("synced");
    let history = b.ask(&json!({"type": "history", "target_user": "a"}));
    let shown: Vec<_> = history["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["message"].as_str().expect("a text").to_owned())
        .collect();
    let sent: Vec<_> = (1..=12).map(|n| n.to_string()).collect();
    assert_eq!((shown, &history["more"]), (sent, &json!(false)));
    let page = b.ask(&json!({"type": "conversations"}));
    assert_eq!(page["items"][0]["unread"], 12);
}

#[test]
fn a_watermark_before_the_oldest_entry_is_answered_with_truncated() {
    let server = start(&["--inbox-limit", "5"]);
    let mut a = Client::fresh(&server, "a");
    send_all(&mut a, (1..=4).map(|n| to("b", &n.to_string())));
    let mut b = Client::connect(&server, "b", "?ack=manual");
    b.until("synced");
    b.send(&json!({"type": "received", "seq": 2}));
    b.close();
    send_all(&mut a, (5..=30).map(|n| to("b", &n.to_string())));
    let mut b = Client::connect(&server, "b", "?ack=manual");
    let truncated = b.expect("truncated");
    assert_eq!(
        (&truncated["reason"], &truncated["oldest_seq"]),
        (&json!("retention"), &json!(26))
    );
    for n in 26..=30 {
        assert_eq!(b.expect("message")["seq"], n);
    }
    b.expect("synced");
    // After b has received the newest entry, a new connection misses nothing.
    b.send(&json!({"type": "received", "seq": 30}));
    b.close();
    let mut b = Client::connect(&server, "b", "?ack=manual");
    b.expect("synced");
    b.assert_quiet();
}

/// Follows an inbox as a client does: the cursor moves from n to n + 1, or as `truncated` says.
#[derive(Default)]
struct Follower {
    cursor: u64,
    truncations: usize,
}

impl Follower {
    fn follow(&mut self, frame: &Value) {
        if frame["type"] == "truncated" {
            crate::support::assert_server_frame(frame);
            assert_eq!(frame["reason"], "retention", "{frame}");
            let oldest = frame["oldest_seq"].as_u64().expect("a number");
            assert!(oldest > self.cursor + 1, "{frame} at {}", self.cursor);
            self.cursor = oldest - 1;
            self.truncations += 1;
        } else if frame["type"] == "message" {
            let seq = frame["seq"].as_u64().expect("a number");
            assert_eq!(seq, self.cursor + 1, "a gap without truncated");
            let text = frame["message"].as_str().expect("a text");
            if let Some((number, _)) = text.split_once(' ') {
                assert_eq!(number, seq.to_string(), "another's text");
            }
            self.cursor = seq;
        } else {
            assert!(
                matches!(
                    frame["type"].as_str(),
                    Some("welcome" | "synced" | "heartbeat")
                ),
                "{frame}"
            );
        }
    }
}

#[test]
fn a_slow_reader_gets_truncated_for_removed_entries() {
    const LIMIT: u64 = 20;
    let server = start(&["--inbox-limit", "20", "--outbox-bytes", "20000"]);
    let mut b = Raw::narrow(&server, "/ws/b?ack=manual");
    let mut a = Client::fresh(&server, "a");
    let filler = "x".repeat(15_000);
    let mut sent = 0;
    let mut fill = |count: u64| {
        send_all(
            &mut a,
            (sent + 1..=sent + count).map(|n| to("b", &format!("{n} {filler}"))),
        );
        sent += count;
        sent
    };
    let mut follower = Follower::default();
    let mut whole = 0;
    for _ in 0..3 {
        // Far more than the buffers of the connection hold, while b reads nothing.
        let sent = fill(700);
        let mut last = Vec::new();
        while follower.cursor < sent {
            let frame = b.text().expect("the connection stays");
            follower.follow(&frame);
            if frame["type"] == "message" {
                last.push(follower.cursor);
            }
        }
        // Nothing was sent while b read: all kept entries arrived.
        let kept: Vec<u64> = (sent - LIMIT + 1..=sent).collect();
        assert!(last.ends_with(&kept), "{last:?}");
        whole += last.len();
    }
    assert!(follower.truncations > 0 && whole < 2100);
}

#[test]
fn a_reader_that_retention_overtakes_repeatedly_still_gets_all_kept_entries() {
    const LIMIT: u64 = 10;
    const SENDERS: usize = 20;
    let server = start(&["--inbox-limit", "10", "--outbox-bytes", "6000"]);
    let stop = Arc::new(AtomicBool::new(false));
    // Other sessions keep the reader threads busy, so that a requested range is removed before it is read.
    let mut other = Client::fresh(&server, "d");
    let long = "y".repeat(1000);
    for _ in 0..200 {
        other.ask(&to("e", &long));
    }
    let others: Vec<_> = (0..3)
        .map(|_| {
            let mut other = Client::connect(&server, "d", "?since=200");
            other.until("synced");
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    other.ask(&json!({"type": "history", "target_user": "e", "limit": 200}));
                }
            })
        })
        .collect();
    let mut b = Client::connect(&server, "b", "?ack=manual");
    b.until("synced");
    // Each sends few messages at once, so that its own inbox keeps them all.
    let mut senders: Vec<_> = (0..SENDERS)
        .map(|n| Client::fresh(&server, &format!("s{n}")))
        .collect();
    let text = "x".repeat(400);
    let mut follower = Follower::default();
    for round in 1..=20 {
        let last = round * LIMIT * SENDERS as u64;
        let (senders, text) = (&mut senders, &text);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for sender in senders.iter_mut() {
                    (0..LIMIT).for_each(|_| sender.send(&to("b", text)));
                }
                for sender in senders {
                    (0..LIMIT).for_each(|_| drop(sender.expect("ack")));
                }
            });
            let mut got = Vec::new();
            while follower.cursor < last {
                let frame = b.recv();
                follower.follow(&frame);
                if frame["type"] == "message" {
                    got.push(follower.cursor);
                }
            }
            // The newest entries are always kept, so these are never removed.
            let kept: Vec<u64> = (last - LIMIT + 1..=last).collect();
            assert!(got.ends_with(&kept), "kept {kept:?}, received {got:?}");
        });
    }
    stop.store(true, Ordering::Relaxed);
    for other in others {
        other.join().expect("the others got their answers");
    }
}

#[test]
fn a_sender_whose_own_entries_are_removed_still_gets_every_answer() {
    const COUNT: usize = 2000;
    let server = start(&["--inbox-limit", "5", "--outbox-bytes", "1024"]);
    let mut a = Client::fresh(&server, "a");
    let mut frames = Vec::new();
    for n in 0..COUNT {
        let frame = json!({"message": "x", "target_user": "b", "ref": n.to_string()});
        frames.extend(crate::support::client_frame(
            0x81,
            frame.to_string().as_bytes(),
        ));
    }
    let mut stream = a.stream().try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        std::io::Write::write_all(&mut stream, &frames).expect("it is all taken");
    });
    let mut cursor = 0;
    let mut answered = std::collections::HashSet::new();
    // The answer to the `ping` may arrive between other answers, but the last ack must arrive.
    let mut pinged = false;
    loop {
        let frame = a.recv();
        match frame["type"].as_str() {
            Some("ack") => {
                answered.insert(frame["ref"].as_str().expect("a ref").to_owned());
                if frame.get("duplicate").is_none() {
                    assert_eq!(frame["seq"], cursor + 1, "a gap without truncated");
                    cursor += 1;
                }
            }
            Some("truncated") => cursor = frame["oldest_seq"].as_u64().expect("a number") - 1,
            Some("pong") => break,
            _ => panic!("{frame}"),
        }
        if cursor == COUNT as u64 && !pinged {
            a.send_text(r#"{"type":"ping"}"#);
            pinged = true;
        }
    }
    sender.join().expect("it was sent");
    assert_eq!(answered.len(), COUNT, "missing answers");
}

#[test]
fn entries_expire_by_age_and_sequence_numbers_continue() {
    // 1.7 seconds.
    let mut server = start(&["--inbox-days", "0.00002"]);
    let mut a = Client::fresh(&server, "a");
    send_all(&mut a, (1..=3).map(|n| to("b", &n.to_string())));
    eventually("all three entries are removed", || {
        oldest(&server, "b") == 4
    });
    let mut b = Client::connect(&server, "b", "?since=0");
    assert_eq!(b.welcome["seq"], 3);
    assert_eq!(b.expect("truncated")["oldest_seq"], 4);
    assert_eq!(b.expect("synced")["seq"], 3);
    b.assert_quiet();
    assert_eq!(a.ask(&to("b", "4"))["seq"], 4);
    assert_eq!(b.expect("message")["seq"], 4);
    eventually("the fourth entry is removed", || oldest(&server, "b") == 5);
    let history = a.ask(&json!({"type": "history", "target_user": "b"}));
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(4));
    server.kill();
    server.restart();
    let mut b = Client::connect(&server, "b", "?since=4");
    assert_eq!(b.welcome["seq"], 4);
    b.expect("synced");
    assert_eq!(b.ask(&to("a", "5"))["seq"], 5);
}

#[test]
fn expired_messages_are_hidden_from_history_but_still_replayed() {
    let server = start(&["--history-days", "0.00003"]);
    let mut a = Client::fresh(&server, "a");
    send_all(&mut a, (1..=3).map(|n| to("b", &n.to_string())));
    let mut b = Client::connect(&server, "b", "?ack=manual");
    b.until("synced");
    let shown = |client: &mut Client, with: &str| {
        let history = client.ask(&json!({"type": "history", "target_user": with}));
        assert_eq!(history["more"], false);
        let page = client.ask(&json!({"type": "conversations"}));
        let lengths = [&history["messages"], &page["items"]];
        lengths.map(|list| list.as_array().expect("a list").len())
    };
    eventually("the history is empty", || {
        shown(&mut b, "a") == [0, 0] && shown(&mut a, "b") == [0, 0]
    });
    let mut twin = Client::connect(&server, "b", "?since=0");
    for n in 1..=3 {
        let message = twin.expect("message");
        assert_eq!(
            (&message["seq"], &message["message"]),
            (&json!(n), &json!(n.to_string()))
        );
    }
    assert_eq!(twin.expect("synced")["seq"], 3);
    // New messages are shown, and the old ones stay hidden.
    a.ask(&to("b", "4"));
    b.expect("message");
    let history = b.ask(&json!({"type": "history", "target_user": "a"}));
    let messages = history["messages"].as_array().expect("messages");
    assert!(
        messages.iter().all(|message| message["message"] == "4"),
        "{history}"
    );
}

#[test]
fn the_id_of_a_removed_message_can_be_reused() {
    let server = start(&["--history-days", "0.00002", "--inbox-days", "0.00002"]);
    let mut a = Client::fresh(&server, "a");
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    let send = |client: &mut Client, text: &str| {
        client.ask(&json!({"message": text, "target_user": "b", "id": id}))
    };
    assert_eq!(send(&mut a, "first")["seq"], 1);
    assert_eq!(send(&mut a, "other")["code"], "id_conflict");
    let mut answer = Value::Null;
    eventually("the message is removed", || {
        answer = send(&mut a, "other");
        answer["type"] == "ack"
    });
    assert_eq!((&answer["seq"], answer.get("duplicate")), (&json!(2), None));
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[test]
fn disk_space_is_released() {
    const MIB: u64 = 1 << 20;
    let server = start(&["--history-days", "0.00003", "--inbox-days", "0.00003"]);
    let store = server.store();
    let mut a = Client::fresh(&server, "a");
    let large = "x".repeat(60_000);
    let mut sent = 0;
    let mut fill = |a: &mut Client, count: u64| {
        let content = json!({"type": "data", "name": "n", "data": large});
        let frame = json!({"message": content, "target_user": "b"});
        send_all(a, (0..count).map(|_| frame.clone()));
        sent += count;
        sent
    };
    let head = fill(&mut a, 300);
    let filled = size(&store) + size(&server.folder().join("dmwire.db-wal"));
    assert!(filled > 8 * MIB, "{filled}");
    eventually("all messages are removed", || {
        oldest(&server, "b") == head + 1
    });
    eventually("the file has shrunk", || size(&store) < 4 * MIB);
    // New messages use the free space, and expire as well.
    let head = fill(&mut a, 60);
    eventually("the new messages are removed too", || {
        oldest(&server, "b") == head + 1
    });
    eventually("the file has shrunk again", || size(&store) < 4 * MIB);
    let log = size(&server.folder().join("dmwire.db-wal"));
    assert!(log < 64 * MIB, "{log}");
}

#[test]
fn sends_continue_while_many_messages_are_removed() {
    const MANY: u64 = 100_000;
    let folder = Arc::new(Folder::new());
    old_store(&folder.0.join("dmwire.db"), MANY);
    // The clock is far ahead of the store.
    let arguments = ["--inbox-days", "0.0001", "--clock-settle", "0"];
    let server = Server::start_in(&folder, &[&FAST[..], &arguments].concat());
    let mut a = Client::connect(&server, "a", &format!("?since={MANY}"));
    let mut between = 0;
    let mut longest = Duration::ZERO;
    loop {
        let asked = Instant::now();
        a.send(&to("c", "now"));
        a.until("ack");
        longest = longest.max(asked.elapsed());
        match oldest(&server, "b") {
            n if n > MANY => break,
            1 => {}
            _ => between += 1,
        }
    }
    // If everything were removed in one transaction, no send would find a part of the entries removed.
    assert!(between > 2, "{between}");
    assert!(longest < crate::support::DEADLINE / 4, "{longest:?}");
}

/// A store with many old messages between two users.
fn old_store(path: &Path, count: u64) {
    let lifetimes = Retention {
        inbox_ms: i64::MAX / 4,
        inbox_limit: 1 << 40,
        history_ms: None,
        device_ms: i64::MAX / 4,
    };
    let mut store = Sqlite::open(path, Durability::Normal, StoreOptions::new(lifetimes))
        .expect("the store opens");
    let numbers: Vec<u64> = (1..=count).collect();
    for part in numbers.chunks(1000) {
        let writes: Vec<Write> = part
            .iter()
            .map(|n| {
                Write::Message(NewMessage {
                    from: "a".into(),
                    to: Conversation::Direct("b".into()),
                    id: Uuid::from_u128((*n).into()),
                    content: "\"x\"".into(),
                    reply_to: None,
                    fresh: false,
                    ip_quota: None,
                    authority: Authority::User,
                })
            })
            .collect();
        let batch: Vec<&Write> = writes.iter().collect();
        store.commit(1_000_000, &batch).expect("it is committed");
    }
}

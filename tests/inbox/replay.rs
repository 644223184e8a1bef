//! Replay, resume and watermarks (PROTOCOL section 5).

use serde_json::json;
use tungstenite::Message;

use crate::support::{Client, End, Server, eventually, to};

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

#[test]
fn a_user_who_was_offline_receives_the_whole_inbox() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=300 {
        a.send(&to("b", &n.to_string()));
        if n % 50 == 0 {
            (0..50).for_each(|_| drop(a.expect("ack")));
        }
        if n % 100 == 0 {
            a = {
                a.close();
                let mut a = Client::connect(&server, "a", &format!("?since={n}"));
                a.expect("synced");
                a
            };
        }
    }
    let mut b = Client::connect(&server, "b", "");
    assert_eq!(b.welcome["seq"], 300);
    for n in 1..=300 {
        let message = b.expect("message");
        assert_eq!(
            (&message["seq"], &message["message"]),
            (&json!(n), &json!(n.to_string()))
        );
    }
    assert_eq!(b.expect("synced")["seq"], 300);
}

#[test]
fn a_resume_receives_each_missed_entry_once() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let b = Client::fresh(&server, "b");
    let epoch = b.epoch().to_owned();
    b.close();
    for n in 1..=5 {
        a.ask(&to("b", &n.to_string()));
    }
    let mut b = Client::connect(&server, "b", &format!("?since=2&epoch={epoch}"));
    for n in 3..=5 {
        assert_eq!(b.expect("message")["seq"], n);
    }
    assert_eq!(b.expect("synced")["seq"], 5);
    a.ask(&to("b", "6"));
    assert_eq!(b.expect("message")["seq"], 6);
    b.assert_quiet();
}

#[test]
fn an_unknown_position_is_answered_with_truncated() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&to("b", "1"));
    a.ask(&to("b", "2"));
    let other = "0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e";
    for query in [
        "?since=3".to_owned(),
        "?since=9007199254740991".to_owned(),
        format!("?since=1&epoch={other}"),
    ] {
        let mut b = Client::connect(&server, "b", &query);
        assert_eq!(b.welcome["seq"], 2);
        let truncated = b.expect("truncated");
        assert_eq!(truncated["reason"], "reset", "{query}");
        assert_eq!(truncated["oldest_seq"], 1);
        assert_eq!(b.expect("message")["seq"], 1);
        assert_eq!(b.expect("message")["seq"], 2);
        assert_eq!(b.expect("synced")["seq"], 2);
    }
    let mut nobody = Client::connect(&server, "nobody", "?since=1");
    assert_eq!(nobody.expect("truncated")["oldest_seq"], 1);
    nobody.expect("synced");
    // Without `since` the epoch is not used.
    let mut b = Client::connect(&server, "b", &format!("?epoch={other}"));
    assert_eq!(b.expect("message")["seq"], 1);
}

#[test]
fn a_manual_watermark_moves_only_by_received_frames() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=4 {
        a.ask(&to("b", &n.to_string()));
    }
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    (0..4).for_each(|_| drop(b.expect("message")));
    b.expect("synced");
    b.send(&json!({"type": "received", "seq": 2}));
    b.close();
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    assert_eq!(b.expect("message")["seq"], 3);
    b.send(&json!({"type": "received", "seq": 1}));
    b.send(&json!({"type": "received", "seq": 9_007_199_254_740_991_u64}));
    b.close();
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    b.expect("synced");
    a.ask(&to("b", "5"));
    assert_eq!(b.expect("message")["seq"], 5);
    b.close();
    // `since` does not move the watermark in either direction.
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1&since=5");
    b.expect("synced");
    b.close();
    let mut b = Client::connect(&server, "b", "?ack=manual&device=d1");
    assert_eq!(b.expect("message")["seq"], 5);
}

#[test]
fn an_automatic_watermark_moves_by_pongs() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    a.ask(&to("b", "1"));
    assert_eq!(b.expect("message")["seq"], 1);
    let Ok(Message::Ping(_)) = b.next_message() else {
        panic!("expected a ping");
    };
    // The pong is written before the next frame.
    b.assert_quiet();
    b.close();
    let mut again = Client::connect(&server, "b", "");
    again.expect("synced");
    again.close();

    // A client that reads the entry but never answers the ping has not received it.
    a.ask(&to("b", "2"));
    let mut mute = crate::support::Raw::upgrade(&server, "/ws/b");
    let mut texts = 0;
    while texts < 3 {
        let frame = mute.frame().expect("a frame");
        texts += usize::from(frame.opcode == 1);
    }
    drop(mute);
    let mut b = Client::connect(&server, "b", "");
    assert_eq!(b.expect("message")["seq"], 2);
}

#[test]
fn a_new_device_starts_at_the_highest_watermark_of_its_user() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for n in 1..=4 {
        a.ask(&to("b", &n.to_string()));
    }
    for (device, seq) in [("one", 1), ("three", 3), ("two", 2)] {
        let mut b = Client::connect(
            &server,
            "b",
            &format!("?ack=manual&device={device}&since=0"),
        );
        b.send(&json!({"type": "received", "seq": seq}));
        b.close();
    }
    let mut b = Client::connect(&server, "b", "?ack=manual&device=new");
    assert_eq!(b.expect("message")["seq"], 4);
    let mut b = Client::connect(&server, "b", "?ack=manual&device=one");
    assert_eq!(b.expect("message")["seq"], 2);
}

#[test]
fn inboxes_survive_a_restart() {
    let mut server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let first = a.ask(&json!({"message": "1", "target_user": "b", "id": ID}));
    let epoch = a.epoch().to_owned();
    server.kill();
    assert_eq!(a.next(), Err(End::Lost));
    server.restart();
    let mut a = Client::connect(&server, "a", &format!("?since=1&epoch={epoch}"));
    assert_eq!(a.epoch(), epoch);
    a.expect("synced");
    let again = a.ask(&json!({"message": "1", "target_user": "b", "id": ID}));
    assert_eq!(
        (&again["duplicate"], &again["sent_at"]),
        (&json!(true), &first["sent_at"])
    );
    let next = a.ask(&to("b", "2"));
    assert_eq!(next["seq"], 2);
    let mut b = Client::connect(&server, "b", "");
    assert_eq!(b.expect("message")["seq"], 1);
    assert_eq!(b.expect("message")["seq"], 2);
    b.expect("synced");
}

#[test]
fn a_memory_store_leaves_no_files() {
    let folder = crate::support::Folder::new();
    let listing = || std::fs::read_dir(&folder.0).map_or(0, Iterator::count);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_dmwire"))
        .args(["--store", "memory:", "--listen", "127.0.0.1:0"])
        .env("TMPDIR", &folder.0)
        .current_dir(&folder.0)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the server starts");
    eventually("the database is created", || listing() > 0);
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(child.wait().expect("the server ends").success());
    assert_eq!(listing(), 0);
}

#[test]
fn acks_follow_a_replay_in_order() {
    let server = Server::start(&["--outbox-bytes", "20000", "--max-frame-bytes", "16000"]);
    let mut a = Client::fresh(&server, "a");
    let mut other = Client::connect(&server, "b", "");
    other.expect("synced");
    let long = "x".repeat(4000);
    for n in 1..=60 {
        a.ask(&to("b", &format!("{n} {long}")));
        other.expect("message");
    }
    // A session that starts with a long replay sends at once: its acks must arrive as entries 61 and on, with their refs.
    let mut b = Client::dial(&server, "/ws/b?since=0", &[]).expect("the handshake succeeds");
    for n in 0..5 {
        b.send(&json!({"message": n.to_string(), "target_user": "a", "ref": n.to_string()}));
    }
    b.expect("welcome");
    let mut seq = 0;
    let mut refs = Vec::new();
    while seq < 65 {
        let frame = b.recv();
        if frame["type"] == "synced" {
            continue;
        }
        seq += 1;
        assert_eq!(frame["seq"], seq, "{frame}");
        let own = seq > 60;
        assert_eq!(frame["type"], if own { "ack" } else { "message" });
        refs.extend(frame["ref"].as_str().map(str::to_owned));
    }
    assert_eq!(refs, ["0", "1", "2", "3", "4"]);
    b.assert_quiet();
}

//! Clients that read slowly or not at all, and the memory of connections: it stays limited, and no stored message is lost
//! (PROTOCOL section 8, "unsent bytes per session").

use std::collections::HashMap;
use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Raw, Server, client_frame, make_contacts, to};

/// Fits into the usual limit of 1024 open files. The server, a separate process, has the same limit.
const CONNECTIONS: usize = 900;

/// Disables the rate limits and the timeouts for silent and slow clients, and keeps a hundred thousand entries.
const NO_LIMITS: [&str; 12] = [
    "--inbox-limit",
    "1000000",
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
    "--heartbeat-seconds",
    "3600",
    "--ping-seconds",
    "3600",
    "--stall-seconds",
    "3600",
];

fn start_without_limits(more: &[&str]) -> Server {
    Server::start(&[&NO_LIMITS, more].concat())
}

/// Connects with a small receive buffer and reads up to `synced`.
fn narrow(server: &Server, path: &str) -> Raw {
    let mut raw = Raw::narrow(server, path);
    read_until_synced(&mut raw);
    raw
}

fn read_until_synced(raw: &mut Raw) {
    while raw.text().expect("expected synced")["type"] != "synced" {}
}

/// Sends `count` numbered messages, 500 at a time, and reads their acks.
fn send_numbered(server: &Server, from: &str, to: &str, count: usize, filler: &str) {
    let mut raw = Raw::upgrade(server, &format!("/ws/{from}"));
    read_until_synced(&mut raw);
    let numbers: Vec<usize> = (1..=count).collect();
    for window in numbers.chunks(500) {
        let bytes: Vec<u8> = window
            .iter()
            .flat_map(|n| {
                let text = format!(r#"{{"message":"{n} {filler}","target_user":"{to}"}}"#);
                client_frame(0x81, text.as_bytes())
            })
            .collect();
        raw.write(&bytes);
        for n in window {
            let ack = raw.text().expect("an ack");
            assert_eq!(
                (&ack["type"], &ack["seq"]),
                (&json!("ack"), &json!(n)),
                "{ack}"
            );
        }
    }
}

/// Fills the cache of the store, so that it does not count towards the growth that is measured later.
fn fill_cache(server: &Server) {
    send_numbered(server, "warm", "up", 3000, &"x".repeat(15_000));
}

/// The number at the start of a message's text.
fn number(frame: &Value) -> usize {
    let text = frame["message"].as_str().expect("a text");
    let word = text.split(' ').next().expect("a first word");
    word.parse().expect("a number")
}

#[test]
fn a_client_that_does_not_read_uses_little_memory_and_gets_all_messages_later() {
    const SENDERS: usize = 4;
    const EACH: usize = 25_000;
    let server = start_without_limits(&[]);
    let mut reader = narrow(&server, "/ws/reader");
    fill_cache(&server);
    let before = server.memory_kib();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let server = &server;
            scope.spawn(move || {
                send_numbered(
                    server,
                    &format!("s{sender}"),
                    "reader",
                    EACH,
                    &"x".repeat(100),
                );
            });
        }
    });
    // The senders have finished, and the reader has not read anything.
    let poured = began.elapsed();
    let grown = server.peak_kib().saturating_sub(before);

    let mut latest: HashMap<String, usize> = HashMap::new();
    for seq in 1..=SENDERS * EACH {
        let message = reader.text().expect("a message");
        assert_eq!(
            (&message["type"], &message["seq"]),
            (&json!("message"), &json!(seq))
        );
        let from = message["from_user"].as_str().expect("a sender").to_owned();
        let latest = latest.entry(from).or_default();
        *latest += 1;
        assert_eq!(number(&message), *latest);
    }
    assert_eq!(latest.len(), SENDERS);
    assert!(latest.values().all(|count| *count == EACH));
    let after = server.peak_kib().saturating_sub(before);
    eprintln!(
        "from {before} KiB: memory grew by {grown} KiB while messages were sent in {poured:?}, by {after} KiB when they were read after {:?}",
        began.elapsed()
    );
    assert!(after < 24 * 1024, "{after} KiB");

    let mut live = Client::fresh(&server, "live");
    for n in 1..=10 {
        live.ask(&to("reader", &n.to_string()));
        let message = reader.text().expect("a message");
        assert_eq!(message["seq"], SENDERS * EACH + n);
        assert_eq!(
            (&message["from_user"], number(&message)),
            (&json!("live"), n)
        );
    }
}

#[test]
fn a_slow_reader_misses_ephemeral_messages_only() {
    let server = start_without_limits(&["--outbox-bytes", "65536"]);
    make_contacts(&server, "a", "reader");
    let mut reader = narrow(&server, "/ws/reader");
    let mut a = Client::fresh(&server, "a");
    let filler = "x".repeat(15_000);
    let whisper = |n: usize| {
        let text = format!("{n} {filler}");
        json!({"message": text, "target_user": "reader", "ephemeral": true})
    };
    let mut relayed = Vec::new();
    let mut dropped = 0;
    for n in 0.. {
        assert!(n < 5000, "no ephemeral message is dropped");
        match a.ask(&whisper(n))["status"].as_str() {
            Some("relayed") => relayed.push(n),
            Some("dropped") => dropped += 1,
            other => panic!("{other:?}"),
        }
        if dropped == 20 {
            break;
        }
    }
    for n in 1..=50 {
        assert_eq!(
            a.ask(&to("reader", &format!("{n} {filler}")))["type"],
            "ack"
        );
    }
    let (mut heard, mut seq) = (Vec::new(), 0);
    while seq < 50 {
        let message = reader.text().expect("a message");
        assert_eq!(message["type"], "message");
        if message["ephemeral"] == true {
            heard.push(number(&message));
        } else {
            seq += 1;
            // Two entries were there before.
            assert_eq!((&message["seq"], number(&message)), (&json!(2 + seq), seq));
        }
    }
    assert_eq!(heard, relayed);
    // After it has read everything, it receives ephemeral messages again.
    assert_eq!(a.ask(&whisper(0))["status"], "relayed");
    assert_eq!(number(&reader.text().expect("a message")), 0);
}

#[test]
fn a_stalled_reader_is_disconnected_and_gets_everything_after_reconnecting() {
    let server = Server::start(&["--stall-seconds", "1", "--burst", "10000"]);
    let mut reader = narrow(&server, "/ws/reader");
    let mut a = Client::fresh(&server, "a");
    let filler = "x".repeat(15_000);
    // More than the buffers of both ends hold.
    for n in 1..=1000 {
        a.ask(&to("reader", &format!("{n} {filler}")));
    }
    let line = server.wait_for_log("connection closed user=reader");
    assert!(line.contains("why="), "{line}");
    a.assert_quiet();
    // Frames that the server sent before are still readable, except for an incomplete one at the end.
    let mut seq = 0;
    while let Some(frame) = reader.text() {
        if frame["type"] == "goodbye" {
            assert_eq!(frame["code"], 1013);
            continue;
        }
        seq += 1;
        assert_eq!((&frame["seq"], number(&frame)), (&json!(seq), seq));
    }
    assert!(seq < 1000, "the buffers hold all messages");
    let mut back = Client::connect(&server, "reader", &format!("?since={seq}"));
    for n in seq + 1..=1000 {
        let message = back.expect("message");
        assert_eq!((&message["seq"], number(&message)), (&json!(n), n));
    }
    assert_eq!(back.expect("synced")["seq"], 1000);
    a.ask(&to("reader", "1001 live"));
    assert_eq!(back.expect("message")["seq"], 1001);
}

#[test]
fn a_slow_reader_that_makes_progress_is_not_disconnected() {
    let server = Server::start(&["--stall-seconds", "3", "--burst", "10000"]);
    send_numbered(&server, "a", "reader", 1200, &"x".repeat(15_000));
    let mut reader = Raw::narrow(&server, "/ws/reader?since=0");
    assert_eq!(reader.text().expect("a frame")["type"], "welcome");
    // It reads a part now and then, for three times the stall timeout.
    for n in 1..=1200 {
        let message = reader.text().expect("a message");
        assert_eq!((&message["seq"], number(&message)), (&json!(n), n));
        if n % 50 == 0 {
            std::thread::sleep(Duration::from_millis(400));
        }
    }
    assert_eq!(reader.text().expect("a frame")["type"], "synced");
    Client::fresh(&server, "b").ask(&to("reader", "live"));
    assert_eq!(reader.text().expect("a message")["seq"], 1201);
}

#[test]
fn a_sender_that_does_not_read_acks_is_throttled_and_gets_all_acks_later() {
    let server = start_without_limits(&["--outbox-bytes", "65536"]);
    fill_cache(&server);
    // The recipient must have connected before: unknown recipients can have fewer messages.
    Client::fresh(&server, "b").close();
    let before = server.memory_kib();
    let mut sender = narrow(&server, "/ws/sender");
    let filler = "x".repeat(1000);
    let frame = |n: usize| {
        let reference = format!("{n:060}");
        let text =
            json!({"message": format!("{n} {filler}"), "target_user": "b", "ref": reference});
        client_frame(0x81, text.to_string().as_bytes())
    };
    // It sends until the server stops reading.
    let mut writing = sender.stream.try_clone().expect("a second handle");
    writing
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout can be set");
    let mut sent = 0;
    let rest = loop {
        sent += 1;
        assert!(sent < 200_000, "the sender is not throttled");
        let bytes = frame(sent);
        let mut written = 0;
        while written < bytes.len() {
            match writing.write(&bytes[written..]) {
                Ok(n) => written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("{e}"),
            }
        }
        if written < bytes.len() {
            break bytes[written..].to_vec();
        }
    };
    let grown = server.peak_kib().saturating_sub(before);
    eprintln!("throttled after {sent} messages; from {before} KiB, memory grew by {grown} KiB");
    // Other users are served meanwhile.
    let mut other = Client::fresh(&server, "other");
    assert_eq!(other.ask(&to("b", "hello"))["type"], "ack");
    // Now it reads, and the server reads the last frame.
    let finishing = std::thread::spawn(move || {
        writing
            .set_write_timeout(Some(crate::support::DEADLINE))
            .and_then(|()| writing.write_all(&rest))
            .expect("the server reads the rest");
    });
    for n in 1..=sent {
        let ack = sender.text().expect("an ack");
        assert_eq!(
            (&ack["type"], &ack["seq"]),
            (&json!("ack"), &json!(n)),
            "{ack}"
        );
        assert_eq!(ack["ref"], format!("{n:060}"));
    }
    finishing.join().expect("the last frame is sent");
    sender.write(&client_frame(0x81, br#"{"type":"ping"}"#));
    assert_eq!(sender.text().expect("a pong")["type"], "pong");
    let grown = server.peak_kib().saturating_sub(before);
    eprintln!("at the end memory has grown by {grown} KiB");
    assert!(grown < 24 * 1024, "{grown} KiB");
}

/// Opens `CONNECTIONS` sessions, each of another user, and reads up to `synced`.
fn open_sessions(server: &Server) -> Vec<Raw> {
    (0..CONNECTIONS)
        .map(|n| {
            let mut raw = Raw::upgrade(server, &format!("/ws/u{n}"));
            read_until_synced(&mut raw);
            raw
        })
        .collect()
}

/// Content of 60 KiB.
const LARGE: usize = 60 * 1024;

/// A large message of a user to themself, as a frame. The mask is zero, which is faster to apply.
fn message_to_oneself(n: usize) -> Vec<u8> {
    let data = "x".repeat(LARGE);
    let message = format!(r#"{{"type":"data","name":"large","data":"{data}"}}"#);
    let text = format!(r#"{{"message":{message},"target_user":"u{n}"}}"#);
    let length = u16::try_from(text.len()).expect("a length of two bytes");
    let mut frame = vec![0x81, 0xFE];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// Reads the ack and the message.
fn read_ack_and_message(raw: &mut Raw) {
    assert_eq!(raw.text().expect("an ack")["type"], "ack");
    loop {
        let frame = raw.frame().expect("a message");
        if frame.opcode == 1 {
            assert!(frame.payload.len() > LARGE, "{}", frame.json());
            return;
        }
    }
}

#[test]
fn a_connection_uses_little_memory_after_large_messages() {
    // Other tests of this process have open sockets as well.
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be raised to the hard limit");
    let server = start_without_limits(&[]);
    fill_cache(&server);
    let empty = server.memory_kib();
    let mut sessions = open_sessions(&server);
    let idle = server.memory_kib();
    let frames: Vec<_> = (0..CONNECTIONS).map(message_to_oneself).collect();
    let each = |kib: u64| kib.saturating_sub(idle) * 1024 / CONNECTIONS as u64;
    for (raw, frame) in sessions.iter_mut().zip(&frames) {
        raw.write(frame);
        read_ack_and_message(raw);
    }
    let grown = each(server.memory_kib());
    eprintln!(
        "{empty} KiB without connections, {idle} KiB with {CONNECTIONS}; {grown} bytes more each"
    );
    assert!(grown < 8192, "{grown} bytes per connection");

    // All connections at the same time: half a frame each, then the other half, then the answers. The allocator may keep that
    // memory, but must reuse most of it: by the third round the peak hardly rises.
    let mut peaks = Vec::new();
    for _ in 0..3 {
        for (raw, frame) in sessions.iter_mut().zip(&frames) {
            raw.write(&frame[..frame.len() / 2]);
        }
        for (raw, frame) in sessions.iter_mut().zip(&frames) {
            raw.write(&frame[frame.len() / 2..]);
        }
        sessions.iter_mut().for_each(read_ack_and_message);
        eprintln!("all at once: {} more bytes each", each(server.memory_kib()));
        peaks.push(server.peak_kib());
    }
    let sent_kib = (CONNECTIONS * LARGE / 1024) as u64;
    assert!(peaks[2] < peaks[1] + sent_kib / 2, "{peaks:?}");
}

#[test]
fn closed_connections_leave_no_memory_behind() {
    let server = Server::start(&[]);
    let round = |count: usize| {
        for n in 0..count {
            match n % 4 {
                // A session that is closed, one that is dropped, an echo connection and a plain request.
                0 => Client::connect(&server, "a", "").close(),
                1 => drop(Client::fresh(&server, &format!("u{}", n % 50))),
                2 => drop(Client::dial(&server, "/echo", &[]).expect("the handshake succeeds")),
                _ => assert!(server.get("/healthz").contains("200 OK")),
            }
        }
    };
    round(1000);
    let before = server.memory_kib();
    round(3000);
    let grown = server.memory_kib().saturating_sub(before);
    eprintln!("opening and closing: from {before} KiB, memory grew by {grown} KiB");
    assert!(grown < 2048, "{grown} KiB");
}

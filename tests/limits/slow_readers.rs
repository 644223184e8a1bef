//! Clients that do not read, and what connections cost: memory stays bounded, and nothing that lasts is lost (PROTOCOL
//! section 8, "unsent bytes per session").

use std::collections::HashMap;
use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use crate::support::{Client, Raw, Server, client_frame, to};
use serde_json::{Value, json};

/// Fits under the usual limit of 1024 open files, of which the server has its own.
const CONNECTIONS: usize = 900;

/// No limit of rate, nobody is dropped for being silent or slow, and a hundred thousand entries are kept.
const PATIENT: [&str; 12] = [
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

fn patient(more: &[&str]) -> Server {
    Server::start(&[&PATIENT, more].concat())
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

/// Sends `count` numbered messages as fast as the acks come, some hundreds at a time.
fn pour(server: &Server, from: &str, to: &str, count: usize, filler: &str) {
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

/// Lets the store fill its cache, so that what grows afterwards is something else.
fn warm(server: &Server) {
    pour(server, "warm", "up", 3000, &"x".repeat(15_000));
}

/// The number at the start of a message's text.
fn number(frame: &Value) -> usize {
    let text = frame["message"].as_str().expect("a text");
    let word = text.split(' ').next().expect("a first word");
    word.parse().expect("a number")
}

#[test]
fn a_reader_that_never_reads_costs_little_and_gets_everything_in_the_end() {
    const SENDERS: usize = 4;
    const EACH: usize = 25_000;
    let server = patient(&[]);
    let mut reader = narrow(&server, "/ws/reader");
    warm(&server);
    let before = server.memory_kib();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let server = &server;
            scope.spawn(move || {
                pour(
                    server,
                    &format!("s{sender}"),
                    "reader",
                    EACH,
                    &"x".repeat(100),
                );
            });
        }
    });
    // The senders are done, and the reader has read nothing.
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
        "from {before} KiB: by {grown} KiB while it was sent in {poured:?}, by {after} KiB when it was read after {:?}",
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
fn a_slow_reader_misses_what_is_ephemeral_and_nothing_that_lasts() {
    let server = patient(&["--outbox-bytes", "65536"]);
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
        assert!(n < 5000, "nothing is dropped");
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
            assert_eq!((&message["seq"], number(&message)), (&json!(seq), seq));
        }
    }
    assert_eq!(heard, relayed);
    // Now that it has read everything it hears whispers again.
    assert_eq!(a.ask(&whisper(0))["status"], "relayed");
    assert_eq!(number(&reader.text().expect("a message")), 0);
}

#[test]
fn a_stalled_reader_is_let_go_and_finds_everything_when_it_returns() {
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
    // What had left the server before is there still, up to a frame that has not arrived whole.
    let mut seq = 0;
    while let Some(frame) = reader.text() {
        if frame["type"] == "goodbye" {
            assert_eq!(frame["code"], 1013);
            continue;
        }
        seq += 1;
        assert_eq!((&frame["seq"], number(&frame)), (&json!(seq), seq));
    }
    assert!(seq < 1000, "everything fitted into the buffers");
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
fn a_reader_that_is_slow_but_reads_is_not_let_go() {
    let server = Server::start(&["--stall-seconds", "3", "--burst", "10000"]);
    pour(&server, "a", "reader", 1200, &"x".repeat(15_000));
    let mut reader = Raw::narrow(&server, "/ws/reader?since=0");
    assert_eq!(reader.text().expect("a frame")["type"], "welcome");
    // For three times as long as a stall is borne, it takes a part now and then.
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
fn a_sender_that_never_reads_its_acks_is_held_back_and_gets_all_of_them() {
    let server = patient(&["--outbox-bytes", "65536"]);
    warm(&server);
    // For somebody who never came it could not leave so many.
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
    // It sends until the server takes nothing any more.
    let mut writing = sender.stream.try_clone().expect("a second handle");
    writing
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout can be set");
    let mut sent = 0;
    let rest = loop {
        sent += 1;
        assert!(sent < 200_000, "nothing holds the sender back");
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
    eprintln!("held back after {sent} messages, from {before} KiB by {grown} KiB");
    // Others are served meanwhile.
    let mut other = Client::fresh(&server, "other");
    assert_eq!(other.ask(&to("b", "hello"))["type"], "ack");
    // Now it reads, and the last frame gets through.
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
    eprintln!("in the end by {grown} KiB");
    assert!(grown < 24 * 1024, "{grown} KiB");
}

/// Opens as many sessions as `CONNECTIONS` says, each of a user of its own, and reads up to `synced`.
fn crowd(server: &Server) -> Vec<Raw> {
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

/// A user's large message to itself, as a frame. Masked with zeros, which is quicker than masking.
fn to_oneself(n: usize) -> Vec<u8> {
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
fn read_what_came_of_it(raw: &mut Raw) {
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
fn a_connection_that_was_busy_costs_what_an_idle_one_does() {
    // Other tests of this process have sockets open too.
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be raised to the hard limit");
    let server = patient(&[]);
    warm(&server);
    let empty = server.memory_kib();
    let mut crowd = crowd(&server);
    let idle = server.memory_kib();
    let frames: Vec<_> = (0..CONNECTIONS).map(to_oneself).collect();
    let each = |kib: u64| kib.saturating_sub(idle) * 1024 / CONNECTIONS as u64;
    for (raw, frame) in crowd.iter_mut().zip(&frames) {
        raw.write(frame);
        read_what_came_of_it(raw);
    }
    let grown = each(server.memory_kib());
    eprintln!(
        "{empty} KiB without connections, {idle} KiB with {CONNECTIONS}; {grown} bytes more each"
    );
    assert!(grown < 8192, "{grown} bytes for each connection");

    // All of them at the same time: half a frame each, then the other half, then the answers. What the allocator keeps of
    // that afterwards is its own affair, but it must serve the next time.
    let mut peaks = Vec::new();
    for _ in 0..2 {
        for (raw, frame) in crowd.iter_mut().zip(&frames) {
            raw.write(&frame[..frame.len() / 2]);
        }
        for (raw, frame) in crowd.iter_mut().zip(&frames) {
            raw.write(&frame[frame.len() / 2..]);
        }
        crowd.iter_mut().for_each(read_what_came_of_it);
        eprintln!("all at once: {} bytes more each", each(server.memory_kib()));
        peaks.push(server.peak_kib());
    }
    assert!(peaks[1] < peaks[0] + 16 * 1024, "{peaks:?}");
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = Server::start(&[]);
    let round = |count: usize| {
        for n in 0..count {
            match n % 4 {
                // A session that closes as it should, one that is cut, an echo, and a plain request.
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
    eprintln!("coming and going: from {before} KiB by {grown} KiB");
    assert!(grown < 2048, "{grown} KiB");
}

//! The memory that clients take which do not read, or do not end what they say, has a ceiling (PROTOCOL section 8,
//! `--buffer-bytes`), and who does neither notices nothing.

use std::io::Write as _;
use std::sync::Mutex;

use crate::support::pair::{alone, beside, crew, crowd};
use crate::support::{Client, Raw, Server, assert_has, client_frame, eventually, to};
use serde_json::{Value, json};

const ARGUMENTS: [&str; 4] = [
    "--sessions-per-user",
    "10000",
    "--messages-per-second",
    "100000",
];

/// The first bytes of a message of 60,000, three quarters of it.
fn half_frame() -> Vec<u8> {
    let mut frame = client_frame(0x81, &vec![b'x'; 60_000]);
    frame.truncate(45_000);
    frame
}

/// A message that is to go on.
fn fragment() -> Vec<u8> {
    client_frame(0x01, &vec![b'x'; 45_000])
}

/// As much of `bytes` as the server takes now.
fn push(raw: &mut Raw, bytes: &[u8]) {
    let stream = &mut raw.stream;
    stream.set_nonblocking(true).expect("a socket can be told");
    let _ = stream.write(bytes);
    stream.set_nonblocking(false).expect("a socket can be told");
}

/// Fills the inbox of `greedy`, and its conversation, with so many long messages.
fn long_log(server: &Server, messages: usize) {
    let mut writer = Client::fresh(server, "writer");
    for n in 0..messages {
        let ack = writer.ask(&to("greedy", &format!("{n} {}", "x".repeat(15_000))));
        assert_eq!(ack["type"], "ack");
    }
}

/// One of the crowd: half of them read little, and have a long log or a long answer to read; the others are to talk.
fn enter(server: &Server, part: usize, n: usize) -> Raw {
    match n % 4 {
        0 => Raw::narrow(server, "/ws/greedy?since=0&ack=manual"),
        1 => Raw::narrow(server, &format!("/ws/greedy?device=d{part}&ack=manual")),
        _ => {
            let mut raw = Raw::upgrade(server, &format!("/ws/tedious-{n}"));
            raw.expect("welcome");
            raw.expect("synced");
            raw
        }
    }
}

#[test]
fn a_crowd_that_reads_nothing_and_ends_nothing_stays_under_the_ceiling() {
    /// Beside what is counted, each may have 8 KiB, a session is something itself, and an allocator has its losses.
    const EACH_KIB: u64 = 16;
    let _alone = alone();
    let server = Server::start(&[&ARGUMENTS[..], &["--buffer-bytes", "16777216"]].concat());
    long_log(&server, 200);
    let number = crowd();
    let before = server.memory_kib();
    beside(&server, "a crowd that fills memory", || {
        let why = ["why=\"no memory left for it\"", "why=\"closed, unread\""];
        let gone = || -> usize {
            let log = server.log();
            why.iter().map(|why| log.matches(why).count()).sum()
        };
        let before = gone();
        let crowd = Mutex::new(Vec::new());
        crew(8, |part| {
            for n in (part..number).step_by(8) {
                let raw = enter(&server, part, n);
                crowd.lock().expect("nobody has failed").push((n, raw));
            }
        });
        let mut crowd = crowd.into_inner().expect("nobody has failed");
        let history = json!({"type": "history", "target_user": "writer", "limit": 200});
        let ask = client_frame(0x81, history.to_string().as_bytes()).repeat(100);
        for (n, raw) in &mut crowd {
            match *n % 4 {
                0 => {}
                1 => push(raw, &ask),
                2 => push(raw, &half_frame()),
                _ => push(raw, &fragment()),
            }
        }
        server.wait_for_log("--buffer-bytes");
        eventually("those who hold most are let go", || {
            gone() - before > number / 8
        });
    });
    let peak = server.peak_kib().saturating_sub(before);
    let ceiling = 16 * 1024 + number as u64 * EACH_KIB;
    eprintln!("{number} sessions that fill memory: {peak} KiB of {ceiling}");
    assert!(peak < ceiling, "{peak} KiB of {ceiling}");
    // All of it is given back: whoever comes now gets long answers again.
    let mut reader = Client::connect(&server, "greedy", "?device=honest&ack=manual");
    reader.until("synced");
    eventually("an answer is as long as it may be", || {
        reader.send(&json!({"type": "history", "target_user": "writer", "limit": 200}));
        let messages = reader.until("history")["messages"].clone();
        messages
            .as_array()
            .is_some_and(|messages| messages.len() > 10)
    });
}

#[test]
fn heads_that_do_not_end_are_under_the_ceiling_too() {
    const MANY: usize = 300;
    let _alone = alone();
    let server = Server::start(&["--buffer-bytes", "4194304"]);
    let before = server.memory_kib();
    beside(&server, "heads that do not end", || {
        let request = format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}",
            "x".repeat(100_000)
        );
        let mut held = Vec::new();
        for _ in 0..MANY {
            let mut raw = Raw::open(&server);
            push(&mut raw, request.as_bytes());
            held.push(raw);
        }
        // Most have been cut off: there is room for forty.
        eventually("most are cut off", || {
            let cut = held.iter_mut().filter(|raw| {
                raw.stream
                    .set_nonblocking(true)
                    .expect("a socket can be told");
                match raw.stream.peek(&mut [0]) {
                    Ok(_) => true,
                    Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                }
            });
            cut.count() > MANY / 2
        });
    });
    let peak = server.peak_kib().saturating_sub(before);
    eprintln!("{MANY} heads: {peak} KiB");
    assert!(peak < 16 * 1024, "{peak} KiB");
}

/// Takes all of a megabyte with messages that do not end. Gives who they are, and the goodbye of the first one too many.
fn fill(server: &Server) -> (Vec<Raw>, Value) {
    let mut held = Vec::new();
    for n in 0..200 {
        let mut raw = Raw::upgrade(server, &format!("/ws/tedious-{n}?ack=manual"));
        raw.expect("welcome");
        raw.expect("synced");
        raw.write(&fragment());
        // Behind the second answer there is no doubt what has become of it.
        for _ in 0..2 {
            raw.write(&client_frame(0x89, b"?"));
            let frame = raw.frame().expect("an answer");
            if frame.opcode == 1 {
                let close = raw.frame().expect("a close frame");
                assert_eq!(close.close_code(), Some(1013));
                return (held, frame.json());
            }
            assert_eq!(frame.opcode, 10, "a pong");
        }
        held.push(raw);
    }
    panic!("two hundred have room");
}

#[test]
fn who_needs_more_than_there_is_is_told_to_come_again_and_the_others_go_on() {
    let _alone = alone();
    let server = Server::start(&["--buffer-bytes", "1048576"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let (held, goodbye) = fill(&server);
    assert_has(
        &goodbye,
        &json!({"code": 1013, "reason": "overloaded", "reconnect": true}),
    );
    assert!(goodbye["retry_after_ms"].as_u64() > Some(0), "{goodbye}");
    // Small and large: who reads gets them.
    for n in 1..=20 {
        let text = format!("{n} {}", "x".repeat(700 * n));
        assert_has(&a.ask(&to("b", &text)), &json!({"type": "ack", "seq": n}));
        assert_has(&b.expect("message"), &json!({"message": text, "seq": n}));
        a.receipts();
    }
    a.send(&json!({"type": "history", "target_user": "b", "limit": 200}));
    let page = a.until("history");
    let count = page["messages"].as_array().map_or(0, Vec::len);
    assert!(
        (1..20).contains(&count) && page["more"] == true,
        "{count} of 20, and more"
    );
    // Who holds on to it is let go, and then there is room.
    eventually("the others are let go", || {
        server
            .log()
            .matches("connection closed user=tedious-")
            .count()
            > held.len() / 8
    });
    let mut again = Raw::upgrade(&server, "/ws/tedious-again?ack=manual");
    again.expect("welcome");
    again.expect("synced");
    let whole = client_frame(0x81, to("b", &"y".repeat(15_000)).to_string().as_bytes());
    again.write(&whole[..9000]);
    again.write(&whole[9000..]);
    again.expect("ack");
    b.expect("message");
}

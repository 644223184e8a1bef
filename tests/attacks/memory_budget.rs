//! The memory for clients that do not read, or that do not complete their messages, is limited (PROTOCOL section 8,
//! `--buffer-bytes`), and other clients do not notice.

use std::io::Write as _;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::pair::{exclusive, measure_with_attack, run_threads, session_count};
use crate::support::{Client, Raw, Server, assert_has, client_frame, eventually, to};

const ARGUMENTS: [&str; 4] = [
    "--sessions-per-user",
    "10000",
    "--messages-per-second",
    "100000",
];

/// Three quarters of a frame with a payload of 60,000 bytes.
fn half_frame() -> Vec<u8> {
    let mut frame = client_frame(0x81, &vec![b'x'; 60_000]);
    frame.truncate(45_000);
    frame
}

/// The first fragment of a message.
fn fragment() -> Vec<u8> {
    client_frame(0x01, &vec![b'x'; 45_000])
}

/// Sends as much of `bytes` as the server reads now.
fn push(raw: &mut Raw, bytes: &[u8]) {
    let stream = &mut raw.stream;
    stream
        .set_nonblocking(true)
        .expect("the blocking mode can be set");
    let _ = stream.write(bytes);
    stream
        .set_nonblocking(false)
        .expect("the blocking mode can be set");
}

/// Fills the inbox of `greedy`, and its conversation, with this number of long messages.
fn send_long_messages(server: &Server, messages: usize) {
    let mut writer = Client::fresh(server, "writer");
    for n in 0..messages {
        let ack = writer.ask(&to("greedy", &format!("{n} {}", "x".repeat(15_000))));
        assert_eq!(ack["type"], "ack");
    }
}

/// Opens one of the sessions: a half of them read slowly and have a long inbox or long answers to read; the others are to send
/// incomplete messages.
fn open_session(server: &Server, part: usize, n: usize) -> Raw {
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
fn thousands_of_sessions_that_neither_read_nor_complete_messages_stay_within_the_budget() {
    /// In addition to the budget each session may use 8 KiB, has a structure of its own, and causes fragmentation.
    const EACH_KIB: u64 = 16;
    let _exclusive = exclusive();
    let server = Server::start(&[&ARGUMENTS[..], &["--buffer-bytes", "16777216"]].concat());
    send_long_messages(&server, 200);
    let number = session_count();
    let before = server.memory_kib();
    measure_with_attack(&server, "a sessions that fill memory", || {
        let why = ["why=\"memory budget used up\"", "why=\"closed, unread\""];
        let gone = || -> usize {
            let log = server.log();
            why.iter().map(|why| log.matches(why).count()).sum()
        };
        let before = gone();
        let sessions = Mutex::new(Vec::new());
        run_threads(8, |part| {
            for n in (part..number).step_by(8) {
                let raw = open_session(&server, part, n);
                sessions
                    .lock()
                    .expect("no thread has panicked")
                    .push((n, raw));
            }
        });
        let mut sessions = sessions.into_inner().expect("no thread has panicked");
        let history = json!({"type": "history", "target_user": "writer", "limit": 200});
        let ask = client_frame(0x81, history.to_string().as_bytes()).repeat(100);
        for (n, raw) in &mut sessions {
            match *n % 4 {
                0 => {}
                1 => push(raw, &ask),
                2 => push(raw, &half_frame()),
                _ => push(raw, &fragment()),
            }
        }
        server.wait_for_log("--buffer-bytes");
        eventually("the sessions that use most are closed", || {
            gone() - before > number / 8
        });
    });
    let peak = server.peak_kib().saturating_sub(before);
    let ceiling = 16 * 1024 + number as u64 * EACH_KIB;
    eprintln!("{number} sessions that fill memory: {peak} KiB of {ceiling}");
    assert!(peak < ceiling, "{peak} KiB of {ceiling}");
    // All memory is available again: a new session gets long answers.
    let mut reader = Client::connect(&server, "greedy", "?device=honest&ack=manual");
    reader.until("synced");
    eventually("an answer has its full length", || {
        reader.send(&json!({"type": "history", "target_user": "writer", "limit": 200}));
        let messages = reader.until("history")["messages"].clone();
        messages
            .as_array()
            .is_some_and(|messages| messages.len() > 10)
    });
}

#[test]
fn incomplete_request_heads_count_towards_the_budget() {
    const MANY: usize = 300;
    let _exclusive = exclusive();
    let server = Server::start(&["--buffer-bytes", "4194304"]);
    let before = server.memory_kib();
    measure_with_attack(&server, "incomplete request heads", || {
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
        // The budget has room for forty.
        eventually("most connections are closed", || {
            let cut = held.iter_mut().filter(|raw| {
                raw.stream
                    .set_nonblocking(true)
                    .expect("the blocking mode can be set");
                match raw.stream.peek(&mut [0]) {
                    Ok(_) => true,
                    Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                }
            });
            cut.count() > MANY / 2
        });
    });
    let peak = server.peak_kib().saturating_sub(before);
    eprintln!("{MANY} incomplete heads: {peak} KiB");
    assert!(peak < 16 * 1024, "{peak} KiB");
}

/// Uses up a budget of one megabyte with incomplete messages. Returns the connections, and the `goodbye` of the first one beyond
/// the budget.
fn fill(server: &Server) -> (Vec<Raw>, Value) {
    let mut held = Vec::new();
    for n in 0..200 {
        let mut raw = Raw::upgrade(server, &format!("/ws/tedious-{n}?ack=manual"));
        raw.expect("welcome");
        raw.expect("synced");
        raw.write(&fragment());
        // The first answer may have been sent before the server read the fragment; the second one was not.
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
    panic!("two hundred messages fit into the budget");
}

#[test]
fn a_session_beyond_the_budget_is_closed_as_overloaded_and_others_go_on() {
    let _exclusive = exclusive();
    let server = Server::start(&["--buffer-bytes", "1048576"]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let (held, goodbye) = fill(&server);
    assert_has(
        &goodbye,
        &json!({"code": 1013, "reason": "overloaded", "reconnect": true}),
    );
    assert!(goodbye["retry_after_ms"].as_u64() > Some(0), "{goodbye}");
    // Small and large messages still reach a client that reads.
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
    // Sessions that do not release their memory are closed, and then there is room again.
    eventually("the idle sessions are closed", || {
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

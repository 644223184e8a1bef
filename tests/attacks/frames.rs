//! Floods of frames: invalid, large, costly to parse, and queries whose answers are not read.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::pair::{exclusive, measure_with_attack, run_threads};
use crate::support::{Client, Raw, Server, client_frame, eventually, to};

#[test]
fn sessions_that_send_many_invalid_frames_are_closed() {
    const THREADS: usize = 6;
    const EACH: usize = 25;
    let _exclusive = exclusive();
    let server = Server::start(&[]);
    let times = AtomicUsize::new(0);
    measure_with_attack(&server, "invalid frames", || {
        // Each session has a user of its own, because the rate of a user counts all their sessions.
        let time = times.fetch_add(1, Ordering::Relaxed);
        run_threads(THREADS, |member| {
            for n in 0..EACH {
                let mut raw = Raw::upgrade(&server, &format!("/ws/bad-{time}-{member}-{n}"));
                let bad: &[(u8, &str)] = &[
                    (0x81, "no JSON"),
                    (0x82, "binary"),
                    (0x81, r#"{"type":"nope"}"#),
                    (0x81, r#"{"message":"","target_user":"honest"}"#),
                    (
                        0x81,
                        r#"{"message":{"type":"x.y"},"target_user":"honest","ref":"r"}"#,
                    ),
                    (0x81, "[[[[[[[["),
                    (0x81, r#"{"a":1,"a":1}"#),
                ];
                let all: Vec<u8> = (0..40)
                    .map(|n| bad[n % bad.len()])
                    .flat_map(|(first, text)| client_frame(first, text.as_bytes()))
                    .collect();
                raw.write(&all);
                let mut errors = 0;
                let code = loop {
                    let frame = raw.next().expect("a close frame");
                    if frame.opcode == 8 {
                        break frame.close_code();
                    }
                    errors += usize::from(frame.json()["type"] == "error");
                };
                assert_eq!((errors, code), (21, Some(1008)));
            }
        });
    });
}

/// A text message of exactly the maximum size, as a frame.
fn largest(target: &str) -> Vec<u8> {
    const LIMIT: usize = 65_536;
    let frame = |data: &str| {
        format!(
            r#"{{"message":{{"type":"data","name":"n","data":"{data}"}},"target_user":"{target}"}}"#
        )
    };
    let text = frame(&"x".repeat(LIMIT - frame("").len()));
    client_frame(0x81, text.as_bytes())
}

#[test]
fn every_frame_of_a_flood_of_maximum_size_is_stored_or_rejected() {
    const THREADS: usize = 6;
    const EACH: usize = 120;
    let _exclusive = exclusive();
    let server = Server::start(&[]);
    let (stored, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let times = AtomicUsize::new(0);
    let before = server.memory_kib();
    measure_with_attack(&server, "largest frames", || {
        // Each session has a user of its own, because a returning user would receive their earlier messages.
        let time = times.fetch_add(1, Ordering::Relaxed);
        run_threads(THREADS, |member| {
            let mut raw = Raw::upgrade(&server, &format!("/ws/large-{time}-{member}"));
            let frame = largest(&format!("sink-{member}"));
            for _ in 0..EACH {
                raw.write(&frame);
            }
            let mut left = EACH;
            while left > 0 {
                let answer = raw.text().expect("an answer to each");
                match answer["type"].as_str() {
                    Some("ack") => drop(stored.fetch_add(1, Ordering::Relaxed)),
                    Some("error") => {
                        assert!(
                            answer["code"] == "rate_limited" || answer["code"] == "overloaded",
                            "{answer}"
                        );
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Some("welcome" | "synced") => continue,
                    _ => panic!("{answer}"),
                }
                left -= 1;
            }
        });
    });
    let (stored, refused) = (stored.into_inner(), refused.into_inner());
    let peak = server.peak_kib().saturating_sub(before);
    eprintln!(
        "{stored} frames of 64 KiB stored, {refused} rejected; memory grew by at most {peak} KiB"
    );
    assert!(stored > 0 && stored + refused == times.into_inner() * THREADS * EACH);
    assert!(peak < 128 * 1024, "{peak} KiB");
}

/// Texts of about 64 KiB that a careless JSON parser reads slowly.
fn costly() -> Vec<(&'static str, String)> {
    let data = |raw: &str| {
        format!(r#"{{"message":{{"type":"data","name":"n","data":{raw}}},"target_user":"sink"}}"#)
    };
    let object = |members: usize, last: &str| {
        let members: Vec<_> = (0..members).map(|n| format!(r#""k{n:05}":0"#)).collect();
        format!("{{{}{last}}}", members.join(","))
    };
    vec![
        ("brackets without end", "[".repeat(65_000)),
        (
            "brackets with an end",
            data(&("[".repeat(32_000) + &"]".repeat(32_000))),
        ),
        (
            "objects in objects",
            r#"{"a":"#.repeat(10_000) + "0" + &"}".repeat(10_000),
        ),
        ("many members", data(&object(5800, ""))),
        (
            "many members, the last one twice",
            data(&object(5800, r#","k05799":0"#)),
        ),
        (
            "many unknown members",
            object(5800, r#","message":"x","target_user":"sink""#),
        ),
        (
            "many small arrays",
            data(&format!("[{}[]]", "[],".repeat(20_000))),
        ),
        (
            "many escapes",
            data(&format!("\"{}\"", "\\u0041".repeat(10_000))),
        ),
        (
            "many halves of surrogates",
            data(&format!("\"{}\"", "\\ud800".repeat(10_000))),
        ),
        ("many digits", data(&"9".repeat(65_000))),
        (
            "many digits behind the point",
            data(&format!("0.{}1", "0".repeat(65_000))),
        ),
        (
            "an exponent of many digits",
            data(&format!("1e-{}", "9".repeat(65_000))),
        ),
        (
            "a number where none belongs",
            format!(r#"{{"type":"received","seq":{}}}"#, "9".repeat(65_000)),
        ),
        ("a long name", format!(r#"{{"{}":1}}"#, "n".repeat(65_000))),
        (
            "a long tag",
            format!(r#"{{"type":"{}"}}"#, "\\n".repeat(32_000)),
        ),
        (
            "a long text",
            format!(
                r#"{{"message":"{}","target_user":"sink"}}"#,
                "\u{1F600}".repeat(16_000)
            ),
        ),
        ("nothing but space", " ".repeat(65_000)),
    ]
}

#[test]
fn json_that_is_costly_to_parse_is_answered_like_any_other() {
    const THREADS: usize = 4;
    const EACH: usize = 8;
    let _exclusive = exclusive();
    let server = Server::start(&[]);
    let texts = costly();
    let frames: Vec<_> = texts
        .iter()
        .map(|(_, text)| client_frame(0x81, text.as_bytes()))
        .collect();
    let worst = Mutex::new(vec![Duration::ZERO; texts.len()]);
    measure_with_attack(&server, "costly JSON", || {
        run_threads(THREADS, |member| {
            for n in 0..EACH {
                let mut raw = Raw::upgrade(&server, &format!("/ws/costly-{member}-{n}"));
                while raw.expect_any()["type"] != "synced" {}
                for (nth, frame) in frames.iter().enumerate() {
                    let began = Instant::now();
                    raw.write(frame);
                    let answer = raw.expect_any();
                    let took = began.elapsed();
                    let known = answer["type"] == "ack" || answer["type"] == "error";
                    assert!(known, "{}: {answer}", texts[nth].0);
                    // An error may name the path, in which a `~` becomes two characters (RFC 6901 section 3).
                    assert!(answer.to_string().len() < 140_000, "{}", texts[nth].0);
                    let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
                    worst[nth] = worst[nth].max(took);
                }
            }
        });
    });
    let worst = worst.into_inner().unwrap_or_else(PoisonError::into_inner);
    let slowest = worst.iter().zip(&texts).max_by_key(|(took, _)| **took);
    let (took, (name, _)) = slowest.expect("there are some");
    eprintln!("the slowest answer was to {name}: {took:.1?}");
}

trait Answers {
    /// The next text frame other than a receipt, checked against the schema.
    fn expect_any(&mut self) -> Value;
}

impl Answers for Raw {
    fn expect_any(&mut self) -> Value {
        loop {
            let frame = self.next().expect("a frame");
            if frame.opcode == 1 {
                return frame.json();
            }
        }
    }
}

#[test]
fn clients_that_send_many_queries_and_read_no_answers_are_closed() {
    const USERS: usize = 3;
    const GREEDY: usize = 24;
    const ASKED: usize = 300;
    let _exclusive = exclusive();
    let server = Server::start(&[
        "--stall-seconds",
        "2",
        "--burst",
        "100000",
        "--messages-per-second",
        "100000",
    ]);
    // Every page of these histories has the maximum size.
    let mut writer = Client::fresh(&server, "writer");
    for n in 0..60 * USERS {
        let user = format!("greedy-{}", n % USERS);
        let ack = writer.ask(&to(&user, &format!("{n} {}", "x".repeat(15_000))));
        assert_eq!(ack["type"], "ack");
    }
    let before = server.memory_kib();
    let mut gone = 0;
    measure_with_attack(&server, "greedy readers", || {
        gone += GREEDY;
        let greedy: Vec<_> = (0..GREEDY)
            .map(|n| {
                // Each session also has an inbox to replay, and sends messages to itself.
                let user = format!("greedy-{}", n % USERS);
                let mut raw = Raw::narrow(&server, &format!("/ws/{user}?since=0"));
                let ask = json!({"type": "history", "target_user": "writer", "limit": 200});
                let ask = client_frame(0x81, ask.to_string().as_bytes());
                let more = to(&user, &"y".repeat(10_000)).to_string();
                let more = client_frame(0x81, more.as_bytes());
                let all = [ask.repeat(ASKED), more.repeat(20)].concat();
                let stream = &mut raw.stream;
                stream
                    .set_nonblocking(true)
                    .expect("the blocking mode can be set");
                // As much as the server reads.
                let _ = stream.write(&all);
                raw
            })
            .collect();
        eventually("the greedy sessions are closed", || {
            let log = server.log();
            log.matches("connection closed user=greedy-").count() >= gone
        });
        drop(greedy);
    });
    let peak = server.peak_kib().saturating_sub(before);
    eprintln!("{GREEDY} greedy readers: memory grew by at most {peak} KiB");
    assert!(peak < 96 * 1024, "{peak} KiB");
}

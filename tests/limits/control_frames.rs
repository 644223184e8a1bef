//! Limits of frames that cost no message of the rate: `ping` is rejected, `received`, control frames and bytes are delayed
//! (PROTOCOL sections 8 and 10).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::tokens::{SECRET, valid_token};
use crate::support::{Client, Raw, Server, burst, client_frame};

/// 800 frames at once, then 400 per second; the last 256 may be read together.
const RATE: [&str; 2] = ["--control-frames-per-second", "400"];
const FRAMES: usize = 2000;
const DELAY: Duration = Duration::from_secs(2);

/// Sends `frames` and then a `ping`, and returns after which time the `pong` has come. Nothing else may come, except pongs of
/// WebSocket.
fn time_until_pong(raw: &mut Raw, frames: &[u8]) -> Duration {
    let mut bytes = frames.to_vec();
    bytes.extend(client_frame(0x81, br#"{"type":"ping","ref":"end"}"#));
    let start = Instant::now();
    raw.write(&bytes);
    loop {
        let frame = raw.frame().expect("the connection stays open");
        if frame.opcode == 1 {
            let reply = frame.json();
            assert_eq!(
                (&reply["type"], &reply["ref"]),
                (&json!("pong"), &json!("end"))
            );
            return start.elapsed();
        }
        assert_eq!(frame.opcode, 10, "{frame:?}");
    }
}

fn connect(server: &Server, user: &str) -> Raw {
    let mut raw = Raw::upgrade(server, &format!("/ws/{user}"));
    while raw.text().expect("a frame")["type"] != "synced" {}
    raw
}

fn received(seq: u64, length: usize) -> Vec<u8> {
    let text = json!({"type": "received", "seq": seq}).to_string();
    client_frame(0x81, format!("{text:<length$}").as_bytes())
}

fn pings(refs: std::ops::Range<u32>) -> Vec<Value> {
    refs.map(|n| json!({"type": "ping", "ref": n.to_string()}))
        .collect()
}

#[test]
fn pings_beyond_their_rate_are_rejected() {
    let server = Server::start(&["--pings-per-second", "1"]);
    let mut a = Client::fresh(&server, "a");
    burst(&mut a, &pings(0..20));
    let replies: Vec<_> = (0..20).map(|_| a.recv()).collect();
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply["ref"], n.to_string());
        match n {
            0 | 1 => assert_eq!(reply["type"], "pong", "{reply}"),
            _ => {
                assert_eq!(reply["code"], "rate_limited", "{reply}");
                let wait = reply["retry_after_ms"].as_u64().expect("when to try again");
                assert!((1..=1000).contains(&wait), "{wait}");
            }
        }
    }
    // Other frames have their own rate.
    let ack = a.ask(&json!({"message": "x", "target_user": "a", "ephemeral": true}));
    assert_eq!(ack["type"], "ack");
    let wait = replies[19]["retry_after_ms"]
        .as_u64()
        .expect("when to try again");
    std::thread::sleep(Duration::from_millis(wait));
    a.assert_quiet();
}

#[test]
fn all_sessions_of_a_user_share_a_rate_of_pings() {
    let server = Server::start(&["--pings-per-second", "1"]);
    let rejected = |user: &str| {
        let mut session = Client::fresh(&server, user);
        burst(&mut session, &pings(0..2));
        (0..2).any(|_| session.recv()["code"] == "rate_limited")
    };
    assert!(!rejected("other"));
    // Eight at once, and four more per second.
    let start = Instant::now();
    let sessions = (0..100).position(|_| rejected("a"));
    let allowed = 4 + usize::try_from(start.elapsed().as_secs() * 2 + 2).expect("few");
    assert!(
        sessions.is_some_and(|count| count >= 4 && count <= allowed),
        "{sessions:?}"
    );
    assert!(!rejected("another"));
}

#[test]
fn received_frames_beyond_their_rate_are_delayed_and_none_is_rejected() {
    let server = Server::start(&RATE);
    let mut a = connect(&server, "a");
    let frames: Vec<u8> = (0..FRAMES as u64)
        .flat_map(|seq| received(seq, 0))
        .collect();
    let took = time_until_pong(&mut a, &frames);
    assert!(took >= DELAY, "{took:?}");
    let other = time_until_pong(&mut connect(&server, "b"), &frames[..received(0, 0).len()]);
    eprintln!("delayed {took:.1?}, another session {other:.1?}");
}

#[test]
fn control_frames_and_fragments_are_delayed_beyond_the_same_rate() {
    let server = Server::start(&RATE);
    let fragmented = [
        client_frame(0x01, b""),
        client_frame(0x00, b"").repeat(FRAMES - 2),
        client_frame(0x80, br#"{"type":"received","seq":0}"#),
    ]
    .concat();
    for (what, frames) in [
        ("pings", client_frame(0x89, b"x").repeat(FRAMES)),
        ("pongs", client_frame(0x8A, b"").repeat(FRAMES)),
        ("fragments", fragmented),
    ] {
        let took = time_until_pong(&mut connect(&server, what), &frames);
        assert!(took >= DELAY, "{what}: {took:?}");
    }
}

#[test]
fn the_bytes_of_frames_are_limited_whatever_they_are() {
    // 512 KiB at once, then 256 KiB per second; the last 512 KiB may be read together.
    let server = Server::start(&["--session-bytes-per-second", "262144"]);
    for (user, frames) in [
        ("spaces", received(0, 32_700).repeat(48)),
        ("pongs", client_frame(0x8A, &[0; 125]).repeat(12_000)),
    ] {
        let took = time_until_pong(&mut connect(&server, user), &frames);
        assert!(took >= Duration::from_millis(1800), "{user}: {took:?}");
    }
}

#[test]
fn messages_to_echo_are_delayed_beyond_the_rate() {
    let server = Server::start(&RATE);
    for opcode in [0x81, 0x82] {
        let mut echo = Raw::upgrade(&server, "/echo");
        let start = Instant::now();
        echo.write(&client_frame(opcode, b"").repeat(FRAMES));
        for _ in 0..FRAMES {
            assert_eq!(echo.frame().map(|frame| frame.payload.len()), Some(0));
        }
        let took = start.elapsed();
        assert!(took >= DELAY, "{took:?}");
    }
}

/// Writes as many frames as one connection may send at once to each of these connections, and returns after which time all have
/// been answered.
fn time_of_bursts(mut connections: Vec<Raw>, frame: &[u8]) -> Duration {
    const BURST: usize = 780;
    let start = Instant::now();
    for raw in &mut connections {
        let mut bytes = frame.repeat(BURST);
        bytes.extend(client_frame(0x89, b"end"));
        raw.write(&bytes);
    }
    for raw in &mut connections {
        while raw.frame().expect("the connection stays open").opcode != 10 {}
    }
    start.elapsed()
}

#[test]
fn the_connections_of_a_user_or_an_address_share_a_rate() {
    // 3200 at once, then 1600 per second; the last 256 of each connection may be read together.
    const CONNECTIONS: usize = 8;
    const DELAY: Duration = Duration::from_millis(400);
    let open = Server::start(&[&RATE[..], &["--trusted-proxy", "127.0.0.1"]].concat());
    let tokens = Server::start(&[&RATE[..], &["--jwt-secret", SECRET]].concat());
    let bearer = |user: &str| format!("Authorization: Bearer {}\r\n", valid_token(user));
    let echo = client_frame(0x81, b"");
    for (what, server, path, more, frame) in [
        ("sessions", &open, "/ws/a", String::new(), received(0, 0)),
        (
            "echo by address",
            &open,
            "/echo",
            "X-Forwarded-For: 192.0.2.7\r\n".to_owned(),
            echo.clone(),
        ),
        ("echo by user", &tokens, "/echo", bearer("a"), echo.clone()),
        (
            "sessions after echo",
            &tokens,
            "/ws/a",
            bearer("a"),
            received(0, 0),
        ),
    ] {
        let connections = (0..CONNECTIONS).map(|_| Raw::upgrade_with(server, path, &more).0);
        let took = time_of_bursts(connections.collect(), &frame);
        assert!(took >= DELAY, "{what}: {took:?}");
    }
}

#[test]
fn a_delayed_session_still_answers_everything_before_a_shutdown() {
    let server = Server::start(&["--control-frames-per-second", "1"]);
    let mut a = connect(&server, "a");
    let mut bytes: Vec<u8> = (0..1000).flat_map(|seq| received(seq, 0)).collect();
    let message = json!({"message": "last", "target_user": "b", "ref": "last"});
    bytes.extend(client_frame(0x81, message.to_string().as_bytes()));
    a.write(&bytes);
    // Processed after the frames of `a` have arrived.
    connect(&server, "b");
    server.signal("TERM");
    let mut types = Vec::new();
    while let Some(frame) = a.frame() {
        if frame.opcode == 1 {
            types.push(frame.json()["type"].clone());
        }
    }
    assert_eq!(types, ["ack", "goodbye"]);
}

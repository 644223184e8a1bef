//! Pings, heartbeats, timeouts, and the log lines about connections (PROTOCOL sections 2, 6, 8 and 10).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Raw, Server, client_frame, to};

// Opcodes of RFC 6455 section 5.2.
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The time in a frame, in milliseconds.
fn time(of: &Value) -> i64 {
    let text = of.as_str().expect("a time");
    let time: jiff::Timestamp = text.parse().expect("a time of RFC 3339");
    time.as_millisecond()
}

#[test]
fn pings_are_sent_at_the_configured_interval_whether_or_not_they_are_answered() {
    let server = Server::start(&["--ping-seconds", "1"]);
    for answers in [true, false] {
        let began = Instant::now();
        let mut raw = Raw::upgrade(&server, "/ws/a");
        let mut pings = 0;
        while pings < 4 {
            let frame = raw.frame().expect("a frame");
            assert_ne!(frame.opcode, CLOSE);
            if frame.opcode == PING {
                pings += 1;
                if answers {
                    raw.write(&client_frame(0x8A, &frame.payload));
                }
            }
        }
        // The first ping may arrive at once; the others one second apart.
        assert!(
            began.elapsed() >= Duration::from_millis(2900),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let server = Server::start(&[]);
    for path in ["/ws/a", "/echo"] {
        let mut raw = Raw::upgrade(&server, path);
        let payloads = [vec![], b"hello".to_vec(), vec![0xFF; 125]];
        for payload in &payloads {
            raw.write(&client_frame(0x89, payload));
        }
        for payload in payloads {
            let pong = loop {
                let frame = raw.frame().expect("a frame");
                if frame.opcode == PONG {
                    break frame;
                }
            };
            assert_eq!(pong.payload, payload);
        }
    }
}

#[test]
fn a_silent_client_is_disconnected_after_two_heartbeats_without_a_close_frame() {
    let server = Server::start(&["--heartbeat-seconds", "1"]);
    for path in ["/ws/a", "/echo"] {
        let began = Instant::now();
        let mut raw = Raw::upgrade(&server, path);
        while let Some(frame) = raw.frame() {
            assert_ne!(frame.opcode, CLOSE);
            assert!(frame.opcode != TEXT || frame.json()["type"] != "goodbye");
        }
        assert!(
            began.elapsed() >= Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    server.wait_for_log("connection closed user=a");
    // The inbox waits as for any user who is offline.
    let mut b = Client::fresh(&server, "b");
    b.ask(&to("a", "hello"));
    assert_eq!(
        Client::connect(&server, "a", "").expect("message")["message"],
        "hello"
    );
}

#[test]
fn any_received_frame_keeps_a_session_open() {
    let server = Server::start(&["--heartbeat-seconds", "2"]);
    let signs = [
        client_frame(0x81, br#"{"type":"received","seq":0}"#),
        client_frame(0x89, b"alive"),
        client_frame(0x8A, b"alive"),
    ];
    let mut others = signs.map(|sign| (Raw::upgrade(&server, "/ws/a"), sign));
    // One client answers the server's pings by reading, until it has seen three heartbeats.
    let mut pongs = Client::fresh(&server, "pongs");
    let answering = std::thread::spawn(move || {
        (0..3).for_each(|_| drop(pongs.expect("heartbeat")));
        pongs.assert_quiet();
    });
    while !answering.is_finished() {
        for (raw, sign) in &mut others {
            raw.write(sign);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    answering.join().expect("the session is kept");
    for (raw, _) in &mut others {
        raw.write(&client_frame(0x81, br#"{"type":"ping"}"#));
        while raw.text().expect("a frame")["type"] != "pong" {}
    }
}

#[test]
fn heartbeats_are_sent_only_when_no_text_was_sent() {
    let server = Server::start(&["--heartbeat-seconds", "1"]);
    let mut a = Client::fresh(&server, "a");
    let mut spoken = time(&a.welcome["server_time"]);
    let beats_after = |spoken: i64, frame: &Value| {
        let now = time(&frame["timestamp"]);
        // Times are truncated to milliseconds.
        assert!(now - spoken >= 999, "{frame} after {} ms", now - spoken);
        now
    };
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        a.send_text(r#"{"type":"ping"}"#);
        // If the machine was too busy to send the texts in time, a heartbeat may arrive between them.
        let mut frame = a.recv();
        while frame["type"] == "heartbeat" {
            spoken = beats_after(spoken, &frame);
            frame = a.recv();
        }
        spoken = time(&frame["server_time"]);
        std::thread::sleep(Duration::from_millis(20));
    }
    let quiet = spoken;
    for _ in 0..3 {
        spoken = beats_after(spoken, &a.expect("heartbeat"));
    }
    assert!(
        spoken - quiet < 10_000,
        "three heartbeats took {} ms",
        spoken - quiet
    );
}

#[test]
fn an_echo_connection_receives_pings_and_no_heartbeats() {
    let server = Server::start(&["--heartbeat-seconds", "1", "--ping-seconds", "1"]);
    let mut echo = Client::dial(&server, "/echo", &[]).expect("the handshake succeeds");
    for _ in 0..4 {
        match echo.next_message() {
            Ok(Message::Ping(_)) => {}
            other => panic!("expected a ping, found {other:?}"),
        }
    }
}

#[test]
fn welcome_contains_the_heartbeat_interval() {
    let server = Server::start(&[]);
    assert_eq!(Client::fresh(&server, "a").welcome["heartbeat_seconds"], 30);
    let server = Server::start(&["--heartbeat-seconds", "7"]);
    assert_eq!(Client::fresh(&server, "a").welcome["heartbeat_seconds"], 7);
}

/// Sends this word in every kind of frame that could be logged, and waits until the connections have ended.
fn send_word_everywhere(word: &str, server: &Server, base: &str) -> Vec<String> {
    let connect = |user: &str| {
        let path = format!("{base}/ws/{user}?token={word}&x={word}");
        let mut client = Client::dial(server, &path, &[]).expect("the handshake succeeds");
        client.welcome = client.expect("welcome");
        client.expect("synced");
        client
    };
    let mut a = connect("a");
    let mut b = connect("b");
    a.ask(&json!({"message": word, "target_user": "b", "ref": word}));
    b.expect("message");
    a.ask(&json!({"message": word, "target_user": "b", "ephemeral": true}));
    b.expect("message");
    for bad in [
        json!({"type": word}).to_string(),
        json!({"message": {"type": word}, "target_user": "b"}).to_string(),
        json!({"message": word, "target_user": "b", word: 1}).to_string(),
        format!("{word} is no JSON"),
    ] {
        a.send_text(&bad);
        a.expect("error");
    }
    let sessions = vec![a.session_id().to_owned(), b.session_id().to_owned()];
    a.close();
    // The second connection breaks within a frame.
    let text = client_frame(0x81, to("a", &word.repeat(10)).to_string().as_bytes());
    std::io::Write::write_all(b.stream(), &text[..text.len() - 5]).expect("sent");
    drop(b);
    // The third one violates the protocol.
    let mut raw = Raw::upgrade(server, &format!("{base}/ws/c"));
    raw.write(&client_frame(0xC1, word.as_bytes()));
    assert_eq!(raw.until_close().map(|(code, _)| code), Some(1002));
    sessions
}

#[test]
fn the_log_has_two_lines_per_connection_and_no_message_text() {
    let server = Server::start(&[]);
    let sessions = send_word_everywhere("s3cr3t", &server, "");
    for (session, user) in sessions.iter().zip(["a", "b"]) {
        server.wait_for_log(&format!("connection closed user={user} session={session}"));
        let log = server.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(session)).collect();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].contains("connection opened"), "{lines:#?}");
        assert!(lines[0].contains(" ip=127.0.0.1"), "{lines:#?}");
        assert!(lines[1].contains("connection closed"), "{lines:#?}");
    }
    let line = server.wait_for_log("connection closed user=c");
    assert!(
        line.contains(" reason=\""),
        "the log contains the violated rule: {line}"
    );
    assert!(!server.log().contains("s3cr3t"), "{}", server.log());
}

#[test]
fn the_most_verbose_log_contains_no_message_text() {
    let server = Server::start(&["--log", "trace"]);
    send_word_everywhere("s3cr3t", &server, "");
    for user in ["a", "b", "c"] {
        server.wait_for_log(&format!("connection closed user={user}"));
    }
    let log = server.log();
    let telling: Vec<_> = log.lines().filter(|line| line.contains("s3cr3t")).collect();
    assert!(telling.is_empty(), "{telling:#?}");
}

#[test]
fn each_line_of_the_json_log_is_an_object() {
    // The test support finds the address by the slash behind it.
    let server = Server::start(&["--log-format", "json", "--base-path", "/x"]);
    let sessions = send_word_everywhere("s3cr3t", &server, "/x");
    let lines = || -> Vec<Value> {
        let log = server.log();
        let lines = log.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .unwrap_or_else(|e| panic!("{e}\n{log}"))
    };
    let of = |line: &Value, message: &str, session: &str| {
        line["message"] == message && line["session"] == session
    };
    for session in sessions {
        for message in ["connection opened", "connection closed"] {
            crate::support::eventually(message, || {
                lines().iter().any(|line| of(line, message, &session))
            });
            assert_eq!(
                lines()
                    .iter()
                    .filter(|line| of(line, message, &session))
                    .count(),
                1
            );
        }
    }
    for line in lines() {
        let _ = time(&line["time"]);
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(
            line["target"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    assert!(!server.log().contains("s3cr3t"), "{}", server.log());
}

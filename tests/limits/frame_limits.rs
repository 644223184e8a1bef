//! Limits on frames and sessions: size, rate, invalid frames, sessions per user (PROTOCOL sections 8 and 10).

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, End, Raw, Server, client_frame, to};

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
const MIB: usize = 1 << 20;

/// A frame of exactly `length` bytes, padded with white space behind the object.
fn padded(frame: &Value, length: usize) -> String {
    let text = frame.to_string();
    let rest = " ".repeat(length - text.len());
    text + &rest
}

/// A frame header that announces `length` bytes in the longest form.
fn header_announcing(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first, 0xFF];
    header.extend(length.to_be_bytes());
    header.extend([1, 2, 3, 4]);
    header
}

fn assert_too_large((goodbye, end): (Value, End)) {
    assert_eq!(goodbye["reason"], "too_large");
    assert_eq!(goodbye["code"], 1009);
    assert_eq!(end, End::Closed(1009));
}

fn assert_closed_as_too_large(raw: &mut Raw) {
    let (code, goodbye) = raw.until_close().expect("a close frame");
    assert_eq!(code, 1009);
    let goodbye = goodbye.expect("goodbye before it");
    assert_eq!(goodbye["reason"], "too_large");
    assert!(raw.frame().is_none(), "nothing follows a close frame");
}

#[test]
fn a_frame_of_maximum_size_is_accepted_and_a_larger_one_is_not() {
    for (arguments, limit) in [
        (&[][..], 65_536),
        (&["--max-frame-bytes", "4096"][..], 4096),
    ] {
        let server = Server::start(arguments);
        let mut a = Client::fresh(&server, "a");
        assert_eq!(a.welcome["limits"]["max_frame_bytes"], limit);
        for n in 0..3 {
            a.send_text(&padded(&to("b", &n.to_string()), limit));
            a.expect("ack");
        }
        a.send_text(&padded(&to("b", "over"), limit + 1));
        assert_too_large(a.goodbye());
        let mut b = Client::connect(&server, "b", "");
        for n in 0..3 {
            assert_eq!(b.expect("message")["message"], n.to_string());
        }
        b.expect("synced");
    }
}

#[test]
fn the_size_limit_applies_to_the_whole_fragmented_message() {
    let server = Server::start(&["--max-frame-bytes", "4096"]);
    let mut a = Raw::upgrade(&server, "/ws/a");
    let whole = padded(&to("b", "in pieces"), 4096);
    let (head, tail) = whole.split_at(4000);
    a.write(&client_frame(0x01, head.as_bytes()));
    a.write(&client_frame(0x89, b"in between"));
    a.write(&client_frame(0x80, tail.as_bytes()));
    let types: Vec<_> = (0..3).map(|_| a.text().expect("a frame")).collect();
    assert_eq!(types[2]["type"], "ack", "{types:?}");
    a.write(&client_frame(0x01, head.as_bytes()));
    a.write(&client_frame(0x80, &[b' '; 97]));
    assert_closed_as_too_large(&mut a);
}

#[test]
fn binary_messages_and_echo_connections_have_the_same_limit() {
    let server = Server::start(&["--max-frame-bytes", "4096"]);
    let mut a = Client::fresh(&server, "a");
    a.send_message(Message::binary(vec![0; 4096]));
    assert_eq!(a.expect("error")["code"], "binary_unsupported");
    a.send_message(Message::binary(vec![0; 4097]));
    assert_too_large(a.goodbye());

    let mut echo = Client::dial(&server, "/echo", &[]).expect("the handshake succeeds");
    let whole = Message::binary(vec![7; 4096]);
    echo.send_message(whole.clone());
    assert_eq!(echo.next_message().expect("an echo"), whole);
    echo.send_message(Message::text("x".repeat(4097)));
    assert_eq!(echo.next(), Err(End::Closed(1009)));
}

#[test]
fn the_close_frame_arrives_while_the_client_is_sending() {
    let server = Server::start(&[]);
    let mut raw = Raw::upgrade(&server, "/ws/a");
    let mut sending = raw.stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        let _ = sending.write_all(&header_announcing(0x81, 65_537));
        let chunk = vec![b'x'; 4096];
        // Until the server closes the connection, but not forever.
        for _ in 0..65_536 {
            if sending.write_all(&chunk).is_err() {
                break;
            }
        }
    });
    assert_closed_as_too_large(&mut raw);
    sender.join().expect("the sender ends");
}

#[test]
fn the_close_frame_arrives_after_the_client_has_sent_everything() {
    let server = Server::start(&[]);
    for length in [65_537, 3 * MIB] {
        let mut raw = Raw::upgrade(&server, "/ws/a");
        raw.write(&client_frame(0x81, &vec![b'x'; length]));
        assert_closed_as_too_large(&mut raw);
    }
}

#[test]
fn a_message_of_a_gigabyte_is_discarded_without_being_buffered() {
    let server = Server::start(&[]);
    Client::fresh(&server, "a").close();
    let before = server.memory_kib();
    let chunk = vec![0; MIB];
    let mut streamed = 0;
    for _ in 0..100 {
        let mut raw = Raw::upgrade(&server, "/ws/a");
        raw.write(&header_announcing(0x81, 1 << 30));
        // The server closes the connection after a while, which depends on the load of the machine; then the next connection
        // continues.
        while streamed < 220 * MIB {
            match raw.stream.write(&chunk) {
                Ok(n) => streamed += n,
                Err(_) => break,
            }
        }
        assert_closed_as_too_large(&mut raw);
        if streamed >= 220 * MIB {
            break;
        }
    }
    assert!(
        streamed >= 220 * MIB,
        "the server read only {streamed} bytes"
    );
    let grown = server.peak_kib().saturating_sub(before);
    eprintln!("streaming: from {before} KiB, memory grew by at most {grown} KiB");
    assert!(grown < 8192, "{grown} KiB");
}

#[test]
fn an_announced_length_allocates_no_memory() {
    let server = Server::start(&["--max-frame-bytes", "16777216"]);
    Client::fresh(&server, "a").close();
    let before = server.memory_kib();
    let peers: Vec<_> = (0..50)
        .map(|n| {
            let mut raw = Raw::upgrade(&server, &format!("/ws/u{n}"));
            let mut bytes = client_frame(0x89, b"heard?");
            bytes.extend(header_announcing(0x81, 16 << 20));
            bytes.extend(b"{}");
            raw.write(&bytes);
            while raw.frame().expect("a pong").opcode != 10 {}
            raw
        })
        .collect();
    let grown = server.memory_kib().saturating_sub(before);
    eprintln!("announcing: memory grew by {grown} KiB");
    assert!(grown < 8192, "{grown} KiB for {} peers", peers.len());
}

#[test]
fn a_message_of_endless_fragments_exceeds_the_size_limit() {
    let server = Server::start(&[]);
    for size in [1000, 1, 0] {
        let mut raw = Raw::upgrade(&server, "/ws/a");
        let mut sending = raw.stream.try_clone().expect("a second handle");
        let sender = std::thread::spawn(move || {
            let _ = sending.write_all(&client_frame(0x01, &vec![b' '; size]));
            let more = client_frame(0x00, &vec![b' '; size]).repeat(1000);
            // A million fragments, unless the server closes the connection.
            for _ in 0..1000 {
                if sending.write_all(&more).is_err() {
                    return;
                }
            }
        });
        assert_closed_as_too_large(&mut raw);
        sender.join().expect("the sender ends");
    }
    Client::fresh(&server, "a").assert_quiet();
}

#[test]
fn overflowing_lengths_close_the_connection() {
    let server = Server::start(&[]);
    let mut other = Client::fresh(&server, "other");
    for length in [
        u64::MAX,
        u64::MAX - 1,
        u64::MAX - 13,
        (1 << 63) + 1,
        1 << 63,
        (1 << 63) - 1,
        (1 << 63) - 14,
        1 << 32,
    ] {
        for first in [0x81, 0x82, 0x01, 0x89] {
            let mut raw = Raw::upgrade(&server, "/ws/a");
            raw.write(&header_announcing(first, length));
            raw.write(b"something");
            let (code, _) = raw.until_close().expect("a close frame");
            assert!(matches!(code, 1002 | 1009), "{length:x}: {code}");
        }
        let mut raw = Raw::upgrade(&server, "/ws/a");
        raw.write(&client_frame(0x01, b"a beginning"));
        raw.write(&header_announcing(0x80, length));
        let (code, _) = raw.until_close().expect("a close frame");
        assert!(matches!(code, 1002 | 1009), "{length:x}: {code}");
    }
    other.assert_quiet();
}

/// Sends several frames in one write, so that they are counted at the same time.
fn send_at_once(frames: &[String]) -> Vec<u8> {
    let frames = frames.iter();
    frames
        .flat_map(|frame| client_frame(0x81, frame.as_bytes()))
        .collect()
}

#[test]
fn frames_beyond_the_rate_are_rejected_and_can_be_resent() {
    let server = Server::start(&["--messages-per-second", "1", "--burst", "5"]);
    let mut a = Client::fresh(&server, "a");
    assert_eq!(a.welcome["limits"]["messages_per_second"], 1);
    let mut frames: Vec<_> = (1..=6)
        .map(|n| {
            json!({"message": n.to_string(), "target_user": "b", "ref": n.to_string()}).to_string()
        })
        .collect();
    let again = frames[5].clone();
    // These two are not counted, wherever they stand.
    frames.insert(0, json!({"type": "received", "seq": 0}).to_string());
    frames.push(json!({"type": "ping", "ref": "p"}).to_string());
    a.stream().write_all(&send_at_once(&frames)).expect("sent");

    let mut replies: Vec<_> = (0..7).map(|_| a.recv()).collect();
    let mut take = |tag: &str| -> Vec<Value> {
        replies
            .extract_if(.., |reply| reply["type"] == tag)
            .collect()
    };
    assert_eq!(take("pong")[0]["ref"], "p");
    let acks = take("ack");
    let refs: Vec<_> = acks.iter().map(|ack| &ack["ref"]).collect();
    assert_eq!(refs, ["1", "2", "3", "4", "5"]);
    let error = &take("error")[0];
    assert_eq!(
        (&error["code"], &error["ref"]),
        (&json!("rate_limited"), &json!("6"))
    );
    assert_eq!(error["retryable"], true);
    let wait = error["retry_after_ms"].as_u64().expect("when to try again");
    assert!((1..=1000).contains(&wait), "{wait}");

    std::thread::sleep(Duration::from_millis(wait));
    a.send_text(&again);
    let ack = a.expect("ack");
    assert_eq!((&ack["ref"], &ack["seq"]), (&json!("6"), &json!(6)));
    let mut b = Client::connect(&server, "b", "");
    for n in 1..=6 {
        assert_eq!(b.expect("message")["message"], n.to_string());
    }
    b.expect("synced");
}

#[test]
fn ping_and_received_frames_do_not_count_as_messages() {
    let server = Server::start(&["--messages-per-second", "1", "--burst", "1"]);
    let mut a = Client::fresh(&server, "a");
    let mut frames = Vec::new();
    for n in 0..300 {
        frames.push(json!({"type": "received", "seq": n}).to_string());
        frames.push(json!({"type": "ping", "ref": n.to_string()}).to_string());
    }
    a.stream().write_all(&send_at_once(&frames)).expect("sent");
    for n in 0..300 {
        assert_eq!(a.expect("pong")["ref"], n.to_string());
    }
    a.ask(&to("b", "the one"));
}

#[test]
fn the_rate_is_checked_before_the_content() {
    let server = Server::start(&["--messages-per-second", "1", "--burst", "5"]);
    let mut a = Client::fresh(&server, "a");
    let mut bytes = send_at_once(&vec![
        json!({"type": "typing", "target_user": "b"})
            .to_string();
        5
    ]);
    // More invalid frames than the limit per minute.
    let bad = [
        "no JSON",
        r#"{"type":"nonsense","ref":"r"}"#,
        r#"{"target_user":"b","ref":"r"}"#,
        r#"{"target_room":"lobby","message":"x","ref":"r"}"#,
        r#"{"type":1,"ref":"r"}"#,
    ];
    for text in bad.iter().cycle().take(50) {
        bytes.extend(client_frame(0x81, text.as_bytes()));
    }
    bytes.extend(client_frame(0x82, b"binary"));
    a.stream().write_all(&bytes).expect("sent");
    for text in bad.iter().cycle().take(50).chain([&"binary"]) {
        let error = a.expect("error");
        assert_eq!(error["code"], "rate_limited", "{text}");
        let echoed = text.contains("ref").then(|| json!("r"));
        assert_eq!(error.get("ref"), echoed.as_ref(), "{text}");
    }
    // None of them was counted as an invalid frame.
    a.assert_quiet();
}

#[test]
fn a_session_is_closed_after_a_thousand_frames_beyond_the_rate() {
    let server = Server::start(&["--messages-per-second", "1", "--burst", "1"]);
    let mut a = Client::fresh(&server, "a");
    // Answered at once: with an ack if a second has passed meanwhile, otherwise with an error.
    let frame = json!({"message": "x", "target_user": "b", "ephemeral": true});
    let mut refused = 0;
    while refused < 1000 {
        let reply = a.ask(&frame);
        refused += usize::from(reply["code"] == "rate_limited");
    }
    a.assert_quiet();
    let (goodbye, end) = loop {
        let reply = a.ask(&frame);
        match reply["type"].as_str() {
            Some("goodbye") => break (reply, a.next().expect_err("nothing follows goodbye")),
            Some("error") => break a.goodbye(),
            _ => {}
        }
    };
    assert_eq!(goodbye["code"], 1008);
    assert_eq!(end, End::Closed(1008));
    drop(a);
    let line = server.wait_for_log("connection closed user=a");
    assert!(line.ends_with(" reason=rate_limited"), "{line}");
}

#[test]
fn twenty_invalid_frames_are_tolerated_and_the_next_one_closes_the_session() {
    let server = Server::start(&["--burst", "1000"]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&json!({"message": "first", "target_user": "b", "id": ID}));
    for _ in 0..25 {
        let error = a.ask(&json!({"message": "x", "target_room": "lobby"}));
        assert_eq!(error["code"], "not_member");
        let error = a.ask(&json!({"message": "other", "target_user": "b", "id": ID}));
        assert_eq!(error["code"], "id_conflict");
    }
    let bad = [
        ("no JSON", "invalid_json"),
        (r#"{"type":"nonsense"}"#, "unknown_type"),
        (r#"{"message":"x"}"#, "invalid_frame"),
        (
            r#"{"message":{"type":"strange"},"target_user":"b"}"#,
            "unknown_content_type",
        ),
    ];
    for (text, code) in bad.iter().cycle().take(19) {
        a.send_text(text);
        assert_eq!(a.expect("error")["code"], *code);
    }
    a.send_message(Message::binary(&b"binary"[..]));
    assert_eq!(a.expect("error")["code"], "binary_unsupported");
    a.assert_quiet();
    assert_eq!(a.ask(&to("b", "still here"))["type"], "ack");

    let mut last = send_at_once(&[
        json!({"type": "nonsense", "ref": "21"}).to_string(),
        json!({"type": "ping"}).to_string(),
        to("b", "too late").to_string(),
        "no JSON".to_owned(),
    ]);
    last.extend(client_frame(0x89, b"?"));
    a.stream().write_all(&last).expect("sent");
    let error = a.expect("error");
    assert_eq!(
        (&error["code"], &error["ref"]),
        (&json!("unknown_type"), &json!("21"))
    );
    let goodbye = a.expect("goodbye");
    assert_eq!(goodbye["code"], 1008);
    match a.next_message() {
        Ok(Message::Close(Some(close))) => assert_eq!(u16::from(close.code), 1008),
        other => panic!("expected a close frame, found {other:?}"),
    }
    // Frames behind the last invalid one were not processed.
    let mut b = Client::connect(&server, "b", "");
    assert_eq!(b.expect("message")["message"], "first");
    assert_eq!(b.expect("message")["message"], "still here");
    b.expect("synced");
}

#[test]
fn a_session_beyond_the_limit_replaces_the_oldest() {
    for (arguments, most) in [(&[][..], 16), (&["--sessions-per-user", "3"][..], 3)] {
        let server = Server::start(arguments);
        let mut other = Client::fresh(&server, "other");
        let mut sessions: Vec<_> = (0..most).map(|_| Client::fresh(&server, "a")).collect();
        sessions.iter_mut().for_each(Client::assert_quiet);
        for _ in 0..2 {
            sessions.push(Client::fresh(&server, "a"));
            let (goodbye, end) = sessions.remove(0).goodbye();
            assert_eq!(goodbye["reason"], "too_many_sessions");
            assert_eq!(
                (&goodbye["code"], &goodbye["reconnect"]),
                (&json!(4408), &json!(false))
            );
            assert_eq!(end, End::Closed(4408));
        }
        other.ask(&to("a", "to all of you"));
        for session in &mut sessions {
            assert_eq!(session.expect("message")["message"], "to all of you");
        }
        // A session that ends makes room too.
        sessions.remove(1).close();
        sessions.push(Client::connect(&server, "a", ""));
        for session in &mut sessions {
            session.send_text(r#"{"type":"ping"}"#);
            session.until("pong");
        }
    }
}

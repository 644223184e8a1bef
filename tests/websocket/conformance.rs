//! RFC 6455: protocol violations end the session with the right close code, and valid frames work in any fragmentation (PROTOCOL
//! sections 8 and 10).

use std::io::Write as _;
use std::net::Shutdown;

use serde_json::{Value, json};

use crate::support::{Client, Raw, RawFrame, Server, client_frame, to};

const PING: &[u8] = br#"{"type":"ping","ref":"r"}"#;

/// A session after `welcome` and `synced`. The server sends no pings on its own.
fn session(server: &Server, user: &str) -> Raw {
    let mut raw = Raw::upgrade(server, &format!("/ws/{user}?ack=manual"));
    raw.stream.set_nodelay(true).expect("an option can be set");
    raw.expect("welcome");
    raw.expect("synced");
    raw
}

/// A frame without a mask, which only servers may send. `payload` is short.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, payload.len() as u8];
    frame.extend(payload);
    frame
}

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason);
    payload
}

fn close(code: u16) -> RawFrame {
    RawFrame {
        opcode: 8,
        payload: code.to_be_bytes().to_vec(),
    }
}

/// Asserts that the violation is answered with a close frame of this code, without `goodbye`, and that the connection ends.
fn assert_violation(server: &Server, bytes: &[u8], code: u16) {
    let mut raw = session(server, "a");
    raw.write(bytes);
    let shown = &bytes[..bytes.len().min(20)];
    assert_eq!(raw.next(), Some(close(code)), "{shown:02X?}");
    assert_eq!(raw.frame(), None, "{shown:02X?}");
}

#[test]
fn frames_without_mask_are_violations() {
    let server = Server::start(&[]);
    for frame in [
        unmasked(0x81, PING),
        unmasked(0x82, b""),
        unmasked(0x89, b"ping"),
        unmasked(0x8A, b""),
        unmasked(0x88, b""),
    ] {
        assert_violation(&server, &frame, 1002);
    }
}

#[test]
fn reserved_bits_and_opcodes_are_violations() {
    let server = Server::start(&[]);
    for bits in [0x40, 0x20, 0x10, 0x70] {
        assert_violation(&server, &client_frame(0x81 | bits, PING), 1002);
        assert_violation(&server, &client_frame(0x89 | bits, b""), 1002);
    }
    for opcode in (3..=7).chain(11..=15) {
        assert_violation(&server, &client_frame(0x80 | opcode, b""), 1002);
        assert_violation(&server, &client_frame(opcode, PING), 1002);
    }
}

#[test]
fn control_frames_are_short_and_unfragmented() {
    let server = Server::start(&[]);
    for opcode in [0x8, 0x9, 0xA] {
        assert_violation(&server, &client_frame(0x80 | opcode, &[b'x'; 126]), 1002);
        assert_violation(
            &server,
            &client_frame(0x80 | opcode, &vec![b'x'; 70_000]),
            1002,
        );
        assert_violation(&server, &client_frame(opcode, b""), 1002);
    }
}

#[test]
fn fragments_of_two_messages_cannot_be_mixed() {
    let server = Server::start(&[]);
    for continuation in [0x80, 0x00] {
        assert_violation(&server, &client_frame(continuation, PING), 1002);
    }
    for (first, second) in [(0x01, 0x81), (0x01, 0x01), (0x02, 0x81), (0x01, 0x82)] {
        let mut bytes = client_frame(first, b"{");
        bytes.extend(client_frame(second, PING));
        assert_violation(&server, &bytes, 1002);
    }
    let mut bytes = client_frame(0x01, b"[");
    bytes.extend(client_frame(0x80, b"]"));
    bytes.extend(client_frame(0x80, b"]"));
    let mut raw = session(&server, "a");
    raw.write(&bytes);
    assert_eq!(raw.expect("error")["code"], "invalid_frame");
    assert_eq!(raw.next(), Some(close(1002)));
}

#[test]
fn lengths_must_have_the_shortest_encoding() {
    let server = Server::start(&[]);
    assert_violation(
        &server,
        &[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4, 0, 0],
        1002,
    );
    // RFC 6455 section 5.2: the minimal number of bytes must be used.
    let masked = |head: &[u8]| {
        let mut frame = head.to_vec();
        frame.extend(&client_frame(0x81, PING)[2..]);
        frame
    };
    let length = PING.len() as u8;
    assert_violation(&server, &masked(&[0x81, 0xFE, 0, length]), 1002);
    assert_violation(
        &server,
        &masked(&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, length]),
        1002,
    );
}

#[test]
fn invalid_close_frames_are_violations() {
    let server = Server::start(&[]);
    assert_violation(&server, &client_frame(0x88, &[3]), 1002);
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        assert_violation(
            &server,
            &client_frame(0x88, &close_payload(code, b"")),
            1002,
        );
        assert_violation(
            &server,
            &client_frame(0x88, &close_payload(code, b"why")),
            1002,
        );
    }
    for reason in [&b"\xFF"[..], b"ok\xC3", b"\xED\xA0\x80"] {
        assert_violation(
            &server,
            &client_frame(0x88, &close_payload(1000, reason)),
            1007,
        );
    }
}

#[test]
fn a_close_frame_is_echoed_and_the_connection_ends() {
    let server = Server::start(&[]);
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        for reason in ["", "see you", &"é".repeat(61)] {
            let mut raw = session(&server, "a");
            raw.write(&client_frame(0x88, &close_payload(code, reason.as_bytes())));
            let echo = raw.next().expect("a close frame");
            assert_eq!((echo.opcode, echo.close_code()), (8, Some(code)));
            raw.assert_closed();
        }
    }
    let mut raw = session(&server, "a");
    raw.write(&client_frame(0x88, b""));
    let echo = raw.next().expect("a close frame");
    assert_eq!((echo.opcode, echo.payload), (8, Vec::new()));
    raw.assert_closed();
}

#[test]
fn frames_behind_a_close_frame_are_ignored() {
    let server = Server::start(&[]);
    let mut raw = session(&server, "a");
    // An incomplete message is discarded.
    let mut bytes = client_frame(0x81, PING);
    bytes.extend(client_frame(0x01, br#"{"message":"#));
    bytes.extend(client_frame(0x88, &close_payload(4001, b"")));
    bytes.extend(client_frame(0x80, br#""x","target_user":"b"}"#));
    bytes.extend(client_frame(0x81, to("b", "x").to_string().as_bytes()));
    bytes.extend([0xFF; 20]);
    raw.write(&bytes);
    raw.expect("pong");
    assert_eq!(raw.next(), Some(close(4001)));
    assert_eq!(raw.frame(), None);
    let mut b = Client::fresh(&server, "b");
    assert_eq!(b.welcome["seq"], 0);
    b.assert_quiet();
}

#[test]
fn frames_before_a_violation_are_processed_and_frames_behind_it_are_not() {
    let server = Server::start(&[]);
    let mut raw = session(&server, "a");
    let mut bytes = client_frame(0x81, PING);
    bytes.extend(client_frame(0x81, b"\xFF"));
    bytes.extend(client_frame(0x81, to("b", "x").to_string().as_bytes()));
    raw.write(&bytes);
    assert_eq!(raw.expect("pong")["ref"], "r");
    assert_eq!(raw.next(), Some(close(1007)));
    assert_eq!(raw.frame(), None);
    assert_eq!(Client::fresh(&server, "b").welcome["seq"], 0);
}

#[test]
fn text_must_be_utf_8() {
    let server = Server::start(&[]);
    for text in [
        &b"\xFF"[..],
        b"\"\xC3\"",
        b"\"\xC3",
        b"\xC0\x80",
        b"\"\xED\xA0\x80\"",
        b"\"\xED\xA0\xBD\xED\xB8\x80\"",
        b"\xF4\x90\x80\x80",
        b"{\"type\":\"ping\",\"ref\":\"\xE9\"}",
    ] {
        assert_violation(&server, &client_frame(0x81, text), 1007);
        // The same in two fragments, split at every byte.
        for at in 0..=text.len() {
            let mut bytes = client_frame(0x01, &text[..at]);
            bytes.extend(client_frame(0x80, &text[at..]));
            assert_violation(&server, &bytes, 1007);
        }
    }
    // The server does not wait for the rest of invalid UTF-8.
    assert_violation(&server, &client_frame(0x01, b"{\"\xFF"), 1007);
    let mut bytes = client_frame(0x01, b"\"\xF0\x9F");
    bytes.extend(client_frame(0x00, b"x"));
    assert_violation(&server, &bytes, 1007);
}

#[test]
fn a_message_may_be_fragmented_anywhere() {
    let server = Server::start(&[]);
    let mut raw = session(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let text = "aé€\u{1F600}";
    let frame = to("b", text).to_string().into_bytes();
    for size in [1, 2, 3, 5, frame.len() - 1] {
        let mut bytes = client_frame(0x01, b"");
        for (n, fragment) in frame.chunks(size).enumerate() {
            bytes.extend(client_frame(0x00, fragment));
            // Control frames are sent between the fragments.
            bytes.extend(client_frame(0x89, &[n as u8]));
            bytes.extend(client_frame(0x8A, b"unasked"));
        }
        bytes.extend(client_frame(0x80, b""));
        raw.write(&bytes);
        for n in 0..frame.chunks(size).len() {
            let pong = raw.frame().expect("a pong");
            assert_eq!((pong.opcode, pong.payload), (10, vec![n as u8]));
        }
        raw.expect("ack");
        assert_eq!(b.expect("message")["message"], text);
    }
}

#[test]
fn frames_may_arrive_byte_by_byte() {
    let server = Server::start(&[]);
    let mut raw = session(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let mut bytes = client_frame(0x89, b"are you there?");
    bytes.extend(client_frame(
        0x81,
        to("b", &"é€\u{1F600}".repeat(30)).to_string().as_bytes(),
    ));
    bytes.extend(client_frame(0x81, b"nonsense"));
    bytes.extend(client_frame(0x81, PING));
    for byte in bytes {
        raw.write(&[byte]);
    }
    let pong = raw.frame().expect("a pong");
    assert_eq!(
        (pong.opcode, &pong.payload[..]),
        (10, &b"are you there?"[..])
    );
    // The ack may stand anywhere among the other replies.
    let mut tags = Vec::new();
    for _ in 0..3 {
        let json = raw.next().expect("a reply").json();
        tags.push(json["type"].as_str().expect("a type").to_owned());
    }
    tags.retain(|tag| tag != "ack");
    assert_eq!(tags, ["error", "pong"]);
    for byte in client_frame(0x88, &close_payload(1000, b"")) {
        raw.write(&[byte]);
    }
    assert_eq!(raw.next(), Some(close(1000)));
    raw.assert_closed();
    assert_eq!(b.expect("message")["message"], "é€\u{1F600}".repeat(30));
}

#[test]
fn many_frames_in_one_write_are_answered_in_order() {
    let server = Server::start(&["--bad-frames-per-minute", "1000", "--burst", "1000"]);
    let mut raw = session(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let mut bytes = Vec::new();
    for n in 0..100 {
        for frame in [
            json!({"message": n.to_string(), "target_user": "b", "ref": n.to_string()}),
            json!({"type": "ping", "ref": n.to_string()}),
            json!({"type": "nonsense", "ref": n.to_string()}),
        ] {
            bytes.extend(client_frame(0x81, frame.to_string().as_bytes()));
        }
    }
    raw.write(&bytes);
    let mut refs: [Vec<Value>; 3] = Default::default();
    for _ in 0..300 {
        let reply = raw.next().expect("a reply").json();
        let of = ["ack", "pong", "error"]
            .iter()
            .position(|tag| reply["type"] == *tag);
        let of = of.unwrap_or_else(|| panic!("unexpected reply {reply}"));
        if of == 0 {
            assert_eq!(reply["seq"], refs[0].len() + 1);
        }
        refs[of].push(reply["ref"].clone());
    }
    let expected: Vec<Value> = (0..100).map(|n| json!(n.to_string())).collect();
    assert_eq!(refs, [expected.clone(), expected.clone(), expected]);
    for n in 0..100 {
        assert_eq!(b.expect("message")["message"], n.to_string());
    }
}

#[test]
fn pings_are_answered_with_their_payload() {
    let server = Server::start(&[]);
    let mut raw = session(&server, "a");
    for payload in [&b""[..], b"x", &[0xFF; 124], &[0; 125]] {
        raw.write(&client_frame(0x89, payload));
        let pong = raw.frame().expect("a pong");
        assert_eq!((pong.opcode, &pong.payload[..]), (10, payload));
    }
}

#[test]
fn a_message_that_is_too_large_is_rejected_by_its_header() {
    let server = Server::start(&[]);
    let mut fragments = client_frame(0x01, &vec![b' '; 40_000]);
    fragments.extend(client_frame(0x80, &vec![b' '; 25_537]));
    let mut binary = client_frame(0x02, &vec![0; 65_536]);
    binary.extend(client_frame(0x80, &[0]));
    let head = |length: u64| {
        let mut head = vec![0x81, 0xFF];
        head.extend(length.to_be_bytes());
        head
    };
    for bytes in [
        client_frame(0x81, &vec![b' '; 65_537]),
        fragments,
        binary,
        head(65_537),
        head(u64::MAX >> 1),
    ] {
        let mut raw = session(&server, "a");
        raw.write(&bytes);
        let goodbye = raw.expect("goodbye");
        assert_eq!(
            (&goodbye["code"], &goodbye["reason"]),
            (&json!(1009), &json!("too_large"))
        );
        assert_eq!(raw.next(), Some(close(1009)));
        assert_eq!(raw.frame(), None);
    }
}

#[test]
fn a_client_that_keeps_sending_still_receives_the_close_frame() {
    let server = Server::start(&[]);
    let mut raw = session(&server, "a");
    raw.write(&client_frame(0x81, &vec![b' '; 1 << 20]));
    assert_eq!(raw.expect("goodbye")["reason"], "too_large");
    assert_eq!(raw.next(), Some(close(1009)));
    raw.write(&client_frame(0x88, &close_payload(1009, b"")));
    raw.assert_closed();
}

#[test]
fn a_message_of_maximum_size_is_accepted() {
    let server = Server::start(&["--max-frame-bytes", "1000"]);
    let mut raw = Raw::upgrade(&server, "/ws/a");
    assert_eq!(raw.expect("welcome")["limits"]["max_frame_bytes"], 1000);
    raw.expect("synced");
    let mut frame = PING.to_vec();
    frame.resize(1000, b' ');
    raw.write(&client_frame(0x81, &frame));
    raw.expect("pong");
    let mut bytes = client_frame(0x01, &frame[..900]);
    bytes.extend(client_frame(0x80, &frame[900..]));
    raw.write(&bytes);
    raw.expect("pong");
    // The limit applies to each message.
    raw.write(&client_frame(0x81, &frame));
    raw.expect("pong");
    frame.push(b' ');
    raw.write(&client_frame(0x81, &frame));
    raw.expect("goodbye");
    assert_eq!(raw.next(), Some(close(1009)));
}

#[test]
fn a_connection_that_ends_within_a_frame_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let mut b = Client::fresh(&server, "b");
    let whole = client_frame(0x81, to("b", "half").to_string().as_bytes());
    for length in 1..whole.len() {
        let mut raw = session(&server, "a");
        raw.write(&whole[..length]);
        raw.stream.shutdown(Shutdown::Write).expect("half a close");
        assert_eq!(raw.next().filter(|frame| frame.opcode != 8), None);
    }
    let mut raw = session(&server, "a");
    raw.stream
        .write_all(&client_frame(0x01, br#"{"message":"#))
        .expect("sent");
    drop(raw);
    b.assert_quiet();
}

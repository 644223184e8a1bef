//! `GET /echo` sends every message back. Its handshake and its limits are those of sessions (PROTOCOL section 9).

use serde_json::json;

use crate::support::{Raw, RawFrame, Server, client_frame, handshake, json_answer};

fn echo(server: &Server) -> Raw {
    Raw::upgrade(server, "/echo")
}

fn frame(opcode: u8, payload: &[u8]) -> RawFrame {
    RawFrame {
        opcode,
        payload: payload.to_vec(),
    }
}

fn text(payload: &str) -> RawFrame {
    frame(1, payload.as_bytes())
}

fn binary(payload: &[u8]) -> RawFrame {
    frame(2, payload)
}

fn close(code: u16) -> RawFrame {
    frame(8, &code.to_be_bytes())
}

#[test]
fn text_and_binary_messages_are_returned_unchanged() {
    let server = Server::start(&[]);
    let mut raw = echo(&server);
    let long = "é€\u{1F600}".repeat(7000);
    for payload in [
        "",
        "x",
        "no frame of the protocol",
        r#"{"type":"ping"}"#,
        "\0\u{7f}",
        &long,
    ] {
        raw.write(&client_frame(0x81, payload.as_bytes()));
        assert_eq!(raw.frame(), Some(text(payload)));
    }
    for length in [0, 1, 124, 125, 126, 127, 65_535, 65_536] {
        let payload: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        raw.write(&client_frame(0x82, &payload));
        assert!(
            raw.frame() == Some(binary(&payload)),
            "{length} bytes were changed"
        );
    }
}

#[test]
fn a_fragmented_message_is_returned_as_one() {
    let server = Server::start(&[]);
    let mut raw = echo(&server);
    let mut bytes = client_frame(0x01, b"\xE2\x82");
    bytes.extend(client_frame(0x89, b"within"));
    bytes.extend(client_frame(0x00, b""));
    bytes.extend(client_frame(0x80, b"\xAC"));
    bytes.extend(client_frame(0x02, b""));
    bytes.extend(client_frame(0x00, b"\xFF"));
    bytes.extend(client_frame(0x80, b"\x00"));
    bytes.extend(client_frame(0x01, b""));
    bytes.extend(client_frame(0x80, b""));
    raw.write(&bytes);
    let pong = raw.frame().expect("a pong");
    assert_eq!((pong.opcode, pong.payload), (10, b"within".to_vec()));
    assert_eq!(raw.frame(), Some(text("€")));
    assert_eq!(raw.frame(), Some(binary(b"\xFF\x00")));
    assert_eq!(raw.frame(), Some(text("")));
}

#[test]
fn pings_are_answered_and_pongs_are_not() {
    let server = Server::start(&[]);
    let mut raw = echo(&server);
    for payload in [&b""[..], b"x", &[0xFF; 125]] {
        raw.write(&client_frame(0x8A, b"unasked"));
        raw.write(&client_frame(0x89, payload));
        let pong = raw.frame().expect("a pong");
        assert_eq!((pong.opcode, &pong.payload[..]), (10, payload));
    }
}

#[test]
fn thousands_of_messages_are_returned_in_order() {
    let server = Server::start(&[]);
    let mut raw = echo(&server);
    // More than the message rate of a session, which does not apply here.
    let bytes: Vec<u8> = (0..5000)
        .flat_map(|n: u32| client_frame(0x81, n.to_string().as_bytes()))
        .collect();
    raw.write(&bytes);
    for n in 0..5000 {
        assert_eq!(raw.frame(), Some(text(&n.to_string())));
    }
}

#[test]
fn a_message_that_is_too_large_is_closed_with_1009() {
    let server = Server::start(&["--max-frame-bytes", "70000"]);
    for opcode in [1, 2] {
        let mut raw = echo(&server);
        raw.write(&client_frame(0x80 | opcode, &vec![b'x'; 70_000]));
        assert_eq!(raw.frame().map(|frame| frame.payload.len()), Some(70_000));
        raw.write(&client_frame(0x80 | opcode, &vec![b'x'; 70_001]));
        assert_eq!(raw.frame(), Some(close(1009)));
        assert_eq!(raw.frame(), None);
        let mut raw = echo(&server);
        raw.write(&client_frame(opcode, &vec![b'x'; 70_000]));
        raw.write(&client_frame(0x80, b"x"));
        assert_eq!(raw.frame(), Some(close(1009)));
        assert_eq!(raw.frame(), None);
    }
}

#[test]
fn violations_close_the_connection_and_a_close_frame_is_echoed() {
    let server = Server::start(&[]);
    for (bytes, code) in [
        (client_frame(0x81, b"\xFF"), 1007),
        (client_frame(0x83, b""), 1002),
        (client_frame(0xC1, b""), 1002),
        (client_frame(0x80, b""), 1002),
        (client_frame(0x88, b"\x03"), 1002),
        (vec![0x81, 0x00], 1002),
    ] {
        let mut raw = echo(&server);
        raw.write(&bytes);
        assert_eq!(raw.frame(), Some(close(code)), "{bytes:02X?}");
        assert_eq!(raw.frame(), None);
    }
    let mut raw = echo(&server);
    raw.write(&client_frame(0x81, b"last"));
    raw.write(&client_frame(0x88, b"\x0F\xA0done"));
    assert_eq!(raw.frame(), Some(text("last")));
    assert_eq!(raw.frame().and_then(|frame| frame.close_code()), Some(4000));
    raw.assert_closed();
}

#[test]
fn the_handshake_is_that_of_sessions() {
    let server = Server::start(&[]);
    let (_, head) = Raw::upgrade_with(
        &server,
        "/echo?x=y",
        "Sec-WebSocket-Protocol: chat, dmwire.v1\r\n",
    );
    assert!(
        head.to_lowercase()
            .contains("sec-websocket-protocol: dmwire.v1\r\n"),
        "{head}"
    );
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let (_, head) = Raw::upgrade_with(&server, "/echo", offer);
    assert!(
        !head.to_lowercase().contains("sec-websocket-extensions"),
        "{head}"
    );
    let foreign = handshake("/echo", "Origin: https://evil.example\r\n");
    let (status, body) = json_answer(&server.http(&foreign));
    assert_eq!((status, &body["code"]), (403, &json!("forbidden")));
}

#[test]
fn a_shutdown_ends_echo_connections_as_well() {
    let mut server = Server::start(&[]);
    let mut raw = echo(&server);
    raw.write(&client_frame(0x81, b"x"));
    assert_eq!(raw.frame(), Some(text("x")));
    server.signal("TERM");
    assert_eq!(raw.frame(), Some(close(1012)));
    raw.write(&client_frame(0x88, &1012_u16.to_be_bytes()));
    raw.assert_closed();
    assert!(server.wait(crate::support::DEADLINE).success());
}

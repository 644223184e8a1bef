//! The upgrade from HTTP (RFC 6455 section 4): the response to each kind of request, and requests that arrive in several writes
//! (PROTOCOL sections 2 and 10).

use serde_json::json;

use crate::support::{Raw, Server, client_frame, handshake, json_answer, to};

const DMWIRE: &str = "Sec-WebSocket-Protocol: dmwire.v1\r\n";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Asserts that a request is rejected with an HTTP error, and returns the whole response.
fn assert_http_error(server: &Server, request: &str, status: u16, code: &str) -> String {
    let answer = server.http(request);
    let (found, body) = json_answer(&answer);
    assert_eq!((found, &body["code"]), (status, &json!(code)), "{request}");
    assert_ne!(body["detail"], "", "{request}");
    answer
}

fn has_header(head: &str, line: &str) -> bool {
    head.lines().any(|found| found.eq_ignore_ascii_case(line))
}

/// Sends a handshake and the bytes behind it in one write, and reads the head of the response.
fn upgraded_with(server: &Server, path: &str, more: &str, behind: &[u8]) -> Raw {
    let mut raw = Raw::open(server);
    raw.write(&[handshake(path, more).as_bytes(), behind].concat());
    let head = raw.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw
}

#[test]
fn a_request_without_an_upgrade_is_told_what_is_missing() {
    let server = Server::start(&[]);
    for path in ["/ws/8888", "/ws/8888?since=1", "/ws", "/echo"] {
        let answer = server.get(path);
        let (status, body) = json_answer(&answer);
        assert_eq!(
            (status, &body["code"]),
            (426, &json!("upgrade_required")),
            "{answer}"
        );
        let detail = body["detail"].as_str().expect("words");
        assert!(
            detail.contains("WebSocket") && detail.contains("Upgrade: websocket"),
            "{detail}"
        );
        assert!(has_header(&answer, "upgrade: websocket"), "{answer}");
    }
}

/// The address that the answer to a request without an upgrade names.
fn suggested(server: &Server, path: &str, host: &str) -> String {
    let answer = server.http(&format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    ));
    let (status, body) = json_answer(&answer);
    assert_eq!(status, 426, "{answer}");
    let detail = body["detail"].as_str().expect("words");
    let (_, rest) = detail.split_once("connect to ").expect("an address");
    let end = rest.find([' ', ',']).expect("words after the address");
    rest[..end].to_owned()
}

#[test]
fn the_suggested_address_is_one_that_the_server_accepts() {
    let erased = format!("/ws/erased.{}", "0".repeat(32));
    let long = format!("/ws/{}", "a".repeat(65));
    for (base, settings) in [("", &[][..]), ("/demo", &["--base-path", "/demo"])] {
        let server = Server::start(settings);
        for (path, expected) in [
            ("/ws/alice", "/ws/alice"),
            ("/ws/alice?since=1", "/ws/alice"),
            ("/ws/a%40b", "/ws/a%40b"),
            ("/echo", "/echo"),
            ("/ws/al%20ice", "/ws/8888"),
            ("/ws/", "/ws/8888"),
            ("/ws", "/ws/8888"),
            ("/ws/a/b", "/ws/8888"),
            ("/ws/%C3%A9", "/ws/8888"),
            (&*erased, "/ws/8888"),
            (&*long, "/ws/8888"),
        ] {
            let address = suggested(&server, &format!("{base}{path}"), "localhost:81");
            assert_eq!(
                address,
                format!("ws://localhost:81{base}{expected}"),
                "{path}"
            );
            let (_, path) = address.split_once(":81").expect("a port");
            let (_, head) = Raw::upgrade_with(&server, path, "");
            assert!(head.starts_with("HTTP/1.1 101 "), "{path}: {head}");
        }
        // A name that the server rejects without authentication.
        for (host, expected) in [
            ("evil.example:81", "localhost:81"),
            ("evil.example", "localhost"),
        ] {
            let address = suggested(&server, &format!("{base}/ws/a"), host);
            assert_eq!(address, format!("ws://{expected}{base}/ws/a"));
        }
    }
    let server = Server::start(&["--jwt-secret", "a secret of at least thirty-two bytes"]);
    assert_eq!(
        suggested(&server, "/ws", "chat.example"),
        "ws://chat.example/ws"
    );
}

#[test]
fn the_subprotocol_is_selected_when_it_is_offered() {
    let server = Server::start(&[]);
    for offered in [
        "Sec-WebSocket-Protocol: dmwire.v1\r\n",
        "Sec-WebSocket-Protocol: chat, dmwire.v1 ,superchat\r\n",
        "Sec-WebSocket-Protocol: chat,dmwire.v1\r\n",
        "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: dmwire.v1\r\n",
        "Sec-WebSocket-Protocol: dmwire.v1, bearer.secret\r\n",
    ] {
        let (mut raw, head) = Raw::upgrade_with(&server, "/ws/a", offered);
        assert!(
            has_header(&head, "sec-websocket-protocol: dmwire.v1"),
            "{offered}{head}"
        );
        assert!(!head.contains("bearer"), "{head}");
        raw.expect("welcome");
    }
    for offered in [
        "",
        "Sec-WebSocket-Protocol: chat\r\n",
        "Sec-WebSocket-Protocol: dmwire.v2, xdmwire.v1, DMWIRE.V1\r\n",
    ] {
        let (mut raw, head) = Raw::upgrade_with(&server, "/ws/a", offered);
        assert!(
            !head.to_lowercase().contains("sec-websocket-protocol"),
            "{offered}{head}"
        );
        raw.expect("welcome");
    }
    for offered in ["bearer.T", "chat, bearer.T", "bearer.T, dmwire.v2"] {
        let request = handshake("/ws/a", &format!("Sec-WebSocket-Protocol: {offered}\r\n"));
        assert_http_error(&server, &request, 400, "invalid_request");
    }
}

#[test]
fn no_extension_is_negotiated() {
    let server = Server::start(&[]);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame\r\n";
    let (mut raw, head) = Raw::upgrade_with(&server, "/ws/a", offer);
    assert!(
        !head.to_lowercase().contains("sec-websocket-extensions"),
        "{head}"
    );
    raw.expect("welcome");
}

#[test]
fn the_response_follows_rfc_6455_for_every_spelling_of_the_request() {
    let server = Server::start(&[]);
    let plain = handshake("/ws/a", "");
    for request in [
        plain.clone(),
        plain.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        plain
            .replace("Upgrade: websocket", "upgrade: WebSocket")
            .replace("Connection: Upgrade", "CONNECTION: upgrade"),
    ] {
        let mut raw = Raw::open(&server);
        raw.write(request.as_bytes());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        for line in [
            "upgrade: websocket",
            "connection: upgrade",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        ] {
            assert!(has_header(&head, line), "{line} is not in {head}");
        }
        raw.expect("welcome");
    }
}

#[test]
fn a_handshake_that_violates_rfc_6455_is_rejected() {
    let server = Server::start(&[]);
    // A request that cannot be upgraded is rejected by HTTP also if the client offers `dmwire.v1`.
    for more in ["", DMWIRE] {
        let plain = handshake("/ws/a", more);
        let version = "Sec-WebSocket-Version: 13\r\n";
        for with in [
            "",
            "Sec-WebSocket-Version: \r\n",
            "Sec-WebSocket-Version: 8\r\n",
            "Sec-WebSocket-Version: 14\r\n",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n",
        ] {
            let request = plain.replace(version, with);
            let answer = assert_http_error(&server, &request, 426, "upgrade_required");
            assert!(has_header(&answer, version.trim_end()), "{answer}");
        }
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for with in [
            String::new(),
            "Sec-WebSocket-Key: \r\n".to_owned(),
            "Sec-WebSocket-Key: c2hvcnQ=\r\n".to_owned(),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n".to_owned(),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ==\r\n".to_owned(),
            "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n".to_owned(),
            format!("{key}{key}"),
        ] {
            assert_http_error(&server, &plain.replace(key, &with), 400, "invalid_request");
        }
        let request = plain.replace("Connection: Upgrade\r\n", "");
        assert_http_error(&server, &request, 400, "invalid_request");
        let request = plain.replace("GET ", "POST ");
        assert_http_error(&server, &request, 405, "method_not_allowed");
        for path in [
            "/", "/nothing", "/wsx", "/ws2/a", "/WS/a", "/echo/", "/schema", "/healthz",
        ] {
            assert_http_error(&server, &handshake(path, more), 404, "not_found");
        }
    }
}

#[test]
fn a_handshake_may_follow_another_request_on_the_same_connection() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(&server);
    raw.write(HEALTH.as_bytes());
    assert!(raw.head().starts_with("HTTP/1.1 200 "));
    raw.write(handshake("/ws/a", "").as_bytes());
    // The body of the first response precedes the status line.
    assert!(raw.head().contains("HTTP/1.1 101 "));
    raw.expect("welcome");
}

#[test]
fn a_request_and_a_handshake_in_one_write_are_both_answered() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(&server);
    raw.write(format!("{HEALTH}{}", handshake("/ws/a", "")).as_bytes());
    let head = raw.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(raw.head().contains("HTTP/1.1 101 "));
    raw.expect("welcome");
}

#[test]
fn frames_may_follow_the_request_in_the_same_write() {
    let server = Server::start(&[]);
    let mut bytes = Vec::new();
    for n in 0..50 {
        let frame = json!({"type": "ping", "ref": n.to_string()}).to_string();
        bytes.extend(client_frame(0x81, frame.as_bytes()));
    }
    bytes.extend(client_frame(0x89, b"x"));
    let message = to("a", &"x".repeat(16_000)).to_string();
    bytes.extend(client_frame(0x81, message.as_bytes()));
    // The last frame arrives in two parts.
    let (now, later) = bytes.split_at(bytes.len() - 8000);
    let mut raw = upgraded_with(&server, "/ws/a?ack=manual", "", now);
    raw.expect("welcome");
    raw.expect("synced");
    for n in 0..50 {
        assert_eq!(raw.expect("pong")["ref"], n.to_string());
    }
    let pong = raw.frame().expect("a pong");
    assert_eq!((pong.opcode, pong.payload), (10, b"x".to_vec()));
    raw.write(later);
    assert_eq!(raw.expect("ack")["seq"], 1);
    raw.expect("message");

    // Early bytes neither hide a rejection nor a protocol violation.
    let early = client_frame(0x81, br#"{"type":"ping"}"#);
    let mut raw = upgraded_with(&server, "/ws/a%20b", DMWIRE, &early);
    raw.expect("goodbye");
    assert_eq!(raw.next().and_then(|frame| frame.close_code()), Some(4400));
    let mut raw = upgraded_with(&server, "/ws/a", "", &client_frame(0x83, b""));
    assert_eq!(raw.until_close(), Some((1002, None)));
}

#[test]
fn a_handshake_may_arrive_byte_by_byte() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(&server);
    raw.stream.set_nodelay(true).expect("an option can be set");
    let mut bytes = handshake("/ws/a", "").into_bytes();
    bytes.extend(client_frame(0x81, br#"{"type":"ping"}"#));
    for byte in bytes {
        raw.write(&[byte]);
    }
    assert!(raw.head().starts_with("HTTP/1.1 101 "));
    raw.expect("welcome");
    raw.expect("synced");
    raw.expect("pong");
}

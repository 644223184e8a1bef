//! Handshakes of sessions: which are accepted and with what `welcome`, which are rejected, and in which form (PROTOCOL sections 2
//! and 10).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Client, DEADLINE, Raw, Server, client_frame, handshake, json_answer, to};

const DMWIRE: &str = "Sec-WebSocket-Protocol: dmwire.v1\r\n";
const EPOCH: &str = "0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e";

/// Asserts that a client that did not offer `dmwire.v1` gets an HTTP error.
fn assert_http_error(server: &Server, request: &str, status: u16, code: &str) {
    let answer = server.http(request);
    let (found, body) = json_answer(&answer);
    assert_eq!((found, &body["code"]), (status, &json!(code)), "{request}");
    assert!(
        body["detail"].is_string() && body["detail"] != "",
        "{answer}"
    );
}

/// Asserts that a client that offered `dmwire.v1`, such as a browser, gets a `goodbye` frame.
fn assert_goodbye(server: &Server, path: &str, more: &str, close: u16, code: &str) {
    let (mut raw, head) = Raw::upgrade_with(server, path, &format!("{DMWIRE}{more}"));
    let selected = "sec-websocket-protocol: dmwire.v1\r\n";
    assert!(head.to_lowercase().contains(selected), "{head}");
    let goodbye = raw.expect("goodbye");
    assert_eq!(goodbye["code"], close, "{path} {more}");
    assert_eq!(goodbye["reason"], code, "{path} {more}");
    assert_eq!(goodbye["reconnect"], false);
    assert_eq!(goodbye.get("retry_after_ms"), None);
    assert_ne!(goodbye["detail"], "");
    let last = raw.next().expect("a close frame");
    assert_eq!((last.opcode, last.close_code()), (8, Some(close)));
    raw.write(&client_frame(0x88, &last.payload));
    raw.assert_closed();
}

/// Asserts that a handshake is rejected as `invalid_request` in both forms.
fn assert_invalid_request(server: &Server, path: &str) {
    assert_http_error(server, &handshake(path, ""), 400, "invalid_request");
    assert_goodbye(server, path, "", 4400, "invalid_request");
}

/// Connects and returns `welcome`.
fn welcomed(server: &Server, path: &str, more: &str) -> Value {
    Raw::upgrade_with(server, path, more).0.expect("welcome")
}

#[test]
fn invalid_user_ids_are_rejected() {
    let server = Server::start(&[]);
    // The first three paths have no user id, and without authentication there is no other source of it. %2541 becomes %41 when it
    // is decoded once.
    let bad = "/ws /ws/ /ws/?since=0 /ws/a%00b /ws/a%2Fb /ws/a/b /ws/8888/ /ws/a%20b /ws/%C3%A9 /ws/%FF \
               /ws/%F0%9F%98%80 /ws/%2541 /ws/a% /ws/a%4 /ws/a%zz /ws/a%0D%0Ab /ws/a,b /ws/a*b";
    for path in bad.split_whitespace() {
        assert_invalid_request(&server, path);
    }
    assert_invalid_request(&server, &format!("/ws/{}", "u".repeat(65)));
}

#[test]
fn a_path_that_is_not_ascii_is_rejected() {
    let server = Server::start(&[]);
    // It is not valid HTTP (RFC 3986 section 3.3), so the response has no body.
    for more in ["", DMWIRE] {
        let answer = server.http(&handshake("/ws/é", more));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[test]
fn ids_are_decoded_once() {
    let server = Server::start(&[]);
    let long = "u".repeat(64);
    for (path, user) in [
        ("/ws/a%2Bb", "a+b"),
        ("/ws/a+b", "a+b"),
        ("/ws/%38%388%38", "8888"),
        ("/ws/a%40example.org", "a@example.org"),
        ("/ws/A.b_c~d@e:f+g-h", "A.b_c~d@e:f+g-h"),
        ("/ws/..", ".."),
        (&format!("/ws/{long}"), &long),
    ] {
        assert_eq!(welcomed(&server, path, "")["user_id"], user, "{path}");
    }
    for (query, device) in [
        ("", "default"),
        ("?device=phone-1", "phone-1"),
        ("?device=a+b", "a+b"),
        ("?device=a%2Bb", "a+b"),
        ("?%64evice=%61", "a"),
    ] {
        assert_eq!(
            welcomed(&server, &format!("/ws/a{query}"), "")["device"],
            device,
            "{query}"
        );
    }
}

#[test]
fn invalid_parameters_are_rejected() {
    let server = Server::start(&[]);
    let bad = "since since= since=-1 since=+1 since=1.0 since=1e3 since=%201 since=abc since=0x1 since=9007199254740992 \
               since=99999999999999999999999 since=1&epoch= epoch=1 epoch=0b9f4c1a6a534f0e9d3e1f2a3b4c5d6e \
               epoch={0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e} epoch=%000b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6 \
               ack ack= ack=Auto ack=none \
               device device= device=a%20b device=a/b device=%00 device=%C3%A9 device=%252B";
    let twice = "since=1&since=1 since=1&device=d&%73ince=1 device=d&device=d ack=auto&ack=auto";
    for query in bad.split_whitespace().chain(twice.split_whitespace()) {
        assert_invalid_request(&server, &format!("/ws/a?{query}"));
    }
    assert_invalid_request(&server, &format!("/ws/a?device={}", "d".repeat(65)));
    assert_invalid_request(
        &server,
        &format!("/ws/a?epoch={EPOCH}&since=1&epoch={EPOCH}"),
    );
}

#[test]
fn unknown_parameters_are_ignored() {
    let server = Server::start(&[]);
    for query in [
        "",
        "&&",
        "utm_source=x&utm_source=y",
        "Since=x&DEVICE=/",
        "x=%zz&%FF=%00&=&==&since=0",
        &format!("since=0&epoch={}", EPOCH.to_uppercase()),
        "ack=manual&ack%20=x",
        "ack=auto&since=9007199254740991",
    ] {
        assert_eq!(
            welcomed(&server, &format!("/ws/a?{query}"), "")["user_id"],
            "a"
        );
    }
}

#[test]
fn pages_of_other_origins_may_not_connect() {
    let server = Server::start(&["--allowed-origin", "https://app.example"]);
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example:444",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "file://",
        "null",
        "",
        "\u{e9}",
    ] {
        let origin = format!("Origin: {origin}\r\n");
        for path in ["/ws/a", "/echo"] {
            assert_http_error(&server, &handshake(path, &origin), 403, "forbidden");
            assert_goodbye(&server, path, &origin, 4403, "forbidden");
        }
    }
}

#[test]
fn pages_of_the_same_a_loopback_or_an_allowed_origin_may_connect() {
    let server = Server::start(&[
        "--allowed-origin",
        "https://app.example",
        "--allowed-origin",
        "null",
        "--allowed-host",
        "chat.example.org,[2001:db8::1]",
    ]);
    for origin in [
        "http://localhost",
        "http://localhost:3000",
        "https://localhost:3000",
        "http://127.0.0.1:5173",
        "http://[::1]:8080",
        "https://app.example",
        "null",
    ] {
        welcomed(&server, "/ws/a", &format!("Origin: {origin}\r\n"));
    }
    for (host, origin) in [
        ("chat.example.org", "https://chat.example.org"),
        ("chat.example.org", "http://chat.example.org"),
        ("Chat.Example.org:8443", "https://chat.example.org:8443"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]"),
    ] {
        let mut raw = Raw::open(&server);
        let request = handshake("/ws/a", &format!("Origin: {origin}\r\n"));
        raw.write(
            request
                .replace("Host: localhost", &format!("Host: {host}"))
                .as_bytes(),
        );
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{host} {origin}: {head}");
        raw.expect("welcome");
    }
    welcomed(&server, "/ws/a", "");
}

#[test]
fn welcome_describes_the_session_and_the_limits() {
    let mut server = Server::start(&[
        "--heartbeat-seconds",
        "7",
        "--messages-per-second",
        "9",
        "--max-frame-bytes",
        "4096",
    ]);
    let mut a = Client::fresh(&server, "8888");
    a.ask(&to("6666", "x"));
    let welcome = Client::connect(&server, "8888", "?device=phone").welcome;
    let (_, index) = json_answer(&server.get("/schema"));
    assert_eq!(
        welcome,
        json!({
            "type": "welcome", "protocol": "dmwire.v1", "session_id": welcome["session_id"], "user_id": "8888",
            "device": "phone", "resumed": "new", "epoch": a.epoch(), "seq": 1, "server_time": welcome["server_time"],
            "schema": index["hash"], "heartbeat_seconds": 7,
            "limits": {"max_frame_bytes": 4096, "messages_per_second": 9}
        })
    );
    let time = welcome["server_time"].as_str().expect("a time");
    let digits: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(digits, "0000-00-00T00:00:00.000Z");
    for id in [welcome["session_id"].as_str().expect("an id"), a.epoch()] {
        let hex = |c: char| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(id.len() == 36 && id.chars().all(hex), "{id}");
    }
    assert_ne!(welcome["session_id"], a.welcome["session_id"]);
    // The epoch belongs to the store: it is the same for all users and after a restart.
    assert_eq!(Client::connect(&server, "other", "").epoch(), a.epoch());
    server.kill();
    server.restart();
    assert_eq!(Client::connect(&server, "8888", "").epoch(), a.epoch());
    let other = Server::start(&[]);
    let elsewhere = Client::connect(&other, "8888", "");
    assert_ne!(elsewhere.epoch(), a.epoch());
    assert_eq!(elsewhere.welcome["heartbeat_seconds"], 30);
    assert_eq!(
        elsewhere.welcome["limits"],
        json!({"max_frame_bytes": 65536, "messages_per_second": 50})
    );
}

#[test]
fn a_handshake_has_no_body() {
    let server = Server::start(&[]);
    let with_length = handshake("/ws/a", "Content-Length: 5\r\n");
    assert_http_error(&server, &with_length, 400, "invalid_request");
    let in_chunks = handshake("/ws/a", "Transfer-Encoding: chunked\r\n");
    let mut raw = Raw::open(&server);
    raw.write(in_chunks.as_bytes());
    assert!(raw.head().starts_with("HTTP/1.1 426 "));
    Raw::upgrade_with(&server, "/ws/a", "Content-Length: 0\r\n");
}

#[test]
fn a_rejected_client_that_does_not_close_is_disconnected() {
    let server = Server::start(&[]);
    let (mut raw, _) = Raw::upgrade_with(&server, "/ws/a%20b", DMWIRE);
    raw.expect("goodbye");
    assert_eq!(raw.next().and_then(|frame| frame.close_code()), Some(4400));
    raw.assert_closed();
}

/// Sends a request on an existing connection and reads until the connection ends.
fn request_during_shutdown(mut stream: &TcpStream, request: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).is_ok() {
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}

#[test]
fn a_handshake_during_shutdown_is_told_when_to_retry() {
    // The server accepts handshakes until the last session has ended. Here a session does not answer the close frame, for which
    // the server waits two seconds. On a machine that is too busy, the test tries again with another server.
    for _ in 0..5 {
        let server = Server::start(&[]);
        let streams = [(); 2].map(|()| Raw::open(&server).stream);
        let mut last = Raw::upgrade(&server, "/ws/a");
        server.signal("TERM");
        let (code, goodbye) = last.until_close().expect("a close frame");
        assert_eq!(
            (code, &goodbye.expect("goodbye")["reconnect"]),
            (1012, &json!(true))
        );
        for stream in &streams {
            stream
                .set_read_timeout(Some(DEADLINE))
                .expect("a timeout can be set");
        }
        let answer = request_during_shutdown(&streams[0], &handshake("/ws/b", ""));
        let dismissal = request_during_shutdown(&streams[1], &handshake("/ws/b", DMWIRE));
        if answer.is_empty() || dismissal.is_empty() {
            continue;
        }
        let (status, body) = json_answer(&String::from_utf8_lossy(&answer));
        assert_eq!((status, &body["code"]), (503, &json!("draining")));
        assert!(body["retry_after_ms"].is_u64(), "{body}");
        let text = String::from_utf8_lossy(&dismissal);
        for part in [
            "HTTP/1.1 101 ",
            r#""reason":"draining""#,
            r#""reconnect":true"#,
            r#""retry_after_ms":"#,
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(
            dismissal.ends_with(&[0x88, 2, 0x03, 0xF5]),
            "expected close code 1013: {text}"
        );
        return;
    }
    panic!("no handshake was answered within the two seconds, in five attempts");
}

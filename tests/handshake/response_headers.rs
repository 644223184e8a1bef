//! The headers of every kind of response, and what clients that do not speak HTTP cause (PROTOCOL section 9).

use std::io::Read as _;
use std::sync::Arc;

use serde_json::json;

use crate::support::{Folder, Raw, Server, dmwire, handshake, json_answer};
use crate::tls::{renew, request_over_tls};

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Requests for every kind of response, with the status.
fn requests() -> Vec<(u16, String)> {
    let plain = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n")
    };
    vec![
        (200, plain("GET", "/", "")),
        (200, plain("HEAD", "/", "")),
        (200, plain("GET", "/schema", "")),
        (200, plain("HEAD", "/schema", "")),
        (200, plain("GET", "/schema/server-frame.schema.json", "")),
        (404, plain("GET", "/schema/nothing", "")),
        (200, plain("GET", "/healthz", "")),
        (200, plain("GET", "/readyz", "")),
        (404, plain("GET", "/nothing", "")),
        (404, plain("HEAD", "/nothing", "")),
        (405, plain("POST", "/schema", "Content-Length: 0\r\n")),
        (426, plain("GET", "/ws/a", "")),
        (426, plain("GET", "/echo", "")),
        (400, handshake("/ws/a?since=x", "")),
        (403, handshake("/ws/a", "Origin: https://evil.example\r\n")),
        (404, handshake("/nothing", "")),
        (
            426,
            handshake("/ws/a", "").replace("Version: 13", "Version: 8"),
        ),
    ]
}

fn assert_headers(answer: &str, expected: u16, request: &str, tls: bool) {
    let (head, _) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = format!("HTTP/1.1 {expected} ");
    assert!(head.starts_with(&status), "{request}{head}");
    let is_page = request.contains(" / ");
    assert_eq!(
        header(head, "x-content-type-options"),
        Some("nosniff"),
        "{request}{head}"
    );
    assert_eq!(
        header(head, "referrer-policy"),
        Some("no-referrer"),
        "{head}"
    );
    assert!(header(head, "cache-control").is_some(), "{request}{head}");
    let policy = header(head, "content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let permissions = header(head, "permissions-policy");
    assert_eq!(permissions.is_some(), is_page, "{request}{head}");
    if let Some(permissions) = permissions {
        assert!(permissions.contains("camera=()"), "{permissions}");
        assert!(permissions.contains("geolocation=()"), "{permissions}");
    }
    let hsts = header(head, "strict-transport-security");
    assert_eq!(hsts, tls.then_some("max-age=31536000"), "{request}{head}");
    for name in [
        "x-content-type-options",
        "content-security-policy",
        "cache-control",
    ] {
        let lines = head
            .to_lowercase()
            .matches(&format!("\r\n{name}: "))
            .count();
        assert_eq!(lines, 1, "{name}: {head}");
    }
}

#[test]
fn every_response_restricts_what_a_browser_does_with_it() {
    let server = Server::start(&[]);
    for (status, request) in requests() {
        assert_headers(&server.http(&request), status, &request, false);
    }
    // A scheme that a proxy names is not the scheme of this server.
    let server = Server::start(&["--trusted-proxy", "127.0.0.1"]);
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-Proto: https\r\n\r\n";
    assert_headers(&server.http(request), 200, request, false);
}

#[test]
fn responses_over_tls_tell_browsers_to_stay_with_it() {
    let folder = Arc::new(Folder::new());
    renew(&folder.0);
    let server = Server::start_in(&folder, &["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    for (status, request) in requests() {
        let answer = request_over_tls(&server, &folder.0, &request);
        assert_headers(&answer, status, &request, true);
    }
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n";
    let answers = request_over_tls(&server, &folder.0, request);
    let (first, last) = answers.rsplit_once("HTTP/1.1 ").expect("two answers");
    assert_headers(first, 200, request, true);
    assert_headers(&format!("HTTP/1.1 {last}"), 400, request, true);
}

#[test]
fn plain_http_on_a_port_with_tls_is_explained() {
    let folder = Arc::new(Folder::new());
    renew(&folder.0);
    let server = Server::start_in(&folder, &["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    let body = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000\r\n\r\n{}",
        "x".repeat(30_000)
    );
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "G",
        "get / http/1.1\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &handshake("/ws/a", ""),
        &body,
    ] {
        let answer = server.http(request);
        let (status, found) = json_answer(&answer);
        assert_eq!((status, &found["code"]), (400, &json!("invalid_request")));
        let detail = found["detail"].as_str().expect("a text");
        assert!(
            detail.contains("https://") && detail.contains("wss://"),
            "{detail}"
        );
        assert!(
            !answer.to_lowercase().contains("strict-transport"),
            "{answer}"
        );
    }
    // Other bytes are answered by TLS, and sessions are served meanwhile.
    let answer = server.http("\u{1}\u{2}\u{3}");
    assert!(!answer.contains("HTTP/"), "{answer:?}");
    let ready = request_over_tls(
        &server,
        &folder.0,
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let output = dmwire(
        &folder.0,
        &["healthcheck", &format!("http://{}", server.address)],
    );
    assert_ne!(output.code, Some(0), "{output:?}");
}

#[test]
fn malformed_tls_writes_no_warnings_to_the_log() {
    let folder = Arc::new(Folder::new());
    renew(&folder.0);
    let server = Server::start_in(&folder, &["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    let record = |kind: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len()).expect("a short record");
        [&[kind, 3, 3], &length.to_be_bytes()[..], payload].concat()
    };
    // A warning alert (no_renegotiation), the end of a ServerHello, encrypted data, and no record.
    let alert = record(0x15, &[1, 100]);
    let hello_done = record(0x16, &[14, 0, 0, 0]);
    let data = record(0x17, b"data");
    for bytes in [
        [alert.clone(), hello_done.clone()].concat(),
        alert.repeat(10),
        hello_done,
        data,
        b"\x16\x03\x01\x00\x00".to_vec(),
    ] {
        let mut raw = Raw::open(&server);
        raw.write(&bytes);
        raw.stream
            .shutdown(std::net::Shutdown::Write)
            .expect("the connection is open");
        let _ = raw.stream.read_to_end(&mut Vec::new());
    }
    let log = server.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn malformed_requests_write_no_errors_to_the_log() {
    let server = Server::start(&[]);
    let oversized = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    for request in [
        "\r\n\r\nnonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        &oversized,
        // A TLS handshake.
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
    ] {
        let mut raw = Raw::open(&server);
        raw.write(request.as_bytes());
        if request.starts_with('\u{16}') {
            server.wait_for_log("a client has started TLS on a port without TLS");
        } else {
            let head = raw.head();
            assert!(head.starts_with("HTTP/1.1 4"), "{request}: {head}");
            let status = if head.contains(" 431 ") { 431 } else { 400 };
            assert_headers(&head, status, "no HTTP", false);
        }
    }
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
    let log = server.log();
    assert!(!log.contains("ERROR"), "{log}");
    // It can be switched on.
    let server = Server::start(&["--log", "info,actix_http=error"]);
    let _ = server.http("nonsense\r\n\r\n");
    server.wait_for_log("stream error");
}

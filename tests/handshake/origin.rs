//! The origins of pages that may connect and read, and the host names that are accepted without authentication (PROTOCOL sections
//! 2 and 10).

use serde_json::json;

use crate::support::tokens::{SECRET, valid_token};
use crate::support::{Raw, Server, handshake, json_answer};

const DMWIRE: &str = "Sec-WebSocket-Protocol: dmwire.v1\r\n";

/// A handshake with this `Host`.
fn handshake_with_host(host: &str, path: &str, more: &str) -> String {
    handshake(path, more).replace("Host: localhost\r\n", &format!("Host: {host}\r\n"))
}

fn upgrades(server: &Server, request: &str) {
    let mut raw = Raw::open(server);
    raw.write(request.as_bytes());
    let head = raw.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{request}{head}");
    raw.expect("welcome");
}

/// Asserts that a handshake is forbidden in both forms.
fn forbidden(server: &Server, request: &str) {
    let (status, body) = json_answer(&server.http(request));
    assert_eq!(
        (status, &body["code"]),
        (403, &json!("forbidden")),
        "{request}"
    );
    let mut raw = Raw::open(server);
    let (line, rest) = request.split_once("\r\n").expect("a request");
    raw.write(format!("{line}\r\n{DMWIRE}{rest}").as_bytes());
    let head = raw.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(raw.expect("goodbye")["code"], 4403, "{request}");
}

#[test]
fn with_tokens_only_pages_of_the_same_or_an_allowed_origin_may_connect() {
    let server = Server::start(&[
        "--jwt-secret",
        SECRET,
        "--allowed-origin",
        "https://app.example",
    ]);
    let bearer = format!("Authorization: Bearer {}\r\n", valid_token("a"));
    let page = |origin: &str| format!("{bearer}Origin: {origin}\r\n");
    for origin in [
        "https://app.example",
        "HTTPS://App.Example",
        "http://chat.example.org",
        "https://chat.example.org",
    ] {
        upgrades(
            &server,
            &handshake_with_host("chat.example.org", "/ws/a", &page(origin)),
        );
    }
    for origin in [
        "http://localhost",
        "http://localhost:3000",
        "http://127.0.0.1",
        "http://[::1]",
        "null",
        "file://",
        "",
        "https://app.example:444",
        "http://app.example",
        "http://chat.example.org:81",
        "ftp://chat.example.org",
        "http://chat.example.org.evil.example",
        "http://xchat.example.org",
    ] {
        forbidden(
            &server,
            &handshake_with_host("chat.example.org", "/ws/a", &page(origin)),
        );
        forbidden(
            &server,
            &handshake_with_host("chat.example.org", "/echo", &page(origin)),
        );
    }
    // Two origins are rejected, and a valid token does not replace the origin check.
    let twice = format!(
        "{}Origin: https://app.example\r\n",
        page("https://app.example")
    );
    forbidden(
        &server,
        &handshake_with_host("chat.example.org", "/ws/a", &twice),
    );
    // Without an `Origin` header the client is not a browser.
    upgrades(
        &server,
        &handshake_with_host("chat.example.org", "/ws/a", &bearer),
    );
    let named = Server::start(&[
        "--jwt-secret",
        SECRET,
        "--allowed-origin",
        "null,http://localhost:3000",
    ]);
    for origin in ["null", "http://localhost:3000"] {
        upgrades(
            &named,
            &handshake_with_host("chat.example.org", "/ws/a", &page(origin)),
        );
    }
    forbidden(
        &named,
        &handshake_with_host("chat.example.org", "/ws/a", &page("http://localhost:3001")),
    );
}

#[test]
fn a_foreign_host_name_that_resolves_to_the_server_is_rejected() {
    let server = Server::start(&[
        "--allowed-host",
        "chat",
        "--allowed-origin",
        "https://app.example:8443",
    ]);
    for host in [
        "localhost",
        "LocalHost:8080",
        "127.0.0.1:1",
        "[::1]",
        "127.1.2.3",
        "app.localhost:8080",
        "chat:80",
        "CHAT",
        "app.example",
    ] {
        upgrades(&server, &handshake_with_host(host, "/ws/a", ""));
    }
    for host in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "xchat",
        "[::2]:80",
        "0.0.0.0:8080",
        "",
    ] {
        // DNS rebinding: for the browser, the page has the same origin.
        for more in [String::new(), format!("Origin: http://{host}\r\n")] {
            forbidden(&server, &handshake_with_host(host, "/ws/a", &more));
            forbidden(&server, &handshake_with_host(host, "/echo", &more));
        }
    }
    // With tokens, or with `--open`, the host name is not checked.
    let tokens = Server::start(&["--jwt-secret", SECRET]);
    let bearer = format!("Authorization: Bearer {}\r\n", valid_token("a"));
    upgrades(
        &tokens,
        &handshake_with_host("evil.example", "/ws/a", &bearer),
    );
    let open = Server::start(&["--open"]);
    upgrades(&open, &handshake_with_host("evil.example", "/ws/a", ""));
    // Two `Host` headers are ambiguous.
    let twice = handshake_with_host("localhost\r\nHost: evil.example", "/ws/a", "");
    let answer = server.http(&twice);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

/// The head of the response to `GET path` from a page of `origin`.
fn get_from_origin(server: &Server, path: &str, origin: &str) -> String {
    let answer = server.http(&format!(
        "GET {path} HTTP/1.1\r\nHost: chat.example.org\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
    ));
    let (head, _) = answer.split_once("\r\n\r\n").expect("an answer");
    head.to_lowercase()
}

#[test]
fn pages_that_may_connect_may_read_the_schemas() {
    let open = Server::start(&["--open", "--allowed-origin", "https://app.example"]);
    let tokens = Server::start(&[
        "--jwt-secret",
        SECRET,
        "--allowed-origin",
        "https://app.example",
    ]);
    for path in [
        "/schema",
        "/schema/",
        "/schema/client-frame.schema.json",
        "/schema/none",
    ] {
        for (server, origin, may) in [
            (&open, "https://app.example", true),
            (&open, "http://localhost:3000", true),
            (&open, "http://chat.example.org", true),
            (&open, "https://evil.example", false),
            (&open, "null", false),
            (&tokens, "https://app.example", true),
            (&tokens, "http://localhost:3000", false),
            (&tokens, "https://evil.example", false),
        ] {
            let head = get_from_origin(server, path, origin);
            let line = format!("\r\naccess-control-allow-origin: {origin}");
            assert_eq!(head.contains(&line), may, "{path} {origin}: {head}");
            assert_eq!(head.contains("access-control-"), may, "{head}");
            // Otherwise a cache could return the response for another origin.
            assert!(head.contains("\r\nvary: origin"), "{head}");
        }
    }
    for path in ["/", "/healthz", "/ws/a"] {
        let head = get_from_origin(&open, path, "https://app.example");
        assert!(!head.contains("access-control-"), "{path}: {head}");
    }
}

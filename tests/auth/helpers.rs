//! Servers that require tokens, and handshakes with tokens.

use serde_json::{Value, json};

use crate::support::tokens::SECRET;
use crate::support::{Raw, Server, client_frame, handshake, json_answer};

pub const DMWIRE: &str = "Sec-WebSocket-Protocol: dmwire.v1\r\n";

/// A place for a token in a request: returns the query and the header lines.
pub type Carrier = fn(&str) -> (String, String);

pub const CARRIERS: [Carrier; 4] = [
    |token| (String::new(), format!("Authorization: Bearer {token}\r\n")),
    |token| {
        (
            String::new(),
            format!("authorization: bEARER  {token} \r\n"),
        )
    },
    |token| {
        (
            String::new(),
            format!("Sec-WebSocket-Protocol: dmwire.v1, bearer.{token}\r\n"),
        )
    },
    |token| (format!("?token={token}"), String::new()),
];

/// A server that accepts tokens signed with [`SECRET`].
pub fn server_with_secret(more: &[&str]) -> Server {
    Server::start(&[&["--jwt-secret", SECRET], more].concat())
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Connects and returns `welcome`.
pub fn connect(server: &Server, path: &str, more: &str) -> Value {
    Raw::upgrade_with(server, path, more).0.expect("welcome")
}

/// Asserts that a handshake is rejected in both forms: as an HTTP response, and as a `goodbye` frame if `dmwire.v1` is offered.
/// Returns the texts of both.
pub fn assert_rejected(
    server: &Server,
    path: &str,
    more: &str,
    status: u16,
    code: &str,
) -> [String; 2] {
    let close = match status {
        503 => 1013,
        status => 4000 + status,
    };
    let plain = more.replace(
        "Sec-WebSocket-Protocol: dmwire.v1, ",
        "Sec-WebSocket-Protocol: ",
    );
    let mut answer = String::new();
    // A `bearer.` subprotocol without `dmwire.v1` is a different error.
    if plain == more {
        answer = server.http(&handshake(path, more));
        let (found, body) = json_answer(&answer);
        assert_eq!(
            (found, &body["code"]),
            (status, &json!(code)),
            "{path} {more}"
        );
        if status == 401 {
            assert!(
                answer
                    .to_lowercase()
                    .contains("\r\nwww-authenticate: bearer\r\n"),
                "{answer}"
            );
        }
    }
    let offered = if plain == more {
        format!("{DMWIRE}{more}")
    } else {
        more.to_owned()
    };
    let (mut raw, head) = Raw::upgrade_with(server, path, &offered);
    assert!(!head.contains("bearer"), "{head}");
    let goodbye = raw.expect("goodbye");
    assert_eq!(
        (&goodbye["code"], &goodbye["reason"]),
        (&json!(close), &json!(code)),
        "{path} {more}"
    );
    assert_eq!(goodbye["reconnect"], status == 503, "{goodbye}");
    let last = raw.next().expect("a close frame");
    assert_eq!((last.opcode, last.close_code()), (8, Some(close)));
    raw.write(&client_frame(0x88, &last.payload));
    raw.assert_closed();
    [answer, goodbye.to_string()]
}

/// Asserts that a token is rejected, and that the log contains the reason.
pub fn assert_unauthorized(server: &Server, token: &str, why: &str) {
    for carrier in [CARRIERS[0], CARRIERS[2]] {
        let (query, headers) = carrier(token);
        for text in assert_rejected(
            server,
            &format!("/ws/8888{query}"),
            &headers,
            401,
            "unauthorized",
        ) {
            assert!(token.is_empty() || !text.contains(token), "{text}");
        }
    }
    server.wait_for_log(why);
}

pub fn assert_not_logged(server: &Server, secrets: &[&str]) {
    let log = server.log();
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

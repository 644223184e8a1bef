//! Sessions whose token expires.

use serde_json::json;

use crate::helpers::{bearer, server_with_secret};
use crate::support::tokens::{SECRET, hs256, now};
use crate::support::{Client, Raw, client_frame, to};

#[test]
fn a_session_ends_when_its_token_expires_and_resumes_with_a_new_one() {
    let server = server_with_secret(&["--jwt-leeway-seconds", "0"]);
    let dial = |user: &str, query: &str, lasting: u64| {
        let token = hs256(SECRET, &json!({"sub": user, "exp": now() + lasting}));
        let header = [("Authorization", &*format!("Bearer {token}"))];
        let mut client = Client::dial(&server, &format!("/ws/{user}{query}"), &header)
            .expect("the handshake succeeds");
        client.welcome = client.expect("welcome");
        client
    };
    let mut b = dial("b", "", 3600);
    b.expect("synced");
    let lasting = 4;
    let expires = now() + lasting;
    let mut a = dial("a", "", lasting);
    a.expect("synced");
    assert_eq!(b.ask(&to("a", "1"))["seq"], 1);
    assert_eq!(a.expect("message")["seq"], 1);
    assert_eq!(a.ask(&to("b", "2"))["seq"], 2);
    let (goodbye, end) = a.goodbye();
    assert!(
        now() >= expires,
        "the session lasts until the token expires"
    );
    assert_eq!(
        (&goodbye["code"], &goodbye["reason"], &goodbye["reconnect"]),
        (&json!(4401), &json!("token_expired"), &json!(true))
    );
    assert_eq!(end, crate::support::End::Closed(4401));
    b.until("message");
    assert_eq!(b.ask(&to("a", "3"))["type"], "ack");
    let query = format!("?since=2&epoch={}", a.epoch());
    let mut again = dial("a", &query, 3600);
    let missed = again.expect("message");
    assert_eq!(
        (&missed["seq"], &missed["message"]),
        (&json!(3), &json!("3"))
    );
    again.expect("synced");
    // Other sessions last as long as their own tokens.
    again.assert_quiet();
    b.assert_quiet();
}

#[test]
fn an_echo_connection_ends_when_its_token_expires() {
    let server = server_with_secret(&["--jwt-leeway-seconds", "1"]);
    let token = hs256(SECRET, &json!({"sub": "a", "exp": now() + 3}));
    let (mut raw, _) = Raw::upgrade_with(&server, "/echo", &bearer(&token));
    raw.write(&client_frame(0x81, b"hello"));
    assert_eq!(raw.next().expect("the echo").payload, b"hello");
    let last = raw.next().expect("a close frame");
    assert_eq!((last.opcode, last.close_code()), (8, Some(4401)));
}

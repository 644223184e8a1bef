//! Revocation of the tokens of a user.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::helpers::{Ops, Response};
use crate::support::tokens::{SECRET, claims, hs256, now};
use crate::support::{Client, Folder, dmwire, eventually, handshake, json_answer};

const KEY: &str = "a key of the operator";
/// The SHA-256 of `KEY` (`printf %s KEY | sha256sum`).
const KEY_HASH: &str = "3c7f2e557e336a9b23aea60ed0e66e8db31ca75db6695a4ce823780e34349065";

const SETTINGS: [&str; 6] = [
    "--jwt-secret",
    SECRET,
    "--api-key-file",
    "keys",
    "--jwt-leeway-seconds",
    "0",
];

fn start() -> Ops {
    start_in(&Arc::new(Folder::new()), &SETTINGS)
}

fn start_in(folder: &Arc<Folder>, settings: &[&str]) -> Ops {
    fs::write(folder.0.join("keys"), format!("op {KEY_HASH}\n")).expect("a writable folder");
    Ops::start_in(folder, settings)
}

fn delete(ops: &Ops, path: &str) -> Response {
    let key = format!("Authorization: Bearer {KEY}");
    ops.request(&format!("DELETE {path}"), &[&key], b"")
}

fn get(ops: &Ops, path: &str) -> Value {
    let key = format!("Authorization: Bearer {KEY}");
    ops.request(&format!("GET {path}"), &[&key], b"")
        .assert_ok()
}

/// A token that was issued so many seconds after now; `None`: it does not say so.
fn token(user: &str, issued_in: Option<i64>) -> String {
    let mut claims = claims(user);
    if let Some(seconds) = issued_in {
        claims["iat"] = json!(now() as i64 + seconds);
    }
    hs256(SECRET, &claims)
}

#[track_caller]
fn connect(ops: &Ops, user: &str, token: &str) -> Client {
    let bearer = format!("Bearer {token}");
    let path = format!("/ws/{user}");
    let client = Client::dial(&ops.server, &path, &[("Authorization", &bearer)]);
    let mut client = client.expect("the token is accepted");
    client.expect("welcome");
    client
}

/// The body of the response by which a handshake is rejected with 401.
#[track_caller]
fn unauthorized_at(ops: &Ops, path: &str, token: &str) -> Value {
    let request = handshake(path, &format!("Authorization: Bearer {token}\r\n"));
    let (status, body) = json_answer(&ops.server.http(&request));
    assert_eq!(
        (status, &body["code"]),
        (401, &json!("unauthorized")),
        "{body}"
    );
    body
}

#[track_caller]
fn unauthorized(ops: &Ops, user: &str, token: &str) -> Value {
    unauthorized_at(ops, &format!("/ws/{user}"), token)
}

#[test]
fn a_revocation_is_completed_when_its_caller_disconnects() {
    let ops = start();
    let old = token("8888", Some(-60));
    let mut session = connect(&ops, "8888", &old);
    session.until("synced");
    let mut caller = TcpStream::connect(ops.address).expect("the port accepts connections");
    let request = format!(
        "DELETE /v1/users/8888/sessions?revoke=true HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\n\r\n",
        ops.address
    );
    caller.write_all(request.as_bytes()).expect("it is sent");
    drop(caller);
    let goodbye = session.until("goodbye");
    assert_eq!(goodbye["code"], json!(4403), "{goodbye}");
    unauthorized(&ops, "8888", &old);
}

#[test]
fn tokens_that_were_issued_before_a_revocation_are_rejected_until_it_is_lifted() {
    let ops = start();
    let (old, without, other) = (
        token("8888", Some(-60)),
        token("8888", None),
        token("6666", None),
    );
    let mut session = connect(&ops, "8888", &old);
    session.until("synced");
    let mut bystander = connect(&ops, "6666", &other);
    bystander.until("synced");
    let answer = delete(&ops, "/v1/users/8888/sessions?revoke=true");
    assert_eq!(answer.assert_ok(), json!({"closed": 1}));
    let goodbye = session.until("goodbye");
    assert_eq!(
        (&goodbye["code"], &goodbye["reconnect"]),
        (&json!(4403), &json!(false)),
        "{goodbye}"
    );
    for token in [&old, &without] {
        unauthorized(&ops, "8888", token);
    }
    // `/echo` needs a token as well.
    unauthorized_at(&ops, "/echo", &old);
    let revoked = |user: &str| get(&ops, &format!("/v1/users/{user}"))["revoked"].clone();
    assert_eq!(
        (revoked("8888"), revoked("6666")),
        (json!(true), json!(null))
    );
    // A token that is issued later is accepted, and so are those of others.
    connect(&ops, "8888", &token("8888", Some(5)));
    connect(&ops, "6666", &other);
    bystander.send(&json!({"type": "ping"}));
    bystander.until("pong");

    let lifted = delete(&ops, "/v1/users/8888/revocation").assert_ok();
    assert_eq!(lifted, json!({"lifted": true}));
    assert_eq!(revoked("8888"), json!(null));
    for token in [&old, &without] {
        connect(&ops, "8888", token);
    }
    let lifted = delete(&ops, "/v1/users/8888/revocation").assert_ok();
    assert_eq!(lifted, json!({"lifted": false}));
    delete(&ops, "/v1/users/8888/sessions?revoke=yes").assert_error(
        400,
        "invalid_request",
        Some("/revoke"),
    );
}

#[test]
fn closing_the_sessions_alone_revokes_nothing() {
    let ops = start();
    let token = token("8888", None);
    for query in ["", "?revoke=false"] {
        let mut session = connect(&ops, "8888", &token);
        session.until("synced");
        let answer = delete(&ops, &format!("/v1/users/8888/sessions{query}"));
        assert_eq!(answer.assert_ok(), json!({"closed": 1}));
        session.until("goodbye");
    }
    connect(&ops, "8888", &token);
}

#[test]
fn the_leeway_of_clocks_applies_to_a_revocation() {
    let mut settings = SETTINGS;
    settings[5] = "300";
    let ops = start_in(&Arc::new(Folder::new()), &settings);
    let answer = delete(&ops, "/v1/users/8888/sessions?revoke=true");
    assert_eq!(answer.assert_ok(), json!({"closed": 0}));
    // A token that is issued now is accepted in five minutes.
    let body = unauthorized(&ops, "8888", &token("8888", Some(0)));
    let wait = body["retry_after_ms"].as_u64().expect("a number");
    assert!((200_000..=301_000).contains(&wait), "{body}");
    unauthorized(&ops, "8888", &token("8888", Some(250)));
    connect(&ops, "8888", &token("8888", Some(360)));
}

#[test]
fn a_rejected_token_says_when_new_ones_are_accepted_only_while_they_are_not() {
    let ops = start();
    let old = token("8888", Some(-60));
    delete(&ops, "/v1/users/8888/sessions?revoke=true").assert_ok();
    // With a leeway of 0, tokens of the next second are accepted.
    let mut waits = Vec::new();
    eventually("new tokens are accepted", || {
        let body = unauthorized(&ops, "8888", &old);
        waits.extend(body["retry_after_ms"].as_u64());
        body.get("retry_after_ms").is_none()
    });
    assert!(
        waits.iter().all(|wait| (1..=1000).contains(wait)),
        "{waits:?}"
    );
    connect(&ops, "8888", &token("8888", Some(0)));
}

#[test]
fn a_browser_learns_of_a_revocation_by_a_goodbye() {
    let mut settings = SETTINGS;
    settings[5] = "300";
    let ops = start_in(&Arc::new(Folder::new()), &settings);
    delete(&ops, "/v1/users/8888/sessions?revoke=true").assert_ok();
    let protocols = format!("dmwire.v1, bearer.{}", token("8888", None));
    let mut client = Client::dial(
        &ops.server,
        "/ws/8888",
        &[("Sec-WebSocket-Protocol", &protocols)],
    )
    .expect("it is upgraded");
    let goodbye = client.until("goodbye");
    assert_eq!(
        (&goodbye["code"], &goodbye["reason"]),
        (&json!(4401), &json!("unauthorized")),
        "{goodbye}"
    );
    assert!(goodbye["retry_after_ms"].is_u64(), "{goodbye}");
}

#[test]
fn a_revocation_survives_a_kill_and_is_part_of_a_backup() {
    const USER: &str = "zaphod.beeblebrox";
    let folder = Arc::new(Folder::new());
    let mut ops = start_in(&folder, &SETTINGS);
    let token = token(USER, Some(-60));
    delete(&ops, "/v1/users/zaphod.beeblebrox/sessions?revoke=true").assert_ok();
    ops.server.kill();
    let output = dmwire(&folder.0, &["backup", "copy.db"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    drop(ops);
    let ops = start_in(&folder, &SETTINGS);
    unauthorized(&ops, USER, &token);
    drop(ops);
    let mut settings = SETTINGS.to_vec();
    settings.extend(["--store", "sqlite:copy.db"]);
    let ops = start_in(&folder, &settings);
    unauthorized(&ops, USER, &token);
    // The name is not in the file.
    let file = fs::read(folder.0.join("copy.db")).expect("it is there");
    assert!(
        !file
            .windows(USER.len())
            .any(|bytes| bytes == USER.as_bytes())
    );
}

#[test]
fn revoking_needs_a_key_with_the_scope_admin() {
    let folder = Arc::new(Folder::new());
    fs::write(folder.0.join("keys"), format!("op {KEY_HASH} read,write\n"))
        .expect("a writable folder");
    let ops = Ops::start_in(&folder, &SETTINGS);
    for path in ["sessions?revoke=true", "revocation"] {
        delete(&ops, &format!("/v1/users/8888/{path}")).assert_error(403, "forbidden", None);
    }
}

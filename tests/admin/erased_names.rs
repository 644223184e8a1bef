//! The names that `dmwire erase` gives: nobody can act as an erased user, or send anything to one.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::helpers::assert_failed;
use crate::support::tokens::{SECRET, hs256, now, valid_token};
use crate::support::{
    Client, DEADLINE, Folder, Raw, Server, about, assert_has, dmwire, eventually, handshake,
    json_answer, to, with,
};

/// A server on whose store a user was erased, and the name that the user has now.
fn after_erasure(more: &[&str]) -> (Server, String, Vec<Value>) {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, more);
    let mut a = Client::fresh(&server, "a");
    let ids = ["first", "second"].map(|text| a.ask(&to("zaphod", text))["id"].clone());
    let mut z = Client::connect(&server, "zaphod", "");
    z.until("synced");
    z.ask(&to("a", "mine"));
    server.signal("TERM");
    assert!(server.wait(DEADLINE).success());
    let output = dmwire(&folder.0, &["erase", "--user", "zaphod"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    server.restart();
    let mut a = Client::connect(&server, "a", "");
    a.until("synced");
    let page = a.ask(&json!({"type": "conversations"}));
    let name = page["items"][0]["target_user"]
        .as_str()
        .expect("a conversation with the erased user");
    assert_ne!(name, "zaphod");
    (server, name.to_owned(), ids.into())
}

fn assert_forbidden(reply: &Value, path: &str) {
    assert_has(
        reply,
        &json!({"type": "error", "code": "forbidden", "path": path, "retryable": false}),
    );
}

#[test]
fn nobody_connects_by_the_name_of_an_erased_user() {
    let (server, name, _) = after_erasure(&[]);
    // A digit may be written in another form, the name as a whole may not.
    let encoded = name.replacen('e', "%65", 1);
    for path in [name.as_str(), &encoded] {
        let answer = server.http(&handshake(&format!("/ws/{path}"), ""));
        let (status, body) = json_answer(&answer);
        assert_eq!((status, &body["code"]), (403, &json!("forbidden")));
        let dmwire = "Sec-WebSocket-Protocol: dmwire.v1\r\n";
        let (mut raw, _) = Raw::upgrade_with(&server, &format!("/ws/{path}"), dmwire);
        assert_has(
            &raw.expect("goodbye"),
            &json!({"code": 4403, "reason": "forbidden", "reconnect": false}),
        );
    }
    server.wait_for_log("the name is reserved for an erased user");
    // Only names of exactly this form are reserved.
    let hex = &name[7..];
    for free in [
        format!("erased.{}", &hex[1..]),
        format!("erased.{hex}0"),
        format!(
            "erased.{}",
            hex.to_uppercase().replace(char::is_numeric, "F")
        ),
        format!("Erased.{hex}"),
        format!("erased-{hex}"),
        format!("erased.{}g", &hex[1..]),
        format!("x{name}"),
        "erased.".to_owned(),
        "erased.user".to_owned(),
        hex.to_owned(),
    ] {
        let mut client = Client::fresh(&server, &free);
        assert_eq!(client.ask(&to(&free, "note"))["type"], "ack", "{free}");
    }
}

#[test]
fn a_token_for_the_name_of_an_erased_user_is_not_accepted() {
    let server = Server::start(&["--jwt-secret", SECRET]);
    let name = format!("erased.{}", "0123456789abcdef".repeat(2));
    let bearer = |user: &str| format!("Authorization: Bearer {}\r\n", valid_token(user));
    for (path, user) in [
        (format!("/ws/{name}"), name.as_str()),
        ("/ws".into(), &name),
        ("/ws/a".into(), &name),
        (format!("/ws/{name}"), "a"),
        ("/echo".into(), &name),
    ] {
        let answer = server.http(&handshake(&path, &bearer(user)));
        let (status, body) = json_answer(&answer);
        assert_eq!(
            (status, &body["code"]),
            (403, &json!("forbidden")),
            "{path} {user}"
        );
    }
    // Without a valid token, the answer does not depend on the name.
    let expired = hs256(SECRET, &json!({"sub": name, "exp": now() - 60}));
    let answer = server.http(&handshake(
        &format!("/ws/{name}"),
        &format!("Authorization: Bearer {expired}\r\n"),
    ));
    assert_eq!(json_answer(&answer).0, 401);
    let output = dmwire(
        server.folder(),
        &["token", "--user", &name, "--jwt-secret", SECRET],
    );
    assert_failed(&output, 1, &["was erased"]);
    assert!(output.out.is_empty());
}

#[test]
fn nothing_is_sent_to_an_erased_user_and_the_conversation_stays_readable() {
    let (mut server, name, ids) = after_erasure(&[]);
    let mut a = Client::connect(&server, "a", "");
    a.until("synced");
    for frame in [
        to(&name, "hello"),
        with(to(&name, "hello"), &json!({"ephemeral": true})),
        with(about("edit", &name, &ids[0]), &json!({"message": "new"})),
        with(about("react", &name, &ids[0]), &json!({"emoji": "+"})),
    ] {
        assert_forbidden(&a.ask(&frame), "/target_user");
    }
    for tag in ["block", "unblock"] {
        assert_forbidden(&a.ask(&json!({"type": tag, "user": name})), "/user");
    }
    // `typing` has no reply.
    a.send(&json!({"type": "typing", "target_user": name}));
    a.assert_quiet();
    // What the user wrote themself can be read and deleted, and the conversation can be marked as read.
    let page = a.ask(&json!({"type": "history", "target_user": name}));
    let messages = page["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0]["message"], "first");
    assert!(messages[2]["deleted_at"].is_string());
    a.send(&about("read", &name, &messages[2]["id"]));
    eventually("the mark is stored", || {
        let page = a.ask(&json!({"type": "conversations"}));
        page["items"][0]["my_read"] == messages[2]["id"]
    });
    let reply = a.ask(&about("delete", &name, &ids[1]));
    assert_has(&reply, &json!({"type": "ack", "status": "stored"}));

    server.signal("TERM");
    assert!(server.wait(DEADLINE).success());
    for command in ["erase", "export"] {
        let output = dmwire(server.folder(), &[command, "--user", &name]);
        assert_failed(&output, 1, &[&name, "was erased"]);
        assert!(output.out.is_empty());
    }
}

//! What is posted, and in which form.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::receiver::{
    Receiver, SECRET, authority, events, listed, metric, start, start_in, start_with, to_room,
    write_secrets,
};
use crate::support::{Client, Folder, Server, assert_has, eventually, to, with};

/// The members of a frame that are part of events.
fn data_of(frame: &Value) -> Value {
    let mut data = frame.clone();
    let members = data.as_object_mut().expect("an object");
    for member in ["type", "seq", "ref"] {
        members.shift_remove(member);
    }
    data
}

#[test]
fn stored_messages_are_posted_as_the_recipient_gets_them() {
    let receiver = Receiver::start();
    let ops = start(
        &receiver.url(),
        &["--webhook-allow-private", "--rooms", "open"],
    );
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut bo = Client::fresh(&ops.server, "bo");
    let contents = [
        json!("hello"),
        json!({"type": "markdown", "text": "*x*"}),
        json!({"type": "data", "name": "n", "data": {"z": 1, "a": [1.50, null]}}),
        json!("x".repeat(5000)),
    ];
    let mut last = None;
    for content in contents {
        let mut frame = json!({"target_user": "bo", "message": content});
        if let Some(id) = last {
            frame["reply_to"] = id;
        }
        ada.send(&frame);
        let message = bo.until("message");
        last = Some(message["id"].clone());
        let post = receiver.expect("message.created");
        post.assert_well_formed();
        assert_eq!(post.event["data"], data_of(&message));
        assert_eq!(post.event["timestamp"], message["sent_at"]);
    }
    for user in [&mut ada, &mut bo] {
        user.send(&json!({"type": "join", "room": "lobby"}));
        // Those of messages come before.
        while user.until("ack").get("room").is_none() {}
    }
    bo.send(&to_room("lobby", "in a room"));
    let message = ada.until("message");
    let post = receiver.expect("message.created");
    post.assert_well_formed();
    assert_eq!(post.event["data"], data_of(&message));
    // Ephemeral messages are no events.
    bo.send(&with(to("ada", "now"), &json!({"ephemeral": true})));
    ada.until("message");
    bo.send(&to("bo", "note"));
    assert_eq!(receiver.expect("message.created").text(), "note");
    eventually("the last one is counted", || {
        (events(&ops, "delivered") - 6.0).abs() < 0.1
    });
    let listed = listed(&ops);
    assert_has(
        &listed[0],
        &json!({
            "url": receiver.url(), "events": ["message.created"], "state": "active",
            "delivered": 6, "retried": 0, "dropped": 0, "in_flight": 0, "last_error": null
        }),
    );
    assert!(listed[0]["last_delivered_at"].is_string(), "{listed:?}");
}

#[test]
fn events_begin_with_the_first_use_of_the_setting() {
    let receiver = Receiver::start();
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &[]);
    let mut ada = Client::fresh(&server, "ada");
    ada.send(&to("bo", "before"));
    ada.until("ack");
    // It may still be in the log of pending messages.
    server.kill();
    let arguments = ["--webhook-allow-private"];
    let mut ops = start_in(&folder, &receiver.url(), &arguments);
    let mut ada = Client::connect(&ops.server, "ada", "");
    ada.send(&to("bo", "after"));
    assert_eq!(receiver.expect("message.created").text(), "after");
    ops.server.stop();
    // Another receiver begins later.
    let other = Receiver::start();
    let urls = [&*receiver.url(), &*other.url()];
    let ops = start_with(&folder, &urls, &arguments, &[]);
    let mut ada = Client::connect(&ops.server, "ada", "");
    ada.send(&to("bo", "to both"));
    assert_eq!(receiver.expect("message.created").text(), "to both");
    assert_eq!(other.expect("message.created").text(), "to both");
}

#[test]
fn receivers_speak_tls() {
    let (receiver, certificate) = Receiver::over_tls("127.0.0.1");
    let url = format!("https://me:pass@{}/hook?key=hidden", receiver.address);
    let folder = Arc::new(Folder::new());
    let file = authority(&folder, &certificate);
    let trusted: &[(&str, &std::path::Path)] = &[("SSL_CERT_FILE", &file)];
    let arguments = ["--webhook-allow-private"];
    let ops = start_with(&folder, &[&url], &arguments, trusted);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "hello"));
    let post = receiver.expect("message.created");
    assert_eq!(post.line, "POST /hook?key=hidden HTTP/1.1");
    assert_eq!(post.headers["authorization"], "Basic bWU6cGFzcw==");
    assert!(post.is_signed_with(SECRET));
    let shown = listed(&ops)[0]["url"].clone();
    assert_eq!(shown, format!("https://{}/hook", receiver.address));
    drop(ops);
    // Without the authority, the certificate is not trusted, and nothing is sent.
    let folder = Arc::new(Folder::new());
    let ops = start_with(&folder, &[&url], &arguments, &[]);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "hello"));
    eventually("it fails", || events(&ops, "retried") > 0.5);
    assert!(receiver.try_next().is_none());
    let log = ops.server.log();
    assert!(!log.contains("hidden") && !log.contains("pass"), "{log}");
}

#[test]
fn requests_are_signed_with_each_secret_of_the_file() {
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let receiver = Receiver::start();
    let folder = Arc::new(Folder::new());
    let ops = start_in(&folder, &receiver.url(), &["--webhook-allow-private"]);
    let file = folder.0.join("secrets");
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut signed_with = |secrets: &[&str], reloaded: &str| {
        write_secrets(&file, secrets);
        ops.server.signal("HUP");
        ops.server.wait_for_log(reloaded);
        ada.send(&to("bo", "hello"));
        let post = receiver.expect("message.created");
        (post.is_signed_with(SECRET), post.is_signed_with(OTHER))
    };
    let loaded = "secrets of webhooks loaded";
    assert_eq!(
        signed_with(
            &[SECRET, "# the new one", OTHER],
            &format!("{loaded} secrets=2")
        ),
        (true, true)
    );
    assert_eq!(
        signed_with(&[OTHER], &format!("{loaded} secrets=1")),
        (false, true)
    );
    // An invalid file changes nothing.
    assert_eq!(
        signed_with(&["whsec_short"], "secrets of webhooks stay as they were"),
        (false, true)
    );
}

#[test]
fn a_server_without_usable_secrets_does_not_start() {
    let folder = Arc::new(Folder::new());
    let arguments = [
        "--webhook",
        "https://hook.example/",
        "--webhook-secret-file",
        "secrets",
    ];
    let start = || {
        let started = Server::try_start_with(&folder, &arguments, &[]);
        let (status, log) = started.err().expect("the server does not start");
        assert_eq!(status.code(), Some(2), "{log}");
        log
    };
    assert!(start().contains("secrets: cannot be read"));
    for (text, reason) in [
        ("# none\n", "contains no secret"),
        (&SECRET[6..], "line 1 does not begin with whsec_"),
        ("whsec_c2hvcnQ=", "has a secret of 5 bytes"),
    ] {
        write_secrets(&folder.0.join("secrets"), &[text]);
        let log = start();
        assert!(log.contains(reason) && !log.contains("c2hvcnQ"), "{log}");
    }
}

#[test]
fn the_lag_is_that_of_the_oldest_event() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| crate::receiver::Answer::Status(503));
    let ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    ada.send(&to("bo", "hello"));
    receiver.expect("message.created");
    eventually("the lag grows", || {
        let seconds = listed(&ops)[0]["lag_seconds"].as_f64();
        seconds.expect("a number") > 0.5 && metric(&ops, "dmwire_webhook_lag_seconds") > 0.5
    });
    assert_has(
        &listed(&ops)[0],
        &json!({"state": "failing", "last_error": "the receiver answered 503"}),
    );
    receiver.answer_with(|_| crate::receiver::Answer::Status(200));
    eventually("there is no lag", || {
        listed(&ops)[0]["lag_seconds"] == 0.0 && metric(&ops, "dmwire_webhook_lag_seconds") == 0.0
    });
    assert_has(
        &listed(&ops)[0],
        &json!({"state": "active", "delivered": 1}),
    );
}

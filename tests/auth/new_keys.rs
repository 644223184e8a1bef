//! Tokens with a key that is not in the key set: new keys, invented ones, removed ones, and a key server that fails.

use std::thread;
use std::time::{Duration, Instant};

use ring::hmac;
use serde_json::{Value, json};

use crate::helpers::{DMWIRE, assert_rejected, assert_unauthorized, bearer, connect};
use crate::key_server::{KeyServer, answer_with};
use crate::support::tokens::{Issuer, claims, hmac_of, now, signed};
use crate::support::{DEADLINE, Raw, Server, eventually, handshake, json_answer};

/// The pause between two early fetches, and the time that a test may lose between two steps.
const PAUSE: Duration = Duration::from_secs(5);

/// The outcome of a handshake with this token as an HTTP status, and the `goodbye` of a rejection.
fn attempt(server: &Server, token: &str) -> (u16, Value) {
    let more = format!("{DMWIRE}{}", bearer(token));
    let mut raw = Raw::upgrade_with(server, "/ws/8888", &more).0;
    let frame = raw.next().expect("a frame").json();
    let status = match frame["code"].as_u64() {
        None => 101,
        Some(4401) => 401,
        Some(1013) => 503,
        _ => panic!("{frame}"),
    };
    (status, frame)
}

/// A token of another issuer, unlike all earlier ones.
fn invented(issuer: &Issuer, kid: &str, n: usize) -> String {
    issuer.token(
        Some(kid),
        &json!({"sub": "8888", "exp": now() + 60, "jti": n.to_string()}),
    )
}

#[test]
fn invented_keys_do_not_keep_a_new_key_out() {
    let keys = KeyServer::start();
    let [old, new, stranger] = [(); 3].map(|()| Issuer::ed25519());
    keys.serve(&[old.jwk("old")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    let (old_token, new_token) = (
        old.token(Some("old"), &claims("8888")),
        new.token(Some("new"), &claims("8888")),
    );
    connect(&server, "/ws/8888", &bearer(&old_token));
    // The attacker also knows the name of the next key.
    let started = Instant::now();
    for n in 0..20 {
        let kid = ["new", "x"]
            .get(n % 3)
            .map_or(n.to_string(), ToString::to_string);
        let (status, _) = attempt(&server, &invented(&stranger, &kid, n));
        assert!(matches!(status, 401 | 503), "{status}");
    }
    keys.serve(&[old.jwk("old"), new.jwk("new")]);
    // The client with the new key is told to come back, not that its token is invalid.
    let [answer, goodbye] =
        assert_rejected(&server, "/ws/8888", &bearer(&new_token), 503, "overloaded");
    assert!(
        answer.to_lowercase().contains("\r\nretry-after: "),
        "{answer}"
    );
    let (_, body) = json_answer(&answer);
    let goodbye: Value = serde_json::from_str(&goodbye).expect("a frame");
    for retry in [&body["retry_after_ms"], &goodbye["retry_after_ms"]] {
        let ms = retry.as_u64().expect("a time");
        assert!((1..=5000).contains(&ms), "{ms}");
    }
    // The flood continues, and known keys are not affected by it.
    let mut waited = Duration::ZERO;
    for n in 100.. {
        attempt(&server, &invented(&stranger, "new", n));
        connect(&server, "/ws/8888", &bearer(&old_token));
        let (status, body) = attempt(&server, &new_token);
        if status == 101 {
            break;
        }
        assert_eq!(status, 503);
        assert!(waited < DEADLINE, "the new key is not accepted");
        let ms = body["retry_after_ms"].as_u64().expect("a time");
        let next = Duration::from_millis(ms.min(200));
        thread::sleep(next);
        waited += next;
    }
    let most = 2 + started.elapsed().as_secs() / PAUSE.as_secs();
    assert!(keys.request_count() as u64 <= most, "{most}");
}

#[test]
fn a_token_without_a_key_is_unauthorized_after_any_later_fetch() {
    let keys = KeyServer::start();
    let [old, stranger] = [(); 2].map(|()| Issuer::ed25519());
    keys.serve(&[old.jwk("old")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    let tokens: Vec<_> = (0..20).map(|n| invented(&stranger, "x", n)).collect();
    assert_unauthorized(&server, &tokens[0], "no key is known");
    let mut undecided = Vec::new();
    for token in &tokens[1..] {
        match attempt(&server, token).0 {
            503 => undecided.push(token),
            status => assert_eq!(status, 401),
        }
    }
    assert!(!undecided.is_empty());
    // One fetch decides about all of them.
    eventually("the first client is rejected", || {
        attempt(&server, undecided[0]).0 == 401
    });
    let fetches = keys.request_count();
    for token in undecided {
        let status = attempt(&server, token).0;
        assert!(status == 401 || keys.request_count() > fetches, "{status}");
    }
}

#[test]
fn a_token_with_a_removed_key_is_unauthorized_at_once() {
    let keys = KeyServer::start();
    let [old, removed] = [(); 2].map(|()| Issuer::ed25519());
    keys.serve(&[old.jwk("old"), removed.jwk("removed")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    connect(
        &server,
        "/ws/8888",
        &bearer(&invented(&removed, "removed", 0)),
    );
    keys.serve(&[old.jwk("old")]);
    server.signal("HUP");
    server.wait_for_log("keys for tokens keys=1");
    for n in 1..20 {
        assert_eq!(attempt(&server, &invented(&removed, "removed", n)).0, 401);
    }
    // Also after the key has come back and has been removed again.
    keys.serve(&[removed.jwk("removed"), old.jwk("old")]);
    server.signal("HUP");
    let token = invented(&removed, "removed", 20);
    eventually("the key is back", || attempt(&server, &token).0 == 101);
    keys.serve(&[removed.jwk("other"), old.jwk("old")]);
    server.signal("HUP");
    eventually("the key is removed", || attempt(&server, &token).0 == 401);
}

#[test]
fn while_the_key_server_fails_an_unknown_key_is_undecided() {
    let keys = KeyServer::start();
    let [old, new] = [(); 2].map(|()| Issuer::ed25519());
    keys.serve(&[old.jwk("old")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    let (old_token, new_token) = (
        old.token(Some("old"), &claims("8888")),
        new.token(Some("new"), &claims("8888")),
    );
    connect(&server, "/ws/8888", &bearer(&old_token));
    keys.close_without_response();
    for _ in 0..3 {
        assert_rejected(&server, "/ws/8888", &bearer(&new_token), 503, "overloaded");
        connect(&server, "/ws/8888", &bearer(&old_token));
    }
    assert_eq!(keys.request_count(), 2);
    keys.serve(&[new.jwk("new")]);
    eventually("the new key is accepted", || {
        attempt(&server, &new_token).0 == 101
    });
}

#[test]
fn clients_with_a_new_key_wait_for_one_fetch() {
    let keys = KeyServer::start();
    let [old, new] = [(); 2].map(|()| Issuer::ed25519());
    keys.serve(&[old.jwk("old")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    let old_token = old.token(Some("old"), &claims("8888"));
    connect(&server, "/ws/8888", &bearer(&old_token));
    let mut held = keys.hold();
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            let mut raw = Raw::open(&server);
            let token = invented(&new, "new", n);
            raw.write(handshake("/ws/8888", &bearer(&token)).as_bytes());
            raw
        })
        .collect();
    // They delay nobody else.
    connect(&server, "/ws/8888", &bearer(&old_token));
    *held = Some(answer_with(&[new.jwk("new")]));
    drop(held);
    for mut raw in waiting {
        assert!(raw.head().starts_with("HTTP/1.1 101 "));
    }
    assert_eq!(keys.request_count(), 2);
}

#[test]
fn clients_that_wait_for_a_fetch_do_not_delay_a_shutdown() {
    let keys = KeyServer::start();
    let [old, new] = [(); 2].map(|()| Issuer::ed25519());
    keys.serve(&[old.jwk("old")]);
    let mut server = Server::start(&["--jwks", &keys.url()]);
    connect(
        &server,
        "/ws/8888",
        &bearer(&old.token(Some("old"), &claims("8888"))),
    );
    let held = keys.hold();
    let mut waiting: Vec<_> = (0..3)
        .map(|n| {
            let mut raw = Raw::open(&server);
            let token = invented(&new, "new", n);
            raw.write(handshake("/ws/8888", &bearer(&token)).as_bytes());
            raw
        })
        .collect();
    // Processed after the handshakes have arrived.
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
    server.signal("TERM");
    for raw in &mut waiting {
        let response = raw.head();
        assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    }
    assert!(server.wait(DEADLINE).success());
    assert!(!server.log().contains("did not end in time"));
    drop(held);
}

#[test]
fn tokens_that_a_newer_set_cannot_verify_cause_no_fetch() {
    let keys = KeyServer::start();
    let [old, stranger] = [(); 2].map(|()| Issuer::ed25519());
    keys.serve(&[old.jwk("old")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    connect(
        &server,
        "/ws/8888",
        &bearer(&old.token(Some("old"), &claims("8888"))),
    );
    // The set is never used for a secret (HS256).
    let header = json!({"alg": "HS256", "kid": "other"});
    let secret = signed(&header, &claims("8888"), |text| {
        hmac_of(hmac::HMAC_SHA256, b"secret", text)
    });
    for (token, why) in [
        (
            stranger.token(Some("old"), &claims("8888")),
            "not signed with a known key",
        ),
        (
            stranger.token(None, &claims("8888")),
            "not signed with a known key",
        ),
        (
            Issuer::p256().token(Some("old"), &claims("8888")),
            "no key is known",
        ),
        (secret, "no key is known"),
    ] {
        assert_unauthorized(&server, &token, why);
    }
    assert_eq!(keys.request_count(), 1);
}

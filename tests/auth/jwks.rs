//! Key sets from a URL (`--jwks`): fetching, refreshing, TLS, failures.

use std::fs;
use std::sync::Arc;

use crate::helpers::{DMWIRE, assert_rejected, assert_unauthorized, bearer, connect};
use crate::key_server::KeyServer;
use crate::support::tokens::{Issuer, claims};
use crate::support::{Folder, Raw, Server, eventually};

#[test]
fn a_token_with_an_unknown_key_causes_one_refresh_of_the_key_set() {
    let keys = KeyServer::start();
    let issuers = [Issuer::p256(), Issuer::p256(), Issuer::p256()];
    keys.serve(&[issuers[0].jwk("0")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    let token = |n: usize| issuers[n].token(Some(&n.to_string()), &claims("8888"));
    connect(&server, "/ws/8888", &bearer(&token(0)));
    assert_eq!(keys.request_count(), 1);
    // The first token with an unknown key waits for the refresh.
    keys.serve(&[issuers[0].jwk("0"), issuers[1].jwk("1")]);
    connect(&server, "/ws/8888", &bearer(&token(1)));
    assert_eq!(keys.request_count(), 2);
    // Another one soon after it does not, because anybody can invent key names; its client has to come back.
    keys.serve(&[issuers[2].jwk("2")]);
    assert_rejected(&server, "/ws/8888", &bearer(&token(2)), 503, "overloaded");
    connect(&server, "/ws/8888", &bearer(&token(0)));
    assert_eq!(keys.request_count(), 2);
    // SIGHUP always causes a refresh.
    server.signal("HUP");
    eventually("the key set is fetched", || keys.request_count() == 3);
    server.wait_for_log("SIGHUP");
    eventually("the new key is accepted", || {
        let answer = Raw::upgrade_with(
            &server,
            "/ws/8888",
            &format!("{DMWIRE}{}", bearer(&token(2))),
        )
        .0
        .next();
        answer.is_some_and(|frame| frame.json()["type"] == "welcome")
    });
    assert_unauthorized(&server, &token(0), "no key is known");
}

#[test]
fn a_key_set_is_fetched_over_https_from_a_server_with_a_trusted_certificate() {
    let (keys, certificate) = KeyServer::over_tls();
    let issuer = Issuer::p256();
    keys.serve(&[issuer.jwk("1")]);
    let folder = Arc::new(Folder::new());
    fs::write(folder.0.join("ca.pem"), certificate).expect("a file can be written");
    let url = keys.url().replace("http:", "https:");
    let token = issuer.token(Some("1"), &claims("8888"));
    let server = Server::start_in(&folder, &["--jwks", &url, "--jwks-ca", "ca.pem"]);
    connect(&server, "/ws/8888", &bearer(&token));
    // Without `--jwks-ca` the certificate is not trusted.
    let server = Server::start(&["--jwks", &url]);
    assert_rejected(&server, "/ws/8888", &bearer(&token), 503, "overloaded");
    server.wait_for_log("UnknownIssuer");
}

#[test]
fn a_key_set_is_refreshed_and_kept_while_its_server_fails() {
    let keys = KeyServer::start();
    let (old, new) = (Issuer::ed25519(), Issuer::ed25519());
    let server = Server::start(&["--jwks", &keys.url(), "--jwks-refresh-seconds", "1"]);
    // Until the first fetch succeeds, tokens are answered with a temporary error.
    assert_rejected(
        &server,
        "/ws/8888",
        &bearer(&old.token(None, &claims("8888"))),
        503,
        "overloaded",
    );
    let line = server.wait_for_log("cannot fetch the keys for tokens");
    assert!(
        line.contains("none is known yet") && !line.contains("kept"),
        "{line}"
    );
    keys.serve(&[old.jwk("old")]);
    server.wait_for_log("keys for tokens keys=1");
    connect(
        &server,
        "/ws/8888",
        &bearer(&old.token(Some("old"), &claims("8888"))),
    );
    // A closed connection, an error, invalid JSON, a response that is too large, a redirection, an empty set.
    let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(300 * 1024));
    let elsewhere = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\n\r\n", keys.url());
    let empty = "HTTP/1.1 200 OK\r\n\r\n{\"keys\":[]}";
    for answer in [
        None,
        Some("HTTP/1.1 500 No\r\n\r\n"),
        Some("HTTP/1.1 200 OK\r\n\r\n{"),
        Some(&*large),
        Some(&*elsewhere),
        Some(empty),
    ] {
        match answer {
            None => keys.close_without_response(),
            Some(answer) => keys.respond_with(answer),
        }
        // The first fetch may have started before the response was changed.
        for _ in 0..2 {
            let before = keys.request_count();
            server.signal("HUP");
            eventually("the key set is fetched", || keys.request_count() > before);
        }
        connect(
            &server,
            "/ws/8888",
            &bearer(&old.token(Some("old"), &claims("8888"))),
        );
    }
    let line = server.wait_for_log("the known ones stay in use");
    assert!(line.contains("kept=1"), "{line}");
    keys.serve(&[new.jwk("new"), new.jwk("again")]);
    server.wait_for_log("keys for tokens keys=2");
    connect(
        &server,
        "/ws/8888",
        &bearer(&new.token(Some("new"), &claims("8888"))),
    );
    assert_unauthorized(
        &server,
        &old.token(Some("old"), &claims("8888")),
        "no key is known",
    );
}

//! Keys from settings and files: algorithms, several keys, reloading.

use std::fs;
use std::sync::Arc;

use ring::hmac;
use serde_json::json;

use crate::helpers::{assert_not_logged, assert_rejected, assert_unauthorized, bearer, connect};
use crate::support::tokens::{self, Issuer, SECRET, claims, hmac_of, hs256, signed, valid_token};
use crate::support::{Folder, Raw, Server, client_frame, eventually, handshake};

#[test]
fn a_token_is_verified_only_with_the_algorithm_of_its_key() {
    let folder = Arc::new(Folder::new());
    let issuers = [Issuer::rsa(&folder.0), Issuer::p256(), Issuer::ed25519()];
    for issuer in &issuers {
        fs::write(folder.0.join("issuer.pem"), &issuer.pem).expect("a file can be written");
        let server = Server::start_in(&folder, &["--jwt-key", "issuer.pem"]);
        let claims = claims("8888");
        connect(&server, "/ws/8888", &bearer(&issuer.token(None, &claims)));
        // A static key has no id, so the `kid` of the token is ignored.
        connect(
            &server,
            "/ws/8888",
            &bearer(&issuer.token(Some("k1"), &claims)),
        );
        // The public key as an HMAC secret, in each of its encodings.
        let der: String = issuer
            .pem
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        for known in [&issuer.pem, issuer.pem.trim_end(), &der, ""] {
            assert_unauthorized(
                &server,
                &hs256(known, &claims),
                "no key is known for the token's",
            );
        }
        for other in &issuers {
            let header = json!({"alg": issuer.algorithm()});
            let token = signed(&header, &claims, |text| other.sign(text));
            if other.pem != issuer.pem {
                assert_unauthorized(&server, &token, "not signed with a known key");
            }
            let header = json!({"alg": other.algorithm()});
            let token = signed(&header, &claims, |text| issuer.sign(text));
            if other.algorithm() != issuer.algorithm() {
                assert_unauthorized(&server, &token, "no key is known for the token's");
            }
        }
    }
}

#[test]
fn keys_are_rotated_by_configuring_both() {
    let folder = Arc::new(Folder::new());
    let (old, new) = (Issuer::p256(), Issuer::p256());
    fs::write(
        folder.0.join("both.pem"),
        format!("# old, new\n{}{}", old.pem, new.pem),
    )
    .expect("a file can be written");
    fs::write(
        folder.0.join("next.secret"),
        "the next secret, of thirty-two bytes\r\n",
    )
    .expect("a file can be written");
    let arguments = [
        "--jwt-key",
        "both.pem",
        "--jwt-secret",
        SECRET,
        "--jwt-secret",
        "short",
        "--jwt-secret-file",
        "next.secret",
    ];
    let server = Server::start_in(&folder, &arguments);
    server.wait_for_log("fewer than 32 bytes");
    for token in [
        old.token(None, &claims("a")),
        new.token(Some("2"), &claims("a")),
        valid_token("a"),
        hs256("short", &claims("a")),
        hs256("the next secret, of thirty-two bytes", &claims("a")),
    ] {
        connect(&server, "/ws/a", &bearer(&token));
    }
    let third = Issuer::p256().token(None, &claims("a"));
    assert_unauthorized(&server, &third, "not signed with a known key");
    assert_not_logged(&server, &[SECRET, "next secret"]);
}

#[test]
fn key_files_are_reloaded_on_sighup() {
    let folder = Arc::new(Folder::new());
    let (old, new) = (Issuer::p256(), Issuer::ed25519());
    let (secret, key) = (folder.0.join("a.secret"), folder.0.join("a.pem"));
    let put =
        |file: &std::path::Path, text: &str| fs::write(file, text).expect("a file can be written");
    put(&secret, SECRET);
    put(&key, &old.pem);
    let server = Server::start_in(
        &folder,
        &["--jwt-secret-file", "a.secret", "--jwt-key", "a.pem"],
    );
    let (mut session, _) =
        Raw::upgrade_with(&server, "/ws/a", &bearer(&old.token(None, &claims("a"))));
    session.expect("welcome");
    session.expect("synced");
    put(&secret, "another secret, of thirty-two bytes");
    put(&key, &new.pem);
    server.signal("HUP");
    server.wait_for_log(
        "SIGHUP: reloading: keys for tokens; a change of other settings needs a restart",
    );
    server.wait_for_log("reloaded the files with secrets and keys files=2");
    let renewed = bearer(&new.token(None, &claims("a")));
    let admitted = |more: &str| {
        server
            .http(&handshake("/ws/a%00", more))
            .starts_with("HTTP/1.1 400 ")
    };
    eventually("the new key is accepted", || admitted(&renewed));
    assert!(admitted(&bearer(&hs256(
        "another secret, of thirty-two bytes",
        &claims("a")
    ))));
    for token in [old.token(None, &claims("8888")), valid_token("8888")] {
        assert_rejected(&server, "/ws/8888", &bearer(&token), 401, "unauthorized");
    }
    // Open sessions stay, and an invalid file does not replace the keys.
    session.write(&client_frame(0x81, br#"{"type":"ping"}"#));
    session.expect("pong");
    put(&key, "nothing");
    server.signal("HUP");
    server.wait_for_log("stay in use: jwt_key: a.pem contains no public key");
    connect(&server, "/ws/a", &renewed);
}

#[test]
fn a_key_set_file_is_reloaded_on_sighup() {
    let folder = Arc::new(Folder::new());
    let issuers = [Issuer::rsa(&folder.0), Issuer::p256(), Issuer::ed25519()];
    let mut keys = vec![
        json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}),
        json!({"kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB"}),
        json!("no key"),
    ];
    keys.extend(
        ["r", "p", "e"]
            .iter()
            .zip(&issuers)
            .map(|(kid, issuer)| issuer.jwk(kid)),
    );
    let path = folder.0.join("keys.json");
    fs::write(&path, tokens::jwk_set(&keys)).expect("a file can be written");
    let server = Server::start_in(&folder, &["--jwks", "keys.json"]);
    for (kid, issuer) in ["r", "p", "e"].iter().zip(&issuers) {
        connect(
            &server,
            "/ws/a",
            &bearer(&issuer.token(Some(kid), &claims("a"))),
        );
        connect(&server, "/ws/a", &bearer(&issuer.token(None, &claims("a"))));
    }
    // A key is selected by its own id only, and a secret among public keys is ignored.
    assert_unauthorized(
        &server,
        &issuers[1].token(Some("e"), &claims("8888")),
        "no key is known",
    );
    let header = json!({"alg": "HS256", "kid": "secret"});
    let token = signed(&header, &claims("8888"), |text| {
        hmac_of(hmac::HMAC_SHA256, b"secret", text)
    });
    assert_unauthorized(&server, &token, "no key is known");

    // A reload is logged, also if nothing has changed.
    server.signal("HUP");
    server.wait_for_log("loaded the keys for tokens keys=3");
    let new = Issuer::p256();
    fs::write(&path, tokens::jwk_set(&[new.jwk("n")])).expect("a file can be written");
    server.signal("HUP");
    server.wait_for_log("keys for tokens keys=1");
    connect(
        &server,
        "/ws/a",
        &bearer(&new.token(Some("n"), &claims("a"))),
    );
    assert_unauthorized(
        &server,
        &issuers[1].token(Some("p"), &claims("8888")),
        "no key is known",
    );
    // An invalid file does not replace the keys.
    fs::write(&path, "{").expect("a file can be written");
    server.signal("HUP");
    server.wait_for_log("the known ones stay in use");
    connect(
        &server,
        "/ws/a",
        &bearer(&new.token(Some("n"), &claims("a"))),
    );
}

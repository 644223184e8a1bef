//! Key sets from a URL (`--jwks`): fetching, refreshing, TLS, failures.

use crate::helpers::{DMWIRE, bearer, refused, unauthorized, welcomed};
use crate::support::tokens::{self, Issuer, claims};
use crate::support::{Folder, Raw, Server, eventually};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio_rustls::rustls;

/// Somebody else's server of keys.
struct KeyServer {
    address: SocketAddr,
    /// The whole answer; `None`: it hangs up.
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    fn start() -> Self {
        Self::over(|stream| stream)
    }

    /// Behind TLS; gives its certificate, too.
    fn over_tls() -> (Self, String) {
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that go with the provider")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let server = Self::over(move |stream| {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            StreamOwned::new(connection, stream)
        });
        (server, made.cert.pem())
    }

    fn over<T: Read + Write>(wrap: impl Fn(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self {
            address: listener.local_addr().expect("it is bound"),
            answer: Arc::default(),
            asked: Arc::default(),
        };
        let (answer, asked) = (server.answer.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok).map(wrap) {
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(read @ 1..) => request.extend_from_slice(&piece[..read]),
                        _ => break,
                    }
                }
                let answer = answer.lock().expect("it is whole").clone();
                if let Some(answer) = answer {
                    let _ = stream.write_all(answer.as_bytes());
                    let _ = stream.flush();
                }
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/keys?v=1", self.address)
    }

    fn give(&self, keys: &[Value]) {
        let set = tokens::jwk_set(keys);
        self.answer_with(&format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{set}",
            set.len()
        ));
    }

    fn answer_with(&self, answer: &str) {
        *self.answer.lock().expect("it is whole") = Some(answer.to_owned());
    }

    fn hang_up(&self) {
        *self.answer.lock().expect("it is whole") = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn a_set_of_keys_elsewhere_is_fetched_once_more_for_a_token_of_an_unknown_key() {
    let keys = KeyServer::start();
    let issuers = [Issuer::p256(), Issuer::p256(), Issuer::p256()];
    keys.give(&[issuers[0].jwk("0")]);
    let server = Server::start(&["--jwks", &keys.url()]);
    let token = |n: usize| issuers[n].token(Some(&n.to_string()), &claims("8888"));
    welcomed(&server, "/ws/8888", &bearer(&token(0)));
    assert_eq!(keys.asked(), 1);
    // The first token of a new key is waited with.
    keys.give(&[issuers[0].jwk("0"), issuers[1].jwk("1")]);
    welcomed(&server, "/ws/8888", &bearer(&token(1)));
    assert_eq!(keys.asked(), 2);
    // Another one within the same interval is not: anybody can make up names of keys.
    keys.give(&[issuers[2].jwk("2")]);
    unauthorized(&server, &token(2), "no key is known");
    welcomed(&server, "/ws/8888", &bearer(&token(0)));
    assert_eq!(keys.asked(), 2);
    // The operator has the last word.
    server.signal("HUP");
    eventually("it was asked", || keys.asked() == 3);
    server.wait_for_log("SIGHUP");
    eventually("the new key is taken", || {
        let answer = Raw::upgrade_with(
            &server,
            "/ws/8888",
            &format!("{DMWIRE}{}", bearer(&token(2))),
        )
        .0
        .next();
        answer.is_some_and(|frame| frame.json()["type"] == "welcome")
    });
    unauthorized(&server, &token(0), "no key is known");
}

#[test]
fn a_set_of_keys_comes_by_https_from_who_is_certified_to_have_it() {
    let (keys, certificate) = KeyServer::over_tls();
    let issuer = Issuer::p256();
    keys.give(&[issuer.jwk("1")]);
    let folder = Arc::new(Folder::new());
    fs::write(folder.0.join("ca.pem"), certificate).expect("a file can be written");
    let url = keys.url().replace("http:", "https:");
    let token = issuer.token(Some("1"), &claims("8888"));
    let server = Server::start_in(&folder, &["--jwks", &url, "--jwks-ca", "ca.pem"]);
    welcomed(&server, "/ws/8888", &bearer(&token));
    // Nobody vouches for it to a server that has not been told.
    let server = Server::start(&["--jwks", &url]);
    refused(&server, "/ws/8888", &bearer(&token), 503, "overloaded");
    server.wait_for_log("UnknownIssuer");
}

#[test]
fn a_set_of_keys_is_refreshed_and_survives_its_server() {
    let keys = KeyServer::start();
    let (old, new) = (Issuer::ed25519(), Issuer::ed25519());
    let server = Server::start(&["--jwks", &keys.url(), "--jwks-refresh-seconds", "1"]);
    // It was not there to begin with: nobody can be told from anybody, but that will pass.
    refused(
        &server,
        "/ws/8888",
        &bearer(&old.token(None, &claims("8888"))),
        503,
        "overloaded",
    );
    keys.give(&[old.jwk("old")]);
    server.wait_for_log("keys for tokens keys=1");
    welcomed(
        &server,
        "/ws/8888",
        &bearer(&old.token(Some("old"), &claims("8888"))),
    );
    // Gone, broken, too large, elsewhere, none at all.
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
            None => keys.hang_up(),
            Some(answer) => keys.answer_with(answer),
        }
        // The first may have been under way with the answer before.
        for _ in 0..2 {
            let before = keys.asked();
            server.signal("HUP");
            eventually("it was asked", || keys.asked() > before);
        }
        welcomed(
            &server,
            "/ws/8888",
            &bearer(&old.token(Some("old"), &claims("8888"))),
        );
    }
    server.wait_for_log("those known before stay");
    keys.give(&[new.jwk("new"), new.jwk("again")]);
    server.wait_for_log("keys for tokens keys=2");
    welcomed(
        &server,
        "/ws/8888",
        &bearer(&new.token(Some("new"), &claims("8888"))),
    );
    unauthorized(
        &server,
        &old.token(Some("old"), &claims("8888")),
        "no key is known",
    );
}

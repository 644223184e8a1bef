//! Who may come in: tokens, in every carrier and from every kind of key, and those that are refused (PROTOCOL sections 2, 8
//! and 10).

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::tokens::{self, Issuer, SECRET, claims, good, hmac_of, hs256, now, signed};
use crate::support::{
    Client, Folder, Raw, Server, client_frame, dmwire, eventually, handshake, json_answer, to,
};
use ring::hmac;
use serde_json::{Value, json};

use tokio_rustls::rustls;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const DMWIRE: &str = "Sec-WebSocket-Protocol: dmwire.v1\r\n";

/// A way for a token to travel: what goes behind the path, and the header lines.
type Carrier = fn(&str) -> (String, String);

const CARRIERS: [Carrier; 4] = [
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

/// A server that takes tokens signed with [`SECRET`].
fn asking(more: &[&str]) -> Server {
    Server::start(&[&["--jwt-secret", SECRET], more].concat())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Connects and gives `welcome`.
fn welcomed(server: &Server, path: &str, more: &str) -> Value {
    Raw::admitted(server, path, more).0.expect("welcome")
}

/// Refused in both forms: as an HTTP answer, and as a `goodbye` where `dmwire.v1` is offered. Gives the words.
fn refused(server: &Server, path: &str, more: &str, status: u16, code: &str) -> [String; 2] {
    let close = match status {
        503 => 1013,
        status => 4000 + status,
    };
    let plain = more.replace(
        "Sec-WebSocket-Protocol: dmwire.v1, ",
        "Sec-WebSocket-Protocol: ",
    );
    let mut answer = String::new();
    // A `bearer.` subprotocol alone is another mistake.
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
    let (mut raw, head) = Raw::admitted(server, path, &offered);
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
    raw.assert_end();
    [answer, goodbye.to_string()]
}

/// Refused as unauthorized, and the log says why.
fn unauthorized(server: &Server, token: &str, why: &str) {
    for carrier in [CARRIERS[0], CARRIERS[2]] {
        let (query, headers) = carrier(token);
        for said in refused(
            server,
            &format!("/ws/8888{query}"),
            &headers,
            401,
            "unauthorized",
        ) {
            assert!(token.is_empty() || !said.contains(token), "{said}");
        }
    }
    server.wait_for_log(why);
}

fn assert_keeps(server: &Server, secrets: &[&str]) {
    let log = server.log();
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn a_token_opens_its_users_session_in_every_carrier() {
    let server = asking(&[]);
    let token = good("8888");
    for carrier in CARRIERS {
        let (query, headers) = carrier(&token);
        for path in ["/ws/8888", "/ws", "/ws/%38888"] {
            assert_eq!(
                welcomed(&server, &format!("{path}{query}"), &headers)["user_id"],
                "8888"
            );
        }
        Raw::admitted(&server, &format!("/echo{query}"), &headers);
    }
    // Percent-encoded, among others, and with what else a session takes.
    let query = format!(
        "/ws/8888?device=phone&%74oken={}&since=0",
        token.replace('.', "%2E")
    );
    assert_eq!(welcomed(&server, &query, "")["device"], "phone");
    // What another carrier holds that does not count is not looked at.
    let basic = "Authorization: Basic dXNlcjpwYXNz\r\n";
    welcomed(&server, &format!("/ws/8888?token={token}"), basic);
    assert_keeps(
        &server,
        &[&token, &token[token.len() - 20..], SECRET, "Bearer"],
    );
}

#[test]
fn a_token_of_another_user_is_forbidden_in_every_carrier() {
    let server = asking(&[]);
    for carrier in CARRIERS {
        let (query, headers) = carrier(&good("6666"));
        for user in ["8888", "6666x", "666", "%36666%2B"] {
            refused(
                &server,
                &format!("/ws/{user}{query}"),
                &headers,
                403,
                "forbidden",
            );
        }
        assert_eq!(
            welcomed(&server, &format!("/ws/6666{query}"), &headers)["user_id"],
            "6666"
        );
    }
    server.wait_for_log("the token belongs to another user");
}

#[test]
fn without_a_token_there_is_no_session_and_no_echo() {
    let server = asking(&["--log-format", "json"]);
    for path in [
        "/ws/8888",
        "/ws",
        "/echo",
        "/ws/8888?token",
        "/ws/a%20b",
        "/ws/8888?since=x",
    ] {
        refused(&server, path, "", 401, "unauthorized");
    }
    refused(
        &server,
        "/ws/8888",
        "Authorization: Basic dXNlcjpwYXNz\r\n",
        401,
        "unauthorized",
    );
    for path in [
        "/",
        "/healthz",
        "/schema",
        "/schema/client-frame.schema.json",
    ] {
        assert!(server.get(path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert_eq!(json_answer(&server.get("/ws/8888")).0, 426);
    server.wait_for_log(r#""why":"no token""#);
    // With one, what else is wrong is said.
    let headers = bearer(&good("8888"));
    for path in ["/ws/a%20b", "/ws/", "/ws/8888?since=x"] {
        refused(&server, path, &headers, 400, "invalid_request");
    }
}

#[test]
fn claims_that_do_not_hold_are_unauthorized_and_the_log_says_why() {
    let rules = [
        "--jwt-issuer",
        "https://id.example",
        "--jwt-audience",
        "chat,other",
    ];
    let server = asking(&rules);
    let base =
        json!({"sub": "8888", "exp": now() + 3600, "iss": "https://id.example", "aud": "chat"});
    let with = |claim: &str, value: Value| {
        let mut claims = base.clone();
        claims[claim] = value;
        claims
    };
    let without = |claim: &str| {
        let mut claims = base.clone();
        claims.as_object_mut().expect("an object").remove(claim);
        claims
    };
    welcomed(&server, "/ws/8888", &bearer(&hs256(SECRET, &base)));
    for aud in [json!(["x", "other"]), json!(["chat"])] {
        welcomed(
            &server,
            "/ws/8888",
            &bearer(&hs256(SECRET, &with("aud", aud))),
        );
    }
    for (claims, why) in [
        (with("exp", json!(now() - 3)), "the token has expired"),
        (with("exp", json!(0)), "the token has expired"),
        (
            with("exp", json!("9999999999")),
            "no `exp`, or one that is no number",
        ),
        (with("exp", json!(-1)), "no `exp`"),
        (with("exp", Value::Null), "no `exp`"),
        (without("exp"), "no `exp`"),
        (with("nbf", json!(now() + 60)), "not valid yet"),
        (with("nbf", json!("later")), "claims cannot be read"),
        (with("iss", json!("https://evil.example")), "another issuer"),
        (without("iss"), "no `iss`"),
        (
            with("iss", json!(["https://id.example", "x"])),
            "another issuer",
        ),
        (with("aud", json!("elsewhere")), "another audience"),
        (with("aud", json!(["elsewhere"])), "another audience"),
        (with("aud", json!([])), "another audience"),
        (without("aud"), "no `aud`"),
        (without("sub"), "no `sub`"),
        (with("sub", json!(8888)), "no `sub`, or one that is no text"),
        (with("sub", json!("")), "`sub` is no user id"),
        (with("sub", json!("8888\r\nx: y")), "`sub` is no user id"),
        (with("sub", json!("a".repeat(65))), "`sub` is no user id"),
        (json!([]), "claims cannot be read"),
    ] {
        unauthorized(&server, &hs256(SECRET, &claims), why);
    }
    assert_keeps(&server, &[SECRET, "evil.example", "elsewhere"]);
}

#[test]
fn what_is_not_signed_as_it_should_be_is_no_token() {
    let server = asking(&[]);
    let base = claims("8888");
    let hs = |header: Value, algorithm| {
        signed(&header, &base, |text| {
            hmac_of(algorithm, SECRET.as_bytes(), text)
        })
    };
    let token = hs256(SECRET, &base);
    let (message, _) = token.rsplit_once('.').expect("three parts");
    let header = "header cannot be read, or names an algorithm that is not taken";
    let key = "no key is known for the token's `kid` and `alg`";
    let signature = "signature is of no known key";
    for (token, why) in [
        (
            hs256("another secret, of thirty-two bytes", &base),
            signature,
        ),
        (format!("{message}."), signature),
        (format!("{message}.AAAA"), signature),
        (
            signed(&json!({"alg": "none"}), &base, |_| Vec::new()),
            header,
        ),
        (
            signed(&json!({"alg": "None", "typ": "JWT"}), &base, |_| Vec::new()),
            header,
        ),
        (signed(&json!({"alg": ""}), &base, |_| Vec::new()), header),
        (signed(&json!({}), &base, |_| Vec::new()), header),
        (hs(json!({"alg": "HS512"}), hmac::HMAC_SHA512), key),
        (hs(json!({"alg": "HS384"}), hmac::HMAC_SHA384), key),
        (hs(json!({"alg": "RS256"}), hmac::HMAC_SHA256), key),
        (
            hs(json!({"alg": "HS256", "crit": ["exp"]}), hmac::HMAC_SHA256),
            "has `crit`",
        ),
        ("a.b.c".into(), header),
        ("....".into(), header),
        ("nothing".into(), "three parts"),
        (String::new(), "three parts"),
        (format!("{token}.x"), header),
        ("x".repeat(8193), "too long"),
    ] {
        unauthorized(&server, &token, why);
    }
    let tail = &token[token.len() - 20..];
    assert_keeps(&server, &[&token, tail, SECRET]);
    // The same by a client of which not even the header is text.
    refused(
        &server,
        "/ws/8888",
        "Authorization: Bearer \u{e9}\r\n",
        401,
        "unauthorized",
    );
}

#[test]
fn a_token_that_is_meant_for_somebody_needs_a_server_that_says_who_it_is() {
    let server = asking(&[]);
    let token = hs256(
        SECRET,
        &json!({"sub": "8888", "exp": now() + 60, "aud": "shop"}),
    );
    unauthorized(&server, &token, "--jwt-audience is not set");
    // Whose word it is does not matter where nobody has said that it does.
    let token = hs256(
        SECRET,
        &json!({"sub": "8888", "exp": now() + 60, "iss": "anybody"}),
    );
    welcomed(&server, "/ws/8888", &bearer(&token));
}

#[test]
fn the_leeway_is_for_both_ends_of_a_tokens_life() {
    let server = asking(&["--jwt-leeway-seconds", "120"]);
    for claims in [
        json!({"sub": "a", "exp": now() - 60}),
        json!({"sub": "a", "exp": now() + 60, "nbf": now() + 60}),
        json!({"sub": "a", "exp": now() as f64 + 0.5}),
        json!({"sub": "a", "exp": 1e18}),
    ] {
        welcomed(&server, "/ws/a", &bearer(&hs256(SECRET, &claims)));
    }
    let late = json!({"sub": "a", "exp": now() - 121});
    refused(
        &server,
        "/ws/a",
        &bearer(&hs256(SECRET, &late)),
        401,
        "unauthorized",
    );
}

#[test]
fn of_several_tokens_the_header_counts_then_the_subprotocol_then_the_address() {
    let server = asking(&[]);
    let (good, bad) = (good("8888"), "x.y.z");
    for (header, protocol, query, let_in) in [
        (Some(&*good), Some(bad), Some(bad), true),
        (Some(bad), Some(&*good), Some(&*good), false),
        (None, Some(&*good), Some(bad), true),
        (None, Some(bad), Some(&*good), false),
        (None, None, Some(&*good), true),
        (Some(""), None, Some(&*good), false),
    ] {
        let mut headers = match protocol {
            Some(token) => format!("Sec-WebSocket-Protocol: dmwire.v1, bearer.{token}\r\n"),
            None => DMWIRE.to_owned(),
        };
        if let Some(token) = header {
            headers.push_str(&bearer(token));
        }
        let path = format!("/ws/8888?token={}", query.unwrap_or_default());
        let (mut raw, _) = Raw::admitted(&server, &path, &headers);
        raw.expect(if let_in { "welcome" } else { "goodbye" });
    }
    // Two in one place are one too many.
    let twice = bearer(&good).repeat(2);
    refused(&server, "/ws/8888", &twice, 400, "invalid_request");
    let twice = format!("/ws/8888?token={good}&token={good}");
    refused(&server, &twice, "", 400, "invalid_request");
    let twice = format!("Sec-WebSocket-Protocol: dmwire.v1, bearer.{good}, bearer.{bad}\r\n");
    refused(&server, "/ws/8888", &twice, 400, "invalid_request");
    let alone = format!("Sec-WebSocket-Protocol: bearer.{good}\r\n");
    let (status, body) = json_answer(&server.http(&handshake("/ws/8888", &alone)));
    assert_eq!((status, &body["code"]), (400, &json!("invalid_request")));
}

#[test]
fn tokens_in_the_address_can_be_turned_off() {
    let server = asking(&["--query-token", "false"]);
    let token = good("8888");
    let [answer, _] = refused(
        &server,
        &format!("/ws/8888?token={token}"),
        "",
        401,
        "unauthorized",
    );
    assert!(answer.contains("query_token"), "{answer}");
    welcomed(&server, &format!("/ws/8888?token={token}"), &bearer(&token));
    assert_keeps(&server, &[&token]);
}

#[test]
fn a_token_is_taken_by_the_algorithm_of_its_key_alone() {
    let folder = Arc::new(Folder::new());
    let issuers = [Issuer::rsa(&folder.0), Issuer::p256(), Issuer::ed25519()];
    for issuer in &issuers {
        fs::write(folder.0.join("issuer.pem"), &issuer.pem).expect("a file can be written");
        let server = Server::start_in(&folder, &["--jwt-key", "issuer.pem"]);
        let claims = claims("8888");
        welcomed(&server, "/ws/8888", &bearer(&issuer.token(None, &claims)));
        // A static key has no name, so that of the token does not matter.
        welcomed(
            &server,
            "/ws/8888",
            &bearer(&issuer.token(Some("k1"), &claims)),
        );
        // Signed with what everybody knows: the public key, in each way that it may be written.
        let der: String = issuer
            .pem
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        for known in [&issuer.pem, issuer.pem.trim_end(), &der, ""] {
            unauthorized(
                &server,
                &hs256(known, &claims),
                "no key is known for the token's",
            );
        }
        for other in &issuers {
            let header = json!({"alg": issuer.algorithm()});
            let token = signed(&header, &claims, |text| other.sign(text));
            if other.pem != issuer.pem {
                unauthorized(&server, &token, "signature is of no known key");
            }
            let header = json!({"alg": other.algorithm()});
            let token = signed(&header, &claims, |text| issuer.sign(text));
            if other.algorithm() != issuer.algorithm() {
                unauthorized(&server, &token, "no key is known for the token's");
            }
        }
    }
}

#[test]
fn keys_are_rotated_by_having_two_of_them() {
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
    let said = [
        "--jwt-key",
        "both.pem",
        "--jwt-secret",
        SECRET,
        "--jwt-secret",
        "short",
        "--jwt-secret-file",
        "next.secret",
    ];
    let server = Server::start_in(&folder, &said);
    server.wait_for_log("fewer than 32 bytes");
    for token in [
        old.token(None, &claims("a")),
        new.token(Some("2"), &claims("a")),
        good("a"),
        hs256("short", &claims("a")),
        hs256("the next secret, of thirty-two bytes", &claims("a")),
    ] {
        welcomed(&server, "/ws/a", &bearer(&token));
    }
    let third = Issuer::p256().token(None, &claims("a"));
    unauthorized(&server, &third, "signature is of no known key");
    assert_keeps(&server, &[SECRET, "next secret"]);
}

#[test]
fn files_with_keys_are_read_again_on_sighup() {
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
    let (mut session, _) = Raw::admitted(&server, "/ws/a", &bearer(&old.token(None, &claims("a"))));
    session.expect("welcome");
    session.expect("synced");
    put(&secret, "another secret, of thirty-two bytes");
    put(&key, &new.pem);
    server.signal("HUP");
    let renewed = bearer(&new.token(None, &claims("a")));
    let admitted = |more: &str| {
        server
            .http(&handshake("/ws/a%00", more))
            .starts_with("HTTP/1.1 400 ")
    };
    eventually("the new key is taken", || admitted(&renewed));
    assert!(admitted(&bearer(&hs256(
        "another secret, of thirty-two bytes",
        &claims("a")
    ))));
    for token in [old.token(None, &claims("8888")), good("8888")] {
        refused(&server, "/ws/8888", &bearer(&token), 401, "unauthorized");
    }
    // Who is in stays, and what cannot be read takes nothing away.
    session.write(&client_frame(0x81, br#"{"type":"ping"}"#));
    session.expect("pong");
    put(&key, "nothing");
    server.signal("HUP");
    server.wait_for_log("stay as they were: jwt_key: a.pem holds no public key");
    welcomed(&server, "/ws/a", &renewed);
}

#[test]
fn a_file_with_a_set_of_keys_is_read_again_on_sighup() {
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
    fs::write(&path, tokens::set(&keys)).expect("a file can be written");
    let server = Server::start_in(&folder, &["--jwks", "keys.json"]);
    for (kid, issuer) in ["r", "p", "e"].iter().zip(&issuers) {
        welcomed(
            &server,
            "/ws/a",
            &bearer(&issuer.token(Some(kid), &claims("a"))),
        );
        welcomed(&server, "/ws/a", &bearer(&issuer.token(None, &claims("a"))));
    }
    // A key goes by its own name only, and a secret among public keys is none.
    unauthorized(
        &server,
        &issuers[1].token(Some("e"), &claims("8888")),
        "no key is known",
    );
    let header = json!({"alg": "HS256", "kid": "secret"});
    let token = signed(&header, &claims("8888"), |text| {
        hmac_of(hmac::HMAC_SHA256, b"secret", text)
    });
    unauthorized(&server, &token, "no key is known");

    let new = Issuer::p256();
    fs::write(&path, tokens::set(&[new.jwk("n")])).expect("a file can be written");
    server.signal("HUP");
    server.wait_for_log("keys for tokens keys=1");
    welcomed(
        &server,
        "/ws/a",
        &bearer(&new.token(Some("n"), &claims("a"))),
    );
    unauthorized(
        &server,
        &issuers[1].token(Some("p"), &claims("8888")),
        "no key is known",
    );
    // What is no set takes nothing away.
    fs::write(&path, "{").expect("a file can be written");
    server.signal("HUP");
    server.wait_for_log("those known before stay");
    welcomed(
        &server,
        "/ws/a",
        &bearer(&new.token(Some("n"), &claims("a"))),
    );
}

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
        let set = tokens::set(keys);
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
        let answer = Raw::admitted(
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

#[test]
fn a_session_ends_with_its_token_and_who_comes_back_with_a_new_one_loses_nothing() {
    let server = asking(&["--jwt-leeway-seconds", "0"]);
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
    assert!(now() >= expires, "it was good until then");
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
    // The others of the same user stay for as long as their own tokens hold.
    again.assert_quiet();
    b.assert_quiet();
}

#[test]
fn an_echo_ends_with_its_token() {
    let server = asking(&["--jwt-leeway-seconds", "1"]);
    let token = hs256(SECRET, &json!({"sub": "a", "exp": now() + 3}));
    let (mut raw, _) = Raw::admitted(&server, "/echo", &bearer(&token));
    raw.write(&client_frame(0x81, b"hello"));
    assert_eq!(raw.next().expect("the echo").payload, b"hello");
    let last = raw.next().expect("a close frame");
    assert_eq!((last.opcode, last.close_code()), (8, Some(4401)));
}

#[test]
fn neither_paths_nor_ids_are_a_way_around() {
    let server = asking(&["--base-path", "/demo"]);
    let headers = bearer(&good("8888"));
    for path in [
        "/ws/8888",
        "//demo/ws/8888",
        "/demo//ws/8888",
        "/demo/./ws/8888",
        "/x/../demo/ws/8888",
        "/demo/%77s/8888",
        "/demo%2Fws%2F8888",
        "/DEMO/ws/8888",
        "/demo/ws;/8888",
        "/demo/echo/",
        "/demo/echo%2F",
    ] {
        let (status, body) = json_answer(&server.http(&handshake(path, &headers)));
        assert_eq!(
            (status, &body["code"]),
            (404, &json!("not_found")),
            "{path}"
        );
        let (status, _) = json_answer(&server.http(&handshake(path, "")));
        assert_eq!(status, 404, "{path}");
    }
    for path in [
        "/demo/ws//8888",
        "/demo/ws/8888/",
        "/demo/ws/6666/../8888",
        "/demo/ws/8888%2F..%2F6666",
        "/demo/ws/8888%0d%0aX:y",
        "/demo/ws/8888%00",
        "/demo/ws/%2538888",
    ] {
        refused(&server, path, &headers, 400, "invalid_request");
        refused(&server, path, "", 401, "unauthorized");
    }
    refused(
        &server,
        &format!("/demo/ws/{}", "8".repeat(60_000)),
        &headers,
        400,
        "invalid_request",
    );
    for path in [
        "/demo/ws/%2e%2e",
        "/demo/ws/..",
        "/demo/ws/888%2B",
        "/demo/ws/8888:",
    ] {
        refused(&server, path, &headers, 403, "forbidden");
    }
    // A request too long for HTTP is no request.
    let endless = handshake(
        &format!("/demo/ws/8888?x={}", "x".repeat(300_000)),
        &headers,
    );
    let answer = server.http(&endless);
    assert!(!answer.contains(" 101 "), "{answer}");
    let log = server.log();
    assert!(!log.contains("\nX:y") && !log.contains("panicked"), "{log}");
}

#[test]
fn tokens_stay_out_of_the_log_in_whatever_form_and_level() {
    for form in ["plain", "json"] {
        let server = asking(&["--log-format", form, "--log", "trace"]);
        let (mine, others) = (good("8888"), good("6666"));
        let bad = hs256("another", &claims("8888"));
        for token in [&mine, &others, &bad] {
            for carrier in CARRIERS {
                let (query, headers) = carrier(token);
                let mut raw = Raw::open(&server);
                raw.write(handshake(&format!("/ws/8888{query}"), &headers).as_bytes());
                raw.head();
                server.get(&format!("/ws/8888{query}"));
                server.get(&format!("/healthz{query}"));
            }
        }
        server.wait_for_log("connection opened");
        server.wait_for_log("another user");
        server.wait_for_log("no known key");
        let tails = [&mine, &others, &bad].map(|token| &token[token.len() - 20..]);
        assert_keeps(&server, &tails);
        assert_keeps(&server, &[SECRET]);
    }
}

#[test]
fn the_program_makes_tokens_for_trying_out() {
    let server = asking(&["--jwt-issuer", "me", "--jwt-audience", "chat"]);
    let folder = Folder::new();
    let made = |more: &[&str]| {
        let settings = [
            "token",
            "--jwt-secret",
            SECRET,
            "--jwt-issuer",
            "me",
            "--jwt-audience",
            "chat",
        ];
        dmwire(&folder.0, &[&settings, more].concat())
    };
    let said = made(&["--user", "8888"]);
    assert_eq!(
        (said.code, said.out.lines().count(), &*said.err),
        (Some(0), 1, "signed with the secret of --jwt-secret\n"),
        "{said:?}"
    );
    assert_eq!(
        welcomed(&server, "/ws", &bearer(said.out.trim()))["user_id"],
        "8888"
    );
    let said = made(&["--user", "8888", "--ttl", "1s"]);
    let short = said.out.trim().to_owned();
    eventually("it expires", || {
        let answer = server.http(&handshake("/ws/6666", &bearer(&short)));
        answer.starts_with("HTTP/1.1 401 ")
    });
    for (arguments, code, parts) in [
        (&["--user", "a b"][..], 1, ["user id", "64"]),
        (&["--user", "a", "--ttl", "soon"], 2, ["--ttl", "1h"]),
        (&[], 2, ["--user", "required"]),
    ] {
        let said = made(arguments);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(parts.iter().all(|part| said.err.contains(part)), "{said:?}");
    }
    fs::write(folder.0.join("a.pem"), Issuer::p256().pem).expect("a file can be written");
    for (settings, part) in [
        (&["--jwt-key", "a.pem"][..], "private key"),
        (&[], "nobody needs a token"),
        (&["--open"], "nobody needs a token"),
        (
            &["--listen", "0.0.0.0:1"],
            "dmwire.db-secret is not there yet",
        ),
        (
            &["--listen", "0.0.0.0:1", "--store", "memory:"],
            "in no file",
        ),
    ] {
        let said = dmwire(&folder.0, &[&["token", "--user", "a"], settings].concat());
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{said:?}");
        assert!(said.err.contains(part), "{said:?}");
    }
}

/// The link of `user` that the server has printed: path and query, and the token.
fn link(server: &Server, user: &str, to: &str) -> (String, String) {
    let line = server.wait_for_output(&format!("/?user={user}&to={to}#token="));
    let line = line.trim().to_owned();
    let port = server.address.port();
    let rest = line
        .strip_prefix(&format!("http://localhost:{port}"))
        .expect("a link");
    let (page, token) = rest.split_once("#token=").expect("a token");
    (page.to_owned(), token.to_owned())
}

/// A server that others can reach, with nothing said about authentication.
fn reachable(folder: &Arc<Folder>, more: &[&str]) -> Server {
    let mut server = Server::start_in(folder, &[&["--listen", "0.0.0.0:0"], more].concat());
    server.address.set_ip([127, 0, 0, 1].into());
    server
}

#[test]
fn a_server_that_others_can_reach_makes_a_secret_and_prints_two_links() {
    let folder = Arc::new(Folder::new());
    let mut server = reachable(&folder, &["--base-path", "/demo", "--log", "trace"]);
    let first = [("8888", "6666"), ("6666", "8888")].map(|(user, to)| {
        let (page, token) = link(&server, user, to);
        assert!(
            server.get(&page).contains("bearer."),
            "the page takes tokens"
        );
        let protocols = format!("Sec-WebSocket-Protocol: dmwire.v1, bearer.{token}\r\n");
        let path = format!("/demo/ws/{user}");
        assert_eq!(welcomed(&server, &path, &protocols)["user_id"], user);
        refused(
            &server,
            &format!("/demo/ws/{to}"),
            &protocols,
            403,
            "forbidden",
        );
        token
    });
    refused(&server, "/demo/ws/8888", "", 401, "unauthorized");
    let file = folder.0.join("dmwire.db-secret");
    let secret = fs::read_to_string(&file).expect("the secret is there");
    assert_eq!(secret.trim_end().len(), 43, "256 bits in base64");
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_keeps(
        &server,
        &[
            secret.trim_end(),
            &first[0],
            &first[1],
            &first[0][first[0].len() - 20..],
        ],
    );

    // With the same settings the program makes more of them.
    let said = dmwire(
        &folder.0,
        &["token", "--user", "c", "--listen", "0.0.0.0:1"],
    );
    let third = said.out.trim();
    assert_eq!(
        welcomed(&server, "/demo/ws", &bearer(third))["user_id"],
        "c"
    );

    // The next start has the same secret.
    server.kill();
    drop(server);
    let server = reachable(&folder, &["--base-path", "/demo"]);
    link(&server, "8888", "6666");
    assert_eq!(
        fs::read_to_string(&file).expect("the secret is there"),
        secret
    );
    for (user, token) in [("8888", &*first[0]), ("6666", &*first[1]), ("c", third)] {
        assert_eq!(
            welcomed(&server, "/demo/ws", &bearer(token))["user_id"],
            user
        );
    }
    let names: Vec<_> = fs::read_dir(&folder.0)
        .expect("a folder")
        .flatten()
        .collect();
    let part = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(".part");
    assert!(!names.iter().any(part), "{names:?}");
}

#[test]
fn a_secret_that_is_damaged_is_named_and_kept() {
    let folder = Folder::new();
    let file = folder.0.join("dmwire.db-secret");
    fs::write(&file, "\n").expect("a file can be written");
    let said = dmwire(&folder.0, &["--listen", "0.0.0.0:0"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("dmwire.db-secret") && said.out.is_empty(),
        "{said:?}"
    );
    assert_eq!(fs::read(&file).expect("it is there"), b"\n");
}

#[test]
fn a_server_without_a_store_keeps_its_secret_to_itself() {
    let folder = Arc::new(Folder::new());
    let server = reachable(&folder, &["--store", "memory:"]);
    let (_, token) = link(&server, "6666", "8888");
    assert_eq!(welcomed(&server, "/ws", &bearer(&token))["user_id"], "6666");
    let names: Vec<_> = fs::read_dir(&folder.0)
        .expect("a folder")
        .flatten()
        .collect();
    let secret = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("secret");
    assert!(!names.iter().any(secret), "{names:?}");
    drop(server);
    let other = reachable(&folder, &["--store", "memory:"]);
    refused(&other, "/ws", &bearer(&token), 401, "unauthorized");
}

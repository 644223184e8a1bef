//! Many attempts to open sessions without permission. The response to each kind of attempt and its log line are tested in `auth`
//! and `handshake`.

use std::sync::atomic::{AtomicUsize, Ordering};

use ring::hmac;
use serde_json::{Value, json};

use crate::support::pair::{Pair, exclusive, measure_pair_with_attack, run_threads};
use crate::support::tokens::{Issuer, claims, hmac_of, now, signed};
use crate::support::{Client, Raw, Server, handshake, json_answer};

const THREADS: usize = 4;

/// The places of a token in a request: the query and the header lines.
fn carriers(token: &str) -> [(String, String); 3] {
    [
        (String::new(), format!("Authorization: Bearer {token}\r\n")),
        (
            String::new(),
            format!("Sec-WebSocket-Protocol: dmwire.v1, bearer.{token}\r\n"),
        ),
        (format!("?token={token}"), String::new()),
    ]
}

/// A handshake that must be rejected.
struct Attempt {
    request: String,
    /// The rejection is a `goodbye` frame.
    in_goodbye: bool,
    code: u16,
}

impl Attempt {
    fn new(path: &str, headers: &str, code: u16) -> Self {
        Self {
            request: handshake(path, headers),
            in_goodbye: headers.contains("dmwire.v1"),
            code,
        }
    }

    fn make(&self, server: &Server) {
        if !self.in_goodbye {
            let (status, _) = json_answer(&server.http(&self.request));
            assert_eq!(status, self.code, "{}", self.request);
            return;
        }
        let mut raw = Raw::open(server);
        raw.write(self.request.as_bytes());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{}{head}", self.request);
        let goodbye = raw.expect("goodbye");
        assert_eq!(goodbye["code"], 4000 + self.code, "{}", self.request);
    }
}

/// Tokens that do not authorize a session of `honest`, in every carrier.
fn invalid_tokens(issuer: &Issuer, public: &str) -> Vec<Attempt> {
    let with = |claim: &str, value: Value| {
        let mut claims = claims("honest");
        claims["aud"] = json!("chat");
        claims[claim] = value;
        issuer.token(None, &claims)
    };
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    let good = with("aud", json!("chat"));
    let (unsigned, _) = good.rsplit_once('.').expect("three parts");
    let tokens = [
        (with("sub", json!("true")), 403),
        (with("exp", json!(now() - 60)), 401),
        (with("nbf", json!(now() + 600)), 401),
        (with("aud", json!("elsewhere")), 401),
        (with("sub", json!("honest\r\nX-Forwarded-For: ::1")), 401),
        (
            signed(&json!({"alg": "none"}), &claims("honest"), |_| Vec::new()),
            401,
        ),
        // The public key, which anybody may know, used as an HMAC secret.
        (
            signed(&hs256, &claims("honest"), |text| {
                hmac_of(hmac::HMAC_SHA256, public.as_bytes(), text)
            }),
            401,
        ),
        (format!("{unsigned}."), 401),
    ];
    let attempts = tokens.iter().flat_map(|(token, code)| {
        carriers(token)
            .map(|(query, headers)| Attempt::new(&format!("/ws/honest{query}"), &headers, *code))
    });
    attempts.collect()
}

/// Requests with a valid token, but from a foreign origin or with an invalid path.
fn invalid_origins_and_paths(bearer: &str) -> Vec<Attempt> {
    let origins = ["https://evil.example", "null", "http://localhost.evil"];
    let paths = [
        ("/ws/honest%0d%0aX-Forwarded-For:%20::1", 400),
        ("/ws/honest%00", 400),
        ("/ws/true/../honest", 400),
        ("/ws/true%2f..%2fhonest", 400),
        ("/ws//honest", 400),
        ("/ws/honest/", 400),
        ("/ws/%2e%2e", 403),
        ("/ws/..", 403),
        ("//ws/honest", 404),
        ("/%77s/honest", 404),
        ("/./ws/honest", 404),
        ("/ws%2Fhonest", 404),
    ];
    let long = format!("/ws/{}", "h".repeat(60_000));
    let paths = paths.into_iter().chain([(long.as_str(), 400)]);
    let paths = paths.map(|(path, code)| Attempt::new(path, bearer, code));
    let origins = origins
        .map(|origin| Attempt::new("/ws/honest", &format!("{bearer}Origin: {origin}\r\n"), 403));
    paths.chain(origins).collect()
}

#[test]
fn repeated_attempts_without_permission_are_all_rejected() {
    const TIMES: usize = 20;
    let _exclusive = exclusive();
    let issuer = Issuer::p256();
    let folder = crate::support::Folder::new();
    let public = &issuer.pem;
    let file = folder.0.join("key.pem");
    std::fs::write(&file, public).expect("a file can be written");
    let file = file.to_str().expect("a path that is text");
    let server = Server::start(&["--jwt-key", file, "--jwt-audience", "chat"]);
    let bearer = |user: &str| {
        let mut claims = claims(user);
        claims["aud"] = json!("chat");
        format!("Bearer {}", issuer.token(None, &claims))
    };
    let pair = Pair::connected_by(|name| {
        let header = ("Authorization", &*bearer(name));
        let mut client = Client::dial(&server, &format!("/ws/{name}"), &[header])
            .expect("the handshake succeeds");
        client.until("synced");
        client
    });
    let mut attempts = invalid_tokens(&issuer, public);
    attempts.extend(invalid_origins_and_paths(&format!(
        "Authorization: {}\r\n",
        bearer("honest")
    )));
    measure_pair_with_attack(pair, "unauthorized handshakes", || {
        run_threads(THREADS, |member| {
            for _ in 0..TIMES {
                let own = attempts.iter().skip(member).step_by(THREADS);
                own.for_each(|attempt| attempt.make(&server));
            }
        });
    });
    let log = server.log();
    assert!(
        !log.contains("\nX-Forwarded-For") && !log.contains("panicked"),
        "{log}"
    );
    // No other session was opened.
    assert_eq!(log.matches("connection opened user=honest").count(), 1);
}

#[test]
fn an_address_that_exceeds_its_handshake_rate_is_limited_and_others_are_not() {
    const EACH: usize = 500;
    let _exclusive = exclusive();
    let server = Server::start(&[
        "--trusted-proxy",
        "127.0.0.1",
        "--handshakes-per-second",
        "20",
        "--handshake-burst",
        "40",
    ]);
    let from = |ip: &str, user: &str| {
        Client::dial(&server, &format!("/ws/{user}"), &[("X-Forwarded-For", ip)])
    };
    let pair = Pair::connected_by(|name| {
        let mut client = from("203.0.113.5", name).expect("the handshake succeeds");
        client.until("synced");
        client
    });
    let (refused, others) = (AtomicUsize::new(0), AtomicUsize::new(0));
    measure_pair_with_attack(pair, "connections from one address", || {
        run_threads(THREADS, |member| {
            for n in 0..EACH {
                let user = format!("flood-{member}-{}", n % 10);
                match from("203.0.113.66", &user) {
                    Ok(client) => drop::<Client>(client),
                    Err(tungstenite::Error::Http(answer)) => {
                        assert_eq!(answer.status(), 429);
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => panic!("{error}"),
                }
                // A client with another address is accepted meanwhile.
                if member == 0 && n % 100 == 0 {
                    let [.., high, low] = others.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                    let ip = format!("198.18.{high}.{low}");
                    let mut other = from(&ip, "other").expect("the handshake succeeds");
                    other.until("synced");
                }
            }
        });
    });
    let (refused, others) = (refused.into_inner(), others.into_inner());
    eprintln!("{refused} rejected, {others} from other addresses accepted");
    assert!(refused > THREADS * EACH / 4 && others >= EACH / 100);
}

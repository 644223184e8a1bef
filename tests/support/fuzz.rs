//! The fuzz targets (`fuzz/`), which the tests replay as well: each takes any bytes, passes them to a parser of untrusted input,
//! and panics if the result is wrong.

#![allow(dead_code)] // each fuzz target uses its own part of it

#[path = "fuzz_log.rs"]
mod fuzz_log;

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use actix_codec::Decoder as _;
use actix_http::h1;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dmwire::auth::Verifier;
use dmwire::config::{Config, Secret};
use dmwire::http::ClientAddr;
use dmwire::http::upgrade::UpgradeRules;
use dmwire::protocol::types::is_name;
use dmwire::protocol::{ClientFrame, Contract, ErrorCode, FrameError, Parsed, Scanned, Tape};
use dmwire::websocket::{Decoder, Incoming, ProtocolError};
use ring::hmac;
use serde_json::Value;

pub use fuzz_log::{log, seeds as log_seeds};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 6] = [
    ("websocket", websocket),
    ("frame", frame),
    ("content", content),
    ("upgrade", upgrade),
    ("token", token),
    ("log", log),
];

const SCHEMA: &str = include_str!("../../schema/client-frame.schema.json");

static CLIENT_FRAMES: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::draft202012::new(&schema).expect("the schema compiles")
});

/// Bytes of a client after the handshake. The first two bytes set the size limit and the length of the pieces in which the rest
/// arrives. The result must not depend on the pieces.
pub fn websocket(data: &[u8]) {
    let [limit, piece, stream @ ..] = data else {
        return;
    };
    let limit = [64, 125, 126, 1000, 65_536][usize::from(*limit) % 5];
    let whole = decoded(stream, limit, stream.len());
    let pieces = decoded(stream, limit, 1 + usize::from(*piece));
    assert_eq!(whole, pieces);
}

/// The messages that a decoder reads from a stream that arrives in pieces.
fn decoded(stream: &[u8], limit: usize, piece: usize) -> (Vec<String>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(limit);
    let mut buffer = Vec::new();
    let mut heard = Vec::new();
    for piece in stream.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let before = at;
            match decoder.next(&mut buffer, &mut at) {
                Ok(None) => break,
                Err(violation) => return (heard, Some(violation)),
                Ok(Some(incoming)) => {
                    let length = match &incoming {
                        Incoming::Text(text) => text.len(),
                        Incoming::Binary(bytes) => bytes.len(),
                        Incoming::Ping(bytes) | Incoming::Pong(bytes) => {
                            assert!(bytes.len() <= 125);
                            0
                        }
                        Incoming::Close(_) => 0,
                    };
                    assert!(length <= limit);
                    heard.push(format!("{incoming:?}"));
                }
            }
            assert!(before < at && at <= buffer.len());
        }
        buffer.drain(..at);
        let wanted = decoder.frame_size(&buffer);
        assert!(wanted <= limit.max(125) + 14, "{wanted}");
    }
    (heard, None)
}

/// The text of a frame. The parser, an independent JSON parser and the schema must agree on it (PROTOCOL section 1.7).
pub fn frame(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
}

/// The content of a message in an otherwise valid frame.
pub fn content(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let carried = read(&format!(r#"{{"target_user":"6666","message":{text}}}"#));
    if let Some(carried) = carried {
        // The delivered content equals the sent one.
        let sent = |text: &str| serde_json::from_str::<Value>(text).ok();
        if let Some(content) = sent(text) {
            assert_eq!(sent(&carried), Some(content));
        }
    }
}

/// Parses a frame and returns the unchanged text of its content.
fn read(text: &str) -> Option<String> {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::built_in);
    thread_local! {
        static USED: RefCell<Tape> = RefCell::default();
    }
    let theirs = serde_json::from_str::<Value>(text);
    let mut tape = Tape::default();
    let scanned = Scanned::new(&mut tape, text);
    let reference = scanned.reference().map(|mark| mark.as_str().to_owned());
    let ours = scanned.parse(&CONTRACT).and_then(Parsed::valid);
    USED.with_borrow_mut(|used| {
        let again = Scanned::new(used, text);
        assert_eq!(
            again.parse(&CONTRACT).and_then(Parsed::valid).map(drop),
            ours.as_ref().map(drop).map_err(Clone::clone)
        );
        assert_eq!(
            again.reference().map(|mark| mark.as_str().to_owned()),
            reference
        );
    });
    if let Some(reference) = &reference {
        assert!((1..=64).contains(&reference.chars().count()));
    }
    match &ours {
        Err(FrameError {
            code: ErrorCode::InvalidJson,
            detail,
            ..
        }) => {
            // Valid JSON is rejected only by the additional rules of PROTOCOL section 1.
            let more = ["twice", "levels"].iter().any(|word| detail.contains(word));
            assert!(theirs.is_err() || more, "{text}: {detail}");
        }
        judged => {
            let theirs = theirs.unwrap_or_else(|error| panic!("{text}: {error}, {judged:?}"));
            assert_eq!(
                CLIENT_FRAMES.is_valid(&theirs),
                judged.is_ok(),
                "{text}: {judged:?}"
            );
        }
    }
    match ours {
        Ok(ClientFrame::Message(message)) => Some(message.message.raw.to_owned()),
        Ok(_) => None,
        Err(refused) => {
            assert!(!refused.detail.is_empty() && refused.detail.len() <= 510);
            let path = refused.path.unwrap_or_default();
            assert!(path.is_empty() || path.starts_with('/'), "{path}");
            None
        }
    }
}

/// A WebSocket request, as bytes. Every response must be valid HTTP, and no part of the request may add a header to it.
pub fn upgrade(data: &[u8]) {
    static CONFIG: LazyLock<Config> = LazyLock::new(|| {
        let mut config = Config::default();
        config.network.allowed_origin = vec!["https://app.example".into(), "null".into()];
        config.network.allowed_host = vec!["chat".into()];
        config
    });
    thread_local! {
        // The HTTP parser requires a runtime.
        static RUNTIME: actix_rt::Runtime = actix_rt::Runtime::new().expect("a runtime can be created");
    }
    let parsed = RUNTIME
        .with(|runtime| runtime.block_on(async { h1::Codec::default().decode(&mut data.into()) }));
    let Ok(Some(h1::Message::Item(request))) = parsed else {
        return;
    };
    let head = request.head();
    let socket = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let client = ClientAddr::of(head.headers(), Some(socket), &CONFIG.network, false);
    let rules = UpgradeRules::new(CONFIG.access(), &CONFIG.network, &CONFIG.auth);
    for token_required in [false, true] {
        let rules = UpgradeRules {
            token_required,
            ..rules
        };
        match dmwire::http::upgrade(head, &client, &rules) {
            Ok(accepted) => {
                check_response(accepted.handshake.response);
                let user = accepted.endpoint.user().unwrap_or_default().to_owned();
                match accepted.endpoint.authorize(&user) {
                    Ok(Some(query)) => assert!(is_name(&user) && is_name(&query.device)),
                    Ok(None) => {}
                    Err(rejection) => check_response(rejection.response(false)),
                }
            }
            Err(rejected) => {
                if let Some(handshake) = rejected.handshake {
                    check_response(handshake.response);
                }
                check_response(rejected.rejection.response(false));
            }
        }
    }
}

/// A response to a WebSocket request: 101 without a body, or 4xx with a JSON body.
fn check_response(response: Vec<u8>) {
    const HEADERS: [&str; 15] = [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "content-type",
        "content-length",
        "retry-after",
        "www-authenticate",
        "allow",
        "x-content-type-options",
        "content-security-policy",
        "referrer-policy",
        "cache-control",
        "strict-transport-security",
    ];
    let response = String::from_utf8(response).expect("the response is UTF-8");
    let (head, body) = response
        .split_once("\r\n\r\n")
        .expect("the response has a head");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("there is a status line");
    let upgraded = status == "HTTP/1.1 101 Switching Protocols";
    assert!(upgraded || status.starts_with("HTTP/1.1 4"), "{status}");
    let mut length = 0;
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        assert!(HEADERS.contains(&name), "{line}");
        assert!(!value.contains(char::is_control), "{line}");
        if name == "content-length" {
            length = value.parse().expect("a length");
        }
    }
    assert_eq!(body.len(), length);
    if !upgraded {
        let body: Value = serde_json::from_str(body).expect("the body is JSON");
        assert!(body["code"].is_string() && body["detail"].is_string());
    }
}

/// A token. The first byte selects whether the rest is the whole token, or the header or the claims of a token with a valid
/// signature.
pub fn token(data: &[u8]) {
    const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";
    const HEADER: &[u8] = br#"{"alg":"HS256"}"#;
    static CLAIMS: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let exp = now.expect("it is later than 1970").as_secs() + 365 * 86_400;
        format!(r#"{{"sub":"8888","exp":{exp},"iss":"me"}}"#).into_bytes()
    });
    static AUTH: LazyLock<Verifier> = LazyLock::new(|| {
        let mut config = Config::default();
        config.auth.auth = dmwire::config::AuthMode::Jwt;
        config.auth.jwt_secret = vec![Secret::new(SECRET).expect("it is not empty")];
        config.auth.jwt_issuer = vec!["me".into()];
        Verifier::new(config.access(), &config.auth).expect("the secret can be used")
    });
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let signed = |header: &[u8], claims: &[u8]| {
        let text = [header, claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let signature = hmac::sign(&key, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let token = match kind % 3 {
        0 => String::from_utf8_lossy(data).into_owned(),
        1 => signed(data, &CLAIMS),
        _ => signed(HEADER, data),
    };
    let judged = {
        let mut judging = Box::pin(AUTH.authenticate(None, Some(&token)));
        let Poll::Ready(judged) = judging
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("verification does not wait");
        };
        judged
    };
    if let Ok(identity) = judged {
        let user: &Arc<str> = identity.user();
        assert!(is_name(user));
        assert!(identity.expires_in().is_some_and(|left| !left.is_zero()));
        // A fuzzer cannot guess a signature, and signed claims are returned unchanged.
        assert!(kind % 3 != 0, "{token}");
        let claims = if kind % 3 == 1 { &CLAIMS } else { data };
        let claims: Value = serde_json::from_slice(claims).expect("the claims are JSON");
        assert_eq!(
            (&claims["sub"], &claims["iss"]),
            (&Value::from(&**user), &"me".into())
        );
    }
}

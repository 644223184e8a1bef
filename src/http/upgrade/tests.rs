use actix_http::header::{HeaderName, HeaderValue};

use super::*;
use crate::session::AckMode;
use crate::store::MembershipKind;

/// The head of a valid handshake for `path` with further headers.
fn head(path: &str, headers: &[(&'static str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.uri = path.parse().expect("a path");
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    .iter()
    .chain(headers)
    {
        let value = HeaderValue::from_str(value).expect("a header value");
        head.headers.append(HeaderName::from_static(name), value);
    }
    head
}

const ALLOWED: &[String] = &[];

fn decide(
    token_required: bool,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Upgrade, RejectedUpgrade> {
    let client = ClientAddr {
        ip: None,
        proxied: false,
        secure: None,
        host: Some("chat.example.org".into()),
    };
    let rules = UpgradeRules {
        base_path: "/demo",
        token_required,
        query_token: true,
        allowed_hosts: None,
        origins: OriginRules {
            allowed: ALLOWED,
            loopback: false,
        },
    };
    upgrade(&head(path, headers), &client, &rules)
}

#[test]
fn a_request_is_parsed_into_endpoint_token_and_parameters() {
    let path = "/demo/ws/a%40b?since=41&device=phone&ack=manual&token=T&other=1&room=a%40b&membership=session&room=c\
                &since_id=019A2F4E-7B1C-7D3E-9A55-0C1D2E3F4A5B&since_at=2026-11-20T12:03:00.123%2B01:00";
    let upgrade = decide(true, path, &[]).expect("an upgrade");
    assert_eq!(upgrade.token, Token::Present("T".into()));
    assert_eq!(upgrade.endpoint.user(), Some("a@b"));
    let query = SessionQuery {
        device: "phone".into(),
        since: Some(41),
        epoch: None,
        since_id: Some(uuid::uuid!("019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b")),
        since_at: crate::protocol::Timestamp::parse("2026-11-20T11:03:00.123Z"),
        ack: AckMode::Manual,
        rooms: vec!["a@b".into(), "c".into()],
        membership: MembershipKind::Session,
    };
    assert_eq!(upgrade.endpoint.authorize("a@b"), Ok(Some(query)));
    let echo = decide(false, "/demo/echo?token=T", &[]).expect("an upgrade");
    assert_eq!(
        (echo.token, echo.endpoint),
        (Token::Missing, Endpoint::Echo)
    );
}

#[test]
fn only_a_valid_handshake_can_be_rejected_with_a_goodbye() {
    let dmwire = ("sec-websocket-protocol", "dmwire.v1");
    let rejected = decide(false, "/demo/other", &[dmwire]).expect_err("a rejection");
    assert_eq!(rejected.rejection.status, 404);
    assert!(
        rejected
            .handshake
            .is_some_and(|handshake| handshake.offers_dmwire)
    );
    let second_key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let rejected = decide(false, "/demo/ws/a", &[dmwire, second_key]).expect_err("a rejection");
    assert_eq!((rejected.rejection.status, rejected.handshake), (400, None));
}

#[test]
fn a_foreign_origin_is_rejected_with_a_reason_for_the_log() {
    let origin = |origin| decide(false, "/demo/ws/a", &[("origin", origin)]);
    assert!(origin("https://chat.example.org").is_ok());
    let rejected = origin("https://evil.example").expect_err("a rejection");
    assert_eq!(rejected.rejection.status, 403);
    assert!(
        rejected
            .log
            .is_some_and(|log| log.contains("https://evil.example"))
    );
}

#[test]
fn invalid_parameters_are_reported_after_the_authentication() {
    let rooms = |count| format!("/demo/ws/a?{}", "room=r&".repeat(count));
    assert!(
        decide(true, &rooms(16), &[])
            .expect("an upgrade")
            .endpoint
            .authorize("a")
            .is_ok()
    );
    for (path, user, status) in [
        (&*rooms(17), "a", 400),
        ("/demo/ws/a?room=", "a", 400),
        ("/demo/ws/a?room=a%20b", "a", 400),
        ("/demo/ws/a?room=r&membership=", "a", 400),
        ("/demo/ws/a?room=r&membership=lasting", "a", 400),
        ("/demo/ws/a?membership=session&membership=session", "a", 400),
        ("/demo/ws/a?since=x", "a", 400),
        ("/demo/ws/a?device=x&device=y", "a", 400),
        ("/demo/ws/a?since_id=x", "a", 400),
        ("/demo/ws/a?since_at=yesterday", "a", 400),
        ("/demo/ws/a?since_at=", "a", 400),
        ("/demo/ws/a%20b", "a b", 400),
        ("/demo/ws", "", 400),
        ("/demo/ws/a?since=x", "b", 403),
    ] {
        let upgrade = decide(true, path, &[]).expect("an upgrade");
        let rejection = upgrade.endpoint.authorize(user).expect_err("a rejection");
        assert_eq!(rejection.status, status, "{path}");
    }
}

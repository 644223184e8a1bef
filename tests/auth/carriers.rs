//! The places of a token in a request, and the users and paths that it authorizes (PROTOCOL sections 2 and 10).

use serde_json::json;

use crate::helpers::{
    CARRIERS, DMWIRE, assert_not_logged, assert_rejected, bearer, connect, server_with_secret,
};
use crate::support::tokens::{SECRET, claims, hs256, valid_token};
use crate::support::{Raw, handshake, json_answer};

#[test]
fn a_token_authorizes_its_users_session_in_every_carrier() {
    let server = server_with_secret(&[]);
    let token = valid_token("8888");
    for carrier in CARRIERS {
        let (query, headers) = carrier(&token);
        for path in ["/ws/8888", "/ws", "/ws/%38888"] {
            assert_eq!(
                connect(&server, &format!("{path}{query}"), &headers)["user_id"],
                "8888"
            );
        }
        Raw::upgrade_with(&server, &format!("/echo{query}"), &headers);
    }
    // The query parameter may be percent-encoded and stand among others.
    let query = format!(
        "/ws/8888?device=phone&%74oken={}&since=0",
        token.replace('.', "%2E")
    );
    assert_eq!(connect(&server, &query, "")["device"], "phone");
    // A header that is not a bearer token is ignored.
    let basic = "Authorization: Basic dXNlcjpwYXNz\r\n";
    connect(&server, &format!("/ws/8888?token={token}"), basic);
    assert_not_logged(
        &server,
        &[&token, &token[token.len() - 20..], SECRET, "Bearer"],
    );
}

#[test]
fn a_token_of_another_user_is_forbidden_in_every_carrier() {
    let server = server_with_secret(&[]);
    for carrier in CARRIERS {
        let (query, headers) = carrier(&valid_token("6666"));
        for user in ["8888", "6666x", "666", "%36666%2B"] {
            assert_rejected(
                &server,
                &format!("/ws/{user}{query}"),
                &headers,
                403,
                "forbidden",
            );
        }
        assert_eq!(
            connect(&server, &format!("/ws/6666{query}"), &headers)["user_id"],
            "6666"
        );
    }
    server.wait_for_log("the token belongs to another user");
}

#[test]
fn without_a_token_sessions_and_echo_are_unauthorized() {
    let server = server_with_secret(&["--log-format", "json"]);
    for path in [
        "/ws/8888",
        "/ws",
        "/echo",
        "/ws/8888?token",
        "/ws/a%20b",
        "/ws/8888?since=x",
    ] {
        assert_rejected(&server, path, "", 401, "unauthorized");
    }
    assert_rejected(
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
    // With a valid token, other errors of the request are reported.
    let headers = bearer(&valid_token("8888"));
    for path in ["/ws/a%20b", "/ws/", "/ws/8888?since=x"] {
        assert_rejected(&server, path, &headers, 400, "invalid_request");
    }
}

#[test]
fn of_several_tokens_the_header_has_priority_then_the_subprotocol_then_the_query() {
    let server = server_with_secret(&[]);
    let (good, bad) = (valid_token("8888"), "x.y.z");
    for (header, protocol, query, accepted) in [
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
        let (mut raw, _) = Raw::upgrade_with(&server, &path, &headers);
        raw.expect(if accepted { "welcome" } else { "goodbye" });
    }
    // Two tokens in one place are rejected.
    let twice = bearer(&good).repeat(2);
    assert_rejected(&server, "/ws/8888", &twice, 400, "invalid_request");
    let twice = format!("/ws/8888?token={good}&token={good}");
    assert_rejected(&server, &twice, "", 400, "invalid_request");
    let twice = format!("Sec-WebSocket-Protocol: dmwire.v1, bearer.{good}, bearer.{bad}\r\n");
    assert_rejected(&server, "/ws/8888", &twice, 400, "invalid_request");
    let alone = format!("Sec-WebSocket-Protocol: bearer.{good}\r\n");
    let (status, body) = json_answer(&server.http(&handshake("/ws/8888", &alone)));
    assert_eq!((status, &body["code"]), (400, &json!("invalid_request")));
}

#[test]
fn tokens_in_the_query_can_be_disabled() {
    let server = server_with_secret(&["--query-token", "false"]);
    let token = valid_token("8888");
    let [answer, _] = assert_rejected(
        &server,
        &format!("/ws/8888?token={token}"),
        "",
        401,
        "unauthorized",
    );
    assert!(answer.contains("query_token"), "{answer}");
    connect(&server, &format!("/ws/8888?token={token}"), &bearer(&token));
    assert_not_logged(&server, &[&token]);
}

#[test]
fn unusual_paths_and_ids_do_not_bypass_authentication() {
    let server = server_with_secret(&["--base-path", "/demo"]);
    let headers = bearer(&valid_token("8888"));
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
        assert_rejected(&server, path, &headers, 400, "invalid_request");
        assert_rejected(&server, path, "", 401, "unauthorized");
    }
    assert_rejected(
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
        assert_rejected(&server, path, &headers, 403, "forbidden");
    }
    // A request beyond the size limit of HTTP is not upgraded.
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
fn tokens_are_not_logged_in_any_format_or_level() {
    for form in ["plain", "json"] {
        let server = server_with_secret(&["--log-format", form, "--log", "trace"]);
        let (mine, others) = (valid_token("8888"), valid_token("6666"));
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
        server.wait_for_log("not signed with a known key");
        let tails = [&mine, &others, &bad].map(|token| &token[token.len() - 20..]);
        assert_not_logged(&server, &tails);
        assert_not_logged(&server, &[SECRET]);
    }
}

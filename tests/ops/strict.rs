//! Requests are strict: what a call would ignore is an error, and errors name the fields and parameters of the call.

use serde_json::{Value, json};

use crate::helpers::{Ops, Response};
use crate::support::{Client, assert_has};

const JSON: &str = "Content-Type: application/json";

#[test]
fn unknown_parameters_are_errors_in_every_call() {
    let ops = Ops::start(&[]);
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    let body = json!({"from_user": "ada", "target_user": "bo", "message": "hi"}).to_string();
    let message = format!("DELETE /v1/messages/{id}?from_user=ada&target_user=bo");
    for line in [
        "GET /v1/sessions",
        "GET /v1/users/ada",
        "GET /v1/users/ada/sessions",
        "DELETE /v1/users/ada/sessions",
        "GET /v1/users/ada/conversations",
        "GET /v1/users/ada/history?target_user=bo",
        "GET /v1/rooms",
        "GET /v1/rooms/lobby",
        "GET /v1/rooms/lobby/history",
        "PUT /v1/rooms/lobby/members/ada",
        "DELETE /v1/rooms/lobby/members/ada",
        &message,
        "POST /v1/messages",
    ] {
        let mark = if line.contains('?') { '&' } else { '?' };
        let (headers, body): (&[&str], &[u8]) = if line.starts_with("POST") {
            (&[JSON], body.as_bytes())
        } else {
            (&[], b"")
        };
        ops.request(&format!("{line}{mark}unknown=1"), headers, body)
            .assert_error(400, "invalid_request", Some("/unknown"));
    }
    // Nothing was sent.
    ops.get("/v1/users/bo")
        .assert_error(404, "unknown_user", Some("/user"));
}

#[test]
fn the_path_of_an_error_about_a_parameter_is_a_short_pointer() {
    let ops = Ops::start(&[]);
    let long = "x".repeat(10_000);
    let shown = format!("/{}", &long[..64]);
    for (query, path) in [
        ("a%2Fb~c=1".to_owned(), "/a~1b~0c"),
        ("a%2Fb=1&a/b=2".to_owned(), "/a~1b"),
        (format!("{long}=1"), shown.as_str()),
        (format!("{long}=1&{long}=2"), shown.as_str()),
        (format!("{long}=%ff"), shown.as_str()),
    ] {
        ops.get(&format!("/v1/rooms?{query}"))
            .assert_error(400, "invalid_request", Some(path));
    }
    let many = (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>();
    let many = many.join("&");
    ops.get(&format!("/v1/rooms?{many}"))
        .assert_error(400, "invalid_request", Some("/32"));
}

#[test]
fn a_body_is_an_error_where_a_call_has_none() {
    let ops = Ops::start(&[]);
    for line in [
        "GET /v1/sessions",
        "GET /v1/users/ada/conversations",
        "DELETE /v1/users/ada/sessions",
        "PUT /v1/rooms/lobby/members/ada",
        "DELETE /v1/rooms/lobby/members/ada",
    ] {
        for (headers, body) in [
            (&[JSON][..], &b"{}"[..]),
            (&[], b"x"),
            (&["Transfer-Encoding: chunked"], b"2\r\n{}\r\n0\r\n\r\n"),
        ] {
            ops.request(line, headers, body)
                .assert_error(400, "invalid_request", Some(""));
        }
    }
    let members = ops.get("/v1/rooms/lobby");
    members.assert_error(404, "unknown_room", Some("/room"));
    // An empty body is none.
    for headers in [&["Content-Length: 0"][..], &[JSON]] {
        ops.request("PUT /v1/rooms/lobby/members/ada", headers, b"")
            .assert_ok();
    }
    ops.request(
        "PUT /v1/rooms/lobby/members/bo",
        &["Transfer-Encoding: chunked"],
        b"0\r\n\r\n",
    )
    .assert_ok();
}

#[test]
fn errors_do_not_speak_of_frames_or_to_the_user() {
    let ops = Ops::start(&["--rooms-per-user", "1"]);
    let detail = |response: Response| response.json()["detail"].as_str().map(str::to_owned);
    let send = |body: &Value| detail(ops.post("/v1/messages", body)).expect("a detail");
    for (field, hint) in [
        ("sender", "; did you mean `from_user`?"),
        ("from", "; did you mean `from_user`?"),
        ("typ", ""),
        ("type", ""),
    ] {
        let body = json!({"from_user": "ada", "target_user": "bo", "message": "hi", field: "x"});
        let found = send(&body);
        assert!(
            found.starts_with("expected one of the fields `from_user`, "),
            "{found}"
        );
        let expected = format!("found the unknown field `{field}`{hint}");
        assert!(found.ends_with(&expected), "{found}");
    }
    let mut bo = Client::fresh(&ops.server, "bo");
    assert_has(
        &bo.ask(&json!({"type": "block", "user": "ada"})),
        &json!({"type": "ok"}),
    );
    ops.request("PUT /v1/rooms/lobby/members/ada", &[], b"")
        .assert_ok();
    let details = [
        send(&json!({"from_user": "ada", "target_user": "bo", "message": "hi"})),
        send(&json!({"from_user": "bo", "target_room": "lobby", "message": "hi"})),
        detail(ops.request("PUT /v1/rooms/other/members/ada", &[], b"")).expect("a detail"),
    ];
    for detail in details {
        let words = detail.split([' ', ',']).collect::<Vec<_>>();
        assert!(
            !words.contains(&"you") && !words.contains(&"your"),
            "{detail}"
        );
    }
}

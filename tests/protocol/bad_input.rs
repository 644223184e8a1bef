//! Invalid frames: each is answered with an `error` that contains the reason and the path, and the session stays open within the
//! limit of invalid frames (PROTOCOL sections 1, 7, 8 and 10).

use std::io::Write as _;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, End, Server, client_frame};

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

/// A server without limits on valid and invalid frames.
const PATIENT: &[&str] = &[
    "--bad-frames-per-minute",
    "100000",
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
];

/// Sends an invalid frame and returns its `error`, after checking the fields that all errors have in common, and that the session
/// is still open.
fn send_invalid(client: &mut Client, frame: &str) -> Value {
    client.send_text(frame);
    let error = client.expect("error");
    assert_eq!(error["retryable"], false, "{frame}: {error}");
    assert_eq!(error.get("retry_after_ms"), None, "{frame}: {error}");
    assert_ne!(error["detail"], "", "{frame}: {error}");
    client.assert_quiet();
    error
}

/// Asserts that a frame is rejected with this code and path, and with this `ref` or without one.
fn assert_rejected(client: &mut Client, frame: &str, code: &str, path: &str, mark: Option<&str>) {
    let error = send_invalid(client, frame);
    assert_eq!(error["code"], code, "{frame}: {error}");
    assert_eq!(error["path"], path, "{frame}: {error}");
    assert_eq!(
        error.get("ref").and_then(Value::as_str),
        mark,
        "{frame}: {error}"
    );
}

/// Asserts that a frame is rejected as invalid JSON, with or without the `ref` "r"; the path is not checked.
fn assert_bad_json(client: &mut Client, frame: &str, mark: Option<&str>) {
    let error = send_invalid(client, frame);
    assert_eq!(error["code"], "invalid_json", "{frame}: {error}");
    assert_eq!(
        error.get("ref").and_then(Value::as_str),
        mark,
        "{frame}: {error}"
    );
}

fn message(text: &str) -> String {
    json!({"message": text, "target_user": "b", "ref": "r"}).to_string()
}

fn markdown(text: &str) -> String {
    let content = json!({"type": "markdown", "text": text});
    json!({"message": content, "target_user": "b", "ref": "r"}).to_string()
}

fn data(raw: &str) -> String {
    format!(
        r#"{{"ref":"r","message":{{"type":"data","name":"n","data":{raw}}},"target_user":"b"}}"#
    )
}

#[test]
fn invalid_json_is_rejected() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    for frame in [
        "",
        " ",
        "hello",
        "{",
        "\"",
        r#"{"type":"ping","ref":"r""#,
        r#"{"type":"ping","ref":"r",}"#,
        r"{'type':'ping'}",
        r#"{type:"ping","ref":"r"}"#,
        r#"{"type":"ping","ref":"r"} {"type":"ping"}"#,
        "{\"type\":\"ping\",\"ref\":\"r\"}\0",
        "\u{feff}{\"type\":\"ping\"}",
        "{\"type\":\"ping\",\"ref\":\"a\nb\"}",
        "{\"type\":\"ping\",\"ref\":\"a\0b\"}",
        r#"{"type":"received","seq":01}"#,
        r#"{"type":"received","seq":NaN}"#,
        r#"{"type":"received","seq":+1}"#,
        r#"{"type":"ping"/**/}"#,
        r#"{"type":"ping","ref":"\x72"}"#,
    ] {
        assert_bad_json(&mut a, frame, None);
    }
}

#[test]
fn json_other_than_an_object_is_rejected() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    for frame in [
        "[]",
        r#"[{"type":"ping","ref":"r"}]"#,
        "1",
        "-0.5e3",
        r#""ping""#,
        "null",
        "true",
        " false\n",
    ] {
        assert_rejected(&mut a, frame, "invalid_frame", "", None);
    }
}

#[test]
fn nesting_is_limited_to_thirty_two_levels() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    let nested = |open: &str, close: &str, n| format!("{}1{}", open.repeat(n), close.repeat(n));
    // The frame and its content are the first two levels.
    for (open, close) in [("[", "]"), (r#"{"k":"#, "}")] {
        a.send_text(&data(&nested(open, close, 30)));
        assert_eq!(a.expect("ack")["ref"], "r");
        for levels in [31, 1000, 10_000] {
            assert_bad_json(&mut a, &data(&nested(open, close, levels)), Some("r"));
        }
    }
    // A `ref` behind the deep value is read as well; JSON that is never closed is not an object.
    let deep = nested("[", "]", 10_000);
    let frame = format!(r#"{{"x":{deep},"type":"ping","ref":"r"}}"#);
    assert_bad_json(&mut a, &frame, Some("r"));
    let frame = format!(r#"{{"ref":"r","x":{}"#, "[".repeat(10_000));
    assert_bad_json(&mut a, &frame, None);
}

#[test]
fn duplicate_keys_are_rejected_at_any_depth() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    for (members, path) in [
        (
            r#""message":"x","message":"x","target_user":"b""#,
            "/message",
        ),
        (
            r#""target_user":"b","message":"x","target_user":"b""#,
            "/target_user",
        ),
        (r#""type":"ping","\u0074ype":"ping""#, "/type"),
        (
            r#""message":{"type":"markdown","text":"x","text":"y"}"#,
            "/message/text",
        ),
        (
            r#""message":{"type":"data","data":{"k":1,"k":1}}"#,
            "/message/data/k",
        ),
        (
            r#""message":{"data":{"x":[0,{"k/~":1,"k\u002f~":2}]}}"#,
            "/message/data/x/1/k~1~0",
        ),
    ] {
        let frame = format!(r#"{{"ref":"r",{members}}}"#);
        assert_rejected(&mut a, &frame, "invalid_json", path, Some("r"));
    }
    let deepest = data(&format!(
        r#"{}{{"":1,"":1}}{}"#,
        "[".repeat(29),
        "]".repeat(29)
    ));
    let path = format!("/message/data{}/", "/0".repeat(29));
    assert_rejected(&mut a, &deepest, "invalid_json", &path, Some("r"));
    let two_refs = r#"{"type":"ping","ref":"r","ref":"r"}"#;
    assert_rejected(&mut a, two_refs, "invalid_json", "/ref", None);
}

#[test]
fn numbers_are_limited() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    let seq = |n: &str| format!(r#"{{"type":"received","seq":{n},"ref":"r"}}"#);
    let bad = r#"9007199254740992 18446744073709551616 1e300 -1 -1e300 0.5 1e-1 "1" null [1]"#;
    for n in bad.split_whitespace() {
        assert_rejected(&mut a, &seq(n), "invalid_frame", "/seq", Some("r"));
    }
    let digits = "9".repeat(400);
    for n in ["1e309", "-1e309", "1e99999999999999999999", &digits] {
        assert_rejected(&mut a, &seq(n), "invalid_json", "/seq", Some("r"));
        let deep = data(&format!("[0,{n}]"));
        assert_rejected(&mut a, &deep, "invalid_json", "/message/data/1", Some("r"));
    }
    // Every spelling of an integer is accepted.
    for n in "0 -0 1.0 1e2 9007199254740991 9007199254740991.0".split_whitespace() {
        a.send_text(&seq(n));
        a.assert_quiet();
    }
}

#[test]
fn lone_surrogates_are_rejected_everywhere() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    let alone = r"\ud800 \udfff x\uDBFFy \ude00\ud83d \ud83d\ud83d\ude00 \ud83d\n";
    for lone in alone.split_whitespace() {
        for frame in [
            format!(r#"{{"message":"{lone}","target_user":"b","ref":"r"}}"#),
            format!(r#"{{"ref":"r","message":"x","target_user":"{lone}"}}"#),
            format!(r#"{{"type":"ping","ref":"r","{lone}":1}}"#),
            data(&format!(r#"[{{"k":"{lone}"}}]"#)),
            data(&format!(r#"{{"{lone}":0}}"#)),
        ] {
            assert_bad_json(&mut a, &frame, Some("r"));
        }
        let frame = format!(r#"{{"type":"ping","ref":"{lone}"}}"#);
        assert_bad_json(&mut a, &frame, None);
    }
    a.send_text(r#"{"type":"ping","ref":"\ud83d\ude00"}"#);
    assert_eq!(a.expect("pong")["ref"], "\u{1F600}");
}

#[test]
fn a_ref_with_a_lone_surrogate_is_never_echoed() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    for frame in [
        r#"{"message":"\ud800","target_user":"b","ref":"\ud800"}"#,
        r#"{"type":"ping","x":1,"x":2,"ref":"r\ud800"}"#,
        r#"{"type":"ping","x":1e400,"ref":"\udc00"}"#,
    ] {
        assert_bad_json(&mut a, frame, None);
    }
}

#[test]
fn ids_cannot_contain_control_characters() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    let long = "u".repeat(65);
    let short = r"8888\u0000 88\u000088 \u0000 \u001f a\n a\u007f a\u0020b a/b a,b é";
    for id in short.split_whitespace().chain(["", " ", &long]) {
        for (start, field) in [
            (r#""message":"x""#, "target_user"),
            (r#""message":"x""#, "target_room"),
            (r#""type":"typing""#, "target_user"),
        ] {
            let frame = format!(r#"{{{start},"{field}":"{id}","ref":"r"}}"#);
            let path = format!("/{field}");
            assert_rejected(&mut a, &frame, "invalid_frame", &path, Some("r"));
        }
    }
    let simple = ID.replace('-', "");
    for id in [
        "",
        "1",
        &simple,
        &format!(r"{ID}\u0000"),
        &format!(" {ID}"),
        &format!("{{{ID}}}"),
    ] {
        for field in ["id", "reply_to"] {
            let members = format!(r#""message":"x","target_user":"b","{field}":"{id}""#);
            let frame = format!(r#"{{{members},"ref":"r"}}"#);
            let path = format!("/{field}");
            assert_rejected(&mut a, &frame, "invalid_frame", &path, Some("r"));
        }
    }
    // A text and a `ref` may contain characters that an id may not, and are returned unchanged.
    let mut b = Client::fresh(&server, "b");
    a.send_text(r#"{"message":"\u0000\u001b\u007f","target_user":"b","ref":"\u0000\n"}"#);
    assert_eq!(a.expect("ack")["ref"], "\0\n");
    assert_eq!(b.expect("message")["message"], "\0\u{1b}\u{7f}");
}

#[test]
fn lengths_are_counted_in_code_points() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    for character in ["x", "\u{e9}", "\u{20ac}", "\u{1F600}"] {
        let longest = character.repeat(16_000);
        a.send_text(&message(&longest));
        a.expect("ack");
        assert!(
            b.expect("message")["message"] == *longest,
            "{character} was changed"
        );
        let longer = message(&(longest.clone() + "x"));
        assert_rejected(&mut a, &longer, "invalid_frame", "/message", Some("r"));
        let longer = markdown(&(longest + character));
        assert_rejected(&mut a, &longer, "invalid_frame", "/message/text", Some("r"));
        let mark = character.repeat(64);
        a.send(&json!({"type": "ping", "ref": mark}));
        assert_eq!(a.expect("pong")["ref"], mark);
        let ping = json!({"type": "ping", "ref": mark + "x"}).to_string();
        assert_rejected(&mut a, &ping, "invalid_frame", "/ref", None);
    }
    assert_rejected(&mut a, &message(""), "invalid_frame", "/message", Some("r"));
    assert_rejected(
        &mut a,
        &markdown(""),
        "invalid_frame",
        "/message/text",
        Some("r"),
    );
    b.assert_quiet();
}

#[test]
fn binary_messages_are_rejected_without_parsing() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    for payload in [&b""[..], b"\xFF\0", br#"{"type":"ping","ref":"r"}"#] {
        a.send_message(Message::binary(payload.to_vec()));
        let error = a.expect("error");
        assert_eq!(
            (&error["code"], &error["retryable"]),
            (&json!("binary_unsupported"), &json!(false))
        );
        assert_eq!(error.get("ref"), None);
        a.assert_quiet();
    }
    let mut bytes = client_frame(0x02, br#"{"type":"ping","#);
    bytes.extend(client_frame(0x80, br#""ref":"r"}"#));
    a.stream().write_all(&bytes).expect("sent");
    assert_eq!(a.expect("error")["code"], "binary_unsupported");
    a.assert_quiet();
}

/// The fields of a frame other than `ref`, its error code, and the path.
const MISTAKES: &str = r#"
"type":"shout" => unknown_type /type
"type":"Message","message":"x","target_user":"b" => unknown_type /type
"type":"message ","message":"x","target_user":"b" => unknown_type /type
"type":"welcome" => unknown_type /type
"type":"" => unknown_type /type
"type":1 => invalid_frame /type
"type":null,"message":"x","target_user":"b" => invalid_frame /type
"message":"x" => invalid_frame /target_user
"type":"typing" => invalid_frame /target_user
"message":"x","target_user":"b","target_room":"c" => invalid_frame /target_room
"target_room":"c","message":"x","target_user":"b" => invalid_frame /target_room
"type":"typing","target_user":"b","target_room":"b" => invalid_frame /target_room
"message":"x","target_user":"b","target_room":null => invalid_frame /target_room
"message":"x","target_user":8888 => invalid_frame /target_user
"message":"x","target_user":["b"] => invalid_frame /target_user
"target_user":"b" => invalid_frame /message
"target_user":"b","message":null => invalid_frame /message
"target_user":"b","message":["x"] => invalid_frame /message
"target_user":"b","message":{} => invalid_frame /message/type
"target_user":"b","message":{"type":["image"]} => invalid_frame /message/type
"target_user":"b","message":{"type":"sticker"} => unknown_content_type /message/type
"target_user":"b","message":{"type":"order.updated","n":1} => unknown_content_type /message/type
"target_user":"b","message":{"type":"image"} => invalid_frame /message/url
"target_user":"b","message":{"type":"image","url":"javascript:1"} => invalid_frame /message/url
"target_user":"b","message":{"type":"markdown","text":"x","x/y~":1} => invalid_frame /message/x~1y~0
"message":"x","target_user":"b","color":"red" => invalid_frame /color
"type":"ping","a/b~c":1 => invalid_frame /a~1b~0c
"type":"ping","":1 => invalid_frame /
"message":"x","target_user":"b","id":null => invalid_frame /id
"message":"x","target_user":"b","ephemeral":"true" => invalid_frame /ephemeral
"type":"typing","target_user":"b","active":1 => invalid_frame /active
"type":"received" => invalid_frame /seq
"#;

#[test]
fn every_error_has_a_code_a_path_and_the_ref() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    for line in MISTAKES.trim().lines() {
        let (fields, answer) = line.split_once(" => ").expect("a mistake and its answer");
        let (code, path) = answer.split_once(' ').expect("a code and a path");
        let in_front = format!(r#"{{"ref":"r",{fields}}}"#);
        assert_rejected(&mut a, &in_front, code, path, Some("r"));
        let behind_and_escaped = format!(r#"{{{fields},"\u0072ef":"\u0072"}}"#);
        assert_rejected(&mut a, &behind_and_escaped, code, path, Some("r"));
    }
    let long = "\u{e9}".repeat(30_000);
    let frame = format!(r#"{{"type":"ping","ref":"r","{long}":1}}"#);
    let path = format!("/{long}");
    assert_rejected(&mut a, &frame, "invalid_frame", &path, Some("r"));
    b.assert_quiet();
}

#[test]
fn an_invalid_ref_is_not_echoed() {
    let server = Server::start(PATIENT);
    let mut a = Client::fresh(&server, "a");
    for mark in ["\"\"", "1", "null", "[\"r\"]", "{\"r\":1}"] {
        let frame = format!(r#"{{"type":"ping","ref":{mark}}}"#);
        assert_rejected(&mut a, &frame, "invalid_frame", "/ref", None);
        let frame = format!(r#"{{"type":"shout","ref":{mark}}}"#);
        assert_rejected(&mut a, &frame, "unknown_type", "/type", None);
    }
}

#[test]
fn invalid_frames_of_all_kinds_share_one_limit() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let unknown_content = r#"{"message":{"type":"x"},"target_user":"b"}"#;
    let kinds: [(u8, &str, &str); 5] = [
        (0x81, "{", "invalid_json"),
        (0x81, "[]", "invalid_frame"),
        (0x81, r#"{"type":"x"}"#, "unknown_type"),
        (0x81, unknown_content, "unknown_content_type"),
        (0x82, "", "binary_unsupported"),
    ];
    let bad = |n: usize| client_frame(kinds[n % 5].0, kinds[n % 5].1.as_bytes());
    for n in 0..20 {
        a.stream().write_all(&bad(n)).expect("sent");
        assert_eq!(a.expect("error")["code"], kinds[n % 5].2);
    }
    // Rejected as well, but not because the frame is invalid.
    for _ in 0..5 {
        let error = a.ask(&json!({"message": "x", "target_room": "nowhere"}));
        assert_eq!(error["code"], "not_member");
    }
    a.assert_quiet();
    // Frames behind the last invalid one are not answered.
    let bytes: Vec<u8> = (20..40).flat_map(bad).collect();
    a.stream().write_all(&bytes).expect("sent");
    assert_eq!(a.expect("error")["code"], "invalid_json");
    let goodbye = a.expect("goodbye");
    assert_eq!(goodbye["code"], 1008);
    assert_eq!(a.next(), Err(End::Closed(1008)));
}

//! The `detail` of an `error` says what was expected and what was found, with the value, and how to correct a common mistake
//! (PROTOCOL section 7).

use std::sync::LazyLock;

use dmwire::protocol::{Contract, FrameError, Parsed, Scanned, Tape};
use serde_json::{Value, json};

use crate::support::{Client, Server};

const TOLERANT: &[&str] = &[
    "--bad-frames-per-minute",
    "100000",
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
];

/// A frame, the path of its error, and the text that the detail must contain.
const DETAILS: &str = r#"
{"message":"hi","target_user":6666} => /target_user => expected a string, found the number 6666
{"message":"hi","target_user":1.50e3} => /target_user => expected a string, found the number 1.50e3
{"message":"hi","target_user":true} => /target_user => expected a string, found the boolean true
{"message":"hi","target_user":null} => /target_user => expected a string, found null; leave out a field that has no value
{"message":"hi","target_user":["b"]} => /target_user => expected a string, found the array ["b"]
{"message":"hi","target_user":{"id":"b"}} => /target_user => expected a string, found the object {"id":"b"}
{"message":"hi","target_user":"a b"} => /target_user => expected a user id of 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -, found the string "a b"
{"message":"hi","target_user":""} => /target_user => found an empty string
{"message":"hi","target_room":7} => /target_room => expected a string, found the number 7
{"message":"hi","target_user":"b","id":7} => /id => expected a string, found the number 7
{"message":"hi","target_user":"b","id":"7"} => /id => expected a hyphenated UUID, found the string "7"
{"message":"hi","target_user":"b","reply_to":"a\"\\\u0007\u202e"} => /reply_to => found the string "a\"\\\u0007\u202e"
{"message":"hi","target_user":"b","ephemeral":"true"} => /ephemeral => expected true or false, found the string "true"
{"message":"hi","target_user":"b","ephemeral":0} => /ephemeral => expected true or false, found the number 0
{"message":7,"target_user":"b"} => /message => expected a string or an object with a `type`, found the number 7
{"message":null,"target_user":"b"} => /message => expected a string or an object with a `type`, found null
{"message":["hi"],"target_user":"b"} => /message => expected a string or an object with a `type`, found the array ["hi"]
{"message":"","target_user":"b"} => /message => expected a string of 1 to 16000 characters, found an empty string
{"message":{"type":5},"target_user":"b"} => /message/type => expected a string, found the number 5
{"message":{"type":"image","url":5},"target_user":"b"} => /message/url => expected a string, found the number 5
{"message":{"type":"image","url":"ftp://x"},"target_user":"b"} => /message/url => expected an http:// or https:// URL of at most 2048 characters, found the string "ftp://x"
{"message":{"type":"image","url":"http://x","width":"640"},"target_user":"b"} => /message/width => expected an integer from 1 to 65535, found the string "640"
{"message":{"type":"image","url":"http://x","width":0},"target_user":"b"} => /message/width => expected an integer from 1 to 65535, found the number 0
{"message":{"type":"location","latitude":"48","longitude":0},"target_user":"b"} => /message/latitude => expected a number from -90 to 90, found the string "48"
{"message":{"type":"location","latitude":48,"longitude":180.5},"target_user":"b"} => /message/longitude => expected a number from -180 to 180, found the number 180.5
{"message":{"type":"location","latitude":1e300,"longitude":0},"target_user":"b"} => /message/latitude => expected a number from -90 to 90, found the number 1e300
{"message":{"type":"markdown","text":["x", "y"]},"target_user":"b"} => /message/text => expected a string, found the array ["x", "y"]
{"type":"history","target_user":"b","limit":"10"} => /limit => expected an integer from 1 to 200, found the string "10"
{"type":"history","target_user":"b","limit":1.5} => /limit => expected an integer from 1 to 200, found the number 1.5
{"type":"history","target_user":"b","limit":201} => /limit => expected an integer from 1 to 200, found the number 201
{"type":"history","target_user":"b","limit":null} => /limit => expected an integer from 1 to 200, found null; leave out a field that has no value
{"type":"received","seq":-1} => /seq => expected an integer from 0 to 9007199254740991, found the number -1
{"type":"received","seq":[1]} => /seq => expected an integer from 0 to 9007199254740991, found the array [1]
{"type":"ping","ref":5} => /ref => expected a string, found the number 5
{"type":"ping","ref":{"n":[1,2]}} => /ref => expected a string, found the object {"n":[1,2]}
{"type":1} => /type => expected a string, found the number 1
{"type":null} => /type => expected a string, found null
["x"] =>  => expected an object, found the array ["x"]
"ping" =>  => expected an object, found the string "ping"
{"type":"shout"} => /type => found the unknown type `shout`
{"type":"mesage","message":"hi","target_user":"b"} => /type => found the unknown type `mesage`; did you mean `message`?
{"type":"Message","message":"hi","target_user":"b"} => /type => found the unknown type `Message`; did you mean `message`?
{"type":"\u0000`\n"} => /type => found the unknown type `\u0000`\u000a`
{"type":"text","content":"hi"} => /type => `type` names the frame; put the text into `message`
{"type":"text","text":"hi","target_user":"b"} => /type => `type` names the frame; put the text into `message`
{"type":"image","url":"http://x","target_user":"b"} => /type => `type` names the frame; put the content into `message`
{"message":{"type":"text","text":"hi"},"target_user":"b"} => /message/type => text is a plain string
{"message":{"text":"hi"},"target_user":"b"} => /message/type => text is a plain string
{"message":{"type":"picture"},"target_user":"b"} => /message/type => found the unknown content type `picture`
{"message":{"type":"images"},"target_user":"b"} => /message/type => found the unknown content type `images`; did you mean `image`?
{"message":{"type":"message"},"target_user":"b"} => /message/type => found the unknown content type `message`
{"message":"hi","target_usr":"b"} => /target_usr => found the unknown field `target_usr`; did you mean `target_user`?
{"message":"hi","targetUser":"b"} => /targetUser => found the unknown field `targetUser`; did you mean `target_user`?
{"message":"hi","to":"b"} => /to => found the unknown field `to`; did you mean `target_user`?
{"type":"message","content":"hi","target_user":"b"} => /content => found the unknown field `content`; did you mean `message`?
{"type":"block","target_user":"b"} => /target_user => found the unknown field `target_user`; did you mean `user`?
{"message":"hi","target_user":"b","from_user":"a"} => /from_user => found the unknown field `from_user`; the server sets the sender
{"message":"hi","target_user":"b","colour":1} => /colour => expected one of the fields `type`, `target_user`, `target_room`, `message`, `id`, `reply_to`, `ephemeral`, `ref`, found the unknown field `colour`
{"type":"ping","":1} => / => found the unknown field ``
{"type":"ping","a\u2028b":1} => /a?b => found the unknown field `a\u2028b`
{"message":{"type":"image","src":"http://x"},"target_user":"b"} => /message/src => found the unknown field `src`; did you mean `url`?
{"message":"x"} => /target_user => expected one of `target_user` and `target_room`, found neither
{"type":"ping","x":1,"x":2} => /x => found `x` twice
"#;

fn detail(frame: &str) -> String {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::built_in);
    let parsed = Scanned::new(&mut Tape::default(), frame).parse(&CONTRACT);
    match parsed.and_then(Parsed::valid) {
        Err(FrameError { detail, .. }) => detail,
        Ok(frame) => panic!("accepted: {frame:?}"),
    }
}

#[test]
fn details_name_the_expected_type_and_the_value_found() {
    let server = Server::start(TOLERANT);
    let mut client = Client::fresh(&server, "a");
    for line in DETAILS.trim().lines() {
        let mut parts = line.splitn(3, " => ");
        let mut part = || parts.next().expect("a frame, a path and a detail");
        let (frame, path, expected) = (part(), part().replace('?', "\u{2028}"), part());
        client.send_text(frame);
        let error = client.expect("error");
        assert_eq!(error["path"], path, "{frame}: {error}");
        let detail = error["detail"].as_str().expect("a detail");
        assert!(
            detail.contains(expected),
            "{frame}\nexpected: {expected}\n   found: {detail}"
        );
    }
}

#[test]
fn long_values_are_shortened_between_characters() {
    for unit in ["x", "é", "\u{1F600}", "\u{0}", "\"", "\\", "\u{202e}"] {
        let long = unit.repeat(20_000);
        for frame in [
            json!({"message": long, "target_user": "b"}),
            json!({"message": "x", "target_user": long}),
            json!({"message": "x", "target_user": [long]}),
            json!({"message": "x", "target_user": {long.clone(): [long]}}),
            json!({"message": {"type": long}, "target_user": "b"}),
            json!({"message": {"type": "image", "url": long}, "target_user": "b"}),
            json!({"type": long}),
            json!({"type": "ping", "ref": long}),
            json!({"type": "ping", long.clone(): 1}),
            json!([long]),
        ] {
            let text = frame.to_string();
            let detail = detail(&text);
            assert!(detail.len() <= 510, "{} bytes: {detail}", detail.len());
            assert!(detail.contains('…'), "{detail}");
            let shown = unit.chars().next().is_some_and(char::is_control) || detail.contains(unit);
            assert!(shown || unit == "\u{202e}", "{detail}");
            assert!(!detail.contains(char::is_control), "{detail:?}");
            assert!(!detail.contains('\u{202e}'), "{detail:?}");
        }
    }
    assert!(
        detail(&json!({"message": "é".repeat(16_001), "target_user": "b"}).to_string())
            .contains("found a string of 16001 characters: \"éééé")
    );
}

/// A snippet of JSON never ends inside an escape sequence, wherever it is cut.
#[test]
fn escapes_are_not_split() {
    for shift in 0..60 {
        let padding = "x".repeat(shift);
        for (escape, whole) in [
            (r"\ud83d\ude00", r"\ud83d\ude00"),
            (r"\u00e9", r"\u00e9"),
            (r"\n", r"\n"),
        ] {
            let frame = format!(
                r#"{{"message":["{padding}{}"],"target_user":"b"}}"#,
                escape.repeat(60)
            );
            let detail = detail(&frame);
            let snippet = detail.split_once("[\"").expect("a snippet").1;
            let rest = snippet.trim_start_matches('x').replace(whole, "");
            assert_eq!(rest, "…", "{detail}");
        }
    }
}

#[test]
fn whitespace_between_tokens_is_shown_as_one_space() {
    let frame = "{\"message\":[\n\t  1,\r\n    2\n],\"target_user\":\"b\"}";
    assert!(
        detail(frame).ends_with("found the array [ 1, 2 ]"),
        "{}",
        detail(frame)
    );
}

/// Every detail of the corpus of invalid frames is bounded and printable.
#[test]
fn details_of_the_corpus_are_bounded_and_printable() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frames/invalid");
    for entry in std::fs::read_dir(dir).expect("the corpus exists") {
        let path = entry.expect("the folder can be read").path();
        let text = std::fs::read_to_string(&path).expect("a corpus file is UTF-8");
        let case: Value = serde_json::from_str(&text).expect("a case is JSON");
        let detail = detail(case["frame"].as_str().expect("a frame"));
        assert!(
            !detail.is_empty() && detail.len() <= 510,
            "{}: {detail}",
            path.display()
        );
        assert!(
            !detail.contains(char::is_control),
            "{}: {detail:?}",
            path.display()
        );
    }
}

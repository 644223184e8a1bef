//! Compares the protocol's parser and encoders with `serde_json`: `cargo bench --bench parse`.
//!
//! The contenders of a comparison run in turn, in many short rounds, and the fastest round of each counts: other load on the
//! machine then affects all of them alike. The module docs of `protocol::json` and `protocol::server::encode` quote the ratios.
//!
//! `content_types` measures the validation by JSON Schemas of an application: usual content, and the most expensive content of
//! 64 KiB for schemas that are just accepted.

#[path = "support/content_types.rs"]
mod content_types;

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use dmwire::protocol::server::{Ack, AckStatus, RawContent, ServerMessage};
use dmwire::protocol::types::{Integer, parse_uuid};
use dmwire::protocol::{Contract, MessageId, Scanned, ServerFrame, Tape, Timestamp};
use dmwire::store::ContentHasher;
use serde::{Deserialize, Serialize};

const ROUNDS: usize = 200;
const PER_ROUND: u32 = 2_000;

const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
const FRAMES: [(&str, &str); 3] = [
    (
        "short text",
        r#"{"message":"hello","target_user":"6666","ref":"m1"}"#,
    ),
    (
        "text with an id",
        r#"{"type":"message","message":"Shall we meet at the station at half past six?","target_user":"6666","id":"019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b","ref":"m1"}"#,
    ),
    (
        "image",
        r#"{"message":{"type":"image","url":"https://example.org/cat.png","alt":"A cat","width":640,"height":480},"target_user":"6666","ref":"m1"}"#,
    ),
];

/// A `message` frame as `serde_json` would decode it: without raw content, exact paths, and the rules for nested values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
// The fields are decoded, which is measured. Their names are those of the protocol.
#[allow(dead_code, clippy::struct_field_names)]
struct ClientMessage<'a> {
    #[serde(rename = "type", borrow)]
    tag: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Content<'a>,
    #[serde(borrow)]
    target_user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    target_room: Option<Cow<'a, str>>,
    id: Option<MessageId>,
    reply_to: Option<MessageId>,
    ephemeral: Option<bool>,
    #[serde(rename = "ref", borrow)]
    reference: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code)]
enum Content<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Typed(#[serde(borrow)] Typed<'a>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(dead_code)]
enum Typed<'a> {
    Markdown {
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    Image {
        #[serde(borrow)]
        url: Cow<'a, str>,
        #[serde(borrow)]
        alt: Option<Cow<'a, str>>,
        width: Option<u64>,
        height: Option<u64>,
    },
}

/// A `message` from the server as `serde_json` would encode it. Its content is a string, as raw JSON needs a feature of
/// `serde_json` that this program does not use.
#[derive(Serialize)]
#[allow(clippy::struct_field_names)] // The names in the protocol.
struct EncodedMessage<'a> {
    r#type: &'a str,
    message: &'a str,
    from_user: &'a str,
    target_user: Option<&'a str>,
    id: MessageId,
    seq: u64,
    sent_at: Timestamp,
}

/// Prints the fastest time per call of each contender, and how it compares with the first.
fn compare(what: &str, contenders: &mut [(&str, &mut dyn FnMut())]) {
    let mut best = vec![Duration::MAX; contenders.len()];
    for _ in 0..ROUNDS {
        for (best, (_, run)) in best.iter_mut().zip(contenders.iter_mut()) {
            let start = Instant::now();
            for _ in 0..PER_ROUND {
                run();
            }
            *best = (*best).min(start.elapsed());
        }
    }
    let first = best[0];
    for (best, (name, _)) in best.iter().zip(contenders) {
        let each = best.as_nanos() as f64 / f64::from(PER_ROUND);
        let ratio = best.as_secs_f64() / first.as_secs_f64();
        println!("{what:18} {name:28} {each:8.1} ns {ratio:6.2}");
    }
}

/// Frames with long content, which is hashed after it was parsed.
fn long_frames() -> [(&'static str, String); 3] {
    let frame = |content: &str| format!(r#"{{"target_user":"6666","message":{content}}}"#);
    let members: Vec<_> = (0..200).map(|n| format!(r#""k{n}":{n}"#)).collect();
    let (text, members) = ("x".repeat(2000), members.join(","));
    [
        ("text, 2 KB", frame(&format!(r#""{text}""#))),
        (
            "markdown, 2 KB",
            frame(&format!(r#"{{"type":"markdown","text":"{text}"}}"#)),
        ),
        (
            "200 members, 2 KB",
            frame(&format!(
                r#"{{"type":"data","name":"n","data":{{{members}}}}}"#
            )),
        ),
    ]
}

/// The content of one of these frames.
fn content_of(frame: &str) -> &str {
    let start = frame.find(r#""message":"#).map_or(0, |at| at + 10);
    &frame[start..frame.len() - 1]
}

fn main() {
    println!("{:18} {:28} {:>11} {:>6}", "", "", "per call", "ratio");
    let contract = Contract::built_in();
    let mut tape = Tape::default();
    for (what, text) in FRAMES {
        compare(
            what,
            &mut [
                ("protocol", &mut || {
                    let scanned = Scanned::new(&mut tape, black_box(text));
                    black_box(scanned.reference());
                    assert!(black_box(scanned.parse(&contract)).is_ok());
                }),
                ("serde_json, typed", &mut || {
                    let frame = serde_json::from_str::<ClientMessage<'_>>(black_box(text));
                    assert!(black_box(frame).is_ok());
                }),
                ("serde_json::Value", &mut || {
                    let frame = serde_json::from_str::<serde_json::Value>(black_box(text));
                    assert!(black_box(frame).is_ok());
                }),
            ],
        );
    }

    let hasher = ContentHasher::new(b"key");
    for (what, text) in long_frames() {
        let content = content_of(&text);
        compare(
            what,
            &mut [
                ("protocol", &mut || {
                    let scanned = Scanned::new(&mut tape, black_box(&text));
                    assert!(black_box(scanned.parse(&contract)).is_ok());
                }),
                ("hash of the content", &mut || {
                    black_box(hasher.hash(black_box(content)));
                }),
            ],
        );
    }

    content_types::measure();

    let id = MessageId(parse_uuid(ID).expect("a UUID"));
    let sent_at = Timestamp(1_795_172_580_123);
    let mut out = Vec::with_capacity(4096);
    let mut other = Vec::with_capacity(4096);
    let ack = ServerFrame::Ack(Ack {
        id: Some(id),
        room: None,
        seq: Some(Integer(1234)),
        status: AckStatus::Stored,
        sent_at,
        duplicate: None,
        reference: Some("m1"),
    });
    compare(
        "ack",
        &mut [
            ("protocol", &mut || {
                out.clear();
                black_box(&ack).write(&mut out);
            }),
            ("serde_json", &mut || {
                other.clear();
                serde_json::to_writer(&mut other, black_box(&ack)).expect("it serialises");
            }),
        ],
    );
    let message = ServerFrame::Message(ServerMessage {
        message: RawContent(r#""Shall we meet at the station at half past six?""#),
        from_user: "8888",
        target_user: Some("6666"),
        target_room: None,
        id,
        seq: Some(Integer(1234)),
        sent_at,
        reply_to: None,
        edited_at: None,
        ephemeral: None,
    });
    let encoded = EncodedMessage {
        r#type: "message",
        message: "Shall we meet at the station at half past six?",
        from_user: "8888",
        target_user: Some("6666"),
        id,
        seq: 1234,
        sent_at,
    };
    compare(
        "message",
        &mut [
            ("protocol", &mut || {
                out.clear();
                black_box(&message).write(&mut out);
            }),
            ("serde_json", &mut || {
                other.clear();
                serde_json::to_writer(&mut other, black_box(&encoded)).expect("it serialises");
            }),
        ],
    );
}

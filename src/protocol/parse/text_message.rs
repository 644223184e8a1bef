//! Decodes a frame that sends plain text, without serde: most frames of most clients are of this kind.
//!
//! It accepts only what it decodes exactly as the deserialiser does, and leaves everything else to it, also each error.
//! `cargo bench --bench parse` compares the two.

use super::super::client::{ClientFrame, ClientMessage};
use super::super::content::{Content, Text};
use super::super::json::{Value, ValueKind, WithRaw};
use super::super::types::{MessageId, Ref, RoomId, UserId, parse_uuid};

/// Decodes the frame. `None`: it has to be deserialised, and may be invalid.
pub(super) fn decode<'a>(root: Value<'_, 'a>) -> Option<ClientFrame<'a>> {
    if root.kind() != ValueKind::Object {
        return None;
    }
    let mut message = None;
    let mut frame = Fields::default();
    for (key, value) in root.children() {
        match key?.plain()? {
            "message" => message = Some(text(value)?),
            "target_user" => frame.target_user = Some(UserId::new(value.plain()?)?),
            "target_room" => frame.target_room = Some(RoomId::new(value.plain()?)?),
            "id" => frame.id = Some(id(value)?),
            "reply_to" => frame.reply_to = Some(id(value)?),
            "ref" => frame.reference = Some(Ref::new(value.plain()?)?),
            "ephemeral" => {
                frame.ephemeral = Some(match value.kind() {
                    ValueKind::True => true,
                    ValueKind::False => false,
                    _ => return None,
                });
            }
            "type" if value.is_text("message") => {}
            _ => return None,
        }
    }
    // Names are not repeated: the scanner has checked that.
    if frame.target_user.is_some() == frame.target_room.is_some() {
        return None;
    }
    Some(ClientFrame::Message(ClientMessage {
        target_user: frame.target_user,
        target_room: frame.target_room,
        message: message?,
        id: frame.id,
        reply_to: frame.reply_to,
        ephemeral: frame.ephemeral,
        reference: frame.reference,
    }))
}

/// The fields of a message besides its content.
#[derive(Default)]
struct Fields<'a> {
    target_user: Option<UserId<'a>>,
    target_room: Option<RoomId<'a>>,
    id: Option<MessageId>,
    reply_to: Option<MessageId>,
    ephemeral: Option<bool>,
    reference: Option<Ref<'a>>,
}

fn text<'a>(value: Value<'_, 'a>) -> Option<WithRaw<'a, Content<'a>>> {
    Some(WithRaw {
        raw: value.raw(),
        value: Content::Text(Text::new(value.text()?)?),
    })
}

fn id(value: Value<'_, '_>) -> Option<MessageId> {
    parse_uuid(value.plain()?).map(MessageId)
}

#[cfg(test)]
mod tests {
    use super::super::{ClientFrame, Contract, Scanned, Tape, text_message};

    /// Members of a frame, valid and invalid. The first of each line is the usual one.
    const MEMBERS: &[&[&str]] = &[
        &[
            r#""message":"hi""#,
            r#""message":"a\n\u00e9\"""#,
            r#""message":"""#,
            r#""message":7"#,
            r#""message":{"type":"markdown","text":"*hi*"}"#,
            r#""message":{"type":"order.updated"}"#,
            r#""mess\u0061ge":"hi""#,
            "",
        ],
        &[
            r#""target_user":"6666""#,
            r#""target_user":"a b""#,
            r#""target_user":"\u0036""#,
            r#""target_user":null"#,
            "",
        ],
        &["", r#""target_room":"lobby""#, r#""target_room":"""#],
        &[
            "",
            r#""type":"message""#,
            r#""type":"m\u0065ssage""#,
            r#""type":"edit""#,
            r#""type":1"#,
        ],
        &[
            "",
            r#""id":"019A2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b""#,
            r#""id":"019a2f4e7b1c7d3e9a550c1d2e3f4a5b""#,
        ],
        &[
            "",
            r#""reply_to":"019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b""#,
            r#""reply_to":null"#,
        ],
        &[
            "",
            r#""ephemeral":true"#,
            r#""ephemeral":false"#,
            r#""ephemeral":"true""#,
        ],
        &[
            "",
            r#""ref":"m1""#,
            r#""ref":"\ud83d\ude00""#,
            r#""ref":"""#,
        ],
        &["", r#""other":1"#, r#""message":"again""#],
    ];

    /// What this module and the deserialiser make of a frame.
    fn decoded(text: &str, contract: &Contract) -> (Option<String>, Option<String>) {
        let mut tape = Tape::default();
        let scanned = Scanned::new(&mut tape, text);
        let fast = scanned.root().and_then(text_message::decode);
        let checked = scanned
            .decode::<ClientFrame<'_>>(contract)
            .ok()
            .filter(|frame| frame.check().is_ok());
        let shown = |frame: Option<ClientFrame<'_>>| frame.map(|frame| format!("{frame:?}"));
        (shown(fast), shown(checked))
    }

    #[test]
    fn it_decodes_what_the_deserialiser_decodes_or_nothing() {
        let (contract, mut both) = (Contract::built_in(), 0);
        // Each two members in all of their forms, the others in the usual one.
        for (first, first_forms) in MEMBERS.iter().enumerate() {
            for (second, second_forms) in MEMBERS.iter().enumerate().skip(first) {
                for a in *first_forms {
                    for b in *second_forms {
                        let form = |(n, forms): (usize, &&[&'static str])| match n {
                            _ if n == first => *a,
                            _ if n == second => *b,
                            _ => forms[0],
                        };
                        let members: Vec<_> = MEMBERS.iter().enumerate().map(form).collect();
                        for order in [members.clone(), members.into_iter().rev().collect()] {
                            let present = order.into_iter().filter(|member| !member.is_empty());
                            let text = format!("{{{}}}", present.collect::<Vec<_>>().join(","));
                            let (fast, slow) = decoded(&text, &contract);
                            if fast.is_some() {
                                assert_eq!(fast, slow, "{text}");
                                both += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(both > 300, "most valid frames are decoded: {both}");
    }

    #[test]
    fn usual_frames_need_no_deserialiser() {
        for text in [
            r#"{"message":"hello","target_user":"6666"}"#,
            r#"{"type":"message","message":"hi","target_room":"lobby","id":"019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b","ref":"m1"}"#,
            r#"{"message":"hi","target_user":"6666","ephemeral":true,"reply_to":"019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b"}"#,
        ] {
            let (fast, slow) = decoded(text, &Contract::built_in());
            assert!(fast.is_some(), "{text}");
            assert_eq!(fast, slow);
        }
    }
}

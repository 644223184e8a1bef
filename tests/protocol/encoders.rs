//! The encoders that are written by hand produce the JSON that the serde types of the frames produce, over generated values:
//! each optional field present and absent, strings with escapes, and content in any valid notation.

use dmwire::protocol::server::{
    Ack, AckStatus, Conversation, Conversations, Deleted, Edited, ErrorFrame, Goodbye, Heartbeat,
    History, Member, Members, OkFrame, PastMessage, Pong, Presence, PresenceStatus, RawContent,
    Reacted, Reactions, Receipt, ReceiptKind, RoomChange, RoomEvent, RoomReason, ServerMessage,
    ServerTyping, Synced, Truncated, TruncatedReason,
};
use dmwire::protocol::types::{Integer, parse_uuid};
use dmwire::protocol::{ErrorCode, MessageId, ServerFrame, Tape, Timestamp};
use serde_json::Value;

use crate::support::{Random, assert_server_frame};

/// Frames of each kind that are compared.
const ROUNDS: usize = 500;

const NAMES: &[&str] = &["8888", "6666", "a", "A-Z.a_z~0@9:+", NAME_OF_64];
const NAME_OF_64: &str = "0123456789012345678901234567890123456789012345678901234567890123";
/// Strings of 1 to 16 characters, which every field that is not a name accepts.
const STRINGS: &[&str] = &[
    "r1",
    "\"",
    "\\",
    "/",
    "\u{0}",
    "\u{1f}\n\r\t\u{8}\u{c}",
    "\u{7f}",
    "é",
    "👍",
    "\u{2028}",
    "</script>",
    "{\"a\":1}",
    "\u{10ffff}",
    "a b",
];
const CONTENT: &[&str] = &[
    r#""hello""#,
    r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 é 😀""#,
    r#"{"type":"markdown","text":"*x*"}"#,
    "{ \"text\" : \"x\",\n\t\"type\" : \"markdown\" }",
    r#"{"type":"data","name":"n","data":[1.0,-0,1e300,18446744073709551616,null,{"a":{"":[]}}]}"#,
    r#"{"type":"location","latitude":48.25,"longitude":-1.5e1}"#,
];

struct Generator(Random);

impl Generator {
    fn name(&mut self) -> &'static str {
        NAMES[self.0.below(NAMES.len())]
    }

    fn string(&mut self) -> &'static str {
        STRINGS[self.0.below(STRINGS.len())]
    }

    fn content(&mut self) -> RawContent<'static> {
        RawContent(CONTENT[self.0.below(CONTENT.len())])
    }

    fn id(&mut self) -> MessageId {
        MessageId(parse_uuid(&self.0.uuid()).expect("a UUID"))
    }

    /// A number of any magnitude.
    fn number(&mut self) -> Integer<0, 9_007_199_254_740_991> {
        let bits = self.0.below(54);
        Integer(self.0.next() & ((1 << bits) - 1))
    }

    fn time(&mut self) -> Timestamp {
        // The years 1970 to 9999.
        Timestamp((self.0.next() % 253_402_300_800_000) as i64)
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.percent(50).then(|| make(self))
    }

    fn status(&mut self) -> PresenceStatus {
        *self.0.pick(&[
            PresenceStatus::Online,
            PresenceStatus::Away,
            PresenceStatus::Busy,
            PresenceStatus::Offline,
        ])
    }

    fn flag(&mut self) -> bool {
        self.0.percent(50)
    }

    /// Exactly one of a user and a room.
    fn target(&mut self) -> (Option<&'static str>, Option<&'static str>) {
        let name = self.name();
        if self.flag() {
            (Some(name), None)
        } else {
            (None, Some(name))
        }
    }

    fn past(&mut self) -> PastMessage<'static> {
        let (target_user, target_room) = self.target();
        let message = self.maybe(Self::content);
        let deleted_at = if message.is_none() || self.flag() {
            Some(self.time())
        } else {
            None
        };
        let reactions = (0..self.0.below(3))
            .map(|_| Reactions {
                emoji: self.string(),
                users: (0..self.0.below(3)).map(|_| self.name()).collect(),
            })
            .collect();
        PastMessage {
            r#type: "message",
            message,
            from_user: self.name(),
            target_user,
            target_room,
            id: self.id(),
            sent_at: self.time(),
            reply_to: self.maybe(Self::id),
            edited_at: self.maybe(Self::time),
            deleted_at,
            reactions,
        }
    }

    fn conversation(&mut self) -> Conversation<'static> {
        let (target_user, target_room) = self.target();
        Conversation {
            target_user,
            target_room,
            members: self.maybe(Self::number),
            last: self.maybe(Self::past),
            unread: self.number(),
            my_read: self.maybe(Self::id),
            their_read: self.maybe(Self::id),
            their_received: self.maybe(Self::id),
        }
    }

    /// One frame of each kind, except `welcome`.
    #[allow(clippy::too_many_lines)] // One expression per kind of frame.
    fn frames(&mut self) -> Vec<ServerFrame<'static>> {
        let (target_user, target_room) = self.target();
        let acked_room = self.maybe(Self::name);
        vec![
            ServerFrame::Message(ServerMessage {
                message: self.content(),
                from_user: self.name(),
                target_user,
                target_room,
                id: self.id(),
                seq: self.maybe(Self::number),
                sent_at: self.time(),
                reply_to: self.maybe(Self::id),
                edited_at: self.maybe(Self::time),
                ephemeral: self.maybe(Self::flag),
            }),
            ServerFrame::Ack(Ack {
                id: acked_room.is_none().then(|| self.id()),
                room: acked_room,
                seq: self.maybe(Self::number),
                status: *self.0.pick(&[
                    AckStatus::Stored,
                    AckStatus::Relayed,
                    AckStatus::Dropped,
                    AckStatus::Sent,
                ]),
                sent_at: self.time(),
                duplicate: self.maybe(Self::flag),
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Edited(Edited {
                message: self.content(),
                from_user: self.name(),
                target_user,
                target_room,
                id: self.id(),
                seq: self.number(),
                edited_at: self.time(),
            }),
            ServerFrame::History(History {
                target_user,
                target_room,
                messages: (0..self.0.below(4)).map(|_| self.past()).collect(),
                more: self.flag(),
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Conversations(Conversations {
                items: (0..self.0.below(4)).map(|_| self.conversation()).collect(),
                cursor: self.maybe(Self::string),
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Room(RoomChange {
                room: self.name(),
                event: *self.0.pick(&[RoomEvent::Joined, RoomEvent::Left]),
                user: self.name(),
                seq: self.number(),
                members: self.number(),
                reason: self.flag().then_some(RoomReason::RoomDeleted),
                at: self.time(),
            }),
            ServerFrame::Members(Members {
                room: self.name(),
                users: (0..self.0.below(4))
                    .map(|_| Member {
                        user: self.name(),
                        status: self.maybe(Self::status),
                        joined_at: self.time(),
                        read: self.maybe(Self::id),
                    })
                    .collect(),
                total: self.number(),
                cursor: self.maybe(Self::string),
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Presence(Presence {
                user: self.name(),
                status: self.status(),
                last_seen: self.maybe(Self::time),
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Deleted(Deleted {
                from_user: self.name(),
                target_user,
                target_room,
                id: self.id(),
                seq: self.number(),
                deleted_at: self.time(),
            }),
            ServerFrame::Reacted(Reacted {
                from_user: self.name(),
                target_user,
                target_room,
                id: self.id(),
                seq: self.number(),
                emoji: self.string(),
                removed: self.maybe(Self::flag),
            }),
            ServerFrame::Receipt(Receipt {
                kind: *self.0.pick(&[ReceiptKind::Received, ReceiptKind::Read]),
                by_user: self.name(),
                target_user,
                target_room,
                id: self.id(),
                at: self.time(),
            }),
            ServerFrame::Synced(Synced { seq: self.number() }),
            ServerFrame::Truncated(Truncated {
                reason: *self
                    .0
                    .pick(&[TruncatedReason::Retention, TruncatedReason::Reset]),
                oldest_seq: self.number(),
            }),
            ServerFrame::Typing(ServerTyping {
                from_user: self.name(),
                target_user,
                target_room,
                active: self.flag(),
            }),
            ServerFrame::Ok(OkFrame {
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Pong(Pong {
                server_time: self.time(),
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Heartbeat(Heartbeat {
                timestamp: self.time(),
            }),
            ServerFrame::Error(ErrorFrame {
                code: *self.0.pick(&[
                    ErrorCode::InvalidJson,
                    ErrorCode::Overloaded,
                    ErrorCode::Blocked,
                ]),
                detail: self.string(),
                path: self.maybe(Self::string),
                schema: self.maybe(Self::string),
                retryable: self.flag(),
                retry_after_ms: self.maybe(Self::number),
                reference: self.maybe(Self::string),
            }),
            ServerFrame::Goodbye(Goodbye {
                code: Integer(1000 + self.0.next() % 4000),
                reason: self.string(),
                detail: self.string(),
                reconnect: self.flag(),
                retry_after_ms: self.maybe(Self::number),
            }),
        ]
    }
}

#[test]
fn frames_are_written_as_their_types_serialise() {
    let mut generator = Generator(Random::new(12));
    let mut tape = Tape::default();
    for _ in 0..ROUNDS {
        for frame in generator.frames() {
            // The writer appends: what is in the buffer stays.
            let mut out = b"before".to_vec();
            frame.write(&mut out);
            let text = std::str::from_utf8(&out).expect("UTF-8");
            let text = text.strip_prefix("before").expect("the earlier bytes");
            let written: Value =
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let typed = serde_json::to_value(&frame).expect("the type serialises");
            assert_eq!(written, typed, "{text}");
            // A JSON value keeps only the last of two members with one name; the scanner reports them.
            assert_eq!(tape.scan(text).1, None, "{text}");
            assert!(text.starts_with(r#"{"type":""#), "{text}");
            assert_server_frame(&written);
        }
    }
}

#[test]
fn content_is_written_as_it_was_received() {
    let mut generator = Generator(Random::new(13));
    for _ in 0..ROUNDS {
        for frame in generator.frames() {
            let mut contents = Vec::new();
            match &frame {
                ServerFrame::Message(message) => contents.push(message.message.0),
                ServerFrame::Edited(edited) => contents.push(edited.message.0),
                ServerFrame::History(history) => {
                    contents.extend(
                        history
                            .messages
                            .iter()
                            .filter_map(|past| past.message.map(|content| content.0)),
                    );
                }
                _ => {}
            }
            let mut out = Vec::new();
            frame.write(&mut out);
            let text = String::from_utf8(out).expect("UTF-8");
            for content in contents {
                assert!(
                    text.contains(&format!(r#""message":{content},"from_user""#)),
                    "{text}"
                );
            }
        }
    }
}

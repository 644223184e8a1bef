//! How server frames are written.

use std::io::Write;

use serde::Serialize;
use uuid::Uuid;

use super::{
    Ack, AckStatus, Conversation, Conversations, Edited, History, PastMessage, ServerFrame,
    ServerMessage,
};
use crate::protocol::timestamp::Timestamp;
use crate::protocol::types::MessageId;

impl ServerFrame<'_> {
    /// Appends the frame's JSON. Messages and acks, which are nearly all frames, are written by hand: content is carried as
    /// it came, and nothing else in them can need an escape but `ref`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message(message) => message.write(out),
            Self::Ack(ack) => ack.write(out),
            Self::Edited(edited) => edited.write(out),
            Self::History(history) => history.write(out),
            Self::Conversations(conversations) => conversations.write(out),
            Self::Deleted(body) => tagged(out, "deleted", body),
            Self::Reacted(body) => tagged(out, "reacted", body),
            Self::Receipt(body) => tagged(out, "receipt", body),
            Self::Welcome(body) => tagged(out, "welcome", body),
            Self::Synced(body) => tagged(out, "synced", body),
            Self::Truncated(body) => tagged(out, "truncated", body),
            Self::Typing(body) => tagged(out, "typing", body),
            Self::Ok(body) => tagged(out, "ok", body),
            Self::Pong(body) => tagged(out, "pong", body),
            Self::Heartbeat(body) => tagged(out, "heartbeat", body),
            Self::Error(body) => tagged(out, "error", body),
            Self::Goodbye(body) => tagged(out, "goodbye", body),
        }
    }
}

fn tagged(out: &mut Vec<u8>, tag: &str, body: &impl Serialize) {
    #[derive(Serialize)]
    struct Tagged<'t, T> {
        r#type: &'t str,
        #[serde(flatten)]
        body: &'t T,
    }
    // Writing into memory fails only if a key is no string, and none is.
    drop(serde_json::to_writer(out, &Tagged { r#type: tag, body }));
}

impl ServerMessage<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.message.0.len() + 320);
        out.extend_from_slice(br#"{"type":"message","message":"#);
        out.extend_from_slice(self.message.0.as_bytes());
        text(out, r#","from_user":""#, self.from_user);
        if let Some(user) = self.target_user {
            text(out, r#"","target_user":""#, user);
        }
        if let Some(room) = self.target_room {
            text(out, r#"","target_room":""#, room);
        }
        uuid(out, r#"","id":""#, self.id);
        out.push(b'"');
        if let Some(seq) = self.seq {
            number(out, r#","seq":"#, seq.0);
        }
        time(out, r#","sent_at":""#, self.sent_at);
        if let Some(reply_to) = self.reply_to {
            uuid(out, r#"","reply_to":""#, reply_to);
        }
        if let Some(edited_at) = self.edited_at {
            time(out, r#"","edited_at":""#, edited_at);
        }
        out.push(b'"');
        if let Some(ephemeral) = self.ephemeral {
            text(
                out,
                r#","ephemeral":"#,
                if ephemeral { "true" } else { "false" },
            );
        }
        out.push(b'}');
    }
}

impl Ack<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.reserve(192);
        uuid(out, r#"{"type":"ack","id":""#, self.id);
        out.push(b'"');
        if let Some(seq) = self.seq {
            number(out, r#","seq":"#, seq.0);
        }
        let status = match self.status {
            AckStatus::Stored => "stored",
            AckStatus::Relayed => "relayed",
            AckStatus::Dropped => "dropped",
        };
        text(out, r#","status":""#, status);
        time(out, r#"","sent_at":""#, self.sent_at);
        out.push(b'"');
        if let Some(duplicate) = self.duplicate {
            text(
                out,
                r#","duplicate":"#,
                if duplicate { "true" } else { "false" },
            );
        }
        reference(out, self.reference);
        out.push(b'}');
    }
}

impl Edited<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"edited","message":"#);
        out.extend_from_slice(self.message.0.as_bytes());
        text(out, r#","from_user":""#, self.from_user);
        out.push(b'"');
        target(out, self.target_user, self.target_room);
        uuid(out, r#","id":""#, self.id);
        number(out, r#"","seq":"#, self.seq.0);
        time(out, r#","edited_at":""#, self.edited_at);
        out.extend_from_slice(br#""}"#);
    }
}

impl PastMessage<'_> {
    /// Appends the message's JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"message""#);
        if let Some(content) = self.message {
            text(out, r#","message":"#, content.0);
        }
        text(out, r#","from_user":""#, self.from_user);
        out.push(b'"');
        target(out, self.target_user, self.target_room);
        uuid(out, r#","id":""#, self.id);
        time(out, r#"","sent_at":""#, self.sent_at);
        if let Some(reply_to) = self.reply_to {
            uuid(out, r#"","reply_to":""#, reply_to);
        }
        if let Some(edited_at) = self.edited_at {
            time(out, r#"","edited_at":""#, edited_at);
        }
        if let Some(deleted_at) = self.deleted_at {
            time(out, r#"","deleted_at":""#, deleted_at);
        }
        out.push(b'"');
        if !self.reactions.is_empty() {
            out.extend_from_slice(br#","reactions":"#);
            // As above: writing into memory cannot fail.
            drop(serde_json::to_writer(&mut *out, &self.reactions));
        }
        out.push(b'}');
    }
}

impl History<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"history""#);
        target(out, self.target_user, self.target_room);
        out.extend_from_slice(br#","messages":["#);
        for (n, message) in self.messages.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            message.write(out);
        }
        text(
            out,
            r#"],"more":"#,
            if self.more { "true" } else { "false" },
        );
        reference(out, self.reference);
        out.push(b'}');
    }
}

impl Conversations<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"conversations","items":["#);
        for (n, item) in self.items.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            item.write(out);
        }
        out.push(b']');
        if let Some(cursor) = self.cursor {
            out.extend_from_slice(br#","cursor":"#);
            // As above: writing into memory cannot fail.
            drop(serde_json::to_writer(&mut *out, cursor));
        }
        reference(out, self.reference);
        out.push(b'}');
    }
}

impl Conversation<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        number(out, r#"{"unread":"#, self.unread.0);
        target(out, self.target_user, self.target_room);
        for (name, mark) in [
            (r#","my_read":""#, self.my_read),
            (r#","their_read":""#, self.their_read),
            (r#","their_received":""#, self.their_received),
        ] {
            if let Some(id) = mark {
                uuid(out, name, id);
                out.push(b'"');
            }
        }
        out.extend_from_slice(br#","last":"#);
        self.last.write(out);
        out.push(b'}');
    }
}

fn target(out: &mut Vec<u8>, user: Option<&str>, room: Option<&str>) {
    if let Some(user) = user {
        text(out, r#","target_user":""#, user);
        out.push(b'"');
    }
    if let Some(room) = room {
        text(out, r#","target_room":""#, room);
        out.push(b'"');
    }
}

fn reference(out: &mut Vec<u8>, reference: Option<&str>) {
    if let Some(reference) = reference {
        out.extend_from_slice(br#","ref":"#);
        // As above: writing a string into memory cannot fail.
        drop(serde_json::to_writer(&mut *out, reference));
    }
}

fn time(out: &mut Vec<u8>, before: &str, value: Timestamp) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(&value.ascii());
}

fn text(out: &mut Vec<u8>, before: &str, value: &str) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

fn uuid(out: &mut Vec<u8>, before: &str, id: MessageId) {
    let mut buffer = Uuid::encode_buffer();
    text(out, before, id.0.hyphenated().encode_lower(&mut buffer));
}

fn number(out: &mut Vec<u8>, before: &str, value: u64) {
    out.extend_from_slice(before.as_bytes());
    // As above: writing into memory cannot fail.
    drop(write!(out, "{value}"));
}

#[cfg(test)]
mod tests {
    use super::super::super::types::{Integer, parse_uuid};
    use super::*;
    use crate::protocol::server::RawContent;
    use serde_json::json;

    fn written(frame: &ServerFrame<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        frame.write(&mut out);
        serde_json::from_slice(&out).expect("what is written is JSON")
    }

    const ID: &str = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";

    fn id() -> MessageId {
        MessageId(parse_uuid(ID).expect("a UUID"))
    }

    #[test]
    fn messages_say_what_they_were_given() {
        let mut message = ServerMessage {
            message: RawContent(r#"{"type":"data", "name":"n","data":[1.0]}"#),
            from_user: "8888",
            target_user: Some("6666"),
            target_room: None,
            id: id(),
            seq: Some(Integer(7)),
            sent_at: Timestamp(1_795_172_580_123),
            reply_to: None,
            edited_at: None,
            ephemeral: None,
        };
        let content = json!({"type": "data", "name": "n", "data": [1.0]});
        assert_eq!(
            written(&ServerFrame::Message(message.clone())),
            json!({
                "type": "message", "message": content, "from_user": "8888", "target_user": "6666", "id": ID, "seq": 7,
                "sent_at": "2026-11-20T11:03:00.123Z"
            })
        );
        (message.target_user, message.target_room) = (None, Some("lobby"));
        (message.seq, message.reply_to, message.ephemeral) = (None, Some(id()), Some(true));
        assert_eq!(
            written(&ServerFrame::Message(message)),
            json!({
                "type": "message", "message": content, "from_user": "8888", "target_room": "lobby", "id": ID,
                "sent_at": "2026-11-20T11:03:00.123Z", "reply_to": ID, "ephemeral": true
            })
        );
    }

    #[test]
    fn acks_written_by_hand_say_what_the_type_says() {
        for (seq, duplicate, reference) in [
            (Some(Integer(7)), None, Some("a\"\\\u{1}é")),
            (None, Some(true), None),
        ] {
            for status in [AckStatus::Stored, AckStatus::Relayed, AckStatus::Dropped] {
                let ack = Ack {
                    id: id(),
                    seq,
                    status,
                    sent_at: Timestamp(0),
                    duplicate,
                    reference,
                };
                let mut typed = serde_json::to_value(&ack).expect("serialises");
                typed["type"] = json!("ack");
                assert_eq!(written(&ServerFrame::Ack(ack)), typed);
            }
        }
    }
}

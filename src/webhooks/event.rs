//! Events as receivers get them.

use crate::config::WebhookEvent;
use crate::delivery::render::past_message;
use crate::presence::{Shown, ShownStatus};
use crate::protocol::Timestamp;
use crate::protocol::server::PresenceStatus;
use crate::protocol::types::is_erased_name;
use crate::store::{
    EventData, EventKind, EventSubject, MembershipEntry, MembershipEvent, StoredMessage,
};

/// The event of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Identifies it: the same in all requests about the event.
    pub id: String,
    /// The body of requests.
    pub body: Vec<u8>,
}

/// The event of a kind that is stored.
pub fn of_kind(kind: EventKind) -> WebhookEvent {
    match kind {
        EventKind::Message => WebhookEvent::MessageCreated,
        EventKind::Waiting => WebhookEvent::MessageWaiting,
        EventKind::Joined => WebhookEvent::RoomJoined,
        EventKind::Left => WebhookEvent::RoomLeft,
    }
}

impl Event {
    /// A stored event. `None`: there is nothing to report any more, because all users whom it concerns have been erased.
    pub fn of_stored(data: &EventData) -> Option<Self> {
        let inner = match &data.subject {
            EventSubject::Message(message) => message_data(message, None),
            EventSubject::Waiting(message, users) => {
                let users: Vec<_> = users.iter().filter(|user| !is_erased_name(user)).collect();
                if users.is_empty() {
                    return None;
                }
                message_data(message, Some(&json(&users)))
            }
            EventSubject::Membership(change) => membership_data(change),
        };
        let id = uuid::Uuid::from_bytes(data.identity);
        let kind = of_kind(data.event.kind);
        Some(Self {
            id: format!("evt_{}", id.simple()),
            body: body(kind, data.event.at, &inner),
        })
    }

    /// A user has come online, or is not online any more.
    pub fn of_presence(user: &str, shown: Shown, at: i64) -> (WebhookEvent, Self) {
        let kind = match shown.status {
            ShownStatus::Offline => WebhookEvent::UserOffline,
            _ => WebhookEvent::UserOnline,
        };
        let status = json(&PresenceStatus::from(shown.status));
        let mut inner = format!(r#"{{"user":{},"status":{status}"#, json(user));
        if let Some(last_seen) = shown.last_seen {
            inner.push_str(r#","last_seen":"#);
            inner.push_str(&json(&Timestamp(last_seen)));
        }
        inner.push('}');
        let event = Self {
            id: format!("evt_{}", uuid::Uuid::new_v4().simple()),
            body: body(kind, at, inner.as_bytes()),
        };
        (kind, event)
    }
}

/// Values of these types always have a form in JSON.
fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn body(kind: WebhookEvent, at: i64, inner: &[u8]) -> Vec<u8> {
    let timestamp = json(&Timestamp(at));
    let mut body = format!(
        r#"{{"type":"{}","timestamp":{timestamp},"data":"#,
        kind.as_str()
    )
    .into_bytes();
    body.extend_from_slice(inner);
    body.push(b'}');
    body
}

/// The frame of a message without `type` and `seq`, as the store has the message now; with `users`, if given.
fn message_data(message: &StoredMessage, users: Option<&str>) -> Vec<u8> {
    const TYPE: &[u8] = br#"{"type":"message","#;
    let mut frame = Vec::new();
    past_message(message).write(&mut frame);
    let rest = frame.strip_prefix(TYPE).unwrap_or_default();
    let mut inner = b"{".to_vec();
    inner.extend_from_slice(rest);
    if let Some(users) = users {
        inner.pop();
        inner.extend_from_slice(format!(r#","users":{users}}}"#).as_bytes());
    }
    inner
}

/// The frame of a change of a membership without `type` and `seq`.
fn membership_data(change: &MembershipEntry) -> Vec<u8> {
    let event = match change.event {
        MembershipEvent::Joined => "joined",
        MembershipEvent::Left => "left",
    };
    let reason = if change.room_deleted {
        r#","reason":"room_deleted""#
    } else {
        ""
    };
    format!(
        r#"{{"room":{},"event":"{event}","user":{},"members":{},"at":{}{reason}}}"#,
        json(&*change.room),
        json(&*change.user),
        change.members,
        json(&Timestamp(change.at))
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::store::{Conversation, EventRef};

    fn data(subject: EventSubject, kind: EventKind) -> EventData {
        EventData {
            event: EventRef {
                id: 1,
                conversation: 1,
                kind,
                at: 1_764_000_000_123,
            },
            identity: [7; 16],
            subject,
        }
    }

    fn message() -> StoredMessage {
        StoredMessage {
            from: "ada".into(),
            to: Conversation::Direct("bo".into()),
            id: Uuid::from_u128(1),
            sent_at: 1_764_000_000_123,
            reply_to: None,
            edited_at: None,
            deleted_at: None,
            content: r#"{"type":"data","data":1e400}"#.into(),
            reactions: Vec::new(),
        }
    }

    #[test]
    fn content_is_posted_as_it_was_received() {
        let event = Event::of_stored(&data(EventSubject::Message(message()), EventKind::Message));
        let event = event.expect("an event");
        assert_eq!(event.id, "evt_07070707070707070707070707070707");
        let text = String::from_utf8(event.body).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"type":"message.created","timestamp":"2025-11-24T16:00:00.123Z","data":{"message":{"type":"data","data":1e400},"from_user":"ada","target_user":"bo","id":"00000000-0000-0000-0000-000000000001","sent_at":"2025-11-24T16:00:00.123Z"}}"#
        );
    }

    #[test]
    fn erased_users_wait_for_nothing() {
        let erased = "erased.0123456789abcdef0123456789abcdef".to_owned();
        let event = |users: &[&str]| {
            let users = users.iter().map(ToString::to_string).collect();
            let deleted = StoredMessage {
                deleted_at: Some(1_764_000_001_000),
                content: String::new(),
                ..message()
            };
            let subject = EventSubject::Waiting(deleted, users);
            Event::of_stored(&data(subject, EventKind::Waiting))
        };
        assert_eq!(event(&[&erased]), None);
        let body = event(&[&erased, "bo"]).expect("an event").body;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["type"], "message.waiting");
        assert_eq!(body["data"]["users"], serde_json::json!(["bo"]));
        assert_eq!(body["data"]["deleted_at"], "2025-11-24T16:00:01.000Z");
        assert!(body["data"].get("message").is_none());
    }
}

//! The server frame about presence.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::protocol::timestamp::Timestamp;
use crate::protocol::types::{Ref, UserId};

/// The presence of a user, as far as the user of this session sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresenceStatus {
    /// The user has a session.
    Online,
    /// The user has a session and is away from the device.
    Away,
    /// The user has a session and is not to be disturbed.
    Busy,
    /// The user has no session, hides it, or does not share it with the user of this session.
    Offline,
}

impl PresenceStatus {
    /// Its name in frames.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }
}

/// The reply to `watch` for one user, and the notification of a change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(
    example = json!({"type": "presence", "user": "6666", "status": "online", "ref": "w1"}),
    example = json!({
        "type": "presence", "user": "6666", "status": "offline", "last_seen": "2026-11-20T11:03:00.123Z"
    })
)]
pub struct Presence<'a> {
    /// The user.
    #[schemars(with = "UserId<'a>")]
    pub user: &'a str,
    /// The status.
    pub status: PresenceStatus,
    /// When the user was last online; only while offline, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// The `ref` of the client frame; absent in a notification.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    pub reference: Option<&'a str>,
}

//! Server frames about rooms.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::PresenceStatus;
use crate::protocol::client::Cursor;
use crate::protocol::content::SafeInteger;
use crate::protocol::timestamp::Timestamp;
use crate::protocol::types::{MessageId, Ref, RoomId, UserId};

/// A change of a room's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomEvent {
    /// The user is a member from now on.
    Joined,
    /// The user is not a member any more.
    Left,
}

/// Why a membership has ended, if the user has not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomReason {
    /// The operator has deleted the room, and with it its messages. A room of the same name is another one.
    RoomDeleted,
}

/// A user has joined or left a room.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "room", "room": "lobby", "event": "joined", "user": "8888", "seq": 47, "members": 12,
    "at": "2026-11-20T11:03:00.123Z"
}))]
#[schemars(example = json!({
    "type": "room", "room": "lobby", "event": "left", "user": "6666", "seq": 48, "members": 0, "reason": "room_deleted",
    "at": "2026-11-20T11:04:00.123Z"
}))]
pub struct RoomChange<'a> {
    /// The name of the room.
    #[schemars(with = "RoomId<'a>")]
    pub room: &'a str,
    /// What the user has done.
    pub event: RoomEvent,
    /// The user who has joined or left.
    #[schemars(with = "UserId<'a>")]
    pub user: &'a str,
    /// The sequence number of this entry in the inbox of the user of this session.
    pub seq: SafeInteger,
    /// The number of members after the event.
    pub members: SafeInteger,
    /// Why the membership has ended. Only with `left`, and not if the user has left or was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<RoomReason>,
    /// The time of the event.
    pub at: Timestamp,
}

/// A member of a room.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Member<'a> {
    /// The user.
    #[schemars(with = "UserId<'a>")]
    pub user: &'a str,
    /// The time at which the user became a member.
    pub joined_at: Timestamp,
    /// The status of the user as the user of this session sees it; only in small rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<PresenceStatus>,
    /// The newest message that the user has read; only in small rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<MessageId>,
}

/// The reply to `members`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "members", "room": "lobby", "total": 1, "ref": "m1",
    "users": [{"user": "8888", "status": "online", "joined_at": "2026-11-20T11:03:00.123Z"}]
}))]
pub struct Members<'a> {
    /// The name of the room.
    #[schemars(with = "RoomId<'a>")]
    pub room: &'a str,
    /// Members, ordered by the bytes of their ids.
    pub users: Vec<Member<'a>>,
    /// The number of members of the room.
    pub total: SafeInteger,
    /// The position of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Cursor<'a>>")]
    pub cursor: Option<&'a str>,
    /// The `ref` of the client frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ref<'a>>")]
    #[serde(rename = "ref")]
    pub reference: Option<&'a str>,
}

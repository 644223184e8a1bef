//! `/v1/rooms`: all rooms, their members and their messages.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use super::Ops;
use super::conversations::{Position, finish, frame_response};
use super::error::ApiError;
use super::query::{Query, path_name};
use crate::delivery::answers;
use crate::http::Activity;
use crate::ingest::DeletedRoom;
use crate::protocol::client::DEFAULT_LIMIT;
use crate::protocol::content::SafeInteger;
use crate::protocol::types::{Integer, RoomId, UserId, is_name, parse_uuid};
use crate::protocol::{FrameError, Timestamp};
use crate::store::{HistoryAnswer, HistoryPosition, MembersAnswer};

/// Rooms or members in an answer, if the caller sets no `limit`.
const DEFAULT_PART: usize = 100;
const MAX_PART: usize = 1000;

/// Part of the list of rooms.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoomList {
    /// The rooms, by name. There may be fewer than `limit` although there are more.
    rooms: Vec<ListedRoom>,
    /// The position of the next part; absent in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A room that has members or messages.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedRoom {
    /// The name.
    #[schemars(with = "RoomId<'_>")]
    room: String,
    /// The number of members.
    members: SafeInteger,
}

/// Members of a room.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoomPart {
    /// The name.
    #[schemars(with = "RoomId<'_>")]
    room: String,
    /// Members, by the bytes of their ids.
    users: Vec<RoomMember>,
    /// The number of all members.
    total: SafeInteger,
    /// The position of the next part; absent in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A member of a room.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoomMember {
    /// The user.
    #[schemars(with = "UserId<'_>")]
    user: String,
    /// When the user has joined.
    joined_at: Timestamp,
}

/// `GET /v1/rooms`
pub async fn list(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<RoomList>, ApiError> {
    let mut query = Query::of(&request)?;
    let limit = query.number("limit", 1..=MAX_PART)?;
    let cursor = query.text("cursor");
    query.finish()?;
    // A cursor is the name of a room.
    let after = cursor.map(|name| {
        let name = is_name(&name).then_some(name);
        name.map(Arc::from).ok_or_else(FrameError::unknown_cursor)
    });
    let read = ops
        .context
        .router
        .all_rooms(after.transpose()?, limit.unwrap_or(DEFAULT_PART));
    let page = finish(read).await?;
    Ok(web::Json(RoomList {
        cursor: page.next.map(|name| name.to_string()),
        rooms: page
            .rooms
            .into_iter()
            .map(|item| ListedRoom {
                room: item.room.to_string(),
                members: Integer(item.members),
            })
            .collect(),
    }))
}

/// `GET /v1/rooms/{room}`
pub async fn get(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<RoomPart>, ApiError> {
    let room: Arc<str> = path_name(&request, "room")?.into();
    let mut query = Query::of(&request)?;
    let limit = query.number("limit", 1..=MAX_PART)?;
    let cursor = query.text("cursor");
    query.finish()?;
    // Whether the room exists is checked first, so another text is treated like an unknown cursor.
    let cursor = cursor.map(|text| parse_uuid(&text).unwrap_or_default());
    let limit = limit.unwrap_or(DEFAULT_PART);
    let read = ops
        .context
        .router
        .members_of_room(room.clone(), limit, cursor);
    match finish(read).await? {
        MembersAnswer::Page(page) => Ok(web::Json(RoomPart {
            room: room.to_string(),
            users: page
                .members
                .into_iter()
                .map(|member| RoomMember {
                    user: member.user.to_string(),
                    joined_at: Timestamp(member.joined_at),
                })
                .collect(),
            total: Integer(page.total),
            cursor: page.cursor.map(|id| id.hyphenated().to_string()),
        })),
        MembersAnswer::UnknownCursor => Err(FrameError::unknown_cursor().into()),
        MembersAnswer::UnknownRoom | MembersAnswer::NotMember => Err(no_such_room()),
    }
}

/// `GET /v1/rooms/{room}/history`
pub async fn history(ops: web::Data<Ops>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let room: Arc<str> = path_name(&request, "room")?.into();
    let mut query = Query::of(&request)?;
    let position = Position::of(&mut query)?;
    query.finish()?;
    let before = position.before.map(|id| HistoryPosition::Before(id.0));
    let after = position.after.map(|id| HistoryPosition::After(id.0));
    let limit = position.limit.unwrap_or(DEFAULT_LIMIT) as usize;
    let router = &ops.context.router;
    let (query, read) = router.history_of_room(room, before.or(after), limit);
    match finish(read).await? {
        HistoryAnswer::UnknownRoom | HistoryAnswer::NotMember => Err(no_such_room()),
        answer => Ok(frame_response(&answers::history(&query, &answer, None)?)),
    }
}

/// The result of deleting a room.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RoomDeletion {
    /// The number of members whose membership has ended.
    members: SafeInteger,
    /// The number of messages that were deleted.
    messages: SafeInteger,
}

/// `DELETE /v1/rooms/{room}`
pub async fn delete(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<RoomDeletion>, ApiError> {
    let room: Arc<str> = path_name(&request, "room")?.into();
    Query::of(&request)?.finish()?;
    let _working = request.conn_data::<Activity>().map(Activity::work);
    let DeletedRoom { members, messages } = ops.ingest.delete_room(&room).await?;
    Ok(web::Json(RoomDeletion {
        members: Integer(members),
        messages: Integer(messages),
    }))
}

fn no_such_room() -> ApiError {
    FrameError::no_such_room("room").into()
}

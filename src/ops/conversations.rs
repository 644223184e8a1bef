//! `/v1/users/{user}/conversations` and `/history`: what the frames of these names would answer to the user.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};

use super::Ops;
use super::error::ApiError;
use super::query::{Query, path_name};
use crate::delivery::answers;
use crate::protocol::client::{ClientConversations, ClientHistory, Cursor};
use crate::protocol::types::{Integer, RoomId, UserId, parse_uuid};
use crate::protocol::{ErrorCode, FrameError, MessageId, ServerFrame};
use crate::readers::PendingRead;
use crate::router::RunningQuery;

/// `GET /v1/users/{user}/conversations`
pub async fn list(ops: web::Data<Ops>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let user: Arc<str> = path_name(&request, "user")?.into();
    let mut query = Query::of(&request)?;
    let limit = query.number("limit", 1..=200)?;
    let cursor = query.text("cursor");
    query.finish()?;
    let frame = ClientConversations {
        limit: limit.map(Integer),
        cursor: cursor
            .map(|cursor| Cursor::new(cursor).ok_or_else(FrameError::unknown_cursor))
            .transpose()?,
        reference: None,
    };
    let router = &ops.context.router;
    let query = router.conversations(&frame, &user)?;
    match router.start_query(query, None, |bytes| bytes).1 {
        RunningQuery::Conversations(read) => {
            let page = finish(read).await?.ok_or_else(FrameError::unknown_cursor)?;
            Ok(answers::conversations(&page, None, frame_response))
        }
        _ => Err(failed()),
    }
}

/// `GET /v1/users/{user}/history`
pub async fn history(ops: web::Data<Ops>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let user: Arc<str> = path_name(&request, "user")?.into();
    let mut query = Query::of(&request)?;
    let target_user = query.name("target_user")?;
    let target_room = query.name("target_room")?;
    check_target(target_user.as_deref(), target_room.as_deref())?;
    let position = Position::of(&mut query)?;
    query.finish()?;
    let frame = ClientHistory {
        target_user: target_user.and_then(UserId::new),
        target_room: target_room.and_then(RoomId::new),
        before: position.before,
        after: position.after,
        limit: position.limit.map(Integer),
        reference: None,
    };
    let router = &ops.context.router;
    if frame.target_room.is_some() && !router.has_rooms() {
        return Err(FrameError::unknown_room("target_room").into());
    }
    let query = router.history(&frame, &user);
    match router.start_query(query, None, |bytes| bytes).1 {
        RunningQuery::History(query, read) => {
            let answer = finish(read).await?;
            let frame = answers::history(&query, &answer, None)?;
            Ok(frame_response(&frame))
        }
        _ => Err(failed()),
    }
}

/// Which part of a history is read.
pub struct Position {
    /// Messages older than this one.
    pub before: Option<MessageId>,
    /// Messages newer than this one.
    pub after: Option<MessageId>,
    /// The largest number of messages.
    pub limit: Option<u64>,
}

impl Position {
    /// The parameters `before`, `after` and `limit`.
    ///
    /// # Errors
    /// One of them is invalid, or both positions are given.
    pub fn of(query: &mut Query) -> Result<Self, ApiError> {
        let id = |text: &str| parse_uuid(text).map(MessageId);
        let position = Self {
            before: query.parsed("before", "the id of a message", id)?,
            after: query.parsed("after", "the id of a message", id)?,
            limit: query.number("limit", 1..=200)?,
        };
        if position.before.is_some() && position.after.is_some() {
            return Err(ApiError::invalid_parameter(
                "after",
                "expected at most one of `before` and `after`, found both",
            ));
        }
        Ok(position)
    }
}

/// Requires exactly one of `target_user` and `target_room`, as frames do.
///
/// # Errors
/// There is none, or both.
pub fn check_target(user: Option<&str>, room: Option<&str>) -> Result<(), ApiError> {
    match (user, room) {
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (None, None) => Err(ApiError::invalid_parameter(
            "target_user",
            "expected one of `target_user` and `target_room`, found neither",
        )),
        (Some(_), Some(_)) => Err(ApiError::invalid_parameter(
            "target_room",
            "expected one of `target_user` and `target_room`, found both",
        )),
    }
}

/// The result of a query of the store.
///
/// # Errors
/// 503 or 500
pub async fn finish<T>(read: PendingRead<T>) -> Result<T, ApiError> {
    match read.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            log::error!("cannot read the answer to an API call: {error}");
            Err(failed())
        }
        // The readers have ended.
        Err(_) => Err(ApiError::draining()),
    }
}

fn failed() -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        "the store could not be read; ask again",
    )
}

/// A response with a frame.
pub fn frame_response(frame: &ServerFrame<'_>) -> HttpResponse {
    let mut json = Vec::new();
    frame.write(&mut json);
    HttpResponse::Ok()
        .insert_header(ContentType::json())
        .body(json)
}

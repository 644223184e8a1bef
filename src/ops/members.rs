//! `/v1/rooms/{room}/members/{user}`: memberships that a back end makes and ends.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::Ops;
use super::error::ApiError;
use super::messages::ack_response;
use super::query::{Query, path_name};
use crate::protocol::FrameError;
use crate::protocol::types::is_erased_name;

/// `PUT /v1/rooms/{room}/members/{user}`
pub async fn add(ops: web::Data<Ops>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (user, room) = parameters(&request)?;
    if is_erased_name(&user) {
        return Err(FrameError::erased_user("user").into());
    }
    ack_response(ops.ingest.add_member(&user, &room).await)
}

/// `DELETE /v1/rooms/{room}/members/{user}`
pub async fn remove(ops: web::Data<Ops>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (user, room) = parameters(&request)?;
    ack_response(ops.ingest.remove_member(&user, &room).await)
}

fn parameters(request: &HttpRequest) -> Result<(Arc<str>, String), ApiError> {
    let (room, user) = (path_name(request, "room")?, path_name(request, "user")?);
    Query::of(request)?.finish()?;
    Ok((user.into(), room))
}

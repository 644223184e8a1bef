//! `/v1/messages`: messages that a back end sends in the name of users, and their deletion by moderators.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};

use super::Ops;
use super::body::Body;
use super::conversations::{check_target, frame_response};
use super::error::ApiError;
use super::query::{Query, path_text};
use crate::delivery::{PartAck, PartOutcome};
use crate::ingest::Sent;
use crate::protocol::types::{UserId, parse_uuid};
use crate::protocol::{ServerFrame, Tape, Target};

/// Bytes that a body with `target_users` may have beyond `--max-frame-bytes`.
pub const TARGETS_BYTES: usize = 128 << 10;

/// `POST /v1/messages`
pub async fn send(
    ops: web::Data<Ops>,
    request: HttpRequest,
    body: Body<TARGETS_BYTES>,
) -> Result<HttpResponse, ApiError> {
    Query::of(&request)?.finish()?;
    let contract = ops.ingest.contract();
    let parsed = match ops
        .ingest
        .parse(&mut Tape::default(), body.text(), &contract)
    {
        Ok(parsed) => parsed,
        Err(error) => {
            body.check_without_extra()?;
            return Err(error.into());
        }
    };
    let Some(users) = &parsed.request.target_users else {
        body.check_without_extra()?;
        return match ops.ingest.send(&parsed).await {
            Sent::One(outcome) => ack_response(*outcome),
            // There is one target.
            Sent::Many(_) => Err(ApiError::draining()),
        };
    };
    Ok(match ops.ingest.send(&parsed).await {
        Sent::Many(outcomes) => acks_response(users, outcomes),
        Sent::One(outcome) => acks_response(users, vec![*outcome]),
    })
}

/// A response with the ack of a write, or its error.
///
/// # Errors
/// Nothing was written.
pub fn ack_response(outcome: PartOutcome) -> Result<HttpResponse, ApiError> {
    let ack: PartAck = outcome?;
    Ok(frame_response(&ServerFrame::Ack(ack.ack())))
}

/// The acks of messages to several users, in the order of the request.
fn acks_response(users: &[UserId<'_>], outcomes: Vec<PartOutcome>) -> HttpResponse {
    let mut json = br#"{"acks":["#.to_vec();
    for (number, (user, outcome)) in users.iter().zip(outcomes).enumerate() {
        if number > 0 {
            json.push(b',');
        }
        // User ids need no escapes.
        json.extend_from_slice(br#"{"target_user":""#);
        json.extend_from_slice(user.as_str().as_bytes());
        json.extend_from_slice(br#"","#);
        match outcome {
            Ok(ack) => {
                let mut frame = Vec::new();
                ServerFrame::Ack(ack.ack()).write(&mut frame);
                // Without the brace at its start.
                json.extend_from_slice(frame.get(1..).unwrap_or_default());
            }
            Err(rejected) => {
                let mut error = ApiError::from(rejected);
                if error.path.as_deref() == Some("/target_user") {
                    error.path = Some(format!("/target_users/{number}"));
                }
                error.code.count();
                json.extend_from_slice(br#""error":"#);
                // Serializing into memory cannot fail.
                json.extend(serde_json::to_vec(&error).unwrap_or_default());
                json.push(b'}');
            }
        }
    }
    json.extend_from_slice(b"]}");
    HttpResponse::Ok()
        .insert_header(ContentType::json())
        .body(json)
}

/// `DELETE /v1/messages/{id}`
pub async fn delete(ops: web::Data<Ops>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let id = parse_uuid(&path_text(&request, "id"))
        .ok_or_else(|| ApiError::invalid_parameter("id", "expected the id of a message"))?;
    let mut query = Query::of(&request)?;
    let author: Option<Arc<str>> = query.name("from_user")?.map(Into::into);
    let author = author.ok_or_else(|| {
        ApiError::invalid_parameter(
            "from_user",
            "expected the author of the message, found none",
        )
    })?;
    let (user, room) = (query.name("target_user")?, query.name("target_room")?);
    query.finish()?;
    check_target(user.as_deref(), room.as_deref())?;
    let target = match (&user, &room) {
        (Some(user), _) => Target::User(user),
        (None, room) => Target::Room(room.as_deref().unwrap_or_default()),
    };
    ack_response(ops.ingest.delete_message(&author, target, id).await)
}

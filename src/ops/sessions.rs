//! `/v1/sessions` and `/v1/users/{user}/sessions`: the sessions that are open on this node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, web};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::Ops;
use super::error::ApiError;
use super::gauges::rounded;
use super::query::{Query, path_name};
use super::revocation::revoke as revoke_tokens;
use crate::outbox::disconnect::DISCONNECTED;
use crate::outbox::{Outbox, SessionInfo};
use crate::protocol::content::SafeInteger;
use crate::protocol::types::{Id, Integer, UserId, parse_uuid};
use crate::protocol::{FrameError, Timestamp};

/// Sessions in an answer, if the caller sets no `limit`.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// Frame rates are compared in steps of a hundredth.
const RATE_STEPS: f64 = 100.0;

/// A session of any user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedSession {
    /// The id of the session, as in `welcome`.
    session_id: Id,
    /// The user of the session.
    #[schemars(with = "UserId<'_>")]
    user: String,
    /// The device, as the client has named it.
    device: String,
    /// When the session was opened.
    since: Timestamp,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    client_ip: Option<IpAddr>,
    /// Frames from the client, over the last 10 to 20 seconds.
    frames_per_second: f64,
}

/// Part of a list of sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SessionList {
    /// The sessions, in the order that was asked for.
    sessions: Vec<ListedSession>,
    /// The number of sessions in the whole list.
    total: SafeInteger,
    /// The position of the next part; absent in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A session of a user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UserSession {
    /// The id of the session, as in `welcome`.
    session_id: Id,
    /// The device, as the client has named it.
    device: String,
    /// When the session was opened.
    since: Timestamp,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    client_ip: Option<IpAddr>,
}

/// The sessions of a user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UserSessions {
    /// The sessions, oldest first.
    sessions: Vec<UserSession>,
}

/// The result of closing the sessions of a user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Closed {
    /// The number of sessions that were closed.
    closed: SafeInteger,
}

/// The order of a list of sessions.
#[derive(Clone, Copy)]
enum Sort {
    /// Oldest first.
    Since,
    /// Those with the most frames per second first.
    Rate,
}

/// The place of a session in the list. Both orders are ascending by it.
type Place = (i64, Uuid);

/// `GET /v1/sessions`
pub async fn list(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<SessionList>, ApiError> {
    let mut query = Query::of(&request)?;
    let sort = query.parsed("sort", "`since` or `rate`", |text| match text {
        "since" => Some(Sort::Since),
        "rate" => Some(Sort::Rate),
        _ => None,
    })?;
    let limit = query.number("limit", 1..=MAX_LIMIT)?;
    let cursor = query.text("cursor");
    query.finish()?;
    let cursor = cursor
        .map(|text| parse_cursor(&text).ok_or_else(FrameError::unknown_cursor))
        .transpose()?;
    Ok(web::Json(page(
        ops.context.registry.all(),
        sort.unwrap_or(Sort::Since),
        cursor,
        limit.unwrap_or(DEFAULT_LIMIT),
    )))
}

fn page(all: Vec<Arc<Outbox>>, sort: Sort, cursor: Option<Place>, limit: usize) -> SessionList {
    let now = Instant::now();
    let mut places: Vec<(Place, Arc<Outbox>)> = all
        .into_iter()
        .filter_map(|outbox| {
            let info = open_info(&outbox)?;
            let first = match sort {
                Sort::Since => info.since.0,
                Sort::Rate => -((info.frames_per_second(now) * RATE_STEPS) as i64),
            };
            Some(((first, outbox.session()), outbox))
        })
        .collect();
    places.sort_unstable_by_key(|(place, _)| *place);
    let total = Integer(places.len() as u64);
    let start = cursor.map_or(0, |cursor| {
        places.partition_point(|(place, _)| *place <= cursor)
    });
    let rest = places.get(start..).unwrap_or_default();
    let part = &rest[..rest.len().min(limit)];
    let next = part.last().filter(|_| part.len() < rest.len());
    SessionList {
        sessions: part
            .iter()
            .filter_map(|(_, outbox)| {
                let info = outbox.info()?;
                Some(ListedSession {
                    session_id: Id(outbox.session()),
                    user: outbox.user().to_string(),
                    device: info.device.to_string(),
                    since: info.since,
                    client_ip: info.client_ip,
                    frames_per_second: rounded(info.frames_per_second(now), RATE_STEPS),
                })
            })
            .collect(),
        total,
        cursor: next.map(|((first, id), _)| format!("{first}_{}", id.hyphenated())),
    }
}

fn parse_cursor(text: &str) -> Option<Place> {
    let (first, id) = text.split_once('_')?;
    Some((first.parse().ok()?, parse_uuid(id)?))
}

/// What is known of a session, once it is open.
fn open_info(outbox: &Outbox) -> Option<&SessionInfo> {
    outbox.info().filter(|_| outbox.cursor().is_some())
}

/// `GET /v1/users/{user}/sessions`
pub async fn of_user(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<UserSessions>, ApiError> {
    let user = path_name(&request, "user")?;
    Query::of(&request)?.finish()?;
    let sessions = ops.context.registry.with(&user, |sessions| {
        let sessions = sessions.iter().filter_map(|outbox| {
            let info = open_info(outbox)?;
            Some(UserSession {
                session_id: Id(outbox.session()),
                device: info.device.to_string(),
                since: info.since,
                client_ip: info.client_ip,
            })
        });
        sessions.collect()
    });
    Ok(web::Json(UserSessions { sessions }))
}

/// `DELETE /v1/users/{user}/sessions`
pub async fn close(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<Closed>, ApiError> {
    let user: Arc<str> = path_name(&request, "user")?.into();
    let mut query = Query::of(&request)?;
    let revoke = query.switch("revoke")?.unwrap_or(false);
    query.finish()?;
    // In a task of its own, which does not end with the caller's connection.
    let task = actix_rt::spawn(close_sessions(ops.into_inner(), user, revoke));
    match task.await {
        Ok(closed) => closed.map(web::Json),
        Err(_) => Err(ApiError::draining()),
    }
}

async fn close_sessions(ops: Arc<Ops>, user: Arc<str>, revoke: bool) -> Result<Closed, ApiError> {
    if revoke {
        revoke_tokens(&ops, &user).await?;
    }
    let sessions = ops.context.registry.with(&user, <[Arc<Outbox>]>::to_vec);
    for session in &sessions {
        session.disconnect(DISCONNECTED);
    }
    log::info!(user = &*user, sessions = sessions.len(); "sessions closed by an API call");
    Ok(Closed {
        closed: Integer(sessions.len() as u64),
    })
}

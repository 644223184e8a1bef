//! `/v1/users/{user}`: what is known of a user.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use schemars::JsonSchema;
use serde::Serialize;

use super::Ops;
use super::conversations::finish;
use super::error::ApiError;
use super::query::{Query, path_name};
use crate::protocol::Timestamp;
use crate::protocol::content::SafeInteger;
use crate::protocol::types::{Integer, RoomId, UserId};
use crate::store::{UserOverview, UserStatus};

/// What a user does now.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CurrentStatus {
    /// The user has a session.
    Online,
    /// The same, but away from the device.
    Away,
    /// The same, but not to be disturbed.
    Busy,
    /// The same, but offline for others.
    Invisible,
    /// The user has no session.
    Offline,
}

impl From<UserStatus> for CurrentStatus {
    fn from(status: UserStatus) -> Self {
        match status {
            UserStatus::Online => Self::Online,
            UserStatus::Away => Self::Away,
            UserStatus::Busy => Self::Busy,
            UserStatus::Invisible => Self::Invisible,
        }
    }
}

/// What is known of a user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UserDetails {
    /// The user.
    #[schemars(with = "UserId<'_>")]
    user: String,
    /// The actual status, also if the user is invisible.
    status: CurrentStatus,
    /// When the user was last online for others. Absent while the user has a session, or if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
    /// When the store has learnt of the user. Absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<Timestamp>,
    /// The number of open sessions.
    sessions: SafeInteger,
    /// The number of unread messages in the newest 200 conversations.
    unread: SafeInteger,
    /// The first 1000 rooms of which the user is a member, by name.
    #[schemars(with = "Vec<RoomId<'_>>")]
    rooms: Vec<String>,
    /// True if tokens of the user are revoked. Otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<bool>,
}

/// `GET /v1/users/{user}`
pub async fn get(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<UserDetails>, ApiError> {
    let user: Arc<str> = path_name(&request, "user")?.into();
    Query::of(&request)?.finish()?;
    let router = &ops.context.router;
    let revoked = router.revoked_until(user.clone());
    let found = finish(router.user_overview(user.clone())).await?;
    let revoked = finish(revoked).await?.is_some();
    let sessions = ops.context.registry.with(&user, <[_]>::len);
    let found = match found {
        Some(found) => found,
        // The store learns of a new user soon after the session has been opened.
        None if sessions > 0 => UserOverview::default(),
        None => return Err(ApiError::unknown_user()),
    };
    let is_offline = sessions == 0;
    Ok(web::Json(UserDetails {
        user: user.to_string(),
        status: if is_offline {
            CurrentStatus::Offline
        } else {
            found.status.into()
        },
        last_seen: found.last_seen.filter(|_| is_offline).map(Timestamp),
        first_seen: found.first_seen.map(Timestamp),
        sessions: Integer(sessions as u64),
        unread: Integer(found.unread),
        rooms: found.rooms.iter().map(ToString::to_string).collect(),
        revoked: revoked.then_some(true),
    }))
}

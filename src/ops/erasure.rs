//! `DELETE /v1/users/{user}`: erases a user.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, web};
use schemars::JsonSchema;
use serde::Serialize;

use super::Ops;
use super::error::ApiError;
use super::query::{Query, path_name};
use super::revocation::revoke as revoke_tokens;
use crate::delivery::{CommandError, RETRY_DISPLACED_MS, overloaded};
use crate::http::Activity;
use crate::outbox::Outbox;
use crate::outbox::disconnect::DISCONNECTED;
use crate::protocol::content::SafeInteger;
use crate::protocol::types::{Integer, is_erased_name};

/// How long the sessions of the user may take to end: longer than they drain and wait for the client.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// The interval at which the sessions are looked for.
const INTERVAL: Duration = Duration::from_millis(10);

/// The result of erasing a user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErasedUser {
    /// The number of sessions that were closed.
    closed: SafeInteger,
    /// The number of messages of the user whose content was removed.
    messages: SafeInteger,
    /// The number of reactions that were removed.
    reactions: SafeInteger,
    /// The number of entries that were removed from the user's inbox.
    entries: SafeInteger,
    /// The number of other users whose inboxes have an entry `erased`.
    notified: SafeInteger,
}

/// `DELETE /v1/users/{user}`
pub async fn erase(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<ErasedUser>, ApiError> {
    let user: Arc<str> = path_name(&request, "user")?.into();
    let mut query = Query::of(&request)?;
    let revoke = query.switch("revoke")?.unwrap_or(true);
    query.finish()?;
    if is_erased_name(&user) {
        return Err(ApiError::unknown_user());
    }
    let _working = request.conn_data::<Activity>().map(Activity::work);
    // In a task of its own, which does not end with the caller's connection.
    let task = actix_rt::spawn(erase_user(ops.into_inner(), user, revoke));
    match task.await {
        Ok(erased) => erased.map(web::Json),
        Err(_) => Err(ApiError::draining()),
    }
}

async fn erase_user(ops: Arc<Ops>, user: Arc<str>, revoke: bool) -> Result<ErasedUser, ApiError> {
    if revoke {
        revoke_tokens(&ops, &user).await?;
    }
    let context = &ops.context;
    // Until the erasure is complete: a session belongs to the former user, and is closed, or to the next one of the name.
    let _closed = context.registry.close(&user);
    let closed = end_sessions(&ops, &user).await?;
    let erased = match context.router.erase(&user).await {
        Ok(erased) => erased.ok_or_else(ApiError::unknown_user)?,
        // The next start completes it.
        Err(_) if context.draining.load(Ordering::SeqCst) => return Err(ApiError::draining()),
        Err(error) => return Err(error.into()),
    };
    Ok(ErasedUser {
        closed: Integer(closed as u64),
        messages: Integer(erased.messages),
        reactions: Integer(erased.reactions),
        entries: Integer(erased.entries),
        notified: Integer(erased.notified),
    })
}

/// Closes the sessions of a user and waits until they have ended: all frames that they have accepted are queued by then. Returns their
/// number.
async fn end_sessions(ops: &Ops, user: &Arc<str>) -> Result<usize, ApiError> {
    let registry = &ops.context.registry;
    let sessions = registry.with(user, <[Arc<Outbox>]>::to_vec);
    for session in &sessions {
        session.disconnect(DISCONNECTED);
    }
    let until = Instant::now() + END_TIMEOUT;
    while registry.has_session(user) {
        if Instant::now() >= until {
            let error = CommandError {
                error: overloaded(),
                retry_after_ms: Some(RETRY_DISPLACED_MS),
            };
            return Err(error.into());
        }
        actix_rt::time::sleep(INTERVAL).await;
    }
    Ok(sessions.len())
}

//! `/v1/users/{user}/revocation`: the revocation of a user's tokens.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use schemars::JsonSchema;
use serde::Serialize;

use super::Ops;
use super::error::ApiError;
use super::query::{Query, path_name};
use crate::store::{Outcome, Write};

/// The result of lifting a revocation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Lifted {
    /// The tokens of the user were revoked before.
    lifted: bool,
}

/// Revokes the tokens of a user that are issued up to now. To be called before the sessions of the user are listed, in a task that does
/// not end with the caller's connection.
///
/// # Errors
/// Nothing was stored.
pub async fn revoke(ops: &Ops, user: &Arc<str>) -> Result<(), ApiError> {
    let context = &ops.context;
    let until = context.revocations.until(context.router.clock().now());
    let user = user.clone();
    let write = Write::Revoke {
        user: user.clone(),
        until,
    };
    // Before the commit: if its outcome remains unknown, the store is asked. A name without a revocation costs a lookup.
    context.revocations.add(&user);
    context.router.administer(write).await?;
    log::info!(user = &*user; "tokens revoked by an API call");
    Ok(())
}

/// `DELETE /v1/users/{user}/revocation`
pub async fn lift(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<Lifted>, ApiError> {
    let user: Arc<str> = path_name(&request, "user")?.into();
    Query::of(&request)?.finish()?;
    let write = Write::EndRevocation { user: user.clone() };
    let outcome = ops.context.router.administer(write).await?;
    let lifted = matches!(outcome, Outcome::RevocationSet { was_revoked: true });
    log::info!(user = &*user, lifted = lifted; "revocation lifted by an API call");
    Ok(web::Json(Lifted { lifted }))
}

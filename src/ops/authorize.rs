//! Who may call: the key of a request, its scope and its rate, and the rules for a server without keys.

use std::sync::atomic::Ordering;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpRequest, ResponseError as _, web};

use super::error::{ApiError, HttpErrorCode};
use super::keys::{Caller, Scope};
use super::{Ops, body};
use crate::config::ApiAccess;
use crate::http::credentials;
use crate::http::origin::{self, OriginRules};
use crate::http::{ClientAddr, single_header};
use crate::protocol::ErrorCode;

/// Passes a request on if its key has `scope`, and if it has no body unless the handler takes one. The handler finds the [`Caller`]
/// among the extensions of the request.
///
/// # Errors
/// Those of the handler.
pub async fn authorize<B: MessageBody + 'static>(
    (scope, takes_body): (Scope, bool),
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse, Error> {
    let caller = match check(request.request(), scope) {
        Ok(caller) => caller,
        Err(error) => return Ok(request.into_response(error.error_response())),
    };
    request.extensions_mut().insert(caller);
    if !takes_body && let Err(error) = body::reject(&mut request).await {
        return Ok(request.into_response(error.error_response()));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// The caller of a request that needs `scope`.
///
/// # Errors
/// 401, 403, 429, or 503 while the server shuts down.
pub fn check(request: &HttpRequest, scope: Scope) -> Result<Caller, ApiError> {
    let Some(ops) = request.app_data::<web::Data<Ops>>() else {
        return Err(ApiError::new(ErrorCode::Internal, "the server has failed"));
    };
    if ops.keys.access() == ApiAccess::Loopback {
        check_local(request, ops)?;
    }
    let token = credentials::token(request.head(), false);
    let token = token
        .map_err(|rejection| ApiError::new(HttpErrorCode::InvalidRequest, rejection.detail))?;
    let caller = ops.keys.verify(token.get())?;
    ops.keys.admit(&caller, scope)?;
    if ops.context.draining.load(Ordering::SeqCst) {
        return Err(ApiError::draining());
    }
    Ok(caller)
}

/// Without keys, the API is for programs on this machine. A browser on this machine sends the requests of any web page, and a proxy
/// those of its clients: both can be recognised by headers.
fn check_local(request: &HttpRequest, ops: &Ops) -> Result<(), ApiError> {
    let forbidden = |detail| Err(ApiError::new(ErrorCode::Forbidden, detail));
    let headers = request.headers();
    let host = single_header(headers, &header::HOST).unwrap_or_default();
    if !origin::is_allowed_host(&host, &[], &[]) {
        return forbidden(
            "without API keys, requests must address this machine as localhost or by a loopback address",
        );
    }
    if headers.contains_key(header::ORIGIN) && !has_own_origin(request, ops) {
        return forbidden("without API keys, web pages of other origins may not call the API");
    }
    if is_proxied(headers) {
        return forbidden(
            "without API keys, requests may not come through a proxy (`Forwarded`, `X-Forwarded-*`, `Via`); set --api-key-file",
        );
    }
    Ok(())
}

fn has_own_origin(request: &HttpRequest, ops: &Ops) -> bool {
    let headers = request.headers();
    let client = ClientAddr {
        ip: None,
        proxied: false,
        secure: Some(ops.is_tls()),
        host: single_header(headers, &header::HOST),
    };
    let rules = OriginRules {
        allowed: &[],
        loopback: false,
    };
    single_header(headers, &header::ORIGIN)
        .is_some_and(|origin| origin::is_allowed(&origin, &client, rules))
}

fn is_proxied(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        matches!(name, "forwarded" | "via") || name.starts_with("x-forwarded-")
    })
}

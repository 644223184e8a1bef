//! JSON bodies of requests. They are as strict as frames and are read by the same scanner, so that an error names the same place in
//! the same words.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use serde::Deserialize;

use super::Ops;
use super::error::{ApiError, HttpErrorCode};
use crate::protocol::json::Tape;
use crate::protocol::{ErrorCode, parse};

/// The text of a JSON body of at most `--max-frame-bytes` and `EXTRA` bytes more.
#[derive(Debug)]
pub struct Body<const EXTRA: usize = 0> {
    text: String,
    limit: usize,
}

impl<const EXTRA: usize> Body<EXTRA> {
    /// Decodes the body. The value borrows from the body; `tape` is the scanner's memory.
    ///
    /// # Errors
    /// 400 with the place of the first error.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self, tape: &mut Tape) -> Result<T, ApiError> {
        Ok(parse::decode(tape, &self.text)?)
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Rejects a body that has made use of the extra bytes.
    ///
    /// # Errors
    /// 413
    pub fn check_without_extra(&self) -> Result<(), ApiError> {
        if self.text.len() > self.limit {
            return Err(too_large(self.limit));
        }
        Ok(())
    }
}

impl<const EXTRA: usize> FromRequest for Body<EXTRA> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let ops: Option<&web::Data<Ops>> = request.app_data();
            let limit = ops.map_or(0, |ops| ops.context.config.limits.max_frame_bytes);
            check_type(&request)?;
            let text = read(&request, payload, limit.saturating_add(EXTRA)).await?;
            Ok(Self { text, limit })
        })
    }
}

/// Accepts `application/json` only, in UTF-8 and not compressed.
fn check_type(request: &HttpRequest) -> Result<(), ApiError> {
    let unsupported = |detail| Err(ApiError::new(HttpErrorCode::UnsupportedMediaType, detail));
    let headers = request.headers();
    if headers.contains_key(header::CONTENT_ENCODING) {
        return unsupported("a body must not be compressed: send it without `Content-Encoding`");
    }
    let essence = request.content_type().trim();
    let types = headers.get_all(header::CONTENT_TYPE).count();
    if types != 1 || !essence.eq_ignore_ascii_case("application/json") {
        return unsupported("the body must be JSON, with `Content-Type: application/json`");
    }
    match request.encoding() {
        Ok(encoding) if encoding.name() == "UTF-8" => Ok(()),
        _ => unsupported("the body must be in UTF-8"),
    }
}

/// Reads a body of at most `limit` bytes.
async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
) -> Result<String, ApiError> {
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let mut body = Vec::new();
    while let Some(part) = next(&mut payload).await {
        let part = part.map_err(unreadable)?;
        if body.len() + part.len() > limit {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&part);
    }
    String::from_utf8(body)
        .map_err(|_| ApiError::new(ErrorCode::InvalidJson, "the body is not in UTF-8"))
}

/// Rejects a request with a body: the call has none, and would ignore it.
///
/// # Errors
/// 400
pub async fn reject(request: &mut ServiceRequest) -> Result<(), ApiError> {
    let mut payload = request.take_payload();
    while let Some(part) = next(&mut payload).await {
        if !part.map_err(unreadable)?.is_empty() {
            return Err(ApiError {
                path: Some(String::new()),
                ..ApiError::new(HttpErrorCode::InvalidRequest, "this call has no body")
            });
        }
    }
    Ok(())
}

fn unreadable(error: PayloadError) -> ApiError {
    let detail = format!("the body cannot be read: {error}");
    ApiError::new(HttpErrorCode::InvalidRequest, detail)
}

async fn next(payload: &mut Payload) -> Option<Result<web::Bytes, PayloadError>> {
    use futures_core::Stream as _;
    std::future::poll_fn(|cx| Pin::new(&mut *payload).poll_next(cx)).await
}

fn too_large(limit: usize) -> ApiError {
    let detail = format!("the body has more than {limit} bytes");
    ApiError::new(HttpErrorCode::TooLarge, detail)
}

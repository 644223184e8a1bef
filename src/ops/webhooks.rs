//! `GET /v1/webhooks`: the receivers of events.

use actix_web::{HttpRequest, web};
use schemars::JsonSchema;
use serde::Serialize;

use super::Ops;
use super::error::ApiError;
use super::query::Query;
use crate::protocol::Timestamp;
use crate::protocol::content::SafeInteger;
use crate::protocol::types::Integer;
use crate::webhooks::ReceiverStatus;

/// All receivers in the order of the setting.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WebhookList {
    /// The receivers.
    webhooks: Vec<Webhook>,
}

/// A receiver of events. Its numbers count since the server started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Webhook {
    /// The URL without user, password and query.
    url: String,
    /// The events that it gets.
    events: Vec<&'static str>,
    /// `active`, `failing` (nothing was accepted since the last failure) or `paused` (it has answered 410).
    state: &'static str,
    /// The age of the oldest event that it has not accepted.
    lag_seconds: f64,
    /// Requests in progress.
    in_flight: SafeInteger,
    /// Events that it has accepted.
    delivered: SafeInteger,
    /// Requests that it has not accepted.
    retried: SafeInteger,
    /// Events that were given up.
    dropped: SafeInteger,
    /// When it has last accepted an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivered_at: Option<Timestamp>,
    /// Why a request has last failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When a request has last failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at: Option<Timestamp>,
}

impl Webhook {
    fn new(receiver: &ReceiverStatus, now: i64) -> Self {
        let snapshot = receiver.now();
        let lag_seconds = receiver.lag(now) as f64 / 1000.0;
        let (last_error_at, last_error) = snapshot.last_error.unzip();
        Self {
            url: receiver.url.clone(),
            events: receiver.events.iter().map(|event| event.as_str()).collect(),
            state: snapshot.state.as_str(),
            lag_seconds,
            in_flight: Integer(snapshot.in_flight as u64),
            delivered: Integer(snapshot.delivered),
            retried: Integer(snapshot.retried),
            dropped: Integer(snapshot.dropped),
            last_delivered_at: snapshot.last_delivered.map(Timestamp),
            last_error,
            last_error_at: last_error_at.map(Timestamp),
        }
    }
}

/// `GET /v1/webhooks`
pub async fn list(
    ops: web::Data<Ops>,
    request: HttpRequest,
) -> Result<web::Json<WebhookList>, ApiError> {
    Query::of(&request)?.finish()?;
    let now = ops.context.router.clock().now();
    let receivers = ops.context.webhooks.receivers().iter();
    Ok(web::Json(WebhookList {
        webhooks: receivers
            .map(|receiver| Webhook::new(receiver, now))
            .collect(),
    }))
}

//! `/healthz` and `/readyz`: probes of load balancers and process managers (PROTOCOL section 10, "Ready").

use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::context;
use crate::http::Rejection;

/// `GET /healthz`: answers as long as the process runs.
pub fn live(_: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: 200 if new sessions can be served, 503 otherwise.
pub fn ready(request: HttpRequest) -> HttpResponse {
    let rejection = context(&request).and_then(|context| {
        if context.draining.load(Ordering::SeqCst) {
            Some(Rejection::draining())
        } else {
            context.router.unavailable().map(Rejection::unavailable)
        }
    });
    match rejection {
        None => {
            let mut status = json!({"status": "ready"});
            if context(&request).is_some_and(|context| !context.router.clock().is_settled()) {
                status["clock"] = json!("unsettled");
            }
            HttpResponse::Ok().json(status)
        }
        Some(rejection) => rejection.to_http(),
    }
}

//! Refusals: HTTP status, close code, and words (PROTOCOL sections 2 and 9).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use crate::limits::TooMany;
use crate::websocket::close_codes;
use crate::writer::Unavailable;

/// Why a request is refused, in every form that the answer can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status.
    pub status: u16,
    /// The WebSocket close code for a client that cannot see an HTTP status; `None` where there is none.
    pub close: Option<u16>,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
    /// When to come back, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Rejection {
    fn new(status: u16, close: Option<u16>, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            close,
            code,
            detail: detail.into(),
            retry_after_ms: None,
        }
    }

    /// A bad user id or parameter.
    pub fn invalid_request(detail: impl Into<String>) -> Self {
        Self::new(400, Some(4400), "invalid_request", detail)
    }

    /// No token, or one that does not hold.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, Some(close_codes::UNAUTHORIZED), "unauthorized", detail)
    }

    /// Somebody else's token, or an origin or a name of the server that may not connect.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, Some(4403), "forbidden", detail)
    }

    /// Nothing is there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, None, "not_found", detail)
    }

    /// Something is there, but not for this method.
    pub fn method_not_allowed() -> Self {
        Self::new(405, None, "method_not_allowed", "this address takes GET")
    }

    /// A WebSocket address was asked for without an upgrade.
    pub fn upgrade_required(detail: impl Into<String>) -> Self {
        Self::new(426, None, "upgrade_required", detail)
    }

    /// The server, or the client's address, has as many connections as it may.
    pub fn too_many_connections(too_many: TooMany) -> Self {
        Self {
            retry_after_ms: Some(too_many.retry_after_ms),
            ..Self::new(
                429,
                Some(close_codes::TOO_MANY_CONNECTIONS),
                "too_many_connections",
                too_many.detail,
            )
        }
    }

    /// The server goes down.
    pub fn draining() -> Self {
        Self {
            retry_after_ms: Some(1000),
            ..Self::new(
                503,
                Some(close_codes::TRY_AGAIN_LATER),
                "draining",
                "the server is shutting down; connect again in a moment",
            )
        }
    }

    /// The server has too much to do.
    pub fn overloaded() -> Self {
        Self {
            retry_after_ms: Some(1000),
            ..Self::new(
                503,
                Some(close_codes::TRY_AGAIN_LATER),
                "overloaded",
                "the server cannot open the inbox now; connect again in a moment",
            )
        }
    }

    /// The server cannot do what it is there for now.
    pub fn unavailable(reason: Unavailable) -> Self {
        Self {
            detail: match reason {
                Unavailable::Full => "as many messages as may wait for the store are waiting",
                Unavailable::Failing => "the store has refused what was to be written a moment ago",
                Unavailable::Stuck => "the store has been writing for too long",
                Unavailable::NoRoom => "there is too little free disk space",
                Unavailable::Closed => return Self::draining(),
            }
            .into(),
            ..Self::overloaded()
        }
    }

    /// Nobody can be told from anybody yet.
    pub fn not_ready() -> Self {
        Self {
            detail: "the keys to check tokens with are not there yet; connect again in a moment"
                .into(),
            ..Self::overloaded()
        }
    }

    /// The JSON body of the answer.
    pub fn body(&self) -> Value {
        let mut body = json!({"code": self.code, "detail": self.detail});
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = json!(ms);
        }
        body
    }

    /// The whole HTTP/1.1 response, after which the connection closes.
    pub fn response(&self) -> Vec<u8> {
        let body = self.body().to_string();
        let reason = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Refused");
        let mut extra = String::new();
        if let Some(ms) = self.retry_after_ms {
            extra = format!("retry-after: {}\r\n", ms.div_ceil(1000));
        }
        if self.status == 426 {
            extra.push_str("upgrade: websocket\r\nsec-websocket-version: 13\r\n");
        }
        if self.status == 401 {
            extra.push_str("www-authenticate: Bearer\r\n");
        }
        if self.status == 405 {
            extra.push_str("allow: GET\r\n");
        }
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
             {extra}\r\n{body}",
            self.status,
            body.len()
        )
        .into_bytes()
    }
}

impl Rejection {
    /// The response of an actix-web handler.
    pub fn to_http(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        HttpResponse::build(status).json(self.body())
    }
}

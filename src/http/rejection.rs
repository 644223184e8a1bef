//! Rejected requests: HTTP status, close code, error code and detail (PROTOCOL sections 2 and 9).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::security_headers;
use crate::limits::TooManyConnections;
use crate::websocket::close_codes;
use crate::writer::Unavailable;

/// The reason why a request is rejected, for an HTTP response or a `goodbye`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status.
    pub status: u16,
    /// The close code for a client that gets a `goodbye`; `None` if the request can only be answered over HTTP.
    pub close: Option<u16>,
    /// The error code, for programs.
    pub code: &'static str,
    /// The explanation, for people.
    pub detail: String,
    /// The time after which a new attempt makes sense, in milliseconds.
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

    /// The user id or a parameter is invalid.
    pub fn invalid_request(detail: impl Into<String>) -> Self {
        Self::new(400, Some(4400), "invalid_request", detail)
    }

    /// The token is missing or invalid.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, Some(close_codes::UNAUTHORIZED), "unauthorized", detail)
    }

    /// The token was revoked. New ones are accepted after this time, or already.
    pub fn revoked_token(retry_after_ms: Option<u64>) -> Self {
        Self {
            retry_after_ms,
            ..Self::unauthorized("the token was revoked; connect again with a new one")
        }
    }

    /// The token belongs to another user, or the origin or the host name is not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, Some(close_codes::FORBIDDEN), "forbidden", detail)
    }

    /// No resource exists at this path. Names the reasons that are likely in a deployment.
    pub fn no_resource(path: &str, base_path: &str) -> Self {
        let nothing = "nothing exists at this path";
        let detail = match path.strip_prefix(base_path) {
            None => format!("{nothing}; the paths of this server begin with {base_path}"),
            Some(path) if is_for_operators(path) => {
                format!("{nothing}; it is one of the operations port (--ops-listen)")
            }
            Some(_) => nothing.to_owned(),
        };
        Self::not_found(detail)
    }

    /// No WebSocket exists at this path.
    pub fn no_websocket(path: &str, base_path: &str) -> Self {
        let nothing = "there is no WebSocket at this path";
        let operations = path.strip_prefix(base_path).is_some_and(is_for_operators);
        Self::not_found(if operations {
            format!("{nothing}; it is one of the operations port (--ops-listen)")
        } else {
            format!("{nothing}; sessions are at {base_path}/ws/{{user_id}}")
        })
    }

    /// Nothing exists at this path.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, None, "not_found", detail)
    }

    /// The resource does not support this method.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            None,
            "method_not_allowed",
            "this resource supports GET only",
        )
    }

    /// A WebSocket path was requested without an upgrade.
    pub fn upgrade_required(detail: impl Into<String>) -> Self {
        Self::new(426, None, "upgrade_required", detail)
    }

    /// The server, or the client's address, has reached a limit of connections.
    pub fn too_many_connections(too_many: TooManyConnections) -> Self {
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

    /// The server is shutting down.
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

    /// The server is overloaded.
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

    /// The user is being erased.
    pub fn erasing() -> Self {
        Self {
            detail: "this user is being erased; connect again in a moment".into(),
            ..Self::overloaded()
        }
    }

    /// The server cannot store messages at the moment.
    pub fn unavailable(reason: Unavailable) -> Self {
        Self {
            detail: match reason {
                Unavailable::Full => "the queue of messages waiting for the store is full",
                Unavailable::Failing => "the last write to the store failed",
                Unavailable::Stuck => "a write to the store takes too long",
                Unavailable::NoRoom => "there is too little free disk space",
                Unavailable::Displaced => {
                    "a file of the store has been removed, moved or replaced; the log says which"
                }
                Unavailable::Closed => return Self::draining(),
            }
            .into(),
            ..Self::overloaded()
        }
    }

    /// The key of the token is not known, and may be newer than the keys that were fetched last.
    pub fn undecided_token(retry_after_ms: u64) -> Self {
        Self {
            detail: "the key of the token is not known yet; connect again after `retry_after_ms`"
                .into(),
            retry_after_ms: Some(retry_after_ms),
            ..Self::overloaded()
        }
    }

    /// The JSON body of the response.
    pub fn body(&self) -> Value {
        let mut body = json!({"code": self.code, "detail": self.detail});
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = json!(ms);
        }
        body
    }

    /// Plain HTTP on a port with TLS.
    pub fn plain_http() -> Self {
        Self::invalid_request(
            "this port expects TLS, and the request came without it: use https:// or wss:// instead of http:// or ws://",
        )
    }

    /// The complete HTTP/1.1 response, which closes the connection. `tls`: the connection is encrypted by this server.
    pub fn response(&self, tls: bool) -> Vec<u8> {
        let body = self.body().to_string();
        let reason = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Rejected");
        let mut extra = security_headers::lines(tls);
        if let Some(ms) = self.retry_after_ms {
            extra.push_str("retry-after: ");
            extra.push_str(&ms.div_ceil(1000).to_string());
            extra.push_str("\r\n");
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

/// Whether the operations port serves something at this path, without the base path.
fn is_for_operators(path: &str) -> bool {
    let first = path
        .strip_prefix('/')
        .and_then(|path| path.split('/').next());
    matches!(first, Some("v1" | "metrics" | "monitor" | "admin"))
}

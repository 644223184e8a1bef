//! Errors of the HTTP API: `{"code", "detail", "path"?, "schema"?, "retry_after_ms"?}` and a status that follows from the code.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;

use super::keys::Scope;
use super::openapi::OPENAPI;
use crate::delivery::CommandError;
use crate::metrics::{Counter, count_error};
use crate::protocol::content::SafeInteger;
use crate::protocol::json::push_token;
use crate::protocol::{ErrorCode, FrameError, schema};

/// Codes that only the HTTP API has. Frames have a closed set of their own ([`ErrorCode`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HttpErrorCode {
    /// The body, a parameter or the path is invalid: `path` points to the value.
    InvalidRequest,
    /// The key is missing or not valid.
    Unauthorized,
    /// The store knows nothing of the user.
    UnknownUser,
    /// Nothing exists at this path.
    NotFound,
    /// The resource does not support the method.
    MethodNotAllowed,
    /// The body is larger than allowed.
    TooLarge,
    /// The body is not declared as JSON, or is compressed.
    UnsupportedMediaType,
    /// The resource is a WebSocket.
    UpgradeRequired,
    /// The server is shutting down.
    Draining,
}

/// Errors of the HTTP API by [`HttpErrorCode`]. Those with a code of frames are counted together with the frames'.
pub static HTTP_ERRORS: [Counter; HttpErrorCode::ALL.len()] =
    [const { Counter::new() }; HttpErrorCode::ALL.len()];

impl HttpErrorCode {
    /// All codes.
    pub const ALL: [Self; 9] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::UnknownUser,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::UpgradeRequired,
        Self::Draining,
    ];

    /// The code in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::UnknownUser => "unknown_user",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UpgradeRequired => "upgrade_required",
            Self::Draining => "draining",
        }
    }
}

/// The reason for programs: one of the frames' codes, or one of the HTTP API's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ApiErrorCode {
    /// A code that frames have too.
    Frame(ErrorCode),
    /// A code of the HTTP API.
    Http(HttpErrorCode),
}

impl From<ErrorCode> for ApiErrorCode {
    fn from(code: ErrorCode) -> Self {
        Self::Frame(code)
    }
}

impl From<HttpErrorCode> for ApiErrorCode {
    fn from(code: HttpErrorCode) -> Self {
        Self::Http(code)
    }
}

impl ApiErrorCode {
    /// Counts an error that is sent.
    pub fn count(self) {
        match self {
            Self::Frame(code) => count_error(code),
            Self::Http(code) => HTTP_ERRORS[code as usize].add(1),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Frame(code) => match code {
                ErrorCode::InvalidJson
                | ErrorCode::InvalidFrame
                | ErrorCode::InvalidContent
                | ErrorCode::UnknownType
                | ErrorCode::UnknownContentType
                | ErrorCode::BinaryUnsupported => StatusCode::BAD_REQUEST,
                ErrorCode::UnknownMessage | ErrorCode::UnknownRoom => StatusCode::NOT_FOUND,
                ErrorCode::NotAuthor
                | ErrorCode::NotMember
                | ErrorCode::Forbidden
                | ErrorCode::Blocked => StatusCode::FORBIDDEN,
                ErrorCode::IdConflict | ErrorCode::RoomFull => StatusCode::CONFLICT,
                ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Http(code) => match code {
                HttpErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
                HttpErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
                HttpErrorCode::UnknownUser | HttpErrorCode::NotFound => StatusCode::NOT_FOUND,
                HttpErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
                HttpErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                HttpErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                HttpErrorCode::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
                HttpErrorCode::Draining => StatusCode::SERVICE_UNAVAILABLE,
            },
        }
    }
}

/// The body of a response with an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApiError {
    /// The reason for programs.
    pub code: ApiErrorCode,
    /// The reason for people.
    pub detail: Cow<'static, str>,
    /// A JSON Pointer to the invalid value of the body, or the name of the invalid parameter after a slash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The violated definition: a document below `/schema` and a JSON Pointer in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The time after which a new attempt makes sense, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<SafeInteger>")]
    pub retry_after_ms: Option<u64>,
}

impl ApiError {
    /// An error with a code and a description.
    pub fn new(code: impl Into<ApiErrorCode>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            path: None,
            schema: None,
            retry_after_ms: None,
        }
    }

    /// The parameter of this name, in the path or the query, is invalid.
    pub fn invalid_parameter(name: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut path = String::new();
        push_token(&mut path, name);
        Self {
            path: Some(path),
            ..Self::new(HttpErrorCode::InvalidRequest, detail)
        }
    }

    /// The key is missing or not valid.
    pub fn unauthorized(detail: &'static str) -> Self {
        Self::new(HttpErrorCode::Unauthorized, detail)
    }

    /// The key does not have the scope that the call needs.
    pub fn missing_scope(scope: Scope) -> Self {
        let detail = format!("this call needs a key with the scope `{}`", scope.as_str());
        Self::new(ErrorCode::Forbidden, detail)
    }

    /// The key has reached its rate.
    pub fn rate_limited(retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(
                ErrorCode::RateLimited,
                "this key has reached its limit of requests per second",
            )
        }
    }

    /// The server is shutting down.
    pub fn draining() -> Self {
        Self {
            retry_after_ms: Some(1000),
            ..Self::new(HttpErrorCode::Draining, "the server is shutting down")
        }
    }

    /// The store knows nothing of the user.
    pub fn unknown_user() -> Self {
        Self {
            path: Some("/user".into()),
            ..Self::new(HttpErrorCode::UnknownUser, "this user is not known")
        }
    }

    /// Nothing exists at this path.
    pub fn not_found() -> Self {
        Self::new(HttpErrorCode::NotFound, "nothing exists at this path")
    }

    /// The resource does not support the method, but these.
    pub fn method_not_allowed(allow: &str) -> Self {
        let detail = format!("this resource supports {allow} only");
        Self::new(HttpErrorCode::MethodNotAllowed, detail)
    }
}

/// The error of a frame or of a body that is read like one.
impl From<FrameError> for ApiError {
    fn from(error: FrameError) -> Self {
        let error = error.about_user();
        let (code, document) = match error.code {
            ErrorCode::InvalidFrame => (
                ApiErrorCode::from(HttpErrorCode::InvalidRequest),
                format!("{OPENAPI}#/components/schemas"),
            ),
            code => (code.into(), format!("{}#/$defs", schema::CLIENT)),
        };
        Self {
            path: error.path,
            schema: error
                .definition
                .map(|definition| format!("{document}/{definition}")),
            ..Self::new(code, error.detail)
        }
    }
}

impl From<CommandError> for ApiError {
    fn from(rejected: CommandError) -> Self {
        Self {
            retry_after_ms: rejected.retry_after_ms,
            ..Self::from(rejected.error)
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.code.count();
        let mut response = HttpResponse::build(self.status_code()).json(self);
        let headers = response.headers_mut();
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        if self.code == HttpErrorCode::Unauthorized.into() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

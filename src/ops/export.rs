//! `GET /v1/users/{user}/export`: all messages of a user's conversations, one JSON object per line.
//!
//! The store is read in pages, each of which is a query of its own. The next page is read when the caller has taken the one before. So a
//! caller who reads slowly occupies the memory of a page, but no thread, and no view of the store.

use std::future::Future as _;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Ops;
use super::conversations::finish;
use super::error::ApiError;
use super::query::{Query, path_name};
use crate::delivery::render::past_message;
use crate::http::{Activity, Working};
use crate::protocol::ErrorCode;
use crate::protocol::types::is_erased_name;
use crate::readers::PendingRead;
use crate::store::{ExportPage, ExportPosition, StoreError};

/// Exports at the same time, which bounds their memory: a page of up to 250 KiB is there as it was read, then as lines, and in the buffer
/// of the connection.
const MAX_EXPORTS: usize = 16;
/// When another export may start, in milliseconds.
const RETRY_MS: u64 = 5_000;

/// Limits the number of exports at the same time.
#[derive(Debug)]
pub struct Exports(Arc<Semaphore>);

impl Default for Exports {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_EXPORTS)))
    }
}

impl Exports {
    fn start(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = self.0.clone().try_acquire_owned();
        permit.map_err(|_| ApiError {
            retry_after_ms: Some(RETRY_MS),
            ..ApiError::new(
                ErrorCode::Overloaded,
                "too many exports are in progress; try again later",
            )
        })
    }
}

/// `GET /v1/users/{user}/export`
pub async fn get(ops: web::Data<Ops>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let user: Arc<str> = path_name(&request, "user")?.into();
    Query::of(&request)?.finish()?;
    if is_erased_name(&user) {
        return Err(ApiError::unknown_user());
    }
    let permit = ops.exports.start()?;
    // Read before the head of the response is sent, so that a failure has a status.
    let first = match finish(ops.context.router.export(user.clone(), None)).await? {
        Some(page) => page,
        // The store learns of a new user soon after the session has been opened.
        None if ops.context.registry.with(&user, <[_]>::len) > 0 => ExportPage::default(),
        None => return Err(ApiError::unknown_user()),
    };
    log::info!(user = &*user; "messages exported by an API call");
    let export = Export {
        ops: ops.into_inner(),
        user,
        activity: request.conn_data::<Activity>().cloned(),
        state: State::Read(first),
        _permit: permit,
    };
    Ok(HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .streaming(export))
}

/// The body of the response. It is polled when the buffer of the connection has room, and dropped when the caller has disconnected.
struct Export {
    ops: Arc<Ops>,
    user: Arc<str>,
    activity: Option<Activity>,
    state: State,
    _permit: OwnedSemaphorePermit,
}

enum State {
    /// A page was read.
    Read(ExportPage),
    /// The messages before this position were given to the connection.
    Sent(ExportPosition),
    /// The next page is being read. For that time, the connection has no deadline.
    Reading(PendingRead<Option<ExportPage>>, Option<Working>),
    Ended,
}

/// Why an export ends before its last message.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the store could not be read: {0}")]
    Store(#[from] StoreError),
    #[error("the user was erased")]
    Erased,
    #[error("the server is shutting down")]
    Draining,
}

impl Export {
    fn start_reading(&self, after: ExportPosition) -> State {
        let read = self
            .ops
            .context
            .router
            .export(self.user.clone(), Some(after));
        State::Reading(read, self.activity.as_ref().map(Activity::work))
    }

    /// Reads the next page with messages, as lines. `None`: there are no more.
    fn poll_lines(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            self.state = match mem::replace(&mut self.state, State::Ended) {
                State::Read(page) => {
                    self.state = page.next.map_or(State::Ended, State::Sent);
                    // An empty part would be the end of the body.
                    if !page.messages.is_empty() {
                        return Poll::Ready(Ok(Some(lines(&page))));
                    }
                    continue;
                }
                State::Sent(after) => self.start_reading(after),
                State::Reading(mut read, working) => match Pin::new(&mut read).poll(cx) {
                    Poll::Ready(Ok(page)) => State::Read(page?.ok_or(Failure::Erased)?),
                    // The readers have ended.
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::Draining)),
                    Poll::Pending => {
                        self.state = State::Reading(read, working);
                        return Poll::Pending;
                    }
                },
                State::Ended => return Poll::Ready(Ok(None)),
            };
        }
    }

    /// The error ends the connection without the end of the body.
    fn fail(&self, failure: &Failure) -> io::Error {
        log::error!(user = &*self.user; "an export is incomplete: {failure}");
        io::Error::other("the export is incomplete")
    }
}

impl Stream for Export {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let lines = ready!(self.poll_lines(cx));
        Poll::Ready(lines.map_err(|failure| self.fail(&failure)).transpose())
    }
}

/// Messages as `history` frames contain them, one in each line.
fn lines(page: &ExportPage) -> Bytes {
    let mut lines = Vec::new();
    for message in &page.messages {
        past_message(message).write(&mut lines);
        lines.push(b'\n');
    }
    lines.into()
}

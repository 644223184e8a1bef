//! `GET /monitor`: a WebSocket with one frame a second. It is not a hot path, so it uses actix-ws.
//!
//! One task makes the frames ([`Monitor::run`]), if there is a client, and each client's task sends the newest one that its socket accepts:
//! a client that does not read skips frames and delays nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _, web};
use actix_ws::{CloseCode, CloseReason, Session};
use tokio::sync::watch;

use super::Ops;
use super::authorize;
use super::error::{ApiError, HttpErrorCode};
use super::gauges::{Gauges, cpu_load, memory_percent, rounded};
use super::keys::{Caller, Scope};
use crate::http::credentials::subprotocols;
use crate::http::origin::{self, OriginRules};
use crate::http::{Activity, ClientAddr, single_header};
use crate::metrics::{COMMIT, Counter, DELIVERIES, DELIVERY, ERRORS, MessageOutcome, Recorded};
use crate::outbox::disconnect::SHUTDOWN;
use crate::protocol::monitor::{MonitorFrame, MonitorMetrics};
use crate::protocol::server::Goodbye;
use crate::protocol::types::Integer;
use crate::protocol::{ErrorCode, PROTOCOL, ServerFrame, Timestamp};

/// Time between two frames.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes the frames.
#[derive(Debug)]
pub struct Monitor {
    newest: watch::Sender<Arc<str>>,
    samples: Mutex<Samples>,
}

/// The counters at two times, about a second apart.
#[derive(Debug)]
struct Samples {
    before: Sample,
    newest: Sample,
}

/// The counters at one time.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    messages: u64,
    deliveries: u64,
    errors: [u64; ErrorCode::ALL.len()],
    commit: Recorded,
    delivery: Recorded,
}

impl Sample {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            messages: MessageOutcome::ALL
                .into_iter()
                .map(MessageOutcome::total)
                .sum(),
            deliveries: DELIVERIES.get(),
            errors: ERRORS.each_ref().map(Counter::get),
            commit: COMMIT.get(),
            delivery: DELIVERY.get(),
        }
    }
}

impl Default for Monitor {
    fn default() -> Self {
        let sample = Sample::now();
        Self {
            newest: watch::Sender::new("".into()),
            samples: Mutex::new(Samples {
                before: sample.clone(),
                newest: sample,
            }),
        }
    }
}

impl Monitor {
    /// Makes a frame each second.
    pub async fn run(ops: Arc<Ops>) {
        loop {
            actix_rt::time::sleep(INTERVAL).await;
            let monitor = &ops.monitor;
            {
                let mut samples = monitor.lock();
                samples.before = std::mem::replace(&mut samples.newest, Sample::now());
            }
            if monitor.newest.receiver_count() > 0 {
                monitor.newest.send_replace(monitor.frame(&ops));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame of the last second.
    fn frame(&self, ops: &Ops) -> Arc<str> {
        let gauges = Gauges::now(ops);
        let samples = self.lock();
        let Samples { before, newest } = &*samples;
        let seconds = (newest.at - before.at).as_secs_f64();
        let rate = |now: u64, then: u64| {
            if seconds > 0.0 {
                rounded(now.saturating_sub(then) as f64 / seconds, 10.0)
            } else {
                0.0
            }
        };
        let ms = |recorded: &Recorded, part| {
            let duration = recorded.quantile(part)?;
            Some(duration.as_micros() as f64 / 1000.0)
        };
        let commit = newest.commit.since(&before.commit);
        let delivery = newest.delivery.since(&before.delivery);
        let rejected = ErrorCode::ALL.iter().map(|code| {
            let index = *code as usize;
            let rate = rate(newest.errors[index], before.errors[index]);
            (code.as_str(), rate)
        });
        let frame = MonitorFrame::Metrics(MonitorMetrics {
            timestamp: Timestamp(ops.context.router.clock().now()),
            cpu_load: cpu_load(),
            memory_percent: memory_percent(),
            memory_bytes: gauges.memory_bytes.map(Integer),
            sessions: Integer(gauges.sessions as u64),
            users: Integer(gauges.users as u64),
            messages_per_second: rate(newest.messages, before.messages),
            deliveries_per_second: rate(newest.deliveries, before.deliveries),
            commit_p50_ms: ms(&commit, 0.5),
            commit_p99_ms: ms(&commit, 0.99),
            delivery_p50_ms: ms(&delivery, 0.5),
            delivery_p99_ms: ms(&delivery, 0.99),
            queue: Integer(gauges.queue.writes as u64),
            rejected_per_second: rejected.filter(|(_, rate)| *rate > 0.0).collect(),
        });
        drop(samples);
        serde_json::to_string(&frame).unwrap_or_default().into()
    }
}

/// `GET /monitor`
pub async fn get(
    ops: web::Data<Ops>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let allowed = check(&request, &ops);
    let protocols: Vec<_> = subprotocols(request.head()).collect();
    let offers_dmwire = protocols.contains(&PROTOCOL);
    let upgraded = actix_ws::handle(&request, body);
    let (mut response, session, stream) = match (upgraded, &allowed) {
        (Ok(upgraded), _) if allowed.is_ok() || offers_dmwire => upgraded,
        (_, Err(error)) => return Ok(error.error_response()),
        (_, Ok(_)) => {
            let error = "this is a WebSocket address: connect to it with a WebSocket client";
            let mut response =
                ApiError::new(HttpErrorCode::UpgradeRequired, error).error_response();
            let websocket = header::HeaderValue::from_static("websocket");
            response.headers_mut().insert(header::UPGRADE, websocket);
            return Ok(response);
        }
    };
    if offers_dmwire {
        let protocol = header::HeaderValue::from_static(PROTOCOL);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Some(activity) = request.conn_data::<Activity>() {
        activity.keep_open();
    }
    match allowed {
        Ok(caller) => {
            let client = Client {
                caller,
                offers_dmwire,
            };
            actix_rt::spawn(feed(ops.into_inner(), client, session, stream));
        }
        Err(error) => {
            actix_rt::spawn(refuse(session, error, true));
        }
    }
    Ok(response)
}

/// A client that is allowed to connect.
struct Client {
    caller: Caller,
    /// It understands `goodbye`.
    offers_dmwire: bool,
}

/// Checks the key, and the origin as for a session.
fn check(request: &HttpRequest, ops: &Ops) -> Result<Caller, ApiError> {
    let caller = authorize::check(request, Scope::Read)?;
    request.extensions_mut().insert(caller.clone());
    let config = &ops.context.config;
    let client = ClientAddr::of(
        request.headers(),
        request.peer_addr(),
        &config.network,
        ops.is_tls(),
    );
    let rules = OriginRules::new(config.access(), &config.network);
    if request.headers().contains_key(header::ORIGIN) {
        let origin = single_header(request.headers(), &header::ORIGIN).unwrap_or_default();
        if !origin::is_allowed(&origin, &client, rules) {
            return Err(ApiError::new(
                ErrorCode::Forbidden,
                "pages of this origin may not connect (--allowed-origin)",
            ));
        }
    }
    Ok(caller)
}

/// Sends frames until the client leaves, its key is removed, or the server shuts down. What the client sends is read and ignored.
async fn feed(ops: Arc<Ops>, client: Client, session: Session, mut input: actix_ws::MessageStream) {
    let mut frames = ops.monitor.newest.subscribe();
    frames.mark_unchanged();
    let (mut sender, mut ponger) = (session.clone(), session.clone());
    let send = async {
        let first = ops.monitor.frame(&ops);
        sender.text(&*first).await?;
        while frames.changed().await.is_ok() {
            if let Err(error) = ops.keys.check_again(&client.caller, Scope::Read) {
                return Ok(Some(error));
            }
            let frame = frames.borrow_and_update().clone();
            sender.text(&*frame).await?;
        }
        Ok::<Option<ApiError>, actix_ws::Closed>(None)
    };
    let read = async {
        while let Some(Ok(message)) = input.recv().await {
            let is_open = match message {
                actix_ws::Message::Ping(payload) => ponger.pong(&payload).await.is_ok(),
                actix_ws::Message::Close(_) => false,
                _ => true,
            };
            if !is_open {
                break;
            }
        }
    };
    let reason = tokio::select! {
        rejected = send => {
            if let Ok(Some(error)) = rejected {
                let refused = refuse(session, error, client.offers_dmwire);
                drop(tokio::time::timeout(INTERVAL, refused).await);
                return;
            }
            None
        }
        () = read => None,
        () = ops.context.wait_until_draining() => Some(CloseReason {
            code: CloseCode::Other(SHUTDOWN.code),
            description: None,
        }),
    };
    // A client that does not read has no room for it.
    drop(tokio::time::timeout(INTERVAL, session.close(reason)).await);
}

/// Closes the connection of a client that is rejected. With `goodbye`, the client learns why: browsers do not show an HTTP status.
async fn refuse(mut session: Session, error: ApiError, goodbye: bool) {
    let code = match error.status_code().as_u16() {
        401 => 4401,
        403 => 4403,
        429 => 4429,
        503 => SHUTDOWN.code,
        _ => 4400,
    };
    let reason = serde_json::to_value(error.code).unwrap_or_default();
    let reconnect = matches!(code, 4429) || code == SHUTDOWN.code;
    let mut frame = Vec::new();
    ServerFrame::Goodbye(Goodbye {
        code: Integer(u64::from(code)),
        reason: reason.as_str().unwrap_or_default(),
        detail: &error.detail,
        reconnect,
        retry_after_ms: error.retry_after_ms.map(Integer),
    })
    .write(&mut frame);
    let text = String::from_utf8_lossy(&frame).into_owned();
    if !goodbye || session.text(text).await.is_ok() {
        let reason = CloseReason {
            code: CloseCode::Other(code),
            description: None,
        };
        drop(session.close(Some(reason)).await);
    }
}

//! `GET /metrics`.

mod text;

use std::sync::atomic::Ordering;

use actix_web::{HttpResponse, web};

use self::text::Text;
use super::Ops;
use super::error::{HTTP_ERRORS, HttpErrorCode};
use super::gauges::Gauges;
use crate::context::Context;
use crate::counters::{Expired, LOG_LINES_DROPPED, Limit, RECEIVED_BYTES, SENT_BYTES};
use crate::delivery::commit_metrics;
use crate::metrics::{
    API_REQUESTS, API_STATUSES, COMMIT, COMMIT_FAILURES, Counter, DELIVERIES, DELIVERY, ERRORS,
    Ended, MessageOutcome, Refusal, RequestInProgress, SESSIONS_OPENED, WEBHOOK_EVENTS,
    ephemeral_contents, rejected_contents,
};
use crate::protocol::ErrorCode;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub async fn get(ops: web::Data<Ops>) -> HttpResponse {
    let (gauges, context) = (Gauges::now(&ops), &ops.context);
    let mut text = Text::default();
    of_process(&mut text, &gauges);
    of_sessions(&mut text, &gauges, context);
    of_messages(&mut text);
    of_rejections(&mut text);
    of_queues(&mut text, &gauges);
    of_store(&mut text, &gauges, context);
    of_operations(&mut text);
    of_notifications(&mut text, context);
    of_webhooks(&mut text, context);
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(text.0)
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn of_process(text: &mut Text, gauges: &Gauges) {
    text.gauges(
        "build_info",
        "The version of the server.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1.0)],
    );
    text.gauge(
        "start_time_seconds",
        "When the server was started, in seconds since 1970-01-01.",
        gauges.started,
    );
    text.seconds(
        "cpu_seconds_total",
        "CPU time of the process.",
        gauges.cpu_seconds,
    );
    text.gauge(
        "memory_bytes",
        "Resident memory of the process.",
        gauges.memory_bytes.unwrap_or(0) as f64,
    );
    text.gauge(
        "buffer_bytes",
        "Memory for unsent and incomplete messages of all sessions.",
        gauges.buffer_bytes as f64,
    );
    text.gauge(
        "buffer_limit_bytes",
        "The limit of buffer_bytes (--buffer-bytes).",
        gauges.buffer_limit_bytes as f64,
    );
    text.gauge(
        "clock_settled",
        "1 if the clock of the machine has not jumped lately.",
        flag(gauges.clock_settled),
    );
    text.total(
        "clock_jumps_total",
        "Jumps of the clock of the machine.",
        gauges.clock_jumps,
    );
    text.total(
        "log_lines_dropped_total",
        "Lines of the log that stderr did not accept.",
        LOG_LINES_DROPPED.get(),
    );
}

fn of_sessions(text: &mut Text, gauges: &Gauges, context: &Context) {
    text.gauge("sessions", "Open sessions.", gauges.sessions as f64);
    text.gauge("users", "Users with a session.", gauges.users as f64);
    text.total(
        "sessions_opened_total",
        "Sessions that were opened.",
        SESSIONS_OPENED.get(),
    );
    text.counter(
        "sessions_refused_total",
        "WebSocket requests that were refused, by the code of the response.",
        "code",
        Refusal::ALL.map(|refusal| (refusal.as_str(), refusal.total())),
    );
    text.counter(
        "sessions_ended_total",
        "Sessions that the server has ended, by the reason of the goodbye.",
        "reason",
        Ended::ALL.map(|ended| (ended.as_str(), ended.total())),
    );
    text.total(
        "session_panics_total",
        "Sessions that ended by a fault of the server.",
        context.failed_sessions(),
    );
    text.total(
        "received_bytes_total",
        "Bytes of WebSocket frames that clients sent.",
        RECEIVED_BYTES.get(),
    );
    text.total(
        "sent_bytes_total",
        "Bytes that were sent over WebSocket connections.",
        SENT_BYTES.get(),
    );
}

fn of_messages(text: &mut Text) {
    text.counter(
        "messages_total",
        "Messages of all sources, by what became of them.",
        "outcome",
        MessageOutcome::ALL.map(|outcome| (outcome.as_str(), outcome.total())),
    );
    text.counter_of_two(
        "writes_total",
        "Writes of all sources, by what became of them.",
        ("kind", "outcome"),
        commit_metrics::writes(),
    );
    let stored = commit_metrics::stored_contents()
        .map(|(kind, content, count)| (kind, content.as_str(), count));
    let ephemeral =
        ephemeral_contents().map(|(content, count)| ("ephemeral", content.as_str(), count));
    text.counter_of_two(
        "contents_total",
        "Contents that were stored, or forwarded without storing them.",
        ("kind", "content_type"),
        stored.chain(ephemeral),
    );
    text.total(
        "deliveries_total",
        "Entries and ephemeral messages given to sessions.",
        DELIVERIES.get(),
    );
    text.histogram(
        "delivery_seconds",
        "Time from accepting a write until the batch with it was delivered, measured at the oldest write of the batch.",
        &DELIVERY,
    );
}

fn of_rejections(text: &mut Text) {
    text.counter(
        "errors_total",
        "Errors that answered frames and API calls, by code.",
        "code",
        ErrorCode::ALL
            .iter()
            .map(|code| (code.as_str(), ERRORS[*code as usize].get()))
            .chain(
                HttpErrorCode::ALL
                    .iter()
                    .map(|code| (code.as_str(), HTTP_ERRORS[*code as usize].get())),
            ),
    );
    text.counter_of_two(
        "rejected_contents_total",
        "Contents that were not accepted, by the code of the error.",
        ("code", "content_type"),
        rejected_contents().map(|(code, content, count)| (code.as_str(), content.as_str(), count)),
    );
    text.counter(
        "limited_total",
        "What limits have rejected or delayed, by the setting.",
        "limit",
        Limit::ALL.map(|limit| (limit.as_str(), limit.total())),
    );
}

fn of_queues(text: &mut Text, gauges: &Gauges) {
    text.gauge(
        "queue_writes",
        "Writes that wait for a commit.",
        gauges.queue.writes as f64,
    );
    text.gauge(
        "queue_write_bytes",
        "Bytes of the contents of writes that wait for a commit.",
        gauges.queue.bytes as f64,
    );
    text.gauge(
        "queue_openings",
        "Sessions whose inboxes wait to be opened.",
        gauges.queue.openings as f64,
    );
    let (short, long) = gauges.queued_reads;
    text.gauges(
        "queue_reads",
        "Reads that wait for a thread.",
        "kind",
        [("short", short as f64), ("long", long as f64)],
    );
}

fn of_store(text: &mut Text, gauges: &Gauges, context: &Context) {
    text.histogram(
        "commit_seconds",
        "Duration of commits to the store.",
        &COMMIT,
    );
    text.total(
        "commit_failures_total",
        "Commits that have failed.",
        COMMIT_FAILURES.get(),
    );
    text.gauge(
        "ready",
        "1 if new messages can be stored.",
        flag(gauges.ready),
    );
    text.gauge(
        "store_bytes",
        "Size of the database file.",
        gauges.store_bytes.unwrap_or(0) as f64,
    );
    text.gauge(
        "wal_bytes",
        "Size of the write-ahead log.",
        gauges.wal_bytes.unwrap_or(0) as f64,
    );
    // Without a check of the disk, the two have no samples.
    let space = context.router.disk_space().free_and_minimum();
    for (name, help, value) in [
        (
            "disk_free_bytes",
            "Free space of the disk with the store.",
            space.map(|(free, _)| free),
        ),
        (
            "disk_minimum_bytes",
            "The free space below which nothing is stored (--min-free-disk).",
            space.map(|(_, minimum)| minimum),
        ),
    ] {
        text.gauges(name, help, "", value.map(|value| ("", value as f64)));
    }
    text.counter(
        "expired_total",
        "Entries of inboxes and messages that retention has removed.",
        "kind",
        Expired::ALL.map(|kind| (kind.as_str(), kind.total())),
    );
}

fn of_operations(text: &mut Text) {
    let statuses = API_STATUSES.iter().map(ToString::to_string);
    let statuses = statuses.chain(["other".to_owned()]);
    text.counter(
        "api_requests_total",
        "Responses of the operations port, by status.",
        "status",
        statuses.zip(API_REQUESTS.iter().map(Counter::get)),
    );
    text.gauge(
        "api_requests_in_progress",
        "Requests to the operations port that are not answered yet.",
        RequestInProgress::count() as f64,
    );
}

fn of_notifications(text: &mut Text, context: &Context) {
    let stats = &context.notify;
    text.counter(
        "notifications_total",
        "Notifications, by what became of them.",
        "outcome",
        [("stored", &stats.stored), ("refused", &stats.refused)]
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed))),
    );
    text.gauge(
        "notify_enabled",
        "1 if there is a source of notifications (--notify).",
        flag(context.config.notify.notify.is_some()),
    );
    text.gauge(
        "notify_connected",
        "1 while the server is connected to the source of notifications.",
        flag(stats.connected.load(Ordering::Relaxed)),
    );
    text.total(
        "notify_connections_total",
        "Connections to the source of notifications.",
        stats.connections.load(Ordering::Relaxed),
    );
    text.gauge(
        "queue_notifications",
        "Notifications that wait for a commit.",
        stats.waiting.load(Ordering::Relaxed) as f64,
    );
}

fn of_webhooks(text: &mut Text, context: &Context) {
    let lag_ms = context.webhooks.lag(context.router.clock().now());
    text.counter(
        "webhook_events_total",
        "Attempts to deliver webhook events, by outcome.",
        "outcome",
        ["delivered", "retried", "dropped"]
            .into_iter()
            .zip(WEBHOOK_EVENTS.iter().map(Counter::get)),
    );
    text.gauge(
        "webhook_lag_seconds",
        "The age of the oldest event that a receiver has not accepted.",
        lag_ms as f64 / 1000.0,
    );
}

//! `GET /metrics`: the text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;

use actix_web::{HttpResponse, web};

use super::Ops;
use super::error::{HTTP_ERRORS, HttpErrorCode};
use super::gauges::Gauges;
use crate::metrics::{
    API_REQUESTS, API_STATUSES, COMMIT, DELIVERIES, DELIVERY, ERRORS, Histogram, MESSAGES,
    MessageOutcome, WEBHOOK_EVENTS, WEBHOOK_LAG_MS,
};
use crate::notify::NotifyStats;
use crate::protocol::ErrorCode;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub async fn get(ops: web::Data<Ops>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(CONTENT_TYPE)
        .body(text(&Gauges::now(&ops), &ops.context.notify))
}

/// The text that Prometheus reads.
#[derive(Default)]
struct Text(String);

impl Text {
    /// A metric with one sample for each label.
    fn family<L: Display>(
        &mut self,
        (name, kind): (&str, &str),
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) {
        // Writing into a string cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP dmwire_{name} {help}\n# TYPE dmwire_{name} {kind}"
        );
        for (value, sample) in samples {
            let _ = if label.is_empty() {
                writeln!(self.0, "dmwire_{name} {sample}")
            } else {
                writeln!(self.0, "dmwire_{name}{{{label}=\"{value}\"}} {sample}")
            };
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family((name, "gauge"), help, "", [("", value)]);
    }

    fn counter<L: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) {
        let samples = samples.into_iter().map(|(value, n)| (value, n as f64));
        self.family((name, "counter"), help, label, samples);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let recorded = histogram.get();
        let none: [(&str, f64); 0] = [];
        self.family((name, "histogram"), help, "", none);
        for (limit, count) in recorded.cumulative() {
            let _ = writeln!(self.0, "dmwire_{name}_bucket{{le=\"{limit}\"}} {count}");
        }
        let (count, sum) = (recorded.count(), recorded.sum.as_secs_f64());
        let _ = writeln!(self.0, "dmwire_{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(
            self.0,
            "dmwire_{name}_sum {sum}\ndmwire_{name}_count {count}"
        );
    }
}

fn text(gauges: &Gauges, notifications: &NotifyStats) -> String {
    let mut text = Text::default();
    text.gauge("sessions", "Open sessions.", gauges.sessions as f64);
    text.gauge("users", "Users with a session.", gauges.users as f64);
    text.counter(
        "messages_total",
        "Messages of all sources, by what became of them.",
        "outcome",
        MessageOutcome::ALL.map(|outcome| (outcome.as_str(), MESSAGES[outcome as usize].get())),
    );
    text.counter(
        "deliveries_total",
        "Entries and ephemeral messages given to sessions.",
        "",
        [("", DELIVERIES.get())],
    );
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
    text.histogram(
        "commit_seconds",
        "Duration of commits to the store.",
        &COMMIT,
    );
    text.histogram(
        "delivery_seconds",
        "Time from accepting a write until the batch with it was delivered, measured at the oldest write of the batch.",
        &DELIVERY,
    );
    text.gauge(
        "queue_writes",
        "Writes that wait for a commit.",
        gauges.queue as f64,
    );
    text.gauge(
        "buffer_bytes",
        "Memory for unsent and incomplete messages of all sessions.",
        gauges.buffer_bytes as f64,
    );
    let optional = [
        (
            "memory_bytes",
            "Resident memory of the process.",
            gauges.memory_bytes,
        ),
        (
            "store_bytes",
            "Size of the database file.",
            gauges.store_bytes,
        ),
        (
            "wal_bytes",
            "Size of the write-ahead log.",
            gauges.wal_bytes,
        ),
    ];
    for (name, help, value) in optional {
        text.gauge(name, help, value.unwrap_or(0) as f64);
    }
    let flag = |value: bool| if value { 1.0 } else { 0.0 };
    text.gauge(
        "ready",
        "1 if new messages can be stored.",
        flag(gauges.ready),
    );
    text.gauge(
        "clock_settled",
        "1 if the clock of the machine has not jumped lately.",
        flag(gauges.clock_settled),
    );
    of_operations(&mut text, notifications);
    text.0
}

/// The metrics of the operations port, of notifications and of webhooks.
fn of_operations(text: &mut Text, notifications: &NotifyStats) {
    let statuses = API_STATUSES.iter().map(ToString::to_string);
    let statuses = statuses.chain(["other".to_owned()]);
    text.counter(
        "api_requests_total",
        "Responses of the operations port, by status.",
        "status",
        statuses.zip(API_REQUESTS.iter().map(crate::metrics::Counter::get)),
    );
    text.counter(
        "notifications_total",
        "Notifications, by what became of them.",
        "outcome",
        [
            ("stored", &notifications.stored),
            ("refused", &notifications.refused),
        ]
        .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed))),
    );
    text.gauge(
        "notify_connected",
        "1 while the server is connected to the source of notifications.",
        f64::from(u8::from(notifications.connected.load(Ordering::Relaxed))),
    );
    text.counter(
        "webhook_events_total",
        "Attempts to deliver webhook events, by outcome.",
        "outcome",
        ["delivered", "retried", "dropped"]
            .into_iter()
            .zip(WEBHOOK_EVENTS.iter().map(crate::metrics::Counter::get)),
    );
    text.gauge(
        "webhook_lag_seconds",
        "How far webhooks are behind the store.",
        WEBHOOK_LAG_MS.load(Ordering::Relaxed) as f64 / 1000.0,
    );
}

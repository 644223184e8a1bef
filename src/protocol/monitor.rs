//! Frames of `/monitor` on the operations port.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::content::SafeInteger;
use super::timestamp::Timestamp;

/// A frame of `/monitor`. `type` names it. Clients ignore fields and types that they do not know.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MonitorFrame {
    /// The state of the server, once a second.
    Metrics(MonitorMetrics),
}

/// The state of the server, once a second. Rates and percentiles are those of the last second.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(example = json!({
    "type": "metrics", "timestamp": "2026-11-20T11:03:00.123Z", "cpu_load": 0.42, "memory_percent": 37.5,
    "memory_bytes": 52_428_800, "sessions": 812, "users": 640, "messages_per_second": 120.0,
    "deliveries_per_second": 260.0, "commit_p50_ms": 0.9, "commit_p99_ms": 3.5, "delivery_p50_ms": 1.3,
    "delivery_p99_ms": 4.1, "queue": 3, "rejected_per_second": {"rate_limited": 1.0}
}))]
pub struct MonitorMetrics {
    /// The time by the server's clock.
    pub timestamp: Timestamp,
    /// The average number of running processes of the machine within the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_load: Option<f64>,
    /// Memory of the machine that is in use, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<f64>,
    /// Memory of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<SafeInteger>,
    /// Open sessions.
    pub sessions: SafeInteger,
    /// Users with a session.
    pub users: SafeInteger,
    /// Messages, whatever became of them.
    pub messages_per_second: f64,
    /// Entries and ephemeral messages given to sessions.
    pub deliveries_per_second: f64,
    /// Half of the commits took no longer; absent without commits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_p50_ms: Option<f64>,
    /// 99 % of the commits took no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_p99_ms: Option<f64>,
    /// Half of the messages were delivered within this time after they were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_p50_ms: Option<f64>,
    /// 99 % of the messages were delivered within this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_p99_ms: Option<f64>,
    /// Writes that wait for a commit.
    pub queue: SafeInteger,
    /// Rejected frames and calls, by error code. Codes without any are left out.
    pub rejected_per_second: BTreeMap<&'static str, f64>,
}

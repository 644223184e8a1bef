//! Notifications through Redis: a publication on `notifications:USER` becomes a message to that user (PROTOCOL section 9).
//!
//! A thread of its own reads from Redis over a blocking connection, and stops reading while too many messages wait for their
//! commit: what Redis sends meanwhile stays in the buffers of the connection. Redis keeps nothing for an absent subscriber, so what is
//! published while there is no connection is lost.

mod connection;
mod pending;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::task::AbortOnDropHandle;

use self::connection::Subscription;
use self::pending::Pending;
use crate::config::{NotifyConfig, RedisUrl};
use crate::delivery::{CommandError, PartOutcome};
use crate::ingest::Ingest;
use crate::protocol::notification::request_of;
use crate::protocol::types::is_name;
use crate::protocol::{ErrorCode, FrameError, Tape};
use crate::supervise::AbortOnPanic;

/// The channels are named by this and the user.
const CHANNEL: &str = "notifications:";
/// The first pause before a new connection, and the longest one: each is twice as long as the one before, unless the connection has lasted.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// While the store accepts nothing, a message waits this long, and is then refused.
const RETRY_FOR: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two log lines about refused messages, and between two about a connection that cannot be made.
const LOG_PAUSE: Duration = Duration::from_secs(1);
const LOG_PAUSE_CONNECT: Duration = Duration::from_secs(60);

/// What has happened so far.
#[derive(Debug, Default)]
pub struct NotifyStats {
    /// Messages that were stored, or had been stored before.
    pub stored: AtomicU64,
    /// Publications that have become no message.
    pub refused: AtomicU64,
    /// Messages that wait for their commit.
    pub waiting: AtomicU64,
    /// There is a subscription at the moment.
    pub connected: AtomicBool,
    /// Subscriptions so far.
    pub connections: AtomicU64,
}

/// Reads publications until the process ends.
struct Subscriber {
    url: RedisUrl,
    sender: String,
    /// The longest publication, in bytes.
    max_bytes: usize,
    ingest: Ingest,
    stats: Arc<NotifyStats>,
    pending: Arc<Pending>,
    outcomes: UnboundedSender<(usize, PartOutcome)>,
    tape: Tape,
    refusals: LogLimit,
}

/// Starts to turn publications of at most `max_bytes` bytes into messages, if it is configured. The returned task counts the outcomes.
///
/// # Errors
/// The thread cannot be started.
pub fn start(
    config: &NotifyConfig,
    max_bytes: usize,
    ingest: Ingest,
    stats: Arc<NotifyStats>,
) -> io::Result<Option<AbortOnDropHandle<()>>> {
    let Some(url) = config.notify.clone() else {
        return Ok(None);
    };
    let (sender, outcomes) = unbounded_channel();
    let pending = Arc::new(Pending::default());
    let subscriber = Subscriber {
        url,
        sender: config.notify_sender.clone(),
        max_bytes,
        ingest,
        stats: stats.clone(),
        pending: pending.clone(),
        outcomes: sender,
        tape: Tape::default(),
        refusals: LogLimit::new(LOG_PAUSE),
    };
    std::thread::Builder::new()
        .name("notify".into())
        .spawn(move || {
            let _guard = AbortOnPanic("thread for notifications");
            subscriber.run();
        })?;
    let counting = tokio::spawn(count(outcomes, pending, stats));
    Ok(Some(AbortOnDropHandle::new(counting)))
}

/// Counts the outcomes of messages, which come in the order in which they were queued.
async fn count(
    mut outcomes: UnboundedReceiver<(usize, PartOutcome)>,
    pending: Arc<Pending>,
    stats: Arc<NotifyStats>,
) {
    let mut limit = LogLimit::new(LOG_PAUSE);
    while let Some((_, outcome)) = outcomes.recv().await {
        let user = pending.take();
        stats.waiting.fetch_sub(1, Ordering::Relaxed);
        match outcome {
            Ok(_) => {
                stats.stored.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                stats.refused.fetch_add(1, Ordering::Relaxed);
                log_refusal(&mut limit, &user, &reason(&error.error));
            }
        }
    }
}

impl Subscriber {
    fn run(mut self) {
        let mut pause = Pause::default();
        let mut failures = LogLimit::new(LOG_PAUSE_CONNECT);
        loop {
            let mut lasted = Duration::ZERO;
            match Subscription::open(&self.url, &format!("{CHANNEL}*")) {
                Ok(mut subscription) => {
                    self.stats.connected.store(true, Ordering::Relaxed);
                    self.stats.connections.fetch_add(1, Ordering::Relaxed);
                    log::info!(redis:% = self.url; "subscribed to notifications");
                    failures = LogLimit::new(LOG_PAUSE_CONNECT);
                    let started = Instant::now();
                    let error =
                        subscription.each(|channel, payload| self.receive(channel, payload));
                    lasted = started.elapsed();
                    self.stats.connected.store(false, Ordering::Relaxed);
                    log::warn!(redis:% = self.url; "the connection for notifications has ended and is opened again: {error}");
                }
                Err(error) => {
                    if failures.is_due() {
                        log::warn!(redis:% = self.url; "cannot subscribe to notifications, and will try again: {error}");
                    }
                }
            }
            std::thread::sleep(pause.after(lasted));
        }
    }

    fn receive(&mut self, channel: &str, payload: &[u8]) {
        let user = channel.strip_prefix(CHANNEL).unwrap_or_default();
        if let Err(reason) = self.send(user, payload) {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            let user = if is_name(user) { user } else { "-" };
            log_refusal(&mut self.refusals, user, &reason);
        }
    }

    /// Queues the message of a publication. The error is the reason why there is none.
    fn send(&mut self, user: &str, payload: &[u8]) -> Result<(), String> {
        if !is_name(user) {
            return Err("the channel names no user id".to_owned());
        }
        if payload.len() > self.max_bytes {
            return Err(format!("it has more than {} bytes", self.max_bytes));
        }
        let payload = std::str::from_utf8(payload).map_err(|_| "it is not in UTF-8")?;
        let contract = self.ingest.contract();
        let parties = (self.sender.as_str(), user);
        let request = request_of(&mut self.tape, payload, parties, &contract);
        let request = request.map_err(|error| reason(&error))?;
        let parsed = self.ingest.parse(&mut self.tape, &request, &contract);
        let parsed = parsed.map_err(|error| reason(&error))?;
        self.pending.wait_for_room();
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            // Before it is queued: its outcome may come at once.
            self.pending.add(user);
            self.stats.waiting.fetch_add(1, Ordering::Relaxed);
            let Err(CommandError { error, .. }) =
                self.ingest.submit_one(&parsed, (&self.outcomes, 0))
            else {
                return Ok(());
            };
            self.pending.cancel();
            self.stats.waiting.fetch_sub(1, Ordering::Relaxed);
            if error.code != ErrorCode::Overloaded || Instant::now() >= give_up {
                return Err(reason(&error));
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

/// The pause before the next connection.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    /// The pause after a connection that lasted so long. A source that ends each connection at once is not asked all the time.
    fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= LONGEST_PAUSE {
            *self = Self::default();
        }
        let next = (self.0 * 2).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.0, next)
    }
}

/// The reason for the log. The detail of an error may repeat a part of the text.
fn reason(error: &FrameError) -> String {
    let code = error.code.as_str();
    match error.path.as_deref() {
        Some(path) if !path.is_empty() => format!("{code} at {path}"),
        _ => code.to_owned(),
    }
}

fn log_refusal(limit: &mut LogLimit, user: &str, reason: &str) {
    if let Some(others) = limit.due() {
        log::warn!(user = user, not_logged = others; "a notification was refused: {reason}");
    }
}

/// Limits the number of log lines about something.
struct LogLimit {
    pause: Duration,
    next: Option<Instant>,
    skipped: u64,
}

impl LogLimit {
    fn new(pause: Duration) -> Self {
        Self {
            pause,
            next: None,
            skipped: 0,
        }
    }

    fn is_due(&mut self) -> bool {
        self.due().is_some()
    }

    /// The number of lines that were skipped since the last one; `None`: this one is skipped, too.
    fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            self.skipped += 1;
            return None;
        }
        self.next = Some(now + self.pause);
        Some(std::mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_connection_lasts() {
        let mut pause = Pause::default();
        let mut after = |seconds| pause.after(Duration::from_secs(seconds)).as_millis();
        let short = [0, 1, 0, 2, 0, 4, 0, 0].map(&mut after);
        assert_eq!(short, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!([5, 0].map(after), [100, 200]);
    }
}

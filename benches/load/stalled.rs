//! Sessions that do not read, beside pairs that must not be affected by them. The pairs run three times with the same load.
//! The additional sessions stop reading in the third run, which is compared with the second. The ratio of the second to the
//! first run shows how much two runs differ anyway, because the store grows and the machine has other load.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::options::Options;
use crate::pairs::{self, Talk, name};
use crate::report::Report;
use crate::socket::{Socket, text_frame};
use crate::tally::is_ack;
use crate::target::Target;

/// One message is sent to an additional session after this many messages.
const EVERY: u64 = 16;
/// Kernel receive buffer of such a session; small, so that it fills quickly.
const BUFFER: u32 = 4096;
/// Messages sent to each of them before the third run, so that it is stalled when that run starts: more than all buffers on
/// the way hold.
const PRIMES: usize = 400;
const PRIME_CHARACTERS: usize = 12_000;
/// In a relay whose senders wait for the slow reader, a run may never end: messages not delivered by then count as stuck.
const GRACE: Duration = Duration::from_secs(3);

/// The ratios of messages per second and of p99 between two runs.
fn ratios(talk: &mut Talk, other: &mut Talk) -> (f64, f64) {
    let rate = |talk: &Talk| talk.tally.delivered as f64 / talk.seconds;
    let p99 = |talk: &mut Talk| f64::from(talk.tally.latency(990).max(1));
    (rate(talk) / rate(other), p99(talk) / p99(other))
}

/// Runs the load.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    let mut slow = Vec::new();
    for n in 0..options.stalled {
        let socket = Socket::open_with(target, &name("s", n), Some(BUFFER)).await?;
        slow.push(Rc::new(RefCell::new(socket)));
    }
    let mut pairs = pairs::open(target, options).await?;
    for (n, pair) in pairs.iter_mut().enumerate() {
        pair.aside = Some((EVERY, aside(options, n)));
    }
    let readers: Vec<_> = slow
        .iter()
        .map(|socket| spawn_local(read(socket.clone())))
        .collect();
    let mut first = pairs::talk(target, pairs, options.seconds, pairs::GRACE).await?;
    first.tally.check()?;
    let pairs = std::mem::take(&mut first.pairs);
    let mut quiet = pairs::talk(target, pairs, options.seconds, pairs::GRACE).await?;
    quiet
        .tally
        .report(report, "quiet ", quiet.seconds, quiet.cost);
    quiet.tally.check()?;
    for reader in readers {
        if reader.is_finished() {
            return Err(io::Error::other("a session ended early"));
        }
        reader.abort();
    }
    let before = target.memory();
    for n in 0..options.stalled {
        // If filling blocks, the session is stalled as intended.
        let _ = timeout(GRACE, prime(target, n, options.ephemeral)).await;
    }
    let mut stalled = pairs::talk(
        target,
        std::mem::take(&mut quiet.pairs),
        options.seconds,
        GRACE,
    )
    .await?;
    let memory = target.memory().saturating_sub(before);
    let stuck = stalled.tally.missing();
    if stuck > 0 {
        // The time spent waiting for stuck messages is not part of the run.
        stalled.seconds = options.seconds;
    }
    stalled
        .tally
        .report(report, "stalled ", stalled.seconds, stalled.cost);
    let control = ratios(&mut quiet, &mut first);
    let (rates, p99s) = ratios(&mut stalled, &mut quiet);
    report.line("stuck", format!("{stuck} messages"));
    report.line("memory", format!("{memory} KiB more"));
    report.line(
        "stalled/quiet",
        format!("messages/s {rates:.2}, p99 {p99s:.2}"),
    );
    report.line(
        "quiet/quiet before",
        format!("messages/s {:.2}, p99 {:.2}", control.0, control.1),
    );
    report.value("stuck", json!(stuck));
    report.value("more_kib", json!(memory));
    report.value("rates", json!(rates));
    report.value("p99s", json!(p99s));
    report.value("control_rates", json!(control.0));
    report.value("control_p99s", json!(control.1));
    match stalled.tally.wrong {
        0 => Ok(()),
        wrong => Err(io::Error::other(format!("{wrong} messages out of order"))),
    }
}

/// The frame that pair `n` sends to its additional session.
fn aside(options: &Options, n: usize) -> Vec<u8> {
    let to = name("s", n % options.stalled);
    let text = "y".repeat(options.size.into());
    message(&text, &to, options.ephemeral)
}

fn message(text: &str, to: &str, ephemeral: bool) -> Vec<u8> {
    let ephemeral = if ephemeral {
        r#","ephemeral":true"#
    } else {
        ""
    };
    text_frame(&format!(
        r#"{{"message":"{text}","target_user":"{to}"{ephemeral}}}"#
    ))
}

/// Reads and discards.
async fn read(socket: Rc<RefCell<Socket>>) -> io::Result<()> {
    poll_fn(|cx| {
        let mut socket = socket.borrow_mut();
        while socket.poll_fill(cx)?.is_ready() {
            while socket.next().is_some() {}
        }
        let _ = socket.poll_flush(cx)?;
        Poll::Pending
    })
    .await
}

/// Fills all buffers between a sender and session `n`.
async fn prime(target: &Target, n: usize, ephemeral: bool) -> io::Result<()> {
    let mut socket = Socket::open(target, &name("p", n)).await?;
    let frame = message(&"z".repeat(PRIME_CHARACTERS), &name("s", n), ephemeral);
    for _ in 0..PRIMES {
        socket.queue_frame(&frame);
    }
    let mut acked = 0;
    poll_fn(|cx| {
        while socket.poll_fill(cx)?.is_ready() {
            while let Some(text) = socket.next() {
                acked += usize::from(is_ack(text));
            }
        }
        match socket.poll_flush(cx)? {
            Poll::Ready(()) if target.bare || acked >= PRIMES => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await
}

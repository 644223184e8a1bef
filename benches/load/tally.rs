//! Counts of messages and their latencies.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::report::Report;
use crate::target::Usage;

/// The tally shared by all senders and receivers. All run on one thread, so no lock is needed.
pub type Shared = Rc<RefCell<Tally>>;

/// Counts of sent and delivered messages, and latencies.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages sent, counted once per session that must receive them.
    pub sent: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Acks received by senders.
    pub acked: u64,
    /// Messages delivered out of order or twice.
    pub wrong: u64,
    /// Microseconds from the scheduled send time to the delivery.
    latencies: Vec<u32>,
}

impl Tally {
    /// Counts a text that a receiver got, at `now` microseconds. Returns true if it was a message; `expected` is the number that
    /// it should have.
    pub fn take(&mut self, text: &[u8], expected: u64, now: u64) -> bool {
        let Some((number, meant)) = stamp(text) else {
            return false;
        };
        self.wrong += u64::from(number != expected);
        self.delivered += 1;
        self.latencies.push(now.saturating_sub(meant) as u32);
        true
    }

    /// As [`Tally::take`], of messages whose numbers rise but have gaps: `lowest` is the lowest number that the message may have.
    /// Returns the lowest number of the next one.
    pub fn take_rising(&mut self, text: &[u8], lowest: u64, now: u64) -> u64 {
        let Some((number, meant)) = stamp(text) else {
            return lowest;
        };
        self.wrong += u64::from(number < lowest);
        self.delivered += 1;
        self.latencies.push(now.saturating_sub(meant) as u32);
        number + 1
    }

    /// Messages not delivered.
    pub fn missing(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }

    /// The given permille of the latencies, in microseconds.
    pub fn latency(&mut self, permille: usize) -> u32 {
        // Cheap after the first call, as they are sorted then.
        self.latencies.sort_unstable();
        let place = self.latencies.len().saturating_sub(1) * permille / 1000;
        self.latencies.get(place).copied().unwrap_or(0)
    }

    /// Adds messages, rate, latency and cost to the report. Names start with `prefix`.
    pub fn report(&mut self, report: &mut Report, prefix: &str, seconds: f64, cost: Usage) {
        let each = 1e6 / self.delivered.max(1) as f64;
        let (p50, p99, p999) = (self.latency(500), self.latency(990), self.latency(999));
        let rate = self.delivered as f64 / seconds;
        let (server, own) = (cost.server * each, cost.own * each);
        let (delivered, acked) = (self.delivered, self.acked);
        let wrong = self.wrong + self.missing();
        report.line(
            &format!("{prefix}messages delivered"),
            format!("{delivered} in {seconds:.2} s, {acked} acknowledged"),
        );
        report.line(
            &format!("{prefix}lost, duplicated, reordered"),
            wrong.to_string(),
        );
        report.line(&format!("{prefix}messages/s"), format!("{rate:.0}"));
        report.line(
            &format!("{prefix}latency"),
            format!("p50 {p50} us, p99 {p99} us, p99.9 {p999} us"),
        );
        report.line(
            &format!("{prefix}server CPU"),
            format!("{server:.2} us per message (generator: {own:.2} us)"),
        );
        let others = cost.others();
        report.line(
            &format!("{prefix}others"),
            format!("{others:.0} % of the machine's CPU"),
        );
        let name = |what: &str| format!("{}{what}", prefix.replace(' ', "_"));
        report.value(&name("messages"), json!(delivered));
        report.value(&name("acks"), json!(acked));
        report.value(&name("wrong"), json!(wrong));
        report.value(&name("seconds"), json!(seconds));
        report.value(&name("per_second"), json!(rate));
        report.value(&name("p50_us"), json!(p50));
        report.value(&name("p99_us"), json!(p99));
        report.value(&name("p999_us"), json!(p999));
        report.value(&name("server_cpu_us"), json!(server));
        report.value(&name("generator_cpu_us"), json!(own));
        report.value(&name("others_percent"), json!(others));
    }

    /// Returns an error if a message was lost, duplicated or out of order.
    pub fn check(&self) -> io::Result<()> {
        match self.wrong + self.missing() {
            0 => Ok(()),
            wrong => Err(io::Error::other(format!(
                "{wrong} messages were lost, duplicated or out of order"
            ))),
        }
    }
}

/// The frame of a message. Its number and time are written in place before each send; its length never changes, so that no
/// formatting is needed.
#[derive(Clone, Debug)]
pub struct Template {
    frame: Vec<u8>,
    /// Position of the number; the time follows it.
    stamp: usize,
}

const NUMBER: usize = 10;
const TIME: usize = 12;

impl Template {
    /// Creates a message with `size` characters of text for `user`.
    pub fn new(user: &str, size: usize, ephemeral: bool) -> Self {
        Self::with_target("target_user", user, size, fields(ephemeral))
    }

    /// Creates a message for the members of `room`.
    pub fn to_room(room: &str, size: usize, ephemeral: bool) -> Self {
        Self::with_target("target_room", room, size, fields(ephemeral))
    }

    /// Creates a message with this id for the members of `room`, and an edit of it.
    pub fn with_edit(room: &str, size: usize, id: &str) -> (Self, Self) {
        let of = |more: &str| {
            let more = format!(r#","id":"{id}"{more}"#);
            Self::with_target("target_room", room, size, &more)
        };
        (of(""), of(r#","type":"edit""#))
    }

    fn with_target(key: &str, target: &str, size: usize, more: &str) -> Self {
        let text = "x".repeat(size.saturating_sub(NUMBER + TIME + 2));
        let (number, time) = ("#".repeat(NUMBER), "#".repeat(TIME));
        let frame = crate::socket::text_frame(&format!(
            r#"{{"message":"{number} {time} {text}","{key}":"{target}"{more}}}"#
        ));
        let stamp = frame.windows(2).position(|two| two == b"##");
        let stamp = stamp.expect("it was put there");
        Self { frame, stamp }
    }

    /// Returns the frame of message `number`, scheduled for `micros`.
    pub fn stamped(&mut self, number: u64, micros: u64) -> &[u8] {
        let (digits, rest) = self.frame[self.stamp..].split_at_mut(NUMBER);
        write_digits(digits, number);
        write_digits(&mut rest[1..=TIME], micros);
        &self.frame
    }
}

/// The fields of a message besides its content and target.
fn fields(ephemeral: bool) -> &'static str {
    if ephemeral {
        r#","ephemeral":true"#
    } else {
        ""
    }
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn read_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Extracts the number and the scheduled time from a delivered message.
fn stamp(text: &[u8]) -> Option<(u64, u64)> {
    const KEY: &[u8] = br#""message":"#;
    // Try the position in frames of dmwire first, then that in unchanged frames, then search.
    let rest = text
        .strip_prefix(br#"{"type":"message","message":"#)
        .or_else(|| text.strip_prefix(br#"{"message":"#))
        .or_else(|| {
            let at = text.windows(KEY.len()).position(|here| here == KEY)?;
            Some(text[at + KEY.len()..].trim_ascii_start())
        })?
        .strip_prefix(b"\"")?;
    let number = read_digits(rest.get(..NUMBER)?)?;
    let meant = read_digits(rest.get(NUMBER + 1..=NUMBER + TIME)?)?;
    Some((number, meant))
}

/// Returns whether a text is the answer to a message.
pub fn is_ack(text: &[u8]) -> bool {
    text.starts_with(br#"{"type":"ack""#)
}

/// Ends the run if the server answers with an error.
pub fn refuse_error(text: &[u8]) -> io::Result<()> {
    if text.starts_with(br#"{"type":"error""#) {
        return Err(io::Error::other(String::from_utf8_lossy(text).into_owned()));
    }
    Ok(())
}

/// Prints the number of messages delivered in each second, until it is dropped.
pub async fn progress(tally: Shared) {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = tally.borrow().delivered;
        eprintln!("{} messages/s", now - before);
        before = now;
    }
}

/// Returns the microseconds since `began`.
pub fn micros(began: Instant) -> u64 {
    began.elapsed().as_micros() as u64
}

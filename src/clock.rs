//! The time of the server: for the times of messages, and for what expires.
//!
//! The wall clock can be wrong: a battery is empty, a virtual machine is resumed, somebody sets another year. The time since
//! boot cannot be set. [`Clock`] compares the two. While their difference changes little, the wall clock is right. When the wall
//! clock jumps, or differs much from the times in the store at a start, the clock is *unsettled*: nothing expires, and the time
//! continues from before the jump. It is settled again when the wall clock has not jumped for a while, or when an operator
//! accepts it.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A change of the difference between the two clocks by more than this is a jump (milliseconds, like all times here).
const JUMP: u64 = 60_000;
/// Changes are added up over this time: several small steps, or a clock that runs fast, are a jump as well. Programs that adjust
/// the clock slowly stay below it.
const WINDOW: i64 = 10 * 60_000;
/// After a start, a larger difference from the times in the store means that the wall clock may be wrong.
const START: u64 = 24 * 3_600_000;
/// A difference of more than this from the last observation is examined under the lock.
const STEP: u64 = 1_000;
/// Between two readings of the time since boot, the wall clock is read. If they are further apart, the thread was interrupted.
const READING: i64 = 100;
/// A clock that keeps jumping is logged this many times within this time.
const MAX_LOGGED: u32 = 5;
const LOG_INTERVAL: i64 = 60_000;
/// No time is later than this.
const LIMIT: i64 = i64::MAX / 4;
/// [`Clock::held`] of a clock that is settled.
const SETTLED: i64 = i64::MIN;

/// Two clocks that were read at the same moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Since 1970-01-01T00:00:00Z.
    wall: i64,
    /// Since boot, including the time that the machine was suspended.
    boot: i64,
}

type Source = Box<dyn Fn() -> Reading + Send + Sync>;

/// The time of the server. Its lock is taken once a second, and when the wall clock has changed by more than a second.
pub struct Clock {
    source: Source,
    /// For how long the wall clock must not jump.
    settle_ms: i64,
    /// The difference between wall clock and time since boot at the last observation.
    offset: AtomicI64,
    /// While the clock is unsettled: the time is the time since boot plus this.
    held: AtomicI64,
    /// The number of jumps so far.
    jumps: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// A difference between wall clock and time since boot, and the time since boot when it was taken.
    reference: i64,
    reference_at: i64,
    /// The time since boot at the last jump, or at the start.
    jumped_at: i64,
    /// The number of jumps that were logged since this time since boot.
    logged: u32,
    logged_since: i64,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("settle_ms", &self.settle_ms)
            .field("held", &self.held)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Clock {
    /// The clock of this machine. After a jump it is settled when the wall clock has not jumped again for `settle_ms`
    /// milliseconds.
    pub fn new(settle_ms: i64) -> Self {
        Self::with_source(settle_ms, Box::new(read_clocks))
    }

    fn with_source(settle_ms: i64, source: Source) -> Self {
        let Reading { wall, boot } = careful_reading(&source);
        let offset = wall - boot;
        Self {
            source,
            settle_ms,
            offset: AtomicI64::new(offset),
            held: AtomicI64::new(SETTLED),
            jumps: AtomicU64::new(0),
            state: Mutex::new(State {
                reference: offset,
                reference_at: boot,
                jumped_at: boot,
                logged: 0,
                logged_since: boot,
            }),
        }
    }

    /// Compares the wall clock with the times of earlier runs, at a start: that of their newest write, and that of the newest
    /// one while the clock was settled.
    pub fn compare_with(&self, newest: i64, trusted: i64) {
        let mut state = self.state();
        let Reading { wall, boot } = careful_reading(&self.source);
        let is_far = |time: i64| time.abs_diff(wall) > START;
        let stored = match (is_far(newest), is_far(trusted)) {
            (true, _) => newest,
            (false, true) => trusted,
            (false, false) => return,
        };
        // Behind the store, the time continues from there: otherwise new entries would be older than stored ones, and expire
        // before them. Ahead of the store, the machine may just have been off.
        let behind = is_far(trusted) && wall < trusted;
        let start = if behind { trusted } else { wall };
        self.held.store(start - boot, Ordering::Release);
        state.jumped_at = boot;
        log::warn!(
            "the clock of this machine is {} {} the newest time in the store: nothing expires until it has not jumped for {} or \
             SIGHUP accepts it",
            Span(stored.abs_diff(wall)),
            if wall < stored { "behind" } else { "ahead of" },
            Span(self.settle_ms.unsigned_abs()),
        );
    }

    /// The present time. While the clock is unsettled, it continues from the last time before the jump.
    pub fn now(&self) -> i64 {
        let Reading { wall, boot } = (self.source)();
        let held = self.held.load(Ordering::Acquire);
        let offset = self.offset.load(Ordering::Relaxed);
        if (wall - boot).abs_diff(offset) > STEP {
            return self.examine(&mut self.state()).0;
        }
        if held == SETTLED { wall } else { boot + held }
    }

    /// The time by which things expire; `None` while the clock is unsettled: nothing expires.
    pub fn expiry_now(&self) -> Option<i64> {
        let (now, is_settled) = self.examine(&mut self.state());
        is_settled.then_some(now)
    }

    /// True unless the wall clock may be wrong.
    pub fn is_settled(&self) -> bool {
        self.expiry_now().is_some()
    }

    /// The number of jumps of the wall clock since the start.
    pub fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::Relaxed)
    }

    /// Accepts the wall clock as it is now.
    pub fn accept(&self) {
        let mut state = self.state();
        // Logs a jump that was not noticed before.
        self.examine(&mut state);
        let held = self.held.load(Ordering::Relaxed);
        if held != SETTLED {
            self.settle(held, "is accepted (SIGHUP)");
        }
    }

    /// Compares the two clocks. Returns the present time, and whether the clock is settled.
    fn examine(&self, state: &mut State) -> (i64, bool) {
        let Reading { wall, boot } = careful_reading(&self.source);
        let offset = wall - boot;
        let before = self.offset.swap(offset, Ordering::Relaxed);
        if offset.abs_diff(state.reference) > JUMP {
            self.jumped(state, before, Reading { wall, boot });
        } else if boot - state.reference_at > WINDOW {
            state.reference = offset;
            state.reference_at = boot;
        }
        let held = self.held.load(Ordering::Relaxed);
        if held != SETTLED && boot - state.jumped_at < self.settle_ms {
            return (boot + held, false);
        }
        if held != SETTLED {
            self.settle(held, "has not jumped again");
        }
        (wall, true)
    }

    /// The wall clock has jumped. `before`: its difference from the time since boot before that.
    fn jumped(&self, state: &mut State, before: i64, now: Reading) {
        let offset = now.wall - now.boot;
        let size = offset - state.reference;
        self.jumps.fetch_add(1, Ordering::Relaxed);
        let was_settled = self.held.load(Ordering::Relaxed) == SETTLED;
        if was_settled {
            self.held.store(before, Ordering::Release);
        }
        state.reference = offset;
        state.reference_at = now.boot;
        state.jumped_at = now.boot;
        if now.boot - state.logged_since >= LOG_INTERVAL {
            state.logged = 0;
            state.logged_since = now.boot;
        }
        state.logged += 1;
        if was_settled || state.logged <= MAX_LOGGED {
            log::warn!(
                "the clock of this machine was set {} by {}: times continue from before, and nothing expires, until it has not \
                 jumped for {} or SIGHUP accepts it",
                if size < 0 { "back" } else { "ahead" },
                Span(size.unsigned_abs()),
                Span(self.settle_ms.unsigned_abs()),
            );
        }
    }

    fn settle(&self, held: i64, why: &str) {
        self.held.store(SETTLED, Ordering::Release);
        let change = self.offset.load(Ordering::Relaxed) - held;
        log::info!(
            "the clock of this machine {why}: times follow it again ({}{}), and old entries expire",
            if change < 0 { "-" } else { "+" },
            Span(change.unsigned_abs()),
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads both clocks at nearly the same moment: an interruption between the two looks like a jump.
fn careful_reading(source: &Source) -> Reading {
    let mut reading = source();
    // A machine that interrupts each attempt would otherwise not get past this.
    for _ in 0..100 {
        let next = source();
        if (0..=READING).contains(&(next.boot - reading.boot)) {
            return reading;
        }
        reading = next;
    }
    reading
}

/// The boot time is read without the C library: its functions can be replaced to test other times.
fn read_clocks() -> Reading {
    let boot = boot_time();
    let now = SystemTime::now();
    let wall = match now.duration_since(UNIX_EPOCH) {
        Ok(since) => milliseconds(since),
        Err(before) => -milliseconds(before.duration()),
    };
    Reading { wall, boot }
}

/// Limited to a range in which sums and differences do not overflow.
fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).map_or(LIMIT, |ms| ms.min(LIMIT))
}

#[cfg(target_os = "linux")]
fn boot_time() -> i64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = Duration::try_from(clock_gettime(ClockId::Boottime));
    milliseconds(time.unwrap_or_default())
}

/// Elsewhere the time since the first call, without the time that the machine was suspended.
#[cfg(not(target_os = "linux"))]
fn boot_time() -> i64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static FIRST: OnceLock<Instant> = OnceLock::new();
    milliseconds(FIRST.get_or_init(Instant::now).elapsed())
}

/// A duration for the log, rounded to a unit.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..1_000 => (1, "ms"),
            1_000..120_000 => (1_000, "s"),
            120_000..3_600_000 => (60_000, "min"),
            3_600_000..172_800_000 => (3_600_000, "h"),
            _ => (86_400_000, "days"),
        };
        write!(f, "{} {name}", (self.0 + unit / 2) / unit)
    }
}

#[cfg(test)]
mod tests;

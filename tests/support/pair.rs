//! Two well-behaved users who exchange messages while the server is attacked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Client, Server, env_number, to};

/// The minimum number of messages before the attack.
const QUIET: usize = 40;

/// The pause between two messages.
const PACE: Duration = Duration::from_millis(25);

/// Only one attack runs at a time, so that the measurement before an attack is not disturbed by another one.
pub fn exclusive() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two users who send messages to each other in turns.
pub struct Pair {
    ends: [Client; 2],
    count: usize,
}

impl Pair {
    const NAMES: [&str; 2] = ["honest", "true"];

    pub fn new(server: &Server) -> Self {
        Self::connected_by(|name| Client::fresh(server, name))
    }

    /// Two users who connect by means of `connect`.
    pub fn connected_by(connect: impl FnMut(&str) -> Client) -> Self {
        Self {
            ends: Self::NAMES.map(connect),
            count: 0,
        }
    }

    /// Sends one message and returns the time until it arrives.
    pub fn exchange(&mut self) -> Duration {
        self.count += 1;
        let (from, other) = (self.count % 2, (self.count + 1) % 2);
        let text = format!("{} from {from}", self.count);
        let began = Instant::now();
        self.ends[from].send(&to(Self::NAMES[other], &text));
        let message = self.ends[other].expect("message");
        let took = began.elapsed();
        let ack = self.ends[from].expect("ack");
        assert_eq!(message["message"], text);
        assert_eq!(message["from_user"], Self::NAMES[from]);
        // Each message is an entry of both inboxes.
        assert_eq!(
            (&message["seq"], &ack["seq"]),
            (&json!(self.count), &json!(self.count))
        );
        self.ends.iter_mut().for_each(|end| drop(end.receipts()));
        took
    }

    /// Exchanges messages while `more`, called with the number of messages so far, returns true; at least one.
    pub fn exchange_while(&mut self, more: impl Fn(usize) -> bool) -> Vec<Duration> {
        let mut took = Vec::new();
        loop {
            took.push(self.exchange());
            if !more(took.len()) {
                return took;
            }
            std::thread::sleep(PACE);
        }
    }
}

/// Percentiles of the times as text.
pub fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let ms = |of: usize| took[(took.len() - 1) * of / 100].as_secs_f64() * 1000.0;
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms of {}",
        ms(50),
        ms(99),
        ms(100),
        took.len()
    )
}

/// Runs an attack while a pair exchanges messages, and prints the message times before and during the attack.
pub fn measure_with_attack(server: &Server, name: &str, attack: impl FnMut()) {
    measure_pair_with_attack(Pair::new(server), name, attack);
}

/// As [`measure_with_attack`], with a connected pair. Running the attack once is enough for the assertions. For meaningful times,
/// `DMWIRE_ATTACK_SECONDS` sets for how long the pair is measured before the attack, and for how long the attack is repeated.
pub fn measure_pair_with_attack(mut pair: Pair, name: &str, mut attack: impl FnMut()) {
    /// Ends the exchange, also when the attack panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let long = Duration::from_secs(env_number("DMWIRE_ATTACK_SECONDS", || 0));
    let began = Instant::now();
    let quiet = pair.exchange_while(|count| count < QUIET || began.elapsed() < long);
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let under = std::thread::scope(|scope| {
        let talking = scope.spawn(|| pair.exchange_while(|_| !over.load(Ordering::Relaxed)));
        {
            let _over = Over(&over);
            loop {
                attack();
                if began.elapsed() >= long {
                    break;
                }
            }
        }
        talking.join().expect("the pair keeps exchanging messages")
    });
    eprintln!(
        "{name} ({:.1} s): before the attack {}; during it {}",
        began.elapsed().as_secs_f64(),
        percentiles(quiet),
        percentiles(under)
    );
}

/// Runs `work` in this number of threads. Each call gets the number of its thread.
pub fn run_threads(threads: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for n in 0..threads {
            let work = &work;
            scope.spawn(move || work(n));
        }
    });
}

/// The number of sessions of an attack: `DMWIRE_ATTACK_SESSIONS`, or 5000, but at most as many as this process can open.
pub fn session_count() -> usize {
    const USUAL: usize = 5000;
    /// Other files that are open in this process.
    const OTHERS: usize = 100;
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let most = usize::try_from(files).unwrap_or(usize::MAX) - OTHERS;
    let wanted = env_number("DMWIRE_ATTACK_SESSIONS", || USUAL as u64);
    // Sessions form pairs.
    let number = (wanted as usize).min(most) & !1;
    assert!(number >= 900, "{files} open files are too few");
    number
}

//! Two honest users, who go on talking while the server is attacked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Client, Server, setting, to};

/// How many things are said in the quiet, at least.
const QUIET: usize = 40;

/// How often the honest speak.
const PACE: Duration = Duration::from_millis(25);

/// One attack at a time, so that what the quiet value is measured in is quiet.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two users who talk with each other, in turns.
pub struct Pair {
    ends: [Client; 2],
    said: usize,
}

impl Pair {
    const NAMES: [&str; 2] = ["honest", "true"];

    pub fn new(server: &Server) -> Self {
        Self::by(|name| Client::fresh(server, name))
    }

    /// Two who come in the way that `enter` knows.
    pub fn by(enter: impl FnMut(&str) -> Client) -> Self {
        Self {
            ends: Self::NAMES.map(enter),
            said: 0,
        }
    }

    /// Says one thing, and gives the time from sending to arrival.
    pub fn say(&mut self) -> Duration {
        self.said += 1;
        let (from, other) = (self.said % 2, (self.said + 1) % 2);
        let text = format!("{} from {from}", self.said);
        let began = Instant::now();
        self.ends[from].send(&to(Self::NAMES[other], &text));
        let message = self.ends[other].expect("message");
        let took = began.elapsed();
        let ack = self.ends[from].expect("ack");
        assert_eq!(message["message"], text);
        assert_eq!(message["from_user"], Self::NAMES[from]);
        // Each message is in both inboxes.
        assert_eq!(
            (&message["seq"], &ack["seq"]),
            (&json!(self.said), &json!(self.said))
        );
        self.ends.iter_mut().for_each(|end| drop(end.receipts()));
        took
    }

    /// Talks for as long as `more` says so of the number of things said, and at least once.
    pub fn talk(&mut self, more: impl Fn(usize) -> bool) -> Vec<Duration> {
        let mut took = Vec::new();
        loop {
            took.push(self.say());
            if !more(took.len()) {
                return took;
            }
            std::thread::sleep(PACE);
        }
    }
}

/// The times in words.
pub fn figures(mut took: Vec<Duration>) -> String {
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

/// Runs an attack beside a pair that talks, and prints what that is to the pair.
pub fn beside(server: &Server, name: &str, attack: impl FnMut()) {
    beside_pair(Pair::new(server), name, attack);
}

/// As [`beside`], with a pair that is there. Once is enough to see whether the server holds. To tell what it is to the pair,
/// `DMWIRE_ATTACK_SECONDS` says for how long at least the pair talks in the quiet, and the attack is made again and again.
pub fn beside_pair(mut pair: Pair, name: &str, mut attack: impl FnMut()) {
    /// Ends the talk however the attack ends.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let long = Duration::from_secs(setting("DMWIRE_ATTACK_SECONDS", || 0));
    let began = Instant::now();
    let quiet = pair.talk(|said| said < QUIET || began.elapsed() < long);
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let under = std::thread::scope(|scope| {
        let talking = scope.spawn(|| pair.talk(|_| !over.load(Ordering::Relaxed)));
        {
            let _over = Over(&over);
            loop {
                attack();
                if began.elapsed() >= long {
                    break;
                }
            }
        }
        talking.join().expect("the honest pair goes on")
    });
    eprintln!(
        "{name} ({:.1} s): quiet {}; under attack {}",
        began.elapsed().as_secs_f64(),
        figures(quiet),
        figures(under)
    );
}

/// Runs `work` in so many threads, each knowing its number.
pub fn crew(threads: usize, work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for n in 0..threads {
            let work = &work;
            scope.spawn(move || work(n));
        }
    });
}

/// How many sessions there are in an attack by a crowd: as many as `DMWIRE_ATTACK_SESSIONS` says, or as this process may have.
pub fn crowd() -> usize {
    const USUAL: usize = 5000;
    /// What else has files open here, and in the server.
    const OTHERS: usize = 100;
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let most = usize::try_from(files).unwrap_or(usize::MAX) - OTHERS;
    let wanted = setting("DMWIRE_ATTACK_SESSIONS", || USUAL as u64);
    // Everybody has a partner.
    let number = (wanted as usize).min(most) & !1;
    assert!(number >= 900, "{files} open files are too few");
    number
}

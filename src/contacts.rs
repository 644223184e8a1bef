//! A cache of which pairs of users are contacts: their direct conversation has messages of both. It is needed where the store
//! cannot be asked each time: for ephemeral messages and for signals that only go to contacts (`typing`).
//!
//! For each pair that was looked up the cache holds the answer:
//! - The first message by which a pair becomes contacts is reported after its commit ([`Contacts::set`]).
//! - Retention may remove the last message of a user, and a user may be erased; that is reported after the commit, too
//!   ([`Contacts::forget`]).
//! - A lookup that is under way meanwhile takes the reported state, or is not cached.
//! - When a room becomes a small one, or is not any more, the pairs of its members are not touched: [`Regroupings`] tells that
//!   they are old, and each is looked up again when it is needed.
//! - Blocks are not part of it: [`crate::blocks::Blocks`] is checked each time, also after a lookup.
//!
//! It is filled by the reader threads. The router consults it on the workers' threads, and [`crate::delivery::Delivery`] on the
//! writer's thread, in the order of the queue: a signal is handled after the messages that its sender has sent before (which may
//! have made the two contacts), but does not touch the store there.
//!
//! **Order.** While a pair is looked up, its signals wait, and keep their order. A message of the same sender does not wait for
//! them: [`Contacts::message_sent`] discards the waiting signals that would announce it, so that none of them follows it. A
//! session waits with its next frame for the lookup of an ephemeral message.

pub mod regroupings;

use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use self::regroupings::Regroupings;
use crate::outbox::wakeup::WakeupBatch;
use crate::readers::Readers;

/// The maximum number of pairs. Beyond it the cache is emptied.
const MAX_PAIRS: usize = 200_000;
/// The maximum number of signals that wait for lookups. Beyond it a signal is dropped.
const MAX_WAITING: usize = 1000;

/// A signal that a user is typing, or has stopped.
pub struct Signal {
    /// The user.
    pub from: Arc<str>,
    /// False: has stopped.
    pub active: bool,
    /// Appends the signal to the outboxes of the other user. It is called while the cache is locked.
    pub push: Box<dyn FnOnce(&mut WakeupBatch) + Send>,
}

/// What waits for the lookup of a pair.
enum Waiting {
    /// It is pushed if the two are contacts.
    Signal(Signal),
    /// It is called with the result.
    Answer(Box<dyn FnOnce(bool) + Send>),
}

/// A cache of pairs of users. A cheap handle over `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    readers: OnceLock<Readers>,
    /// Turns a pair into 64 bits. Seeded at random, so that nobody can search for two pairs with the same value.
    hasher: RandomState,
    /// The changes of rooms.
    regroupings: Regroupings,
    /// Held for a lookup or a change of one pair, and while the signals of a pair are pushed after its lookup.
    pairs: Mutex<Pairs>,
    /// Lookups are in progress. Without any, a message needs no lock.
    is_waiting: AtomicBool,
}

#[derive(Default)]
struct Pairs {
    /// Whether pairs are contacts. Pairs are kept as 64 bits: that two of them share a value is not to be expected.
    known: HashMap<u64, Known, ahash::RandomState>,
    /// The pairs that are looked up.
    waiting: HashMap<u64, PendingLookup>,
    /// The number of signals in `waiting`.
    signals: usize,
}

/// What is known of a pair.
#[derive(Clone, Copy)]
struct Known {
    are_contacts: bool,
    /// [`Regroupings::now`] when it was looked up.
    since: u64,
}

/// The lookup of a pair that is under way.
#[derive(Default)]
struct PendingLookup {
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    /// [`Regroupings::now`] when the lookup began.
    since: u64,
    /// The state that was reported meanwhile.
    reported: Option<Reported>,
}

#[derive(Clone, Copy)]
enum Reported {
    Contacts,
    /// They may be contacts no more: the result of the lookup is not cached.
    Forgotten,
}

impl std::fmt::Debug for Pairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pairs").finish_non_exhaustive()
    }
}

impl Contacts {
    /// Sets the readers that fill the cache. Without them, users whose pair is not in the cache count as strangers.
    pub fn set_readers(&self, readers: Readers) {
        drop(self.shared.readers.set(readers));
    }

    /// Whether two users are contacts. `None`: it must be looked up. Also `None` while it is looked up, so that a signal does
    /// not overtake an earlier one.
    pub fn are_contacts(&self, a: &str, b: &str) -> Option<bool> {
        let key = self.shared.key(a, b);
        let pairs = self.shared.lock();
        if !pairs.waiting.is_empty() && pairs.waiting.contains_key(&key) {
            return None;
        }
        let known = pairs.known.get(&key)?;
        let is_old = self.shared.regroupings.concern(a, b, known.since);
        (!is_old).then_some(known.are_contacts)
    }

    /// Two users have become contacts.
    pub fn set(&self, a: &str, b: &str) {
        let key = self.shared.key(a, b);
        let pairs = &mut *self.shared.lock();
        if let Some(lookup) = pairs.waiting.get_mut(&key) {
            lookup.reported = Some(Reported::Contacts);
        }
        pairs.insert(key, true, self.shared.regroupings.now());
    }

    /// Two users may be contacts no more.
    pub fn forget(&self, a: &str, b: &str) {
        let key = self.shared.key(a, b);
        let pairs = &mut *self.shared.lock();
        if let Some(lookup) = pairs.waiting.get_mut(&key) {
            lookup.reported = Some(Reported::Forgotten);
        }
        pairs.known.remove(&key);
    }

    /// Any two of these users may have become contacts, or may be contacts no more.
    pub fn forget_among(&self, users: &[Arc<str>]) {
        self.shared.regroupings.add(users);
    }

    /// Looks up whether two users are contacts, and pushes `signal` on a reader's thread if they are. The signal is dropped if
    /// too many wait.
    pub fn look_up(&self, a: &Arc<str>, b: &Arc<str>, signal: Signal) {
        let mut pairs = self.shared.lock();
        if pairs.signals >= MAX_WAITING {
            return;
        }
        pairs.signals += 1;
        self.add_lookup(pairs, (a, b), Waiting::Signal(signal));
    }

    /// Looks up whether two users are contacts, and calls `answer` on a reader's thread. If the lookup fails, `answer` is
    /// dropped.
    pub fn ask(&self, a: &Arc<str>, b: &Arc<str>, answer: impl FnOnce(bool) + Send + 'static) {
        let answer = Waiting::Answer(Box::new(answer));
        self.add_lookup(self.shared.lock(), (a, b), answer);
    }

    fn add_lookup(
        &self,
        mut pairs: MutexGuard<'_, Pairs>,
        (a, b): (&Arc<str>, &Arc<str>),
        waiting: Waiting,
    ) {
        let key = self.shared.key(a, b);
        match pairs.waiting.entry(key) {
            Entry::Occupied(lookup) => return lookup.into_mut().waiting.push(waiting),
            Entry::Vacant(pair) => drop(pair.insert(PendingLookup {
                waiting: vec![waiting],
                since: self.shared.regroupings.now(),
                reported: None,
            })),
        }
        self.shared.is_waiting.store(true, Ordering::Release);
        drop(pairs);
        let lookup = Lookup {
            shared: self.shared.clone(),
            key: Some(key),
        };
        let done = move |result| match result {
            Ok(found) => lookup.finish(found),
            Err(error) => log::error!("the store could not look up a conversation: {error}"),
        };
        if let Some(readers) = self.shared.readers.get() {
            readers.are_contacts(a.clone(), b.clone(), done);
        }
    }

    /// Discards the signals that `from` is typing to `to` and that wait for a lookup. Called on the thread that calls
    /// [`Contacts::look_up`], before a message of `from` is pushed to `to`.
    pub fn message_sent(&self, from: &str, to: &str) {
        // Signals are added by the same thread, so that none is missed.
        if !self.shared.is_waiting.load(Ordering::Acquire) {
            return;
        }
        let key = self.shared.key(from, to);
        let pairs = &mut *self.shared.lock();
        if let Some(lookup) = pairs.waiting.get_mut(&key) {
            let before = lookup.waiting.len();
            lookup.waiting.retain(|waiting| match waiting {
                Waiting::Signal(signal) => !(signal.active && &*signal.from == from),
                Waiting::Answer(_) => true,
            });
            pairs.signals -= before - lookup.waiting.len();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for both orders of two users.
    fn key(&self, a: &str, b: &str) -> u64 {
        self.hasher.hash_one((a.min(b), a.max(b)))
    }

    /// To be called after a lookup: a message that finds no lookup in progress is pushed after the signals of all of them.
    fn lookup_ended(&self, pairs: &Pairs) {
        if pairs.waiting.is_empty() {
            self.is_waiting.store(false, Ordering::Release);
        }
    }
}

impl Pairs {
    /// Ends the lookup of a pair.
    fn end_lookup(&mut self, key: u64) -> PendingLookup {
        let lookup = self.waiting.remove(&key).unwrap_or_default();
        let is_signal = |waiting: &&Waiting| matches!(waiting, Waiting::Signal(_));
        self.signals -= lookup.waiting.iter().filter(is_signal).count();
        lookup
    }

    fn insert(&mut self, key: u64, are_contacts: bool, since: u64) {
        if self.known.len() >= MAX_PAIRS {
            self.known = HashMap::default();
        }
        let known = Known {
            are_contacts,
            since,
        };
        self.known.insert(key, known);
    }
}

/// The lookup of a pair. What waits for it is discarded when it is dropped, also if the readers drop the job.
struct Lookup {
    shared: Arc<Shared>,
    /// `None`: the lookup has ended.
    key: Option<u64>,
}

impl Lookup {
    /// Pushes the signals if the pair are contacts, and calls what waits for the answer.
    fn finish(mut self, found: bool) {
        let Some(key) = self.key.take() else {
            return;
        };
        let mut wakeups = WakeupBatch::default();
        let mut pairs = self.shared.lock();
        let lookup = pairs.end_lookup(key);
        let are_contacts = found || matches!(lookup.reported, Some(Reported::Contacts));
        let (mut answers, mut discarded) = (Vec::new(), Vec::new());
        for waiting in lookup.waiting {
            match waiting {
                // Under the lock, so that neither a later signal nor a later message overtakes them.
                Waiting::Signal(signal) if are_contacts => (signal.push)(&mut wakeups),
                Waiting::Signal(signal) => discarded.push(signal),
                Waiting::Answer(answer) => answers.push(answer),
            }
        }
        if !matches!(lookup.reported, Some(Reported::Forgotten)) {
            pairs.insert(key, are_contacts, lookup.since);
        }
        self.shared.lookup_ended(&pairs);
        drop(pairs);
        wakeups.run();
        for answer in answers {
            answer(are_contacts);
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut pairs = self.shared.lock();
            let discarded = pairs.end_lookup(key);
            self.shared.lookup_ended(&pairs);
            // Not under the lock: a signal may hold the last handle of something that uses this cache.
            drop(pairs);
            drop(discarded);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A signal that sends its `active` when it is pushed.
    fn signal(from: &str, active: bool, pushed: &Sender<bool>) -> Signal {
        let pushed = pushed.clone();
        Signal {
            from: from.into(),
            active,
            push: Box::new(move |_| pushed.send(active).expect("the test receives")),
        }
    }

    /// The lookup of a pair whose job is held back, with a first signal that `a` is typing.
    fn start(contacts: &Contacts, pushed: &Sender<bool>) -> Lookup {
        let shared = contacts.shared.clone();
        let key = shared.key("a", "b");
        let mut pairs = shared.lock();
        let first = Waiting::Signal(signal("a", true, pushed));
        let lookup = pairs.waiting.entry(key).or_default();
        lookup.waiting.push(first);
        lookup.since = shared.regroupings.now();
        pairs.signals += 1;
        shared.is_waiting.store(true, Ordering::Release);
        drop(pairs);
        Lookup {
            shared,
            key: Some(key),
        }
    }

    #[test]
    fn a_pair_has_no_direction() {
        let contacts = Contacts::default();
        contacts.set("a", "b");
        let are = |a, b| contacts.are_contacts(a, b);
        assert_eq!((are("a", "b"), are("b", "a")), (Some(true), Some(true)));
        assert_eq!((are("a", "a"), are("ab", "")), (None, None));
    }

    #[test]
    fn signals_of_a_pair_wait_for_its_lookup_and_keep_their_order() {
        let contacts = Contacts::default();
        let shared = &contacts.shared;
        contacts.set("a", "c");
        let (pushed, signals) = channel();
        let lookup = start(&contacts, &pushed);
        contacts.look_up(&"a".into(), &"b".into(), signal("a", false, &pushed));
        assert_eq!(contacts.are_contacts("a", "b"), None);
        assert_eq!(contacts.are_contacts("a", "c"), Some(true));
        assert!(signals.try_recv().is_err());
        lookup.finish(true);
        assert_eq!(signals.try_iter().collect::<Vec<_>>(), [true, false]);
        assert_eq!(contacts.are_contacts("a", "b"), Some(true));
        assert!(!shared.is_waiting.load(Ordering::Acquire) && shared.lock().signals == 0);
    }

    #[test]
    fn a_message_discards_only_the_waiting_typing_of_its_sender() {
        let contacts = Contacts::default();
        let (pushed, signals) = channel();
        let lookup = start(&contacts, &pushed);
        contacts.message_sent("b", "a");
        contacts.look_up(&"a".into(), &"b".into(), signal("a", false, &pushed));
        contacts.message_sent("a", "b");
        contacts.look_up(&"a".into(), &"b".into(), signal("a", true, &pushed));
        lookup.finish(true);
        assert_eq!(signals.try_iter().collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn waiting_signals_are_limited_and_discarded_between_strangers() {
        let contacts = Contacts::default();
        let (pushed, signals) = channel();
        let lookup = start(&contacts, &pushed);
        for _ in 0..2 * MAX_WAITING {
            contacts.look_up(&"a".into(), &"b".into(), signal("a", true, &pushed));
        }
        assert_eq!(contacts.shared.lock().signals, MAX_WAITING);
        lookup.finish(false);
        assert_eq!(contacts.shared.lock().signals, 0);
        assert!(signals.try_recv().is_err());
        assert_eq!(contacts.are_contacts("a", "b"), Some(false));
    }

    #[test]
    fn what_is_reported_during_a_lookup_is_newer_than_its_result() {
        let contacts = Contacts::default();
        let (pushed, signals) = channel();
        let lookup = start(&contacts, &pushed);
        contacts.set("b", "a");
        assert_eq!(contacts.are_contacts("a", "b"), None, "the signal waits");
        lookup.finish(false);
        assert_eq!(signals.try_iter().collect::<Vec<_>>(), [true]);
        assert_eq!(contacts.are_contacts("a", "b"), Some(true));
        contacts.forget("a", "b");
        let lookup = start(&contacts, &pushed);
        contacts.forget("b", "a");
        lookup.finish(true);
        assert_eq!(contacts.are_contacts("a", "b"), None, "it is asked again");
    }

    #[test]
    fn the_pairs_of_a_group_are_forgotten_and_no_others() {
        for size in [3, 101, 1000] {
            let contacts = Contacts::default();
            let group: Vec<Arc<str>> = (0..size).map(|n: u32| n.to_string().into()).collect();
            let others = [("0", "x"), ("y", "z"), ("z", "2")];
            for (a, b) in [("0", "2"), ("1", "0")].iter().chain(&others) {
                contacts.set(a, b);
            }
            // As by a user who joins and leaves a room again and again.
            for _ in 0..100 {
                contacts.forget_among(&group);
                contacts.forget_among(&group[1..]);
            }
            assert_eq!(contacts.are_contacts("0", "2"), None);
            assert_eq!(contacts.are_contacts("0", "1"), None);
            for (a, b) in others {
                assert_eq!(contacts.are_contacts(a, b), Some(true), "{size}");
            }
            contacts.set("0", "2");
            assert_eq!(contacts.are_contacts("2", "0"), Some(true));
        }
    }

    #[test]
    fn a_lookup_that_began_before_a_regrouping_is_not_cached() {
        let contacts = Contacts::default();
        let (pushed, _signals) = channel();
        let group: [Arc<str>; 2] = ["a".into(), "b".into()];
        for (during, cached) in [(true, None), (false, Some(true))] {
            let lookup = start(&contacts, &pushed);
            if during {
                contacts.forget_among(&group);
            }
            lookup.finish(true);
            assert_eq!(contacts.are_contacts("a", "b"), cached);
        }
    }

    #[test]
    fn an_answer_is_given_or_dropped() {
        let contacts = Contacts::default();
        let (pushed, _signals) = channel();
        let (answered, answers) = channel();
        let ask = |answered: &Sender<bool>| {
            let answered = answered.clone();
            let answer = move |found| answered.send(found).expect("the test receives");
            contacts.ask(&"b".into(), &"a".into(), answer);
        };
        let lookup = start(&contacts, &pushed);
        ask(&answered);
        contacts.message_sent("a", "b");
        lookup.finish(true);
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), [true]);
        let lookup = start(&contacts, &pushed);
        ask(&answered);
        drop(lookup);
        // There are no readers.
        contacts.forget("a", "b");
        ask(&answered);
        drop(answered);
        assert!(answers.recv().is_err());
        assert_eq!(contacts.shared.lock().signals, 0);
    }
}

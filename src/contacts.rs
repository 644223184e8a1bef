//! A cache of pairs of users who have a conversation, for signals that are not stored and only go to contacts (`typing`).
//!
//! The cache holds pairs for which the store has confirmed a conversation, and nothing else:
//! - Such a pair stays valid: while the server runs, a conversation is removed only if one of its users has never connected and
//!   all messages have been removed by retention. If that user connects later, the other one was a contact once.
//! - The absence of a conversation is not cached, so the first message between two users invalidates nothing.
//! - Blocks are not part of it: [`crate::blocks::Blocks`] is checked for every signal, before and after a lookup.
//!
//! It is filled by the reader threads, with the results of [`Contacts::look_up`]. It is consulted by
//! [`crate::delivery::Delivery`] on the writer's thread, in the order of the queue: a signal is handled after the messages that
//! its sender has sent before (which may have created the conversation), but does not touch the store there.
//!
//! **Order.** While a pair is looked up, its signals wait, and keep their order. A message of the same sender does not wait for
//! them: [`Contacts::message_sent`] discards the waiting signals that would announce it, so that none of them follows it.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// A cache of pairs of users. A cheap handle over `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    readers: Readers,
    /// Turns a pair into 64 bits. Seeded at random, so that nobody can search for two pairs with the same value.
    hasher: RandomState,
    /// Held for a lookup or a change of one pair, and while the signals of a pair are pushed after its lookup.
    pairs: Mutex<Pairs>,
    /// Lookups are in progress. Without any, a message needs no lock.
    is_waiting: AtomicBool,
}

#[derive(Default)]
struct Pairs {
    /// The pairs with a conversation, as 64 bits each: that two of them share a value is not to be expected.
    known: HashSet<u64>,
    /// The pairs that are looked up, with their signals in the order in which they were sent.
    waiting: HashMap<u64, Vec<Signal>>,
    /// The number of signals in `waiting`.
    signals: usize,
}

impl std::fmt::Debug for Pairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pairs").finish_non_exhaustive()
    }
}

impl Contacts {
    /// An empty cache, which is filled by `readers`.
    pub fn new(readers: Readers) -> Self {
        Self {
            shared: Arc::new(Shared {
                readers,
                ..Shared::default()
            }),
        }
    }

    /// True if two users are known to have a conversation. False also while the pair is looked up, so that a signal does not
    /// overtake an earlier one.
    pub fn contains(&self, a: &str, b: &str) -> bool {
        let key = self.shared.key(a, b);
        let pairs = self.shared.lock();
        pairs.known.contains(&key) && !pairs.waiting.contains_key(&key)
    }

    /// Queries the store for a conversation of two users, and pushes `signal` on a reader's thread if there is one. The
    /// signal is dropped if too many wait.
    pub fn look_up(&self, a: &Arc<str>, b: &Arc<str>, signal: Signal) {
        let key = self.shared.key(a, b);
        let mut pairs = self.shared.lock();
        if pairs.signals >= MAX_WAITING {
            return;
        }
        pairs.signals += 1;
        match pairs.waiting.entry(key) {
            Entry::Occupied(signals) => return signals.into_mut().push(signal),
            Entry::Vacant(pair) => pair.insert(vec![signal]),
        };
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
        self.shared
            .readers
            .have_conversation(a.clone(), b.clone(), done);
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
        if let Some(signals) = pairs.waiting.get_mut(&key) {
            let before = signals.len();
            signals.retain(|signal| !(signal.active && &*signal.from == from));
            pairs.signals -= before - signals.len();
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

    /// Ends the lookup of a pair: its signals are handed to `each`.
    fn end_lookup(&self, pairs: &mut Pairs, key: u64, each: impl FnMut(Signal)) {
        let signals = pairs.waiting.remove(&key).unwrap_or_default();
        pairs.signals -= signals.len();
        signals.into_iter().for_each(each);
        // Last: a message that finds no lookup in progress is pushed after the signals.
        if pairs.waiting.is_empty() {
            self.is_waiting.store(false, Ordering::Release);
        }
    }
}

impl Pairs {
    fn insert(&mut self, key: u64) {
        if self.known.len() >= MAX_PAIRS {
            self.known = HashSet::new();
        }
        self.known.insert(key);
    }
}

/// The lookup of a pair. Its signals are discarded when it is dropped, also if the readers drop the job.
struct Lookup {
    shared: Arc<Shared>,
    /// `None`: the lookup has ended.
    key: Option<u64>,
}

impl Lookup {
    /// Pushes the signals if the pair has a conversation.
    fn finish(mut self, found: bool) {
        if found && let Some(key) = self.key.take() {
            let mut wakeups = WakeupBatch::default();
            let mut pairs = self.shared.lock();
            // Under the lock, so that neither a later signal nor a later message overtakes them.
            self.shared
                .end_lookup(&mut pairs, key, |signal| (signal.push)(&mut wakeups));
            pairs.insert(key);
            drop(pairs);
            wakeups.run();
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut discarded = Vec::new();
            let mut pairs = self.shared.lock();
            self.shared
                .end_lookup(&mut pairs, key, |signal| discarded.push(signal));
            // Not under the lock: a signal may hold the last handle of something that uses this cache.
            drop(pairs);
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
        pairs.waiting.insert(key, vec![signal("a", true, pushed)]);
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
        let shared = &contacts.shared;
        shared.lock().insert(shared.key("a", "b"));
        assert!(contacts.contains("a", "b") && contacts.contains("b", "a"));
        assert!(!contacts.contains("a", "a") && !contacts.contains("ab", ""));
    }

    #[test]
    fn signals_of_a_pair_wait_for_its_lookup_and_keep_their_order() {
        let contacts = Contacts::default();
        let shared = &contacts.shared;
        shared.lock().insert(shared.key("a", "c"));
        let (pushed, signals) = channel();
        let lookup = start(&contacts, &pushed);
        contacts.look_up(&"a".into(), &"b".into(), signal("a", false, &pushed));
        assert!(!contacts.contains("a", "b") && contacts.contains("a", "c"));
        assert!(signals.try_recv().is_err());
        lookup.finish(true);
        assert_eq!(signals.try_iter().collect::<Vec<_>>(), [true, false]);
        assert!(contacts.contains("a", "b"));
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
    fn waiting_signals_are_limited_and_discarded_without_a_conversation() {
        let contacts = Contacts::default();
        let (pushed, signals) = channel();
        let lookup = start(&contacts, &pushed);
        for _ in 0..2 * MAX_WAITING {
            contacts.look_up(&"a".into(), &"b".into(), signal("a", true, &pushed));
        }
        assert_eq!(contacts.shared.lock().signals, MAX_WAITING);
        lookup.finish(false);
        assert_eq!(contacts.shared.lock().signals, 0);
        assert!(signals.try_recv().is_err() && !contacts.contains("a", "b"));
    }
}

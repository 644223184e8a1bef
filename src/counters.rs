//! Counters and histograms, and what modules of the lowest layers count with them. `metrics` has the others, and `GET /metrics` shows
//! all.
//!
//! They are on the path of every frame, so they are statics with relaxed atomics instead of a registry of a library: `prometheus-client`
//! guards a histogram by a lock, and the `metrics` crate finds a counter through a recorder at each use. A counter that several threads
//! use at the same time has a cell for each of them, so that they do not share a cache line. The writer's thread counts once for each
//! batch. Nothing here allocates or blocks.

mod histogram;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub use self::histogram::{Histogram, Recorded};

/// Bytes of WebSocket frames that clients sent.
pub static RECEIVED_BYTES: Counter = Counter::new();
/// Bytes that were written to the sockets of WebSocket connections.
pub static SENT_BYTES: Counter = Counter::new();
/// Lines of the log that were dropped, because stderr did not accept them.
pub static LOG_LINES_DROPPED: Counter = Counter::new();

/// Threads that can use a counter without sharing a cache line.
const CELLS: usize = 8;

/// A cell of a counter, on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Cell(AtomicU64);

/// A counter for many threads.
#[derive(Debug)]
pub struct Counter([Cell; CELLS]);

impl Counter {
    /// A counter at 0.
    pub(crate) const fn new() -> Self {
        Self([const { Cell(AtomicU64::new(0)) }; CELLS])
    }

    /// Adds to the counter.
    pub fn add(&self, count: u64) {
        self.0[cell()].0.fetch_add(count, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        let cells = self.0.iter();
        cells.map(|cell| cell.0.load(Ordering::Relaxed)).sum()
    }
}

/// The cell of the current thread.
fn cell() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static CELL: usize = THREADS.fetch_add(1, Ordering::Relaxed) % CELLS;
    }
    CELL.with(|cell| *cell)
}

/// Defines a closed set of label values, with a counter for each.
macro_rules! counted {
    (
        $(#[$doc:meta])*
        pub enum $name:ident in $counters:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        static $counters: [$crate::counters::Counter; $name::ALL.len()] =
            [const { $crate::counters::Counter::new() }; $name::ALL.len()];

        impl $name {
            /// All values.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            /// The value of the label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Counts events.
            pub fn count(self, events: u64) {
                $counters[self as usize].add(events);
            }

            /// The number of events so far.
            pub fn total(self) -> u64 {
                $counters[self as usize].get()
            }
        }
    };
}

pub(crate) use counted;

counted! {
    /// Limits beyond which frames, requests or connections are rejected, or reading is delayed. Each has the name of its setting.
    pub enum Limit in LIMITS {
        /// Frames of a session.
        SessionFrames = "messages_per_second",
        /// Frames of a user.
        UserFrames = "user_messages_per_second",
        /// `ping` frames of a session or a user.
        Pings = "pings_per_second",
        /// Queries of a user.
        Queries = "queries_per_second",
        /// Bytes of a session or of a user, and frames without a reply: reading is delayed.
        Reading = "session_bytes_per_second",
        /// Bytes that a user stores.
        UserBytes = "user_bytes_per_day",
        /// Changes of a message.
        MessageChanges = "changes_per_message",
        /// Inbox entries that a user's frames to rooms create, and members whom frames that are not stored reach.
        RoomEntries = "room_entries_per_second",
        /// Messages of a user or an address to users who have never connected.
        UnknownRecipientsOfUser = "unknown_recipients_per_user",
        /// Messages of all to users who have never connected.
        UnknownRecipients = "unknown_recipients",
        /// Handshakes and other connections from an address.
        Handshakes = "handshakes_per_second",
        /// Connections from an address.
        ConnectionsOfAddress = "connections_per_ip",
        /// Connections of all.
        Connections = "connections",
        /// Requests with a key of the API.
        ApiRequests = "api_requests_per_second",
    }
}

counted! {
    /// What retention removes.
    pub enum Expired in EXPIRED {
        /// Entries of inboxes.
        Entries = "entry",
        /// Messages.
        Messages = "message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_to_the_same_counter() {
        static COUNTER: Counter = Counter::new();
        let threads: Vec<_> = (0..2 * CELLS)
            .map(|_| std::thread::spawn(|| (0..1000).for_each(|_| COUNTER.add(2))))
            .collect();
        for thread in threads {
            thread.join().expect("the thread ends");
        }
        assert_eq!(COUNTER.get(), 2 * CELLS as u64 * 2000);
    }
}

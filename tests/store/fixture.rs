//! The store under test: how each backend is opened, and the calls that the contract tests make.

use std::path::Path;

use dmwire::store::sqlite::{Durability, Sqlite};
use dmwire::store::{
    ConversationsPage, ConversationsQuery, Entry, HistoryAnswer, HistoryPage, HistoryPosition,
    HistoryQuery, InboxRange, InboxState, Outcome, Quotas, Reader, Retention, Store, StoredMessage,
    Write,
};

use crate::support::Folder;
use crate::writes::{history_query, number};

pub const DAY: i64 = 86_400_000;
/// Entries that an inbox keeps.
pub const INBOX_LIMIT: u64 = 60;
pub const RETENTION: Retention = Retention {
    inbox_ms: 10 * DAY,
    inbox_limit: INBOX_LIMIT,
    history_ms: Some(20 * DAY),
};
/// The time of the first commit, in milliseconds since 1970.
const START: i64 = 1_800_000_000_000;

/// A backend with an empty database.
pub trait Fixture: 'static {
    /// Whether a store that is opened again has the contents that it had.
    const PERSISTENT: bool;

    /// Makes room for a database.
    fn new() -> Self
    where
        Self: Sized;

    /// Opens the database, with [`RETENTION`].
    fn open(&self) -> Box<dyn Store>;
}

/// A database file.
pub struct SqliteFile(Folder);

impl Fixture for SqliteFile {
    const PERSISTENT: bool = true;

    fn new() -> Self {
        Self(Folder::new())
    }

    fn open(&self) -> Box<dyn Store> {
        let path = self.0.0.join("store.db");
        Box::new(Sqlite::open(&path, Durability::Normal, RETENTION).expect("the store opens"))
    }
}

/// A private database that disappears with the server (`--store memory:`).
pub struct SqliteTemporary(Folder);

impl SqliteTemporary {
    pub fn folder(&self) -> &Path {
        &self.0.0
    }
}

impl Fixture for SqliteTemporary {
    const PERSISTENT: bool = false;

    fn new() -> Self {
        Self(Folder::new())
    }

    fn open(&self) -> Box<dyn Store> {
        Box::new(Sqlite::temporary(&self.0.0, RETENTION).expect("the store opens"))
    }
}

type Halves = (Box<dyn Reader>, Box<dyn Store>);

/// An open store and one reader of it.
pub struct TestStore {
    open: Box<dyn Fn() -> Box<dyn Store>>,
    persistent: bool,
    /// Both halves, the reader first: it is closed first.
    halves: Option<Halves>,
    /// The time of the last commit.
    pub now: i64,
}

impl TestStore {
    pub fn new<F: Fixture>(fixture: F) -> Self {
        let halves = halves(fixture.open());
        Self {
            open: Box::new(move || fixture.open()),
            persistent: F::PERSISTENT,
            halves: Some(halves),
            now: START,
        }
    }

    /// Closes the store and opens it again, if the backend is persistent.
    pub fn reopen(&mut self) {
        if self.persistent {
            self.halves = None;
            self.halves = Some(halves((self.open)()));
        }
    }

    pub fn store(&mut self) -> &mut dyn Store {
        self.halves.as_mut().expect("the store is open").1.as_mut()
    }

    pub fn reader(&mut self) -> &mut dyn Reader {
        self.halves.as_mut().expect("the store is open").0.as_mut()
    }

    /// Commits a batch, one second after the previous one.
    pub fn commit(&mut self, batch: &[Write]) -> Vec<Outcome> {
        self.now += 1000;
        let now = self.now;
        let batch: Vec<&Write> = batch.iter().collect();
        let outcomes = self.store().commit(now, &batch);
        let outcomes = outcomes.expect("the batch is committed");
        self.store().settle(0, true).expect("the batch is flushed");
        assert_eq!(outcomes.len(), batch.len());
        outcomes
    }

    /// Commits a batch of one write.
    pub fn commit_one(&mut self, write: Write) -> Outcome {
        self.commit(&[write]).remove(0)
    }

    pub fn set_quotas(&mut self, quotas: Quotas) {
        self.store().limit(quotas);
    }

    /// All blocks, as "blocker blocked", sorted.
    pub fn blocks(&mut self) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut each = |by: &str, user: &str| blocks.push(format!("{by} {user}"));
        self.store().blocks(&mut each).expect("blocks are read");
        blocks.sort_unstable();
        blocks
    }

    pub fn open_inbox(&mut self, user: &str, device: &str) -> InboxState {
        let state = self.store().open_inbox(user, device);
        state.expect("the inbox opens")
    }

    /// The number of the newest entry of a user's inbox.
    pub fn head(&mut self, user: &str) -> u64 {
        self.open_inbox(user, "any").head
    }

    pub fn entries(&mut self, user: &str, first: u64, last: u64) -> Vec<Entry> {
        self.entries_within(user, (first, last), usize::MAX)
    }

    /// Reads entries until they exceed `bytes`.
    pub fn entries_within(
        &mut self,
        user: &str,
        (first, last): (u64, u64),
        bytes: usize,
    ) -> Vec<Entry> {
        let range = InboxRange {
            user: user.into(),
            first,
            last,
            bytes,
        };
        self.reader().entries(&range).expect("entries are read")
    }

    pub fn entry(&mut self, user: &str, seq: u64) -> Entry {
        let mut entries = self.entries(user, seq, seq);
        assert_eq!(entries.len(), 1, "entry {seq} of {user}");
        entries.remove(0)
    }

    /// The numbers of the first and last entry of an inbox; it must have no gap between them.
    pub fn inbox_range(&mut self, user: &str) -> Option<(u64, u64)> {
        let entries = self.entries(user, 1, u64::MAX >> 1);
        for pair in entries.windows(2) {
            assert_eq!(pair[1].seq, pair[0].seq + 1, "{user}'s inbox has a gap");
        }
        Some((entries.first()?.seq, entries.last()?.seq))
    }

    /// `None`: the position is unknown.
    pub fn history_page(&mut self, query: &HistoryQuery) -> Option<HistoryPage> {
        let answer = self.reader().history(query);
        match answer.expect("the history is read") {
            HistoryAnswer::Page(page) => Some(page),
            HistoryAnswer::UnknownMessage => None,
            HistoryAnswer::UnknownRoom => panic!("the conversation is direct"),
        }
    }

    /// The numbers of a page's messages, and whether there are more. `None`: the position is unknown.
    pub fn history(
        &mut self,
        user: &str,
        peer: &str,
        position: Option<HistoryPosition>,
        limit: usize,
    ) -> Option<(Vec<u32>, bool)> {
        let page = self.history_page(&history_query(user, peer, position, limit))?;
        Some((page.messages.iter().map(number).collect(), page.more))
    }

    /// One message of a conversation as its history shows it.
    pub fn message(&mut self, user: &str, peer: &str, n: u32) -> StoredMessage {
        let page = self.history_page(&history_query(user, peer, None, 1000));
        let messages = page.expect("there is no position").messages;
        let found = messages.into_iter().find(|message| number(message) == n);
        found.unwrap_or_else(|| panic!("message {n} does not exist"))
    }

    /// A page of conversations; the cursor must be known.
    pub fn conversations(&mut self, query: &ConversationsQuery) -> ConversationsPage {
        self.find_conversations(query).expect("the cursor is known")
    }

    /// A page of conversations. `None`: the cursor is unknown.
    pub fn find_conversations(&mut self, query: &ConversationsQuery) -> Option<ConversationsPage> {
        let page = self.reader().conversations(query);
        page.expect("the conversations are read")
    }

    /// Removes everything that has expired or exceeds the limit.
    pub fn maintain(&mut self) {
        let now = self.now;
        for _ in 0..10_000 {
            if !self.store().maintain(now).expect("maintenance succeeds") {
                return;
            }
        }
        panic!("maintenance does not end");
    }
}

fn halves(store: Box<dyn Store>) -> Halves {
    (store.reader().expect("a reader opens"), store)
}

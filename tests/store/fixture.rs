//! The store under test: how each backend is opened, and the calls that the contract tests make.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dmwire::store::sqlite::{Durability, Sqlite, admin};
use dmwire::store::{
    ConversationsPage, ConversationsQuery, DeviceRef, Entry, HistoryAnswer, HistoryPage,
    HistoryPosition, HistoryQuery, InboxItem, InboxRange, InboxState, Outcome, PresenceMode,
    Quotas, Reader, Retention, RoomRules, Store, StoreOptions, StoredMessage, StoredTimes, Write,
};

use uuid::Uuid;

use crate::support::Folder;
use crate::writes::{history_query, number};

pub const DAY: i64 = 86_400_000;
/// Entries that an inbox keeps.
pub const INBOX_LIMIT: u64 = 60;
pub const RETENTION: Retention = Retention {
    inbox_ms: 10 * DAY,
    inbox_limit: INBOX_LIMIT,
    history_ms: Some(20 * DAY),
    device_ms: 30 * DAY,
};
/// The time of the first commit, in milliseconds since 1970.
pub const START: i64 = 1_800_000_000_000;

/// A backend with an empty database.
pub trait Fixture: 'static {
    /// Whether a store that is opened again has the contents that it had.
    const PERSISTENT: bool;

    /// Makes room for a database.
    fn new() -> Self
    where
        Self: Sized;

    /// Checks the database, which may be open.
    fn verify(&self) {}

    /// A copy of the database as a killed process leaves it. The store is open and idle. `None`: nothing is left.
    fn crashed(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Opens the database.
    fn open(&self, options: StoreOptions) -> Box<dyn Store>;
}

/// A database file.
pub struct SqliteFile(Folder);

impl Fixture for SqliteFile {
    const PERSISTENT: bool = true;

    fn new() -> Self {
        Self(Folder::new())
    }

    fn open(&self, options: StoreOptions) -> Box<dyn Store> {
        Box::new(Sqlite::open(&self.path(), Durability::Normal, options).expect("the store opens"))
    }

    fn verify(&self) {
        let findings = admin::verify(&self.path()).expect("the store is read");
        assert_eq!(findings, Vec::<String>::new());
    }

    fn crashed(&self) -> Option<Self> {
        Some(Self::copy_of(&self.path()))
    }
}

impl SqliteFile {
    pub fn path(&self) -> PathBuf {
        self.0.0.join("store.db")
    }

    /// Copies the files of a store that is open and idle.
    pub fn copy_of(path: &Path) -> Self {
        let copy = Self::new();
        for end in ["", "-wal", "-lock"] {
            let file = |path: &Path| {
                let mut name = path.as_os_str().to_owned();
                name.push(end);
                name
            };
            std::fs::copy(file(path), file(&copy.path())).expect("the files are copied");
        }
        copy
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

    fn open(&self, options: StoreOptions) -> Box<dyn Store> {
        Box::new(Sqlite::temporary(&self.0.0, options).expect("the store opens"))
    }
}

/// The part of a [`Fixture`] that can be called without its type.
trait OpenFixture {
    fn open(&self, options: StoreOptions) -> Box<dyn Store>;
    fn verify(&self);
    fn crashed(&self) -> Option<Box<dyn OpenFixture>>;
}

impl<F: Fixture> OpenFixture for F {
    fn open(&self, options: StoreOptions) -> Box<dyn Store> {
        Fixture::open(self, options)
    }

    fn verify(&self) {
        Fixture::verify(self);
    }

    fn crashed(&self) -> Option<Box<dyn OpenFixture>> {
        let copy = Fixture::crashed(self)?;
        Some(Box::new(copy))
    }
}

/// An open store and one reader of it.
pub struct TestStore {
    fixture: Box<dyn OpenFixture>,
    pub is_persistent: bool,
    quotas: Quotas,
    rooms: RoomRules,
    presence: PresenceMode,
    /// Both halves, the reader first: it is closed first. `None` while the store is being opened.
    halves: Option<(Box<dyn Reader>, StoreThread)>,
    /// The time of the last commit.
    pub now: i64,
    /// Whether entries and messages expire.
    is_certain: Arc<AtomicBool>,
}

impl TestStore {
    pub fn new<F: Fixture>(fixture: F) -> Self {
        let mut store = Self {
            fixture: Box::new(fixture),
            is_persistent: F::PERSISTENT,
            quotas: Quotas::default(),
            rooms: RoomRules::default(),
            presence: PresenceMode::default(),
            halves: None,
            now: START,
            is_certain: Arc::new(AtomicBool::new(true)),
        };
        store.open();
        store
    }

    fn open(&mut self) {
        self.halves = None;
        let store = self.fixture.open(StoreOptions {
            quotas: self.quotas,
            rooms: self.rooms,
            presence: self.presence,
            ..StoreOptions::new(RETENTION)
        });
        let reader = store.reader().expect("a reader opens");
        self.halves = Some((reader, StoreThread::start(store, self.is_certain.clone())));
    }

    /// Closes the store and opens it again, if the backend is persistent.
    pub fn reopen(&mut self) {
        if self.is_persistent {
            self.open();
        }
    }

    /// Continues with what a crash now would leave, if the backend is persistent.
    pub fn crash(&mut self) {
        if let Some(crashed) = self.fixture.crashed() {
            self.halves = None;
            self.fixture = crashed;
            self.open();
        }
    }

    /// Closes the store. It is opened again with other settings.
    pub fn close(&mut self) {
        self.halves = None;
    }

    /// Opens the store with these quotas. Only a persistent one keeps its contents.
    pub fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
        self.open();
    }

    /// Opens the store with these rules of rooms. Only a persistent one keeps its contents.
    pub fn set_rooms(&mut self, rooms: RoomRules) {
        self.rooms = rooms;
        self.open();
    }

    /// Opens the store with this rule by which users see each other. Only a persistent one keeps its contents.
    pub fn set_presence(&mut self, mode: PresenceMode) {
        self.presence = mode;
        self.open();
    }

    /// Checks the database as it is.
    pub fn verify(&self) {
        self.fixture.verify();
    }

    /// Runs `work` on the thread of the store.
    pub fn with_store<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Store) -> T + Send + 'static,
    ) -> T {
        self.halves.as_ref().expect("the store is open").1.run(work)
    }

    pub fn reader(&mut self) -> &mut dyn Reader {
        self.halves.as_mut().expect("the store is open").0.as_mut()
    }

    pub fn epoch(&mut self) -> Uuid {
        self.open_inbox("ada", "phone").epoch
    }

    pub fn stored_times(&mut self) -> Option<StoredTimes> {
        self.with_store(|store| store.stored_times())
            .expect("the times are read")
    }

    /// Commits a batch, one second after the previous one.
    pub fn commit(&mut self, batch: &[Write]) -> Vec<Outcome> {
        self.now += 1000;
        let (now, batch) = (self.now, batch.to_vec());
        let count = batch.len();
        let outcomes = self.with_store(move |store| {
            let batch: Vec<&Write> = batch.iter().collect();
            store.commit(now, &batch)
        });
        let outcomes = outcomes.expect("the batch is committed");
        assert_eq!(outcomes.len(), count);
        outcomes
    }

    /// Commits a batch of one write.
    pub fn commit_one(&mut self, write: Write) -> Outcome {
        self.commit(&[write]).remove(0)
    }

    /// All blocks, as "blocker blocked", sorted.
    pub fn blocks(&mut self) -> Vec<String> {
        let mut blocks = Vec::new();
        let mut each = |by: &str, user: &str| blocks.push(format!("{by} {user}"));
        self.reader().blocks(&mut each).expect("blocks are read");
        blocks.sort_unstable();
        blocks
    }

    pub fn open_inbox(&mut self, user: &str, device: &str) -> InboxState {
        let device = DeviceRef {
            user: user.into(),
            device: device.into(),
        };
        let states = self.reader().open_inboxes(&[device.into()]);
        states.expect("the inbox opens")[0]
    }

    /// The number of the newest entry of a user's inbox.
    pub fn head(&mut self, user: &str) -> u64 {
        self.open_inbox(user, "any").head
    }

    /// Entries without the superseded ones.
    pub fn entries(&mut self, user: &str, first: u64, last: u64) -> Vec<Entry> {
        self.entries_within(user, (first, last), usize::MAX)
    }

    /// The numbers of superseded entries.
    pub fn superseded(&mut self, user: &str) -> Vec<u64> {
        let items = self.items(user, (1, u64::MAX >> 1), usize::MAX);
        let superseded = |item: &InboxItem| matches!(item, InboxItem::Superseded(_));
        items
            .iter()
            .filter(|item| superseded(item))
            .map(InboxItem::seq)
            .collect()
    }

    /// Reads entries until they exceed `bytes`.
    pub fn entries_within(
        &mut self,
        user: &str,
        (first, last): (u64, u64),
        bytes: usize,
    ) -> Vec<Entry> {
        let entry = |item| match item {
            InboxItem::Entry(entry) => Some(*entry),
            InboxItem::Membership(_) | InboxItem::Erased(_) | InboxItem::Superseded(_) => None,
        };
        let items = self.items(user, (first, last), bytes);
        items.into_iter().filter_map(entry).collect()
    }

    pub fn items(&mut self, user: &str, (first, last): (u64, u64), bytes: usize) -> Vec<InboxItem> {
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
        let items = self.items(user, (1, u64::MAX >> 1), usize::MAX);
        for pair in items.windows(2) {
            assert_eq!(pair[1].seq(), pair[0].seq() + 1, "{user}'s inbox has a gap");
        }
        Some((items.first()?.seq(), items.last()?.seq()))
    }

    /// `None`: the position is unknown.
    pub fn history_page(&mut self, query: &HistoryQuery) -> Option<HistoryPage> {
        let answer = self.reader().history(query);
        match answer.expect("the history is read") {
            HistoryAnswer::Page(page) => Some(page),
            HistoryAnswer::UnknownMessage => None,
            HistoryAnswer::UnknownRoom | HistoryAnswer::NotMember => {
                panic!("the conversation is direct")
            }
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

    /// Whether the present time is certain.
    pub fn set_certain(&mut self, is_certain: bool) {
        self.is_certain.store(is_certain, Ordering::Relaxed);
    }

    /// Removes everything that has expired or exceeds the limit. A store does that in small steps, with pauses, and may rest for
    /// a while after it has looked at everything: so this goes on until the store has rested several times, each time a few
    /// minutes later.
    pub fn maintain(&mut self) {
        let mut rests = 0;
        for _ in 0..10_000 {
            let expire_at = self.is_certain.load(Ordering::Relaxed).then_some(self.now);
            let next = self.with_store(move |store| store.maintain(expire_at));
            let next = next.expect("maintenance succeeds");
            let pause = next.saturating_duration_since(Instant::now());
            if pause >= Duration::from_millis(500) {
                rests += 1;
                if rests == 3 {
                    return;
                }
                self.now += 120_000;
            }
            std::thread::sleep(pause);
        }
        panic!("maintenance does not end");
    }
}

type Task = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// A thread that owns a store, as the writer's thread does.
struct StoreThread {
    /// `None` ends the thread.
    tasks: Sender<Option<Task>>,
    thread: Option<JoinHandle<()>>,
}

/// Has the store maintained until it has nothing to do at once.
fn maintain_until_done(tasks: &Sender<Option<Task>>, is_certain: &Arc<AtomicBool>) {
    // At the earliest possible time, so that nothing expires that a test does not expect to.
    let expire_at = is_certain.load(Ordering::Relaxed).then_some(START);
    let (again, is_certain) = (tasks.clone(), is_certain.clone());
    let maintain: Task = Box::new(move |store| {
        let next = store.maintain(expire_at);
        if next.is_ok_and(|next| next <= Instant::now()) {
            maintain_until_done(&again, &is_certain);
        }
    });
    drop(tasks.send(Some(maintain)));
}

impl StoreThread {
    fn start(mut store: Box<dyn Store>, is_certain: Arc<AtomicBool>) -> Self {
        let (tasks, receiver) = channel::<Option<Task>>();
        let waking = tasks.clone();
        store.set_waker(Arc::new(move || maintain_until_done(&waking, &is_certain)));
        let thread = std::thread::spawn(move || {
            while let Ok(Some(task)) = receiver.recv() {
                task(store.as_mut());
            }
        });
        Self {
            tasks,
            thread: Some(thread),
        }
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut dyn Store) -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        let task: Task = Box::new(move |store| drop(sender.send(work(store))));
        self.tasks.send(Some(task)).expect("the thread runs");
        receiver.recv().expect("the store does not panic")
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        drop(self.tasks.send(None));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

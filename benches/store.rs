//! Measures the store alone, through its traits: `cargo bench --bench store -- --help`.
//!
//! All files are in a folder that is removed at the end. Figures that depend on the disk are also given as ratios to the
//! speed of the disk at that time, as absolute figures mean little on a shared machine.

#[path = "support/disk.rs"]
mod disk;
#[path = "support/lists.rs"]
mod lists;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use dmwire::store::sqlite::{Durability, Sqlite};
use dmwire::store::{
    Authority, Conversation, ConversationsQuery, DeviceRef, HistoryAnswer, HistoryQuery,
    InboxQuery, NewMessage, Outcome, Retention, Store, StoreError, StoreOptions, Write,
};
use uuid::Uuid;

use disk::{Percentiles, fdatasync};

/// Measures the speed and the disk usage of the store.
#[derive(Debug, Parser)]
struct Options {
    /// Messages in the store that is opened and read.
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// Conversations of the user with all these messages.
    #[arg(long, default_value_t = 100_000)]
    conversations: usize,
    /// Messages stored to measure the disk usage per message.
    #[arg(long, default_value_t = 200_000)]
    stored: usize,
    /// Characters of each message.
    #[arg(long, default_value_t = 64)]
    characters: usize,
    /// Seconds for each batch size and durability.
    #[arg(long, default_value_t = 0.8)]
    seconds: f64,
    /// Parent of the folder [default: the system's temporary folder].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Run only the measurements whose name contains this: rate, single, disk, large or lists.
    #[arg(long, default_value = "")]
    only: String,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

/// An error of the store or of its folder.
type Failed = Box<dyn std::error::Error>;

const RETENTION: Retention = Retention {
    inbox_ms: i64::MAX / 2,
    inbox_limit: 100_000_000,
    history_ms: None,
    device_ms: i64::MAX / 4,
};
/// The time of the first commit, a day in November 2026, in milliseconds. Later commits advance it.
const START: i64 = 1_795_000_000_000;
/// Messages committed one at a time, if the time suffices.
const SINGLE: usize = 1000;
const SIZES: [usize; 6] = [1, 4, 16, 64, 256, 1024];
/// Users in the small stores.
const USERS: usize = 100;
/// Users in the large store, and the number of other users that each of them writes to.
const MANY: usize = 2000;
const FRIENDS: usize = 17;

fn main() -> Result<(), Failed> {
    let options = Options::parse();
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = Folder::new(&dir)?;
    let wanted = |name: &str| options.only.is_empty() || options.only == name;
    if wanted("rate") {
        rates(&options, &folder)?;
    }
    if wanted("single") {
        single(&options, &folder)?;
    }
    if wanted("disk") {
        on_disk(&options, &folder)?;
    }
    if wanted("large") {
        large(&options, &folder)?;
    }
    if wanted("lists") {
        lists::measure(options.messages, options.conversations, &folder)?;
    }
    Ok(())
}

struct Folder(PathBuf);

impl Folder {
    fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("dmwire-store-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder does no harm.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// An endless, reproducible sequence of messages.
struct Messages {
    state: u64,
    characters: usize,
    users: Vec<Arc<str>>,
    /// The recipients of each user; empty: all users.
    friends: Vec<Vec<usize>>,
}

impl Messages {
    fn among(users: usize, characters: usize) -> Self {
        Self {
            state: 7,
            characters,
            users: (0..users).map(|n| format!("user{n}").into()).collect(),
            friends: Vec::new(),
        }
    }

    /// Each user picks some others and is picked by about as many: 20 to 50 conversations per user.
    fn among_friends(users: usize, characters: usize) -> Self {
        let mut all = Self::among(users, characters);
        let mut friends = vec![Vec::new(); users];
        for user in 0..users {
            for _ in 0..FRIENDS {
                let friend = all.below(users);
                friends[user].push(friend);
                friends[friend].push(user);
            }
        }
        all.friends = friends;
        all
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    /// A message, with an id like those that the server creates.
    fn message(&mut self) -> Write {
        let from = self.below(self.users.len());
        let to = match self.friends.get(from).map(Vec::len) {
            Some(count) => {
                let at = self.below(count);
                self.friends[from][at]
            }
            None => self.below(self.users.len()),
        };
        Write::Message(NewMessage {
            from: self.users[from].clone(),
            to: Conversation::Direct(self.users[to].clone()),
            id: Uuid::now_v7(),
            content: format!("\"{:0>1$x}\"", self.next(), self.characters).into(),
            reply_to: None,
            fresh: false,
            ip_quota: None,
            authority: Authority::User,
        })
    }

    fn batch(&mut self, size: usize) -> Vec<Write> {
        (0..size).map(|_| self.message()).collect()
    }
}

fn commit(store: &mut dyn Store, now: &mut i64, batch: &[Write]) -> Result<(), StoreError> {
    *now += 1;
    let batch: Vec<&Write> = batch.iter().collect();
    let outcomes = store.commit(*now, &batch)?;
    let stored = |outcome: &Outcome| {
        matches!(
            outcome,
            Outcome::Stored {
                duplicate: false,
                ..
            }
        )
    };
    assert!(outcomes.iter().all(stored), "every message is new");
    // As the writer does after each batch.
    store.maintain(Some(*now))?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Mode {
    Full,
    Normal,
    Temporary,
}

const KINDS: [(Mode, &str); 3] = [
    (Mode::Full, "full"),
    (Mode::Normal, "normal"),
    (Mode::Temporary, "memory:"),
];

fn store_options() -> StoreOptions {
    StoreOptions::new(RETENTION)
}

fn device(user: &Arc<str>) -> InboxQuery {
    InboxQuery::from(DeviceRef {
        user: user.clone(),
        device: "default".into(),
    })
}

fn open(folder: &Folder, mode: Mode, name: &str) -> Result<Box<dyn Store>, StoreError> {
    let path = folder.0.join(name);
    Ok(match mode {
        Mode::Full => Box::new(Sqlite::open(&path, Durability::Full, store_options())?),
        Mode::Normal => Box::new(Sqlite::open(&path, Durability::Normal, store_options())?),
        Mode::Temporary => Box::new(Sqlite::temporary(&folder.0, store_options())?),
    })
}

/// Messages per second by batch size. Each message makes two inbox entries, one per side.
fn rates(options: &Options, folder: &Folder) -> Result<(), Failed> {
    println!(
        "messages per second by messages per commit ({} characters; two entries each)\n",
        options.characters
    );
    println!(
        "{:>6}{:>12}{:>12}{:>12}{:>14}{:>20}",
        "batch", "full", "normal", "memory:", "full/memory:", "full: commit/fsync"
    );
    let mut stores = Vec::new();
    for (kind, name) in KINDS {
        stores.push(open(folder, kind, &format!("rate-{name}.db"))?);
    }
    let mut messages = Messages::among(USERS, options.characters);
    let mut now = START;
    for size in SIZES {
        let disk = fdatasync(&folder.0, 40)?;
        let mut rates = Vec::new();
        // Interleaved, so that other load on the machine affects all of them.
        let mut spent = [Duration::ZERO; KINDS.len()];
        let mut commits = [0_u32; KINDS.len()];
        while spent
            .iter()
            .any(|spent| spent.as_secs_f64() < options.seconds)
        {
            for (n, store) in stores.iter_mut().enumerate() {
                let slice = Instant::now();
                while spent[n].as_secs_f64() < options.seconds && slice.elapsed().as_millis() < 100
                {
                    let batch = messages.batch(size);
                    let began = Instant::now();
                    commit(&mut **store, &mut now, &batch)?;
                    spent[n] += began.elapsed();
                    commits[n] += 1;
                }
            }
        }
        for (spent, commits) in spent.iter().zip(commits) {
            rates.push(f64::from(commits) * size as f64 / spent.as_secs_f64());
        }
        let each = spent[0].as_secs_f64() * 1e6 / f64::from(commits[0]);
        println!(
            "{size:>6}{:>12.0}{:>12.0}{:>12.0}{:>14.2}{:>20.2}",
            rates[0],
            rates[1],
            rates[2],
            rates[0] / rates[2],
            each / disk.p50
        );
    }
    println!(
        "\ncommit/fsync: the mean commit against the median of writing 4 KiB and fdatasync in the same folder\n"
    );
    Ok(())
}

/// The latency of a commit with a single message.
fn single(options: &Options, folder: &Folder) -> Result<(), Failed> {
    println!("a commit with one message, in microseconds\n");
    println!(
        "{:>10}{:>10}{:>10}{:>14}{:>14}",
        "", "p50", "p99", "p50/fsync", "p99/fsync"
    );
    let mut messages = Messages::among(USERS, options.characters);
    for (kind, name) in KINDS {
        let mut store = open(folder, kind, &format!("single-{name}.db"))?;
        let mut now = START;
        let (mut took, mut disk) = (Vec::new(), Vec::new());
        let mut sync = disk::Sync::new(&folder.0)?;
        let total = Instant::now();
        while took.len() < SINGLE && total.elapsed().as_secs_f64() < 2.0 * options.seconds {
            let batch = messages.batch(1);
            let began = Instant::now();
            commit(&mut *store, &mut now, &batch)?;
            took.push(began.elapsed());
            // The disk without the store, at the same time.
            disk.push(sync.once()?);
        }
        let (took, disk) = (Percentiles::of(took), Percentiles::of(disk));
        println!(
            "{name:>10}{:>10.0}{:>10.0}{:>14.2}{:>14.2}",
            took.p50,
            took.p99,
            took.p50 / disk.p50,
            took.p99 / disk.p99
        );
        println!("{:>10}{:>10.0}{:>10.0}", "fdatasync", disk.p50, disk.p99);
    }
    println!();
    Ok(())
}

/// Bytes on disk per message.
fn on_disk(options: &Options, folder: &Folder) -> Result<(), Failed> {
    let mut store = open(folder, Mode::Normal, "disk.db")?;
    let mut messages = Messages::among(USERS, options.characters);
    let mut now = START;
    let mut left = options.stored;
    while left > 0 {
        let batch = messages.batch(left.min(1024));
        left -= batch.len();
        commit(&mut *store, &mut now, &batch)?;
    }
    // Closing the store copies the whole WAL into the file.
    drop(store);
    let bytes = size(&folder.0.join("disk.db"))?;
    println!(
        "{} messages of {} characters between {USERS} users: {bytes} bytes on disk, {:.0} each\n",
        options.stored,
        options.characters,
        bytes as f64 / options.stored as f64
    );
    Ok(())
}

fn size(path: &Path) -> io::Result<u64> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Ok(fs::metadata(path)?.len() + fs::metadata(log).map_or(0, |log| log.len()))
}

/// Opens a store with many messages and reads lists from it.
fn large(options: &Options, folder: &Folder) -> Result<(), Failed> {
    let path = folder.0.join("large.db");
    let mut store = open(folder, Mode::Normal, "large.db")?;
    let mut messages = Messages::among_friends(MANY, options.characters);
    let mut now = START;
    let began = Instant::now();
    let mut left = options.messages;
    while left > 0 {
        let batch = messages.batch(left.min(1024));
        left -= batch.len();
        commit(&mut *store, &mut now, &batch)?;
    }
    let filled = began.elapsed();
    drop(store);
    let bytes = size(&path)?;
    println!(
        "a store of {} messages between {MANY} users ({:.0} MB), filled in {:.0} s, read warm\n",
        options.messages,
        bytes as f64 / 1e6,
        filled.as_secs_f64()
    );
    let mut opens = Vec::new();
    for n in 0..5 {
        let began = Instant::now();
        let store = Sqlite::open(&path, Durability::Full, store_options())?;
        let opened = store
            .reader()?
            .open_inboxes(&[device(&messages.users[n])])?;
        opens.push(began.elapsed());
        assert!(opened[0].head > 0, "every user has entries");
    }
    let opens = Percentiles::of(opens);
    println!(
        "open and read first inbox:   {:.1} ms (median of 5)",
        opens.p50 / 1e3
    );
    let store = Sqlite::open(&path, Durability::Full, store_options())?;
    let mut reader = store.reader()?;
    let (mut inboxes, mut lists, mut histories) = (Vec::new(), Vec::new(), Vec::new());
    let (mut listed, mut shown) = (0, 0);
    for _ in 0..1000 {
        let at = messages.below(MANY);
        let user = messages.users[at].clone();
        let began = Instant::now();
        reader.open_inboxes(&[device(&user)])?;
        inboxes.push(began.elapsed());
        let began = Instant::now();
        let page = reader.conversations(&ConversationsQuery {
            user: user.clone(),
            limit: 50,
            cursor: None,
            not_before: None,
            bytes: 250 << 10,
        })?;
        lists.push(began.elapsed());
        let page = page.ok_or("there is no first page")?;
        listed += page.items.len();
        let conversation = &page.items[messages.below(page.items.len())].conversation;
        let began = Instant::now();
        let history = reader.history(&HistoryQuery {
            user,
            conversation: conversation.clone(),
            position: None,
            limit: 50,
            not_before: None,
            bytes: 250 << 10,
        })?;
        histories.push(began.elapsed());
        if let HistoryAnswer::Page(page) = history {
            shown += page.messages.len();
        }
    }
    println!(
        "{:>34}{:>12}{:>12}",
        "microseconds, 1000 random users", "p50", "p99"
    );
    let rows = [
        ("open_inboxes".to_owned(), inboxes),
        (format!("conversations ({} each)", listed / 1000), lists),
        (format!("history ({} each)", shown / 1000), histories),
    ];
    for (name, took) in rows {
        let took = Percentiles::of(took);
        println!("{name:>34}{:>12.0}{:>12.0}", took.p50, took.p99);
    }
    Ok(())
}

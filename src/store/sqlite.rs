//! The default backend: one SQLite file in WAL mode, one writing connection, a few reading ones.

pub mod admin;
mod checkpoint;
mod content_eq;
mod migrations;
mod pending;
mod read;
mod retention;
mod unknown_recipients;
mod write;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use uuid::Uuid;

use self::checkpoint::Checkpointer;
use self::pending::{Chosen, Floors, PendingBatch, PendingLog};
use self::read::SqliteReader;
use self::retention::{RetentionRules, RetentionSweeper};
use self::unknown_recipients::UnknownRecipients;
use self::write::Run;
use super::{
    InboxState, LiveCursors, Outcome, Quotas, Reader, Retention, Store, StoreError, Write,
};

/// Users and conversations that are remembered. Beyond it they are forgotten together and looked up again.
const MAX_CACHED: usize = 100_000;
/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(5);

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk: it survives a power cut.
    #[default]
    Full,
    /// When the operating system has it: it survives a crash of the server, and after a power cut the newest commits may
    /// be missing.
    Normal,
}

/// The writing half. Holds the file's lock for as long as it lives.
#[derive(Debug)]
pub struct Sqlite {
    // Before the connection: the last connection to close copies the log, and that should be the writer's.
    checkpointer: Checkpointer,
    connection: Connection,
    epoch: Uuid,
    /// Whether a commit is to wait for the disk, and whether the next one would.
    synced: bool,
    waits: bool,
    cache: Cache,
    /// Messages that are not in their tables yet.
    pool: PendingLog,
    /// The moment of the last commit.
    now: i64,
    /// The next commit number, and where the reserved ones end.
    next: i64,
    reserved: i64,
    lifetimes: Retention,
    quotas: Quotas,
    /// Users who have connected, and whose devices are to be noted soon.
    arrived: HashSet<Box<str>>,
    owed: LiveCursors,
    keeper: RetentionSweeper,
    // Last, so that the connection is closed before a temporary file is removed.
    file: DataFile,
}

/// Where the data is.
#[derive(Debug)]
struct DataFile {
    path: PathBuf,
    /// Held so that no second server writes to the same file: heads are cached here.
    _lock: Option<File>,
    /// Removed when the store is dropped.
    temporary: bool,
}

/// What the hot path would otherwise have to look up. True to the file after each commit; forgotten when one fails.
#[derive(Debug, Default)]
struct Cache {
    users: HashMap<Arc<str>, User>,
    conversations: HashMap<(i64, i64), Conversation>,
    /// Users whose inbox has grown beyond what is kept.
    overfull: VecDeque<i64>,
    /// Of users with messages in the pool.
    floors: Floors,
    /// Messages to users who have never connected.
    unclaimed: UnknownRecipients,
    /// The newest entries that are in the pool, of users who were forgotten while they were there.
    heads: HashMap<i64, u64>,
}

/// A direct conversation of two users.
#[derive(Clone, Copy, Debug)]
struct Conversation {
    n: i64,
    /// Whether the user with the lower number blocks the other, and the other way round. Kept here, where each message looks
    /// anyway.
    low_blocks: bool,
    high_blocks: bool,
}

impl Conversation {
    /// Whether `to` blocks `from`.
    fn blocked(&self, from: i64, to: i64) -> bool {
        if to < from {
            self.low_blocks
        } else {
            self.high_blocks
        }
    }

    /// Whether one of the two blocks the other.
    fn is_quiet(&self) -> bool {
        self.low_blocks || self.high_blocks
    }
}

#[derive(Clone, Copy, Debug)]
struct User {
    n: i64,
    /// The newest entry.
    head: u64,
    /// The newest entry that is not kept any more.
    floor: u64,
    /// They have connected.
    came: bool,
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Normal => "normal",
        })
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Each of these has undone the transaction, so nothing was stored.
            Some(
                ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Sqlite {
    /// Opens the file at `path`, making it if it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened, made or written, is in use by another server, is no dmwire file, or was written by
    /// a newer version.
    pub fn open(
        path: &Path,
        durability: Durability,
        lifetimes: Retention,
    ) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        Self::open_with(
            DataFile {
                path: path.to_owned(),
                _lock: Some(lock),
                temporary: false,
            },
            synchronous,
            lifetimes,
        )
    }

    /// A private temporary database in the folder `dir`, written without waiting for the disk and gone with the process.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn temporary(dir: &Path, lifetimes: Retention) -> Result<Self, StoreError> {
        Self::open_with(
            DataFile {
                path: dir.join(format!("dmwire-{}.db", Uuid::new_v4())),
                _lock: None,
                temporary: true,
            },
            "OFF",
            lifetimes,
        )
    }

    fn open_with(
        file: DataFile,
        synchronous: &str,
        lifetimes: Retention,
    ) -> Result<Self, StoreError> {
        let mut connection = named(&file.path, connect(&file.path, synchronous))?;
        let checkpointer = Checkpointer::start(&mut connection, &file.path, synchronous);
        let checkpointer = named(&file.path, checkpointer)?;
        let epoch = named(&file.path, migrations::epoch(&connection))?;
        let pool = named(&file.path, PendingLog::load(&connection))?;
        Ok(Self {
            checkpointer,
            connection,
            epoch,
            synced: synchronous == "FULL",
            waits: synchronous == "FULL",
            cache: Cache {
                heads: pool.heads(),
                ..Cache::default()
            },
            pool,
            now: 0,
            next: 0,
            reserved: 0,
            lifetimes,
            quotas: Quotas::default(),
            arrived: HashSet::new(),
            owed: LiveCursors::default(),
            keeper: RetentionSweeper::default(),
            file,
        })
    }

    fn transaction(
        &mut self,
        now: i64,
        batch: &[&Write],
        direct: &Direct<'_>,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut run = Run {
            tx: &self.connection,
            cache: &mut self.cache,
            next: &mut self.next,
            reserved: &mut self.reserved,
            inbox_limit: self.lifetimes.inbox_limit,
            quotas: &self.quotas,
            arrived: &mut self.arrived,
            now,
            direct,
            pool: &self.pool,
            stage: PendingBatch::default(),
        };
        let (outcomes, stage, first) = atomically(&self.connection, || {
            let mut outcomes = Vec::with_capacity(batch.len());
            for write in batch {
                outcomes.push(run.write(write)?);
            }
            run.cache.unclaimed.write(&self.connection)?;
            let stage = run.stage;
            let first = stage.log(&self.connection)?;
            Ok((outcomes, stage, first))
        })?;
        self.pool.take(stage, first);
        Ok(outcomes)
    }

    /// Moves messages to their tables.
    fn settle_these(&mut self, chosen: &Chosen) -> rusqlite::Result<()> {
        if chosen.is_empty() && self.cache.overfull.is_empty() {
            return Ok(());
        }
        // What moves is committed already; a power cut undoes the move, and the log still has it.
        let done = self
            .wait_for_disk(false)
            .and_then(|()| self.try_settle(chosen));
        let synced = self.wait_for_disk(self.synced);
        self.pool.moved(chosen, done.is_ok());
        if self.pool.is_empty() {
            self.cache.floors = Floors::new();
            self.cache.heads = HashMap::new();
        }
        if done.is_err() {
            self.forget();
        }
        done.and(synced)
    }

    fn try_settle(&mut self, chosen: &Chosen) -> rusqlite::Result<()> {
        let rules = RetentionRules {
            lifetimes: &self.lifetimes,
            owed: &self.owed,
            now: self.now,
        };
        let (pool, cache) = (&self.pool, &mut self.cache);
        atomically(&self.connection, || {
            pool.apply(&self.connection, chosen, &mut cache.floors)?;
            retention::trim_overfull(&self.connection, cache, &rules)
        })
    }

    fn wait_for_disk(&mut self, wait: bool) -> rusqlite::Result<()> {
        if self.synced && wait != self.waits {
            let synchronous = if wait { "FULL" } else { "NORMAL" };
            self.connection
                .pragma_update(None, "synchronous", synchronous)?;
            self.waits = wait;
        }
        Ok(())
    }

    /// What of a batch cannot wait in the pool, and what is in the pool that the batch has to find in the tables.
    fn look_ahead<'a>(&mut self, batch: &[&'a Write]) -> rusqlite::Result<(Direct<'a>, Chosen)> {
        let mut direct = Direct::default();
        let mut needed = Vec::new();
        let mut ids = HashSet::new();
        // Messages that go to their tables beside a watermark must find all before them there.
        let mixed = batch.iter().any(|write| matches!(write, Write::Message(_)));
        for write in batch {
            match write {
                Write::Message(message) => {
                    if message.fresh {
                        continue;
                    }
                    let pair = pair(&message.from, &message.to);
                    let known = self.waiting_of(pair)?;
                    let waits = known.is_some_and(|n| self.pool.has_id(n, message.id.as_bytes()));
                    if waits || !ids.insert((pair, message.id)) {
                        direct.pairs.insert(pair);
                        needed.extend(known);
                    }
                }
                Write::Edit(at, _)
                | Write::Delete(at)
                | Write::React { at, .. }
                | Write::Read(at) => {
                    let pair = pair(&at.from, &at.to);
                    direct.pairs.insert(pair);
                    needed.extend(self.waiting_of(pair)?);
                }
                Write::Watermark { user, seq, .. } => {
                    direct.users.insert(user);
                    if !self.pool.is_empty()
                        && let Some(user) = find_user(&self.connection, &mut self.cache, user)?
                    {
                        let seq = if mixed { u64::MAX } else { *seq };
                        needed.extend(self.pool.of_user(user.n, seq));
                    }
                }
                Write::Contact(..) | Write::Block { .. } => {}
            }
        }
        let needed = self.pool.of_conversations(needed.into_iter());
        Ok((direct, needed))
    }

    /// The conversation of two users, if it may have messages in the pool.
    fn waiting_of(&mut self, (a, b): (&str, &str)) -> rusqlite::Result<Option<i64>> {
        if self.pool.is_empty() {
            return Ok(None);
        }
        let (Some(a), Some(b)) = (
            find_user(&self.connection, &mut self.cache, a)?,
            find_user(&self.connection, &mut self.cache, b)?,
        ) else {
            return Ok(None);
        };
        let known = find_conversation(&self.connection, &mut self.cache, a.n, b.n)?;
        Ok(known.map(|conversation| conversation.n))
    }

    /// What the cache and the counter learned in a transaction that is undone is not true.
    fn forget(&mut self) {
        self.cache = Cache {
            heads: self.pool.heads(),
            ..Cache::default()
        };
        (self.next, self.reserved) = (0, 0);
    }
}

/// Messages that go to their tables at once, as something else in their batch looks for them there.
#[derive(Debug, Default)]
struct Direct<'a> {
    pairs: HashSet<(&'a str, &'a str)>,
    users: HashSet<&'a str>,
}

impl Direct<'_> {
    fn has(&self, from: &str, to: &str) -> bool {
        let here = |users: &HashSet<&str>| users.contains(from) || users.contains(to);
        !self.pairs.is_empty() && self.pairs.contains(&pair(from, to))
            || !self.users.is_empty() && here(&self.users)
    }
}

/// Two users, in an order of their own.
fn pair<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    if a <= b { (a, b) } else { (b, a) }
}

impl Store for Sqlite {
    fn epoch(&self) -> Uuid {
        self.epoch
    }

    fn commit(&mut self, now: i64, batch: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        self.now = now;
        if self.cache.unclaimed.len() > MAX_CACHED {
            self.cache.unclaimed.forget();
        }
        if self.cache.users.len() > MAX_CACHED || self.cache.conversations.len() > MAX_CACHED {
            self.cache.users = HashMap::new();
            self.cache.conversations = HashMap::new();
            self.cache.heads = self.pool.heads();
        }
        let (direct, needed) = self.look_ahead(batch)?;
        if !needed.is_empty() {
            self.settle_these(&needed)?;
        }
        self.wait_for_disk(true)?;
        let outcomes = self.transaction(now, batch, &direct).map_err(|error| {
            self.forget();
            StoreError::from(error)
        })?;
        if let Err(error) = self.checkpointer.after_commit(&self.connection) {
            // What was committed stays committed; the log is copied another time.
            log::warn!("copying the write-ahead log: {error}");
        }
        Ok(outcomes)
    }

    fn settle(&mut self, limit: usize, all: bool) -> Result<Option<Instant>, StoreError> {
        let limit = if all { usize::MAX } else { limit };
        let chosen = self.pool.choose(limit, all);
        self.settle_these(&chosen)?;
        if let Err(error) = self.checkpointer.after_commit(&self.connection) {
            log::warn!("copying the write-ahead log: {error}");
        }
        Ok(self.pool.due())
    }

    fn open_inbox(&mut self, user: &str, device: &str) -> Result<InboxState, StoreError> {
        let name = user;
        let user = find_user(&self.connection, &mut self.cache, name)?;
        if user.is_none_or(|user| !user.came) {
            if self.arrived.len() >= MAX_CACHED {
                // They have long been noted, or the store takes nothing.
                self.arrived = HashSet::new();
            }
            self.arrived.insert(name.into());
        }
        let Some(user) = user else {
            return Ok(InboxState {
                head: 0,
                oldest: 1,
                received: 0,
            });
        };
        let received: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT coalesce(
                    (SELECT received FROM devices WHERE user = ?1 AND device = ?2),
                    (SELECT max(received) FROM devices WHERE user = ?1))",
            )?
            .query_row(params![user.n, device], |row| row.get(0))?;
        // What is beyond the limit counts as gone also where it has not been removed yet.
        let beyond = user.head.saturating_sub(self.lifetimes.inbox_limit);
        Ok(InboxState {
            head: user.head,
            oldest: user.floor.max(beyond) + 1,
            received: unsigned(received.unwrap_or(0)),
        })
    }

    fn maintain(&mut self, now: i64) -> Result<bool, StoreError> {
        self.checkpointer.after_commit(&self.connection)?;
        let gave_back = self.keeper.gave_back();
        let rules = RetentionRules {
            lifetimes: &self.lifetimes,
            owed: &self.owed,
            now,
        };
        let step = self
            .keeper
            .step(&mut self.connection, &mut self.cache, &rules);
        if gave_back && matches!(step, Ok(false)) {
            self.checkpointer.hasten();
        }
        step.map_err(|error| {
            self.forget();
            error.into()
        })
    }

    fn blocks(&mut self, each: &mut dyn FnMut(&str, &str)) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT u.id, o.id FROM blocks AS b JOIN users AS u ON u.n = b.user JOIN users AS o ON o.n = b.blocked",
        )?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
            each(text(0)?, text(1)?);
        }
        Ok(())
    }

    fn spare(&mut self, owed: LiveCursors) {
        self.owed = owed;
    }

    fn limit(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::open(&self.file.path)?))
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // A store that was closed is read without looking into the log; if this fails, the next start does it.
        if let Err(error) = self.settle(usize::MAX, true) {
            log::warn!("moving messages to their tables: {error}");
        }
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if self.temporary {
            for suffix in ["", "-wal", "-shm"] {
                // Gone already, or not ours to remove: nothing is lost by leaving it.
                drop(std::fs::remove_file(beside(&self.path, suffix)));
            }
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Says which file an error is about.
fn named<T, E: std::fmt::Display>(path: &Path, result: Result<T, E>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Failed(format!("{}: {error}", path.display())))
}

/// Takes the lock that keeps a second server off the file. It is a file of its own: closing any handle of the database
/// file would drop SQLite's own locks on it.
fn lock(path: &Path) -> Result<File, StoreError> {
    // By its real name, so that the same store under another name has the same lock.
    let real = std::fs::canonicalize(path).or_else(|_| -> std::io::Result<PathBuf> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
        Ok(folder.join(path.file_name().unwrap_or_default()))
    });
    let real: PathBuf = named(path, real)?;
    let file = named(path, private(&beside(&real, "-lock")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => named(path, Err("in use by another dmwire")),
        Err(TryLockError::Error(error)) => named(path, Err(error)),
    }
}

/// Opens a file, made if it is not there, that nobody else may read. SQLite gives what it keeps beside a database the
/// database's own permissions.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Opens a file for writing and brings it to the present schema.
fn connect(path: &Path, synchronous: &str) -> Result<Connection, String> {
    let said = |error: rusqlite::Error| error.to_string();
    if !path.exists() {
        drop(private(path).map_err(|error| error.to_string())?);
    }
    let mut connection = Connection::open(path).map_err(said)?;
    connection.busy_timeout(BUSY).map_err(said)?;
    migrations::recognise(&connection)?;
    if connection.is_readonly("main").map_err(said)? {
        return Err("the file cannot be written".to_owned());
    }
    migrations::configure(&connection, synchronous).map_err(said)?;
    migrations::migrate(&mut connection).map_err(said)?;
    connection.set_prepared_statement_cache_capacity(96);
    Ok(connection)
}

/// Does all of `work`, or nothing. The statements around it are kept prepared, as a commit of one message is mostly what is
/// around it.
fn atomically<T>(
    connection: &Connection,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let run = |sql| connection.prepare_cached(sql)?.execute(()).map(drop);
    run("BEGIN IMMEDIATE")?;
    let done = work().and_then(|value| run("COMMIT").map(|()| value));
    // Some errors undo the transaction by themselves.
    if done.is_err() && !connection.is_autocommit() {
        run("ROLLBACK")?;
    }
    done
}

/// Opens a file for reading only.
fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // A full disk must not keep anybody from reading.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn find_user(
    connection: &Connection,
    cache: &mut Cache,
    id: &str,
) -> rusqlite::Result<Option<User>> {
    if let Some(user) = cache.users.get(id) {
        return Ok(Some(*user));
    }
    let user = connection
        .prepare_cached(
            "SELECT n, floor, (SELECT max(seq) FROM inbox WHERE user = users.n),
                EXISTS (SELECT 1 FROM devices WHERE user = users.n) FROM users WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let floor = unsigned(row.get(1)?);
            let newest: Option<i64> = row.get(2)?;
            Ok(User {
                n: row.get(0)?,
                floor,
                // An inbox from which everything was removed goes on where it was.
                head: newest.map_or(floor, unsigned),
                came: row.get(3)?,
            })
        })
        .optional()?;
    let user = user.map(|user| User {
        head: user
            .head
            .max(cache.heads.get(&user.n).copied().unwrap_or(0)),
        ..user
    });
    if let Some(user) = user {
        cache.users.insert(id.into(), user);
    }
    Ok(user)
}

fn find_conversation(
    connection: &Connection,
    cache: &mut Cache,
    a: i64,
    b: i64,
) -> rusqlite::Result<Option<Conversation>> {
    let pair = (a.min(b), a.max(b));
    if let Some(conversation) = cache.conversations.get(&pair) {
        return Ok(Some(*conversation));
    }
    let conversation = connection
        .prepare_cached(
            "SELECT n, EXISTS (SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2),
                EXISTS (SELECT 1 FROM blocks WHERE user = ?2 AND blocked = ?1)
             FROM conversations WHERE low = ?1 AND high = ?2",
        )?
        .query_row([pair.0, pair.1], |row| {
            Ok(Conversation {
                n: row.get(0)?,
                low_blocks: row.get(1)?,
                high_blocks: row.get(2)?,
            })
        })
        .optional()?;
    if let Some(conversation) = conversation {
        cache.conversations.insert(pair, conversation);
    }
    Ok(conversation)
}

/// Whether a user blocks another one.
fn blocks(connection: &Connection, user: i64, other: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2")?
        .exists([user, other])
}

/// SQLite's integers are signed; sequence numbers start at 0 and never come near the sign.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

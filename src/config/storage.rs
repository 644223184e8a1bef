//! Storage: where messages are stored, when a message counts as stored, and for how long it is kept.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use super::RawValue;
use super::setting::{Kind, choice, number, number_or_auto, quoted, section, text};
use super::value::{Auto, Days, Span};

section! {
    /// Where messages are stored, when a message counts as stored, and for how long it is kept.
    pub struct StorageConfig = config.storage, "Storage";

    /// Where messages are stored: `sqlite:PATH`, or `memory:` to keep nothing after the server stops
    store: StoreUrl = StoreUrl::Sqlite("dmwire.db".into()), text("URL", StoreUrl::parse).common();

    /// When a message counts as stored: full, when it is on disk; normal, when the operating system has it, so that a
    /// power failure can lose the newest messages
    durability: Durability = Durability::Full,
        choice(&[("full", Durability::Full), ("normal", Durability::Normal)]);

    /// Days that inbox entries are kept for clients that reconnect
    inbox_days: Days = Days::new(30), Kind::one("DAYS", Days::parse, ToString::to_string);

    /// Maximum number of entries in an inbox
    inbox_limit: u64 = 10_000, number("N", 1..=100_000_000);

    /// Days that messages stay in the history, or forever
    history_days: Option<Days> = None, Kind::one("DAYS|forever", days_or_forever, |days| {
        days.map_or_else(|| quoted("forever"), |days| days.to_string())
    });

    /// Days that the position of a device is kept after its last use; a user has at most 16 devices
    ///
    /// While a user has 16 devices that were used within this time, the position of a further one is not stored.
    device_days: Days = Days::new(30), Kind::one("DAYS", Days::parse, ToString::to_string);

    /// After the machine's clock has jumped, or differs by more than a day from the newest stored message at a start, nothing
    /// is removed because of its age until the clock has not jumped for this time, such as 90s, 15m or 1h; a number without
    /// a unit is in seconds
    ///
    /// Until then, the times of messages continue from the time before the jump. SIGHUP accepts the clock at once.
    clock_settle: Span = Span::hours(1), text("TIME", Span::parse);

    /// Free disk space below which the server stores nothing more, 0 for no minimum; auto: 256 MiB, or a 64th of a
    /// smaller disk
    min_free_disk: Auto<u64> = Auto::AUTO, number_or_auto("BYTES|auto", 0..=1 << 50);
}

/// Where messages are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: one `SQLite` file, which is created if it does not exist. A relative path starts at the working
    /// directory.
    Sqlite(PathBuf),
    /// `memory:`: nothing is kept after the process ends.
    Memory,
}

impl StoreUrl {
    fn parse(raw: &RawValue) -> Result<Self, String> {
        let expected = "expected sqlite:PATH, such as sqlite:dmwire.db, or memory:";
        match raw.as_str().split_once(':') {
            Some(("memory", "") | ("sqlite", ":memory:")) => Ok(Self::Memory),
            Some(("sqlite", path)) if path.starts_with("//") => Err(format!(
                "{raw} has the slashes of a URL before its path; {expected}"
            )),
            // SQLite would take this name as a URI.
            Some(("sqlite", path)) if path.starts_with("file:") => {
                Ok(Self::Sqlite(Path::new(".").join(path)))
            }
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(format!("{raw} is not a store; {expected}")),
        }
    }
}

impl Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk: it survives a power failure.
    #[default]
    Full,
    /// When the operating system has it: it survives a crash of the server, but a power failure can lose the newest
    /// commits.
    Normal,
}

/// How long data is kept (PROTOCOL section 5, "Two lifetimes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds that inbox entries are kept.
    pub inbox_ms: i64,
    /// Maximum number of entries in one inbox.
    pub inbox_limit: u64,
    /// Milliseconds that messages are kept, but never shorter than the inbox entries that refer to them; `None`: forever.
    pub history_ms: Option<i64>,
    /// Milliseconds that the position of a device is kept after its last use.
    pub device_ms: i64,
}

impl StorageConfig {
    /// How long data is kept.
    pub fn retention(&self) -> Retention {
        Retention {
            inbox_ms: self.inbox_days.0,
            inbox_limit: self.inbox_limit,
            history_ms: self.history_days.map(|days| days.0),
            device_ms: self.device_days.0,
        }
    }

    /// The directory that messages are written to.
    pub fn directory(&self) -> PathBuf {
        match &self.store {
            StoreUrl::Memory => temporary_directory(),
            StoreUrl::Sqlite(path) => {
                // The resolved path: a link may point to another disk.
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                let directory = path
                    .parent()
                    .filter(|directory| !directory.as_os_str().is_empty());
                directory.map_or_else(|| ".".into(), Into::into)
            }
        }
    }

    /// The file with the secret that the server generates for itself: next to the store. `None` for a store in memory.
    pub fn secret_file(&self) -> Option<PathBuf> {
        self.file_beside("-secret")
    }

    /// The file with the hash of the key of the HTTP API that the server generates for itself: next to the store. `None` for a store
    /// in memory.
    pub fn api_key_file(&self) -> Option<PathBuf> {
        self.file_beside("-api-key")
    }

    fn file_beside(&self, suffix: &str) -> Option<PathBuf> {
        let StoreUrl::Sqlite(path) = &self.store else {
            return None;
        };
        // The resolved path, so that the same store under another name has the same file.
        let mut name = std::fs::canonicalize(path)
            .unwrap_or_else(|_| path.clone())
            .into_os_string();
        name.push(suffix);
        Some(name.into())
    }
}

/// The directory for the temporary database of `--store memory:`.
pub fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

fn days_or_forever(raw: &RawValue) -> Result<Option<Days>, String> {
    if raw.as_str() == "forever" {
        return Ok(None);
    }
    Days::parse(raw)
        .map(Some)
        .map_err(|error| format!("{error}, nor \"forever\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_or_memory() {
        let parse = |text: &str| StoreUrl::parse(&text.into());
        assert_eq!(parse("memory:"), Ok(StoreUrl::Memory));
        assert_eq!(parse("sqlite::memory:"), Ok(StoreUrl::Memory));
        assert_eq!(
            parse("sqlite:/var/lib/a.db"),
            Ok(StoreUrl::Sqlite("/var/lib/a.db".into()))
        );
        assert_eq!(
            parse("sqlite:file:a.db"),
            Ok(StoreUrl::Sqlite("./file:a.db".into()))
        );
        for invalid in [
            "",
            "sqlite:",
            "dmwire.db",
            "memory",
            "memory:x",
            "postgres://db",
            "sqlite://a.db",
        ] {
            assert!(
                parse(invalid).unwrap_err().contains("sqlite:dmwire.db"),
                "{invalid}"
            );
        }
    }
}

//! The record by which a start recognises what the previous run has left: a row of `meta` in the database file, and the lock
//! file beside it.
//!
//! The file and its write-ahead log (WAL) are two files that can be separated: an operator removes the WAL, or puts a backup in
//! place of the file while the WAL of the former file is still there. SQLite would serve a mixture. Therefore each
//! *generation* of the WAL, from one complete checkpoint to the next, has a random id. Its first commit writes the record into
//! the WAL; its last one adds the id of its end. A checkpoint copies the record to the main file. So the record in the main file
//! alone is that of the WAL's generation, as the whole of this generation is in the WAL, or has the end of the generation before
//! it, if nothing of the WAL has been copied yet.
//!
//! The record also says whether the run was closed. The main file says "open" only after a WAL is durable beside it, and a
//! WAL is never empty while its main file says "open". So a file that says "open" and has no WAL has lost it.

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

/// The length of a record in bytes.
const LENGTH: usize = 81;
const OPEN: u8 = 1;
const NORMAL: u8 = 2;

/// What the store knows about its run and its write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The present generation of the WAL.
    pub generation: Uuid,
    /// The end of the generation before it; nil for the first.
    pub previous: Uuid,
    /// The end of the present generation; nil while it has none. A commit that follows makes it invalid.
    pub end: Uuid,
    /// Changes with each start of a server: see [`super::run`].
    pub run: Uuid,
    /// The boot of the operating system, nil if unknown.
    pub boot: Uuid,
    /// The run has not been closed.
    pub open: bool,
    /// The run uses `--durability normal`: a power failure can lose its newest commits.
    pub normal: bool,
}

impl LogRecord {
    /// The record of a closed file without a WAL, such as a backup. No WAL of another file follows it.
    pub fn first() -> Self {
        Self {
            generation: Uuid::new_v4(),
            previous: Uuid::nil(),
            end: Uuid::nil(),
            run: Uuid::new_v4(),
            boot: Uuid::nil(),
            open: false,
            normal: false,
        }
    }

    /// The record at the end of the generation.
    pub fn ended(self) -> Self {
        Self {
            end: Uuid::new_v4(),
            ..self
        }
    }

    /// The record of the next generation of the same run.
    pub fn next(self) -> Self {
        Self {
            generation: Uuid::new_v4(),
            previous: self.end,
            end: Uuid::nil(),
            ..self
        }
    }

    /// True if this record, read from a file together with its WAL, follows the record `alone` in the main file without the
    /// WAL. A file of an older version has none.
    pub fn follows(self, alone: Option<Self>) -> bool {
        match alone {
            Some(alone) => {
                alone.generation == self.generation
                    || !alone.end.is_nil() && alone.end == self.previous
            }
            None => self.previous.is_nil(),
        }
    }

    /// Reads the record. `None`: the file is of an older version, or empty.
    pub fn read(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        if !connection.table_exists(None, "meta")? {
            return Ok(None);
        }
        let bytes: Option<Vec<u8>> = connection
            .query_row("SELECT value FROM meta WHERE key = 'log'", (), |row| {
                row.get(0)
            })
            .optional()?;
        Ok(bytes.and_then(|bytes| Self::decode(&bytes)))
    }

    /// Writes the record, in a transaction of the caller or in one of its own.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('log', ?1)")?
            .execute([self.encode()])
            .map(drop)
    }

    fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = if self.open { OPEN } else { 0 } | if self.normal { NORMAL } else { 0 };
        let ids = [
            self.generation,
            self.previous,
            self.end,
            self.run,
            self.boot,
        ];
        for (id, space) in ids.iter().zip(bytes[1..].chunks_exact_mut(16)) {
            space.copy_from_slice(id.as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, ids) = bytes.split_first().filter(|_| bytes.len() == LENGTH)?;
        let id = |n: usize| Uuid::from_slice(&ids[16 * n..16 * (n + 1)]).ok();
        Some(Self {
            generation: id(0)?,
            previous: id(1)?,
            end: id(2)?,
            run: id(3)?,
            boot: id(4)?,
            open: flags & OPEN != 0,
            normal: flags & NORMAL != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let connection = Connection::open_in_memory().unwrap();
        assert_eq!(LogRecord::read(&connection).unwrap(), None);
        let table = "CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT";
        connection.execute_batch(table).unwrap();
        assert_eq!(LogRecord::read(&connection).unwrap(), None);
        let mut record = LogRecord::first();
        for (open, normal) in [(false, false), (true, false), (false, true), (true, true)] {
            record = LogRecord {
                open,
                normal,
                boot: Uuid::new_v4(),
                ..record.ended().next().ended()
            };
            record.write(&connection).unwrap();
            assert_eq!(LogRecord::read(&connection).unwrap(), Some(record));
        }
    }

    #[test]
    fn a_record_follows_the_one_before_it_and_no_other() {
        let first = LogRecord::first();
        let ended = first.ended();
        let second = ended.next();
        let third = second.ended().next();
        assert!(first.follows(None) && ended.follows(None) && !second.follows(None));
        assert!(ended.follows(Some(first)));
        assert!(second.follows(Some(ended)) && second.follows(Some(second)));
        // A part of the first generation is in the main file.
        assert!(!second.follows(Some(first)) && !second.follows(Some(first.ended())));
        assert!(!third.follows(Some(ended)) && !first.follows(Some(second)));
        assert!(!second.follows(Some(LogRecord::first())));
    }
}

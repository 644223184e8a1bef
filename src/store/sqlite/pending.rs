//! The pending log: messages that are committed but not yet in their tables. It is a write-ahead memtable: a table of the
//! database file (`pending`) makes it durable, and an index in memory ([`PendingLog`]) finds messages in it.
//!
//! **Why it exists.** A message has an entry in four b-trees (messages, message ids, and an inbox entry for both users). A
//! batch of messages of many users changes pages all over the file, and a commit writes each changed page as a whole: 16 KiB
//! for a single message. With the log, a batch is one or two adjacent rows, on one or two pages; they are synced, and the batch is
//! acknowledged. Within 150 ms the messages move to their tables, conversation by conversation, so that many of
//! them share a page.
//!
//! **Measured** against inserting into the tables directly (`docs/performance.md`, "Optimizations that helped"): durable
//! messages rose from 24,000 to 67,000 a second with one in flight, and from 100,000 to 154,000 with 16 in flight; the CPU
//! time per message fell from 36 to 16 us and from 9.7 to 6.9 us. Messages above 2 KiB are inserted directly: batching saves
//! nothing for content that fills whole pages.
//!
//! **Large rooms.** A message in a room makes an entry for each member. Above a few, the entries move after the message, those of
//! about a second together, and in portions between which other batches are committed: see [`late_entries`]. So do the entries about
//! an edit, a deletion or a reaction there, and about a member, which the log has without a message ([`EntryRecord`]): what they are
//! about is in its table with the same commit.
//!
//! **Reading.** Queries see only the tables, so a reader has the log flushed before it reads messages
//! ([`Shared::flush`](super::shared::Shared::flush)). If that is impossible, because the disk is full, it includes the log in
//! its view of the tables ([`include`]), which is slow but needs no space on the disk.
//!
//! **Crashes.** Moving a message twice changes nothing, and a row is removed only after all of its messages have moved. After
//! a crash everything that is left in the table is loaded and moved again.

mod encoding;
mod flush;
mod index;
mod item;
mod late_entries;
mod legacy;
mod record;
mod rows;
mod tables;
mod view;

pub use self::index::{PendingLog, Selection};
pub use self::item::{About, EntryRecord, Item};
pub use self::late_entries::are_late;
pub use self::legacy::{VERSIONED_RECORDS, rewrite, upgrade};
pub use self::record::Record;
pub use self::rows::{PendingBatch, each_item};
pub use self::tables::{Superseded, Tables, TrimmedTo};
pub use self::view::{exclude, include};

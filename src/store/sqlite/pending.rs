//! Messages that are committed and not yet in their tables.
//!
//! A message has its place in four b-trees, and a batch of messages of many users touches pages all over the file, each of
//! which a commit would write whole. So a batch is committed as a few rows of a log, the table `pending`, side by side on one
//! page or two; that is what is acknowledged. A little later the messages move to their tables, conversation by conversation,
//! many to a page. Whoever reads the tables waits until that is done ([`Store::settle`](crate::store::Store::settle)).
//!
//! Moving a message twice changes nothing, and rows leave the log only when all their messages have moved. So what a crash
//! leaves in the log is moved after the next start, whatever of it had moved before.

mod flush;
mod index;
mod record;
mod view;

pub use self::flush::Floors;
pub use self::index::{Chosen, PendingLog};
pub use self::record::{PendingBatch, Record};
pub use self::view::{overlay, uncover};

//! The write-ahead log (`dmwire::log`), without a server.
//!
//! `crashes` and `damage` use a disk in memory. **Modelled:** a write that has returned is durable; of a write that is under way, any
//! units of 512 or 4,096 bytes may be on the disk, in any order. A file that is created is missing, shorter, or complete, and its
//! name may be lost until the folder is synced. Damage is a bit that changes, a file that is missing, shorter, an earlier state
//! of itself, a copy of another one, or a part of another log. `files` and `kills` use real files.

#[path = "../support/memory_disk.rs"]
mod memory_disk;
#[path = "../support/support.rs"]
mod support;

mod crashes;
mod damage;
mod errors;
mod files;
mod kills;
mod workload;

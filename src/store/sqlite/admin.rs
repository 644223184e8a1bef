//! Commands of an operator on a store: back up, restore, verify, export, erase a user.

mod backup;
mod contents;
mod erase;
mod part;
mod restore;
mod verify;
mod view;

pub use self::backup::{Backup, backup};
pub use self::contents::Contents;
pub use self::erase::erase;
pub use self::restore::{Restored, restore};
pub use self::verify::verify;

pub(super) use self::contents::copy;
pub(super) use self::part::PartFile;
pub use self::view::reader_of;

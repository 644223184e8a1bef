//! Commands of an operator on a store: back up, verify, export, erase a user.

mod backup;
mod erase;
mod verify;
mod view;

pub use self::backup::backup;
pub use self::erase::{Erased, erase};
pub use self::verify::verify;
pub use self::view::reader_of;

//! The commands for operators.

#[path = "../support/support.rs"]
mod support;

mod backup;
mod erase;
mod export;
mod helpers;
mod verify;

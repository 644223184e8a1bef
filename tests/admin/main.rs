//! The commands for operators: backup, verify, export, erase.

#[path = "../support/support.rs"]
mod support;

mod backup;
mod erase;
mod erased_names;
mod export;
mod helpers;
mod interrupted;
mod older;
mod restore;
mod verify;

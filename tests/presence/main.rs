//! Presence: who is online, who sees it, and when.

#[path = "../support/support.rs"]
mod support;

mod contacts;
mod helpers;
mod hidden;
mod invisible;
mod limits;
mod members;
mod modes;
mod restarts;
mod watching;

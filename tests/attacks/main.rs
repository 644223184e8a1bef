//! Attacks on a running server. They run one at a time (see `support::pair::alone`), as each keeps the machine busy.

#[path = "../support/support.rs"]
mod support;

mod auth_flood;
mod connections;
mod frames;
mod memory_budget;
mod reconnects;

//! Webhooks: a real HTTP server receives the events.

#[path = "../ops/helpers.rs"]
#[allow(dead_code)] // each test binary uses its own part of it
mod helpers;
#[path = "../support/support.rs"]
mod support;

mod addresses;
mod delivery;
mod erasure;
mod failures;
mod receiver;
mod restarts;
mod rooms_and_users;
mod waiting;

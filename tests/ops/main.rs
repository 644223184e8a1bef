//! The operations port: listeners, keys, errors, and the calls of the HTTP API.

#[path = "../support/support.rs"]
mod support;

mod conversations;
mod dashboard;
mod erasure;
mod erasure_load;
mod export;
mod helpers;
mod keys;
mod local;
mod members;
mod messages;
mod metrics;
mod monitor;
mod notify;
mod observability;
mod openapi;
mod port;
mod redis_faults;
mod revocation;
mod room_deletion;
mod rooms;
mod sessions;
mod strict;
mod users;

//! Rooms: memberships, messages and changes in rooms, and what members see of each other.

#[path = "../support/support.rs"]
mod support;

mod handshake;
mod helpers;
mod limits;
mod membership;
mod messages;
mod modes;
mod order;
mod queries;
mod replay;
mod signals;
mod visibility;

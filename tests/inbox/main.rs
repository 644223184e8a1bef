//! Messages and inboxes: delivery, replay, receipts, changes, histories, blocks, retention.

#[path = "../support/support.rs"]
mod support;

mod blocks;
mod changes;
mod delivery;
mod devices;
mod history;
mod presence_modes;
mod receipts;
mod replay;
mod resume;
mod retention;
mod visibility;

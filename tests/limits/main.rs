//! Limits: rates, sizes, bytes per day, connections, unknown recipients, slow readers, disk space.

#[path = "../support/support.rs"]
mod support;

mod bytes;
mod changes;
mod control_frames;
mod disk_space;
mod frame_limits;
mod quotas;
mod slow_readers;
mod unknown_recipients;

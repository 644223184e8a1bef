//! Crashes, shutdowns and broken connections: no acknowledged message is lost or duplicated.

#[path = "../support/support.rs"]
mod support;

mod clock;
mod crash;
mod displaced_files;
mod failing_calls;
mod failing_device;
mod log_files;
mod log_pipe;
mod resend;
mod shutdown;
mod store_errors;

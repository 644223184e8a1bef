//! Crashes, shutdowns and cut connections: nothing acknowledged is lost, nothing is delivered twice.

#[path = "../support/support.rs"]
mod support;

mod crash;
mod resend;
mod shutdown;

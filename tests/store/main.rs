//! The contract of a store, on each backend.

#[path = "../support/support.rs"]
mod support;

mod story;

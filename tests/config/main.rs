//! Settings from all sources, and how the server starts with them.

#[path = "../support/support.rs"]
mod support;

mod settings;
mod startup;

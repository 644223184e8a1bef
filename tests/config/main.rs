//! Settings from all sources, and how the server starts with them.

#[path = "../support/support.rs"]
mod support;

mod commands;
mod help;
mod invalid;
mod run;
mod sources;
mod startup;

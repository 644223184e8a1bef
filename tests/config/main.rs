//! Settings from all sources, the help, and the start of the server.

#[path = "../support/support.rs"]
mod support;

mod commands;
mod former_names;
mod help;
mod invalid;
mod run;
mod schema_check;
mod sources;
mod startup;
mod unit_file;

//! The commands for operators.

#[path = "../support/support.rs"]
mod support;

mod commands;

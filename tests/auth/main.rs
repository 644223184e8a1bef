//! Tokens: which are accepted, and how long a session with one lasts.

#[path = "../support/support.rs"]
mod support;

mod tokens;

//! Tokens: which are accepted, and how long a session with one lasts.

#[path = "../support/support.rs"]
mod support;

mod carriers;
mod claims;
mod expiry;
mod generated_secret;
mod helpers;
mod jwks;
mod keys;

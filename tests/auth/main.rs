//! Authentication by tokens: accepted and rejected tokens, keys, expiry of sessions, the generated secret.

#[path = "../support/support.rs"]
mod support;

mod carriers;
mod claims;
mod expiry;
mod file_encodings;
mod generated_secret;
mod helpers;
mod jwks;
mod key_server;
mod keys;
mod new_keys;

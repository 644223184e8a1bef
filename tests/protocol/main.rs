//! Frames of the protocol: the types, the committed schema, invalid frames, and the fuzz targets.

#[path = "../support/support.rs"]
mod support;
#[path = "../support/fuzz.rs"]
mod targets;

mod bad_input;
mod content_types;
mod encoders;
mod error_details;
mod fuzz_corpus;
mod schema_corpus;
mod schema_files;
mod typed_frames;

//! The content of messages.

use std::path::PathBuf;

use super::setting::{folder, section};

section! {
    /// What messages may contain.
    pub struct ContentConfig = config.content, "Content";

    /// Folder with the JSON Schemas of an application's own content types
    ///
    /// The file NAME.schema.json describes the content whose `type` is NAME, such as order.updated. The server validates every
    /// message of that type, and serves the schema with its own at /schema. The folder is read again on SIGHUP; if it has an
    /// invalid schema then, the previous ones stay in use.
    content_types: Option<PathBuf> = None, folder();
}

//! The content of messages.

use std::path::PathBuf;

use super::setting::{folder, section};

section! {
    /// What messages may contain, and how the page shows it.
    pub struct ContentConfig = config.content, "Content";

    /// Folder with the JSON Schemas of an application's own content types
    ///
    /// The file NAME.schema.json describes the content whose `type` is NAME, such as order.updated. The server validates every
    /// message of that type, and serves the schema with its own at /schema. The folder is read again on SIGHUP; if it has an
    /// invalid schema then, the previous ones stay in use.
    content_types: Option<PathBuf> = None, folder();

    /// Folder with scripts that show an application's own content types in the chat page
    ///
    /// Each file whose name ends in .js becomes a part of the page, with the page's rights, and calls dmwire.addRenderer(TYPE,
    /// FUNCTION). The folder is read again on SIGHUP; if a script cannot be used then, the previous ones stay in use.
    page_renderers: Option<PathBuf> = None, folder();
}

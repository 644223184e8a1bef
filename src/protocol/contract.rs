//! The protocol as one server speaks it: the known content types, the exported schemas and their hash.

use std::io;
use std::path::Path;

use super::content::TypedContent;
use super::schema::{self, Exported};

/// The contract between this server and its clients. It is built once, at start, and passed to the code that parses frames,
/// writes `welcome` and serves `/schema`: it is a value, not a constant, so that a deployment can add content types.
#[derive(Debug)]
pub struct Contract {
    content_types: Vec<&'static str>,
    schemas: [Exported; 2],
    hash: String,
}

impl Contract {
    /// The contract with the built-in content types only.
    pub fn built_in() -> Self {
        let schemas = schema::generate();
        Self {
            content_types: TypedContent::TAGS.to_vec(),
            hash: schema::hash(&schemas),
            schemas,
        }
    }

    /// The `type` of every content type.
    pub fn content_types(&self) -> &[&'static str] {
        &self.content_types
    }

    /// The schemas of client frames and of server frames.
    pub fn schemas(&self) -> &[Exported; 2] {
        &self.schemas
    }

    /// The schema with this file name.
    pub fn schema(&self, name: &str) -> Option<&Exported> {
        self.schemas.iter().find(|schema| schema.name == name)
    }

    /// The hash of the schemas, as in `welcome.schema`: 16 hexadecimal digits of a SHA-256.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Writes every schema into the folder `dir`, which is created if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created, or a file cannot be written.
    pub fn export(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        for schema in &self.schemas {
            std::fs::write(dir.join(schema.name), &schema.text)?;
        }
        Ok(())
    }
}

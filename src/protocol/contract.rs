//! The protocol as one server speaks it: the known content types, the exported schemas and their hash.

use std::io;
use std::path::Path;

use super::asyncapi;
use super::content::TypedContent;
use super::content_types::{ContentTypes, InvalidSchema, SchemaSource};
use super::schema::{self, Exported};

/// The contract between this server and its clients. It is passed to the code that parses frames, writes `welcome` and serves
/// `/schema`: it is a value, not a constant, because a deployment can add content types.
#[derive(Debug)]
pub struct Contract {
    content_types: Vec<String>,
    custom: ContentTypes,
    schemas: [Exported; 2],
    monitor: Exported,
    asyncapi: Exported,
    /// Descriptions by other parts of the server.
    added: Vec<Exported>,
    hash: String,
}

impl Contract {
    /// The contract with the built-in content types only.
    pub fn built_in() -> Self {
        Self::with(ContentTypes::default())
    }

    /// The contract with content types of an application in addition.
    ///
    /// # Errors
    /// [`InvalidSchema`]
    pub fn with_content_types(sources: Vec<SchemaSource>) -> Result<Self, InvalidSchema> {
        ContentTypes::compile(sources).map(Self::with)
    }

    fn with(custom: ContentTypes) -> Self {
        let schemas = schema::generate(&custom);
        let built_in = TypedContent::TAGS.iter().copied();
        Self {
            content_types: built_in.chain(custom.names()).map(str::to_owned).collect(),
            custom,
            hash: schema::hash(&schemas),
            monitor: schema::monitor(),
            asyncapi: describe(&schemas),
            added: Vec::new(),
            schemas,
        }
    }

    /// The same with one more document, which a part of the server makes of the schemas.
    #[must_use]
    pub fn with_document(mut self, describe: impl FnOnce(&Self) -> Exported) -> Self {
        let document = describe(&self);
        self.added.push(document);
        self
    }

    /// The `type` of every content type.
    pub fn content_types(&self) -> &[String] {
        &self.content_types
    }

    /// The content types of the application.
    pub fn custom_types(&self) -> &ContentTypes {
        &self.custom
    }

    /// The schemas of client frames and of server frames.
    pub fn schemas(&self) -> &[Exported; 2] {
        &self.schemas
    }

    /// Everything that is exported and served at `/schema`: the schemas, also that of `/monitor`, and the descriptions.
    pub fn documents(&self) -> impl Iterator<Item = &Exported> {
        let own = self.schemas.iter().chain([&self.monitor, &self.asyncapi]);
        own.chain(&self.added)
    }

    /// The document with this file name.
    pub fn document(&self, name: &str) -> Option<&Exported> {
        self.documents().find(|document| document.name == name)
    }

    /// The hash of the schemas, as in `welcome.schema`: 16 hexadecimal digits of a SHA-256.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Writes every document into the folder `dir`, which is created if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created, or a file cannot be written.
    pub fn export(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        for document in self.documents() {
            std::fs::write(dir.join(document.name), &document.text)?;
        }
        Ok(())
    }
}

/// The AsyncAPI description of the frames of these schemas.
fn describe(schemas: &[Exported; 2]) -> Exported {
    let [client, server] = schemas
        .each_ref()
        .map(|schema| serde_json::from_str(&schema.text).unwrap_or_default());
    asyncapi::generate(&client, &server)
}

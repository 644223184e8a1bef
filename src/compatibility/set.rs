//! The files of a set of content types.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::read::SchemaError;

const SUFFIX: &str = ".schema.json";

/// A reason for which sets cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Read(PathBuf, #[source] io::Error),
    /// A file is not JSON.
    #[error("{}: not valid JSON: {}", .0.display(), .1)]
    Json(PathBuf, #[source] serde_json::Error),
    /// A file is no schema that can be compared.
    #[error("{}: {}", .0.display(), .1)]
    Schema(PathBuf, #[source] SchemaError),
    /// A file is compared with a directory.
    #[error("compare two directories or two files, not a file and a directory")]
    Mixed,
}

/// A schema file.
#[derive(Debug)]
pub(super) struct SchemaFile {
    pub name: String,
    pub path: PathBuf,
    pub value: Value,
}

/// The schemas of a directory, or a single schema file.
#[derive(Debug)]
pub struct SchemaSet {
    files: BTreeMap<String, SchemaFile>,
    is_file: bool,
}

impl SchemaSet {
    /// Reads a schema file, or all files `NAME.schema.json` of a directory whose `NAME` is that of a content type. Other files
    /// are ignored.
    ///
    /// # Errors
    /// A file cannot be read, or is not JSON.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let failed = |error| InputError::Read(path.to_owned(), error);
        let is_file = !fs::metadata(path).map_err(failed)?.is_dir();
        let mut files = BTreeMap::new();
        if is_file {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let name = name.strip_suffix(SUFFIX).unwrap_or(&name).to_owned();
            files.insert(name.clone(), SchemaFile::read(name, path.to_owned())?);
        } else {
            for entry in fs::read_dir(path).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name
                    .and_then(|name| name.strip_suffix(SUFFIX))
                    .map(str::to_owned);
                if let Some(name) = name.filter(|name| is_content_type(name)) {
                    files.insert(name.clone(), SchemaFile::read(name, path)?);
                }
            }
        }
        Ok(Self { files, is_file })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SchemaFile> {
        self.files.values()
    }

    pub(super) fn get(&self, name: &str) -> Option<&SchemaFile> {
        self.files.get(name)
    }

    /// The schema, if this is a single file.
    pub(super) fn single(&self) -> Option<&SchemaFile> {
        self.files.values().next().filter(|_| self.is_file)
    }
}

impl SchemaFile {
    fn read(name: String, path: PathBuf) -> Result<Self, InputError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return Err(InputError::Read(path, error)),
        };
        match serde_json::from_str(&text) {
            Ok(UniqueKeys(value)) => Ok(Self { name, path, value }),
            Err(error) => Err(InputError::Json(path, error)),
        }
    }
}

/// Whether content of this type is described by a schema file (PROTOCOL section 3).
pub(super) fn is_content_type(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._~@:+-".contains(c);
    name.contains('.') && name.len() <= 64 && name.chars().all(is_allowed)
}

/// JSON without duplicate keys: programs do not agree on which of them counts.
struct UniqueKeys(Value);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor).map(Self)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(UniqueKeys(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate key {name:?}")));
            }
            map.insert(name, members.next_value::<UniqueKeys>()?.0);
        }
        Ok(Value::Object(map))
    }
}

//! The content types of this server (`--content-types`): their schemas are read from a folder at the start and on SIGHUP, and the
//! contract made of them is shared by all sessions.
//!
//! A session holds the contract that it used last. Before each frame it compares a version number, which is one atomic load; only
//! after a reload it takes a lock to get the new contract. Sessions therefore never wait for the compilation of schemas, and a
//! frame is checked by one set of types as a whole.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::encoding_fault;
use crate::protocol::Contract;
use crate::protocol::content_types::{InvalidSchema, MAX_SCHEMA_BYTES, MAX_TYPES, SchemaSource};

/// How the name of a schema's file ends.
const SUFFIX: &str = ".schema.json";

/// Why the content types cannot be used. The text names the file or the folder, and the reason.
#[derive(Debug, thiserror::Error)]
pub enum ContentTypesError {
    /// The folder or a file cannot be read.
    #[error("--content-types: cannot read {}: {source}", path.display())]
    Unreadable {
        /// The folder or the file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// There is no schema in the folder.
    #[error("--content-types: {} has no file NAME{SUFFIX}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A schema cannot be used.
    #[error("--content-types: {}: {source}", path.display())]
    Invalid {
        /// The file, or the folder if the fault concerns all of them together.
        path: PathBuf,
        /// The reason.
        source: InvalidSchema,
    },
}

impl ContentTypesError {
    /// True if the schemas are well formed, but not what their author intends: there are none, or no content satisfies one of them.
    pub fn is_of_no_use(&self) -> bool {
        match self {
            Self::Unreadable { .. } => false,
            Self::Empty { .. } => true,
            Self::Invalid { source, .. } => source.is_unsatisfiable,
        }
    }
}

/// The same as [`load`], but a folder without schemas is an error. While the server runs, its last type may be removed.
///
/// # Errors
/// [`ContentTypesError`]
pub fn load_at_start(folder: &Path) -> Result<Contract, ContentTypesError> {
    let contract = load(folder)?;
    if contract.custom_types().names().next().is_some() {
        Ok(contract)
    } else {
        let path = folder.to_owned();
        Err(ContentTypesError::Empty { path })
    }
}

/// Reads the schemas in a folder and compiles them. Files whose name does not end in `.schema.json` are ignored.
///
/// # Errors
/// [`ContentTypesError`]
pub fn load(folder: &Path) -> Result<Contract, ContentTypesError> {
    let sources = read_folder(folder)?;
    Contract::with_content_types(sources).map_err(|source| {
        let file = source.name.as_ref().map(|name| format!("{name}{SUFFIX}"));
        ContentTypesError::Invalid {
            path: file.map_or_else(|| folder.to_owned(), |file| folder.join(file)),
            source,
        }
    })
}

fn read_folder(folder: &Path) -> Result<Vec<SchemaSource>, ContentTypesError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| ContentTypesError::Unreadable { path, source }
    };
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let Some(name) = type_name(&path) else {
            continue;
        };
        let text = read_file(&path).map_err(unreadable(&path))?;
        sources.push(SchemaSource { name, text });
        // One more than allowed is enough for the error.
        if sources.len() > MAX_TYPES {
            break;
        }
    }
    Ok(sources)
}

/// The type that a file describes. `None`: it is not a file with a schema.
fn type_name(path: &Path) -> Option<String> {
    let name = path.file_name().map(OsStr::to_string_lossy)?;
    name.strip_suffix(SUFFIX).map(str::to_owned)
}

/// Reads a file, but not more than one byte beyond the size of the largest schema.
fn read_file(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(MAX_SCHEMA_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if let Some(fault) = encoding_fault(&bytes) {
        return Err(io::Error::other(format!("it {fault}")));
    }
    // The end of a file that is too large may be in the middle of a character.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The contract in force, which a reload replaces.
#[derive(Debug)]
pub struct SharedContract {
    /// Changes with every replacement.
    version: AtomicU64,
    current: RwLock<Arc<Contract>>,
}

impl SharedContract {
    /// Starts with this contract.
    pub fn new(contract: Contract) -> Arc<Self> {
        Arc::new(Self {
            version: AtomicU64::new(0),
            current: RwLock::new(Arc::new(contract)),
        })
    }

    /// The contract in force.
    pub fn current(&self) -> Arc<Contract> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts another contract in force: for the next frame of every session.
    pub fn replace(&self, contract: Contract) {
        let contract = Arc::new(contract);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = contract;
        // After the contract: a session that loads the new version then reads this contract or a later one.
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// The contract as a session uses it.
#[derive(Debug)]
pub struct SessionContract {
    shared: Arc<SharedContract>,
    version: u64,
    contract: Arc<Contract>,
}

impl SessionContract {
    /// Follows the contract in force.
    pub fn new(shared: Arc<SharedContract>) -> Self {
        // Before the contract: if it is replaced meanwhile, it is read once more.
        let version = shared.version.load(Ordering::Acquire);
        let contract = shared.current();
        Self {
            shared,
            version,
            contract,
        }
    }

    /// The contract in force.
    pub fn current(&mut self) -> &Contract {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.contract = self.shared.current();
            self.version = version;
        }
        &self.contract
    }
}

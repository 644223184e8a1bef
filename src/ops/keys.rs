//! The keys of the HTTP API. A file has the SHA-256 of each key, so that nobody who reads the file can call the API. A key is 256
//! random bits, which no attempt to guess finds; so a fast hash is enough.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::ApiError;
use crate::auth::{AuthSetupError, generate_secret, invalid_file, read_text, save_secret};
use crate::config::{ApiAccess, Config, Secret};
use crate::counters::Limit;
use crate::limits::KeyedRateLimit;
use crate::protocol::types::is_name;

/// The name of the key that the server generates.
const GENERATED: &str = "generated";
/// The name, for the log and for rates, of callers without a key.
const NO_KEY: &str = "-";
/// What a line of the file has to look like.
const LINE: &str = "a line is NAME SHA256-HEX [SCOPE,...], with the scopes read, write and admin, as `dmwire api-key NAME` prints it";

/// What a key allows. None of the scopes includes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Calls that change nothing.
    Read = 1,
    /// Sending messages and changing memberships.
    Write = 2,
    /// Acting against users, such as erasing and disconnecting them.
    Admin = 4,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scopes(u8);

impl Scopes {
    const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        let mut scopes = 0;
        for name in text.split(',') {
            let mut all = Scope::ALL.into_iter();
            scopes |= all.find(|scope| scope.as_str() == name)? as u8;
        }
        Some(Self(scopes))
    }

    fn contains(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }
}

/// A key that is allowed to call the API.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ApiKey {
    name: Arc<str>,
    hash: [u8; 32],
    scopes: Scopes,
}

/// The authenticated caller of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name of the key; `-` without one. For the log.
    pub name: Arc<str>,
    scopes: Scopes,
    /// The hash of the key.
    hash: Option<[u8; 32]>,
}

/// A key that was just generated. `Debug` does not show it.
pub struct NewKey {
    name: Arc<str>,
    /// As in the file; absent for all of them.
    scopes: Option<String>,
    key: Secret,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl NewKey {
    /// Generates a key of this name with these scopes, separated by commas, or with all of them.
    ///
    /// # Errors
    /// A description, if the name or a scope is invalid or the system provides no random bytes.
    pub fn generate(name: &str, scopes: Option<&str>) -> Result<Self, String> {
        if !is_name(name) {
            return Err(format!(
                "{name:?} is not the name of a key: 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -"
            ));
        }
        if let Some(scopes) = scopes.filter(|scopes| Scopes::parse(scopes).is_none()) {
            return Err(format!(
                "{scopes:?} is not a list of scopes: read, write and admin, separated by commas"
            ));
        }
        let key = generate_secret().map_err(|error| error.to_string())?;
        Ok(Self {
            name: name.into(),
            scopes: scopes.map(str::to_owned),
            key,
        })
    }

    /// The key.
    pub fn key(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.key.expose())
    }

    /// The line of the key in a key file.
    pub fn line(&self) -> String {
        let hash = Sha256::digest(self.key.expose());
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits: String = digits
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        match &self.scopes {
            Some(scopes) => format!("{} {digits} {scopes}", self.name),
            None => format!("{} {digits}", self.name),
        }
    }
}

/// The keys of the API.
#[derive(Debug)]
pub struct ApiKeys {
    access: ApiAccess,
    /// The file with the keys, also that of the generated one.
    file: Option<PathBuf>,
    /// Read for each request and replaced on SIGHUP. The lock is held for one clone or one replacement.
    keys: RwLock<Arc<[ApiKey]>>,
    /// Requests of each key, by its name, so that reading the file again does not refill them.
    rates: KeyedRateLimit<Arc<str>>,
}

impl ApiKeys {
    /// Reads the configured keys. With [`ApiAccess::GeneratedKey`], call [`ApiKeys::with_generated_key`] after the store is opened.
    ///
    /// # Errors
    /// If the file cannot be read, or is invalid.
    pub fn new(config: &Config) -> Result<Self, AuthSetupError> {
        let file = config.ops.api_key_file.clone();
        let keys = match &file {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        Ok(Self {
            access: config.api_access(),
            file,
            keys: RwLock::new(keys.into()),
            rates: KeyedRateLimit::new(config.ops.request_rate()),
        })
    }

    /// If the settings require it, reads the generated key from `file`, or generates one at the first start and returns it. Without a
    /// file (`--store memory:`) it lasts until the server stops. The store must be open: its lock prevents a second server from
    /// generating another key.
    ///
    /// # Errors
    /// If the file can be neither read nor created.
    pub fn with_generated_key(
        mut self,
        file: Option<PathBuf>,
    ) -> Result<(Self, Option<NewKey>), AuthSetupError> {
        if self.access != ApiAccess::GeneratedKey {
            return Ok((self, None));
        }
        let exists = file.as_deref().is_some_and(Path::exists);
        let new_key = if exists {
            None
        } else {
            let key = NewKey::generate(GENERATED, None).map_err(AuthSetupError::Failed)?;
            if let Some(path) = &file {
                save(path, &key)?;
            }
            Some(key)
        };
        let keys = match (&file, &new_key) {
            (Some(file), _) => read(file)?,
            (None, Some(key)) => parse(&key.line()).map_err(AuthSetupError::Failed)?,
            (None, None) => Vec::new(),
        };
        self.file = file;
        self.keys = RwLock::new(keys.into());
        Ok((self, new_key))
    }

    /// How callers are authenticated.
    pub fn access(&self) -> ApiAccess {
        self.access
    }

    /// Whether there is a file that can be read again.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Reads the file again. If it is invalid, the keys that were read last stay in use.
    pub fn reload(&self) {
        let Some(file) = &self.file else { return };
        match read(file) {
            Ok(keys) => {
                log::info!(keys = keys.len(); "keys of the HTTP API loaded");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
            }
            Err(error) => log::error!("the keys of the HTTP API stay as they were: {error}"),
        }
    }

    /// The caller with this key.
    ///
    /// # Errors
    /// 401: the key is not valid, or there is none.
    pub fn verify(&self, key: Option<&str>) -> Result<Caller, ApiError> {
        match (self.access, key) {
            (ApiAccess::Loopback, _) => Ok(Caller {
                name: NO_KEY.into(),
                scopes: Scopes::ALL,
                hash: None,
            }),
            (ApiAccess::Closed, _) => Err(ApiError::unauthorized(
                "no key is valid on this server: the HTTP API needs --api-key-file",
            )),
            (_, None) => Err(ApiError::unauthorized(
                "a key is required: send `Authorization: Bearer KEY`",
            )),
            (_, Some(key)) => self.find(key).ok_or_else(|| {
                ApiError::unauthorized("the key is not one of this server's API keys")
            }),
        }
    }

    /// Checks whether the key of a caller is still valid, and has `scope`.
    ///
    /// # Errors
    /// 401 or 403: it was removed, or has lost the scope.
    pub fn check_again(&self, caller: &Caller, scope: Scope) -> Result<(), ApiError> {
        let Some(hash) = caller.hash else {
            return Ok(());
        };
        match self.find_hash(hash) {
            None => Err(ApiError::unauthorized("the key is not valid any more")),
            Some(found) if found.scopes.contains(scope) => Ok(()),
            Some(_) => Err(ApiError::missing_scope(scope)),
        }
    }

    fn find(&self, key: &str) -> Option<Caller> {
        self.find_hash(Sha256::digest(key).into())
    }

    /// Compares the hash with that of each of the keys, in a time that does not depend on them.
    fn find_hash(&self, hash: [u8; 32]) -> Option<Caller> {
        let keys = self
            .keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut found = None;
        for key in &*keys {
            if bool::from(key.hash.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        found.map(|key| Caller {
            name: key.name.clone(),
            scopes: key.scopes,
            hash: Some(hash),
        })
    }

    /// Counts a request that needs `scope`.
    ///
    /// # Errors
    /// 403: the key does not have the scope. 429: the key has reached its rate.
    pub fn admit(&self, caller: &Caller, scope: Scope) -> Result<(), ApiError> {
        if !caller.scopes.contains(scope) {
            return Err(ApiError::missing_scope(scope));
        }
        self.rates.check(&caller.name).map_err(|retry_after_ms| {
            Limit::ApiRequests.count(1);
            ApiError::rate_limited(retry_after_ms)
        })
    }
}

fn save(path: &Path, key: &NewKey) -> Result<(), AuthSetupError> {
    let failed =
        |error: &dyn fmt::Display| AuthSetupError::Failed(format!("{}: {error}", path.display()));
    let line = Secret::new(key.line().as_bytes()).ok_or_else(|| failed(&"the key is empty"))?;
    save_secret(path, &line).map_err(|error| failed(&error))?;
    log::info!(file:% = path.display(); "generated a key of the HTTP API");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<ApiKey>, AuthSetupError> {
    const SETTING: &str = "api_key_file";
    let text = read_text(SETTING, path)?;
    let text =
        String::from_utf8(text).map_err(|_| invalid_file(SETTING, path, "is not in UTF-8"))?;
    let keys = parse(&text).map_err(|why| invalid_file(SETTING, path, why))?;
    if keys.is_empty() {
        log::warn!(file:% = path.display(); "the file with the keys of the HTTP API has none");
    }
    Ok(keys)
}

/// The keys in the text of a file. An error continues "FILE ...", and contains nothing of the line but a valid name.
fn parse(text: &str) -> Result<Vec<ApiKey>, String> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, hash, scopes) = match words[..] {
            [] => continue,
            [name, hash] => (name, hash, Some(Scopes::ALL)),
            [name, hash, scopes] => (name, hash, Scopes::parse(scopes)),
            _ => return Err(format!("has an invalid line {number}: {LINE}")),
        };
        let (true, Some(hash)) = (is_name(name), sha256(hash)) else {
            return Err(format!("has an invalid line {number}: {LINE}"));
        };
        let Some(scopes) = scopes else {
            return Err(format!("has an unknown scope in line {number}: {LINE}"));
        };
        if keys.iter().any(|key| &*key.name == name) {
            return Err(format!(
                "has the name {name} a second time in line {number}; each key needs a name of its own"
            ));
        }
        if keys.iter().any(|key| key.hash == hash) {
            return Err(format!(
                "has the same key a second time in line {number}; it would be unclear which name and scopes count"
            ));
        }
        keys.push(ApiKey {
            name: name.into(),
            hash,
            scopes,
        });
    }
    Ok(keys)
}

/// 64 hexadecimal digits.
fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_key_on_each_line() {
        let (a, b) = ("0a".repeat(32), "FF".repeat(32));
        let text = format!("# keys\n\nshop {a} read,write # of the shop\r\n  ops\t{b}\n");
        let keys = parse(&text).expect("the file is valid");
        assert_eq!(
            keys,
            [
                ApiKey {
                    name: "shop".into(),
                    hash: [10; 32],
                    scopes: Scopes(3)
                },
                ApiKey {
                    name: "ops".into(),
                    hash: [255; 32],
                    scopes: Scopes::ALL
                }
            ]
        );
        for (text, part) in [
            (
                format!("shop {a}\nshop {b}"),
                "shop a second time in line 2",
            ),
            (
                format!("shop {a}\nops {a}"),
                "same key a second time in line 2",
            ),
            (format!("shop {a} read,root"), "unknown scope in line 1"),
            (format!("shop {a} read,"), "unknown scope in line 1"),
            (format!("shop {a} read write"), "invalid line 1"),
            (format!("shop {}", &a[1..]), "invalid line 1"),
            (format!("shop {a}0"), "invalid line 1"),
            (format!("shop {}é", &a[2..]), "invalid line 1"),
            (format!("sh/op {a}"), "invalid line 1"),
            ("shop".into(), "invalid line 1"),
        ] {
            let error = parse(&text).expect_err("the file is invalid");
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_generated_key_is_the_one_of_its_line() {
        let key = NewKey::generate("shop", None).expect("a key");
        let keys = parse(&key.line()).expect("a valid line");
        let hash: [u8; 32] = Sha256::digest(key.key().as_bytes()).into();
        assert_eq!(keys[0].hash, hash);
        assert!(NewKey::generate("a b", None).is_err());
        assert!(!format!("{key:?}").contains(&*key.key()));
        let key = NewKey::generate("shop", Some("read,write")).expect("a key");
        assert_eq!(
            parse(&key.line()).expect("a valid line")[0].scopes,
            Scopes(3)
        );
    }
}

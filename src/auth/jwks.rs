//! A JSON Web Key Set in a file or at a URL (RFC 7517), fetched at the start and then periodically.
//!
//! A [`KeySet`] is a cheap handle over an `Arc`. A thread fetches the set, so that a slow or unreachable key server delays nothing else.
//! The mutex protects a few fields; it is held neither while fetching nor across an await. After an error, the keys of the last
//! successful fetch stay in use.
//!
//! A token whose key is not in the set causes an early fetch, because the key may be newer than the set. Anybody can send such tokens, so
//! there is a pause between two early fetches ([`EARLY_PAUSE`]). Until the next one, it is undecided whether such a token is valid: the
//! client has to come back ([`Undecided`]). It is rejected if a fetch that started after the token was seen has no such key, or if the key
//! was in the set and has been removed from it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::AuthSetupError;
use super::key_files::{invalid, read_text, read_up_to};
use super::keys::Key;
use crate::config::{Jwks, encoding_fault, read_error};

/// Maximum size of a set, in bytes.
const MAX_SET: u64 = 256 * 1024;
/// Timeout for fetching a set, including the name resolution.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Minimum time between the end of a fetch that a token with an unknown key has caused and the start of the next one.
const EARLY_PAUSE: Duration = Duration::from_secs(5);
/// When a client should come back if an early fetch is possible at once.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// Maximum number of tokens without a known key that are remembered, and how long.
const MAX_SEEN: usize = 4096;
/// Maximum number of removed keys whose ids are remembered.
const MAX_REMOVED: usize = 256;
const REMEMBERED: Duration = Duration::from_secs(60);
/// Maximum time until a failed fetch is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The location of a set and the HTTP client for it.
pub struct JwksSource {
    source: Jwks,
    /// Keeps no connections open between fetches.
    agent: ureq::Agent,
}

impl JwksSource {
    /// `ca` is a file with the root certificates for the key server; without it, the public ones are used.
    ///
    /// # Errors
    /// If the file cannot be read or used.
    pub fn new(source: Jwks, ca: Option<&Path>) -> Result<Self, AuthSetupError> {
        let roots = match ca {
            None => RootCerts::WebPki,
            Some(path) => {
                let text = read_text("jwks_ca", path)?;
                let found: Result<Vec<_>, _> = parse_pem(&text)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                        Ok(_) => None,
                        Err(error) => Some(Err(error)),
                    })
                    .collect();
                let found = found
                    .map_err(|error| invalid("jwks_ca", path, format!("is damaged: {error}")))?;
                if found.is_empty() {
                    return Err(invalid("jwks_ca", path, "contains no certificate in PEM"));
                }
                RootCerts::new_with_certs(&found)
            }
        };
        // No redirects, and no proxy from the environment: the set comes from the configured URL only.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(FETCH_TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(0)
            .user_agent(concat!("dmwire/", env!("CARGO_PKG_VERSION")))
            .accept("application/jwk-set+json, application/json")
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .into();
        Ok(Self { source, agent })
    }

    fn fetch(&self) -> Result<Vec<Key>, FetchError> {
        let text = match &self.source {
            Jwks::File(path) => read_up_to(path, MAX_SET)
                .map_err(|error| FetchError::Failed(read_error(path, &error)))?,
            Jwks::Url(url) => self
                .get(url)
                .map_err(|error| FetchError::Failed(error.to_string()))?,
        };
        if let Some(fault) = encoding_fault(&text) {
            return Err(FetchError::Invalid(fault));
        }
        Key::from_set(&text).map_err(FetchError::Invalid)
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, ureq::Error> {
        let mut response = self.agent.get(url).call()?;
        let body = response.body_mut().with_config().limit(MAX_SET);
        body.read_to_vec()
    }
}

/// Why a set cannot be used.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// It cannot be read or downloaded.
    #[error("{0}")]
    Failed(String),
    /// It is not a set with a supported key.
    #[error("{0}")]
    Invalid(&'static str),
}

/// A set that a thread keeps up to date until this handle is dropped.
pub struct KeySet(Arc<Shared>);

struct Shared {
    source: JwksSource,
    interval: Duration,
    state: Mutex<State>,
    /// Notified of changes of `state`.
    changed: Condvar,
    /// Number of fetches, successful or not.
    fetches: watch::Sender<u64>,
    /// For the hashes of tokens, with a secret key.
    hasher: RandomState,
}

/// Whether a key exists that signed a token is not known now. The value is the time after which it can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided(pub Duration);

#[derive(Default)]
struct State {
    keys: Arc<[Key]>,
    /// A fetch is requested.
    requested: bool,
    /// The result of the next fetch is logged, also if the number of keys stays the same.
    reloading: bool,
    /// A fetch is in progress.
    fetching: bool,
    /// The requested or running fetch is caused by a token.
    early: bool,
    /// The end of the last fetch that a token has caused.
    last_early: Option<Instant>,
    /// The start of the last successful fetch.
    loaded: Option<Instant>,
    /// The ids of the keys that were removed from the set, the newest first.
    removed: VecDeque<String>,
    /// When tokens without a known key were first seen, by their hashes.
    seen: HashMap<u64, Instant>,
    /// The handle was dropped.
    closed: bool,
}

impl KeySet {
    /// Starts the thread that fetches the set.
    ///
    /// # Errors
    /// If a file cannot be read or used: unlike a key server, it does not become available by itself.
    pub fn start(source: JwksSource, interval: Duration) -> Result<Self, AuthSetupError> {
        let mut state = State {
            fetching: true,
            ..State::default()
        };
        if let Jwks::File(path) = &source.source {
            let keys = source.fetch().map_err(|error| {
                let text = format!("jwks: {}: {error}", path.display());
                match error {
                    FetchError::Failed(_) => AuthSetupError::Failed(text),
                    FetchError::Invalid(_) => AuthSetupError::Invalid(text),
                }
            })?;
            state.keys = keys.into();
        }
        let shared = Arc::new(Shared {
            source,
            interval,
            state: Mutex::new(state),
            changed: Condvar::new(),
            fetches: watch::Sender::new(0),
            hasher: RandomState::new(),
        });
        let worker = shared.clone();
        std::thread::Builder::new()
            .name("jwks".into())
            .spawn(move || {
                let _abort = crate::supervise::AbortOnPanic("key set thread");
                worker.run();
            })
            .map_err(|error| AuthSetupError::Failed(format!("jwks: {error}")))?;
        Ok(Self(shared))
    }

    /// The keys with the id `kid` that may have signed `token`; without an id all keys. Fetches the set again if it has none. An empty
    /// list: no such key exists.
    ///
    /// # Errors
    /// [`Undecided`]: the key is not known, and the set may be older than the key.
    pub async fn find(&self, kid: Option<&str>, token: &str) -> Result<Vec<Key>, Undecided> {
        let mut fetches = self.0.fetches.subscribe();
        let first_seen = {
            let mut state = self.0.lock();
            let found = state.matching(kid);
            if !found.is_empty() {
                return Ok(found);
            }
            let first_seen = state.first_seen(self.0.hasher.hash_one(token));
            if !state.fetching {
                if let Some(left) = state.early_pause() {
                    return state.decide(kid, first_seen, left);
                }
                state.requested = true;
                state.fetching = true;
                state.early = true;
                self.0.changed.notify_all();
            }
            first_seen
        };
        // A timeout is like an error of the key server.
        let _ = tokio::time::timeout(FETCH_TIMEOUT, fetches.changed()).await;
        let state = self.0.lock();
        let found = state.matching(kid);
        if !found.is_empty() {
            return Ok(found);
        }
        let left = state.early_pause().unwrap_or(RETRY_SOON);
        state.decide(kid, first_seen, left)
    }

    /// Requests a fetch, and logs its result.
    pub fn refresh(&self) {
        let mut state = self.0.lock();
        state.requested = true;
        state.reloading = true;
        drop(state);
        self.0.changed.notify_all();
    }
}

impl State {
    fn matching(&self, kid: Option<&str>) -> Vec<Key> {
        let matches = |key: &&Key| kid.is_none() || key.id.as_deref() == kid;
        self.keys.iter().filter(matches).cloned().collect()
    }

    /// The time until the next early fetch is possible; `None`: now.
    fn early_pause(&self) -> Option<Duration> {
        let left = EARLY_PAUSE.saturating_sub(self.last_early?.elapsed());
        (!left.is_zero()).then_some(left)
    }

    /// When a token without a known key was first seen: now, or at an earlier attempt of its client.
    fn first_seen(&mut self, token: u64) -> Instant {
        let now = Instant::now();
        let is_recent = |first: &Instant| now.duration_since(*first) < REMEMBERED;
        if let Some(first) = self.seen.get(&token).copied().filter(is_recent) {
            return first;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.retain(|_, first| is_recent(first));
        }
        // A token that is not remembered is decided by a fetch that it causes itself.
        if self.seen.len() < MAX_SEEN || self.seen.contains_key(&token) {
            self.seen.insert(token, now);
        }
        now
    }

    /// Decides about a token whose key is not in the set: no such key exists if it has been removed from the set, or if a fetch has
    /// succeeded that started after the token was first seen, also if another token or the schedule caused it.
    fn decide(
        &self,
        kid: Option<&str>,
        first_seen: Instant,
        left: Duration,
    ) -> Result<Vec<Key>, Undecided> {
        let is_removed = kid.is_some_and(|kid| self.removed.iter().any(|removed| removed == kid));
        match self.loaded {
            Some(loaded) if is_removed || loaded >= first_seen => Ok(Vec::new()),
            _ => Err(Undecided(left)),
        }
    }

    /// Replaces the keys by those of a fetch that was started at this time.
    fn replace(&mut self, keys: Vec<Key>, started: Instant) {
        let lacks = |id: &String| !keys.iter().any(|key| key.id.as_ref() == Some(id));
        let former = self.keys.iter().filter_map(|key| key.id.clone());
        let mut removed: VecDeque<_> = former.chain(self.removed.drain(..)).filter(lacks).collect();
        removed.truncate(MAX_REMOVED);
        self.removed = removed;
        self.keys = keys.into();
        self.loaded = Some(started);
    }
}

impl Drop for KeySet {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut log_result = false;
        loop {
            let started = Instant::now();
            let result = self.source.fetch();
            let mut pause = self.interval;
            let mut state = self.lock();
            match result {
                Ok(keys) => {
                    if log_result || state.keys.len() != keys.len() {
                        log::info!(keys = keys.len(), from = self.source.source.redacted().as_str(); "loaded the keys for tokens");
                    }
                    state.replace(keys, started);
                }
                Err(error) => {
                    let from = self.source.source.redacted();
                    match state.keys.len() {
                        0 => log::warn!(
                            from = from.as_str(), why:% = error;
                            "cannot fetch the keys for tokens; none is known yet, so tokens that need one of them are not accepted until a fetch succeeds"
                        ),
                        kept => log::warn!(
                            kept = kept, from = from.as_str(), why:% = error;
                            "cannot fetch the keys for tokens; the known ones stay in use"
                        ),
                    }
                    pause = pause.min(RETRY_INTERVAL);
                }
            }
            state.fetching = false;
            if std::mem::take(&mut state.early) {
                state.last_early = Some(Instant::now());
            }
            self.fetches.send_modify(|count| *count += 1);
            let wait = self
                .changed
                .wait_timeout_while(state, pause, |state| !state.requested && !state.closed);
            let (mut state, _) = wait.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            state.requested = false;
            state.fetching = true;
            log_result = std::mem::take(&mut state.reloading);
        }
    }
}

//! A JSON Web Key Set in a file or at a URL (RFC 7517), fetched at the start and then periodically.
//!
//! A [`KeySet`] is a cheap handle over an `Arc`. A thread fetches the set, so that a slow or unreachable key server delays nothing else.
//! The mutex protects a few fields; it is held neither while fetching nor across an await. After an error, the keys of the last
//! successful fetch stay in use.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::AuthSetupError;
use super::key_files::{read, read_up_to};
use super::keys::Key;
use crate::config::Jwks;

/// Maximum size of a set, in bytes.
const MAX_SET: u64 = 256 * 1024;
/// Timeout for fetching a set, including the name resolution.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
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
                let invalid = |reason: String| {
                    AuthSetupError(format!("jwks_ca: {} {reason}", path.display()))
                };
                let text =
                    read(path).map_err(|error| invalid(format!("cannot be read: {error}")))?;
                let found: Result<Vec<_>, _> = parse_pem(&text)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                        Ok(_) => None,
                        Err(error) => Some(Err(error)),
                    })
                    .collect();
                let found = found.map_err(|error| invalid(format!("is damaged: {error}")))?;
                if found.is_empty() {
                    return Err(invalid("contains no certificate in PEM".into()));
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

    fn fetch(&self) -> Result<Vec<Key>, String> {
        let text = match &self.source {
            Jwks::File(path) => read_up_to(path, MAX_SET).map_err(|error| error.to_string())?,
            Jwks::Url(url) => self.get(url).map_err(|error| error.to_string())?,
        };
        Key::from_set(&text).map_err(str::to_owned)
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, ureq::Error> {
        let mut response = self.agent.get(url).call()?;
        let body = response.body_mut().with_config().limit(MAX_SET);
        body.read_to_vec()
    }
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
}

#[derive(Default)]
struct State {
    keys: Arc<[Key]>,
    /// A fetch is requested.
    requested: bool,
    /// A fetch is in progress.
    fetching: bool,
    /// The time of the last fetch that a token with an unknown key caused.
    last_early_fetch: Option<Instant>,
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
            let keys = source
                .fetch()
                .map_err(|error| AuthSetupError(format!("jwks: {}: {error}", path.display())))?;
            state.keys = keys.into();
        }
        let shared = Arc::new(Shared {
            source,
            interval,
            state: Mutex::new(state),
            changed: Condvar::new(),
            fetches: watch::Sender::new(0),
        });
        let worker = shared.clone();
        std::thread::Builder::new()
            .name("jwks".into())
            .spawn(move || {
                let _abort = crate::supervise::AbortOnPanic("key set thread");
                worker.run();
            })
            .map_err(|error| AuthSetupError(format!("jwks: {error}")))?;
        Ok(Self(shared))
    }

    /// The keys of the last successful fetch.
    pub fn keys(&self) -> Arc<[Key]> {
        self.0.lock().keys.clone()
    }

    /// The keys after another fetch, for a token with an unknown key. There is at most one such fetch per interval: calls during a fetch
    /// wait for its result, and later ones return the known keys.
    pub async fn fetch_newer(&self) -> Arc<[Key]> {
        let mut fetches = self.0.fetches.subscribe();
        {
            let mut state = self.0.lock();
            if !state.fetching {
                let now = Instant::now();
                let due = |at: Instant| now.saturating_duration_since(at) >= self.0.interval;
                if !state.last_early_fetch.is_none_or(due) {
                    return state.keys.clone();
                }
                state.last_early_fetch = Some(now);
                state.requested = true;
                state.fetching = true;
                self.0.changed.notify_all();
            }
        }
        // After a timeout, the known keys are used.
        let _ = tokio::time::timeout(FETCH_TIMEOUT, fetches.changed()).await;
        self.keys()
    }

    /// Requests a fetch.
    pub fn refresh(&self) {
        self.0.lock().requested = true;
        self.0.changed.notify_all();
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
        loop {
            let result = self.source.fetch();
            let mut pause = self.interval;
            let mut state = self.lock();
            match result {
                Ok(keys) => {
                    if state.keys.len() != keys.len() {
                        log::info!(keys = keys.len(), from = self.source.source.redacted().as_str(); "loaded the keys for tokens");
                    }
                    state.keys = keys.into();
                }
                Err(error) => {
                    log::warn!(
                        kept = state.keys.len(), from = self.source.source.redacted().as_str(), why = error.as_str();
                        "cannot fetch the keys for tokens; the known ones stay in use"
                    );
                    pause = pause.min(RETRY_INTERVAL);
                }
            }
            state.fetching = false;
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
        }
    }
}

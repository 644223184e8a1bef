//! A set of public keys that lies elsewhere (RFC 7517) and changes there: fetched at the start, then again and again.
//!
//! A [`KeySet`] is a cheap handle over `Arc`. One thread fetches, so that neither a slow server of keys nor one that is gone
//! keeps anybody else waiting. Its mutex is held to look at or to change a few fields, never while something is fetched and
//! never across an await. What was fetched last stays until something better comes.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::AuthSetupError;
use super::key::Key;
use super::token::{read, read_up_to};
use crate::config::Jwks;

/// Largest set, in bytes.
const MAX_SET: u64 = 256 * 1024;
/// How long fetching may take, from the name's resolution to the last byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon is tried again what has failed, at the latest.
const AGAIN: Duration = Duration::from_secs(30);

/// Where the set is, and how it is got from there.
pub struct JwksSource {
    source: Jwks,
    /// With connections that are kept no longer than one fetch.
    agent: ureq::Agent,
}

impl JwksSource {
    /// `ca` is the file with the certificates that those of the set's server go back to.
    ///
    /// # Errors
    /// A file that cannot be read or used.
    pub fn new(source: Jwks, ca: Option<&Path>) -> Result<Self, AuthSetupError> {
        let roots = match ca {
            None => RootCerts::WebPki,
            Some(path) => {
                let wrong =
                    |what: String| AuthSetupError(format!("jwks_ca: {} {what}", path.display()));
                let text = read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
                let found: Result<Vec<_>, _> = parse_pem(&text)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                        Ok(_) => None,
                        Err(error) => Some(Err(error)),
                    })
                    .collect();
                let found = found.map_err(|error| wrong(format!("is damaged: {error}")))?;
                if found.is_empty() {
                    return Err(wrong("holds no certificate in PEM".into()));
                }
                RootCerts::new_with_certs(&found)
            }
        };
        // One request, to this address and no other: a redirection is an error. The environment has no say in it either.
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
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

/// The keys, and who keeps them fresh. Dropping it ends that.
pub struct KeySet(Arc<Shared>);

struct Shared {
    place: JwksSource,
    interval: Duration,
    state: Mutex<State>,
    /// Told of a changed state.
    changed: Condvar,
    /// How often has been fetched, with whatever success.
    fetched: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    keys: Arc<[Key]>,
    /// It is to be fetched now.
    wanted: bool,
    /// It is being fetched.
    fetching: bool,
    /// When somebody with a token of an unknown key last had it fetched ahead of its time.
    early: Option<Instant>,
    closed: bool,
}

impl KeySet {
    /// Begins to fetch.
    ///
    /// # Errors
    /// A file that cannot be read or used: unlike an address, it does not come back by itself.
    pub fn start(place: JwksSource, interval: Duration) -> Result<Self, AuthSetupError> {
        let mut state = State {
            fetching: true,
            ..State::default()
        };
        if let Jwks::File(path) = &place.source {
            let keys = place
                .fetch()
                .map_err(|what| AuthSetupError(format!("jwks: {}: {what}", path.display())))?;
            state.keys = keys.into();
        }
        let shared = Arc::new(Shared {
            place,
            interval,
            state: Mutex::new(state),
            changed: Condvar::new(),
            fetched: watch::Sender::new(0),
        });
        let worker = shared.clone();
        std::thread::Builder::new()
            .name("jwks".into())
            .spawn(move || {
                let _vital = crate::supervise::AbortOnPanic("keys' thread");
                worker.run();
            })
            .map_err(|error| AuthSetupError(format!("jwks: {error}")))?;
        Ok(Self(shared))
    }

    /// The keys as they are known.
    pub fn get(&self) -> Arc<[Key]> {
        self.0.lock().keys.clone()
    }

    /// The keys after one more look, for a token of an unknown key. There is one such look in each interval; whoever comes
    /// while one is under way shares it, and whoever comes later gets what is known.
    pub async fn newer(&self) -> Arc<[Key]> {
        let mut fetched = self.0.fetched.subscribe();
        {
            let mut state = self.0.lock();
            if !state.fetching {
                let now = Instant::now();
                let due = |at: Instant| now.saturating_duration_since(at) >= self.0.interval;
                if !state.early.is_none_or(due) {
                    return state.keys.clone();
                }
                state.early = Some(now);
                state.wanted = true;
                state.fetching = true;
                self.0.changed.notify_all();
            }
        }
        // The thread gives up before this does; if it has not, what is known must do.
        let _ = tokio::time::timeout(PATIENCE, fetched.changed()).await;
        self.get()
    }

    /// Has it fetched now.
    pub fn refresh(&self) {
        self.0.lock().wanted = true;
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
            let found = self.place.fetch();
            let mut pause = self.interval;
            let mut state = self.lock();
            match found {
                Ok(keys) => {
                    if state.keys.len() != keys.len() {
                        log::info!(keys = keys.len(), from = self.place.source.redacted().as_str(); "keys for tokens");
                    }
                    state.keys = keys.into();
                }
                Err(what) => {
                    log::warn!(
                        kept = state.keys.len(), from = self.place.source.redacted().as_str(), why = what.as_str();
                        "no keys for tokens could be had; those known before stay"
                    );
                    pause = pause.min(AGAIN);
                }
            }
            state.fetching = false;
            self.fetched.send_modify(|count| *count += 1);
            let waited = self
                .changed
                .wait_timeout_while(state, pause, |state| !state.wanted && !state.closed);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            state.wanted = false;
            state.fetching = true;
        }
    }
}

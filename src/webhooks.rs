//! Webhooks: HTTP requests about events, signed as Standard Webhooks describes (`docs/operations.md`).
//!
//! Each receiver has a thread (`receiver`) that takes up stored events in order, and threads that post them (`posts`). It asks the
//! store through the [`Readers`] and records its progress through the [`Writer`], like any other part of the server. `lanes` decides
//! what is posted next. Nothing of this is in the path of a message: the store keeps events when it moves messages to their tables, and
//! tells the threads with a flag that there may be new ones.

mod client;
mod event;
mod lanes;
mod posts;
mod receiver;
mod secrets;
mod status;
mod store;
mod waiting;
mod wake;

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ring::digest::{SHA256, digest};

use self::client::Client;
use self::event::Event;
use self::posts::{MAX_IN_FLIGHT, Posts};
use self::receiver::{Input, Parts, ReceiverThread};
use self::secrets::Secrets;
pub use self::status::{ReceiverStatus, Snapshot, State, Statuses};
use self::store::{EventStore, Unavailable};
use self::waiting::WaitingThread;
use self::wake::{Wake, Wakes};
use crate::clock::Clock;
use crate::config::{WebhookEvent, WebhookUrl, WebhooksConfig};
use crate::delivery::ReplyTo;
use crate::presence::Presence;
use crate::readers::Readers;
use crate::store::{EventFeed, EventWrite, ReceiverKey, ReceiverState};
use crate::supervise::AbortOnPanic;
use crate::writer::Writer;

/// Why webhooks cannot be used: what is wrong with the secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WebhookSetupError(String);

/// Webhooks before the store is opened.
#[derive(Debug)]
pub struct Setup {
    config: WebhooksConfig,
    /// `None`: there are no receivers.
    secrets: Option<Arc<Secrets>>,
    wakes: Wakes,
}

/// The threads of the receivers. There are none without `--webhook`.
#[derive(Debug, Default)]
pub struct Webhooks {
    secrets: Option<Arc<Secrets>>,
    inputs: Vec<Sender<Input>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the receivers need of the server.
#[derive(Debug)]
pub struct Server<'a> {
    /// Reads events.
    pub readers: Readers,
    /// Records how far receivers have got.
    pub writer: Writer<ReplyTo>,
    /// The time.
    pub clock: Arc<Clock>,
    /// Tells who comes online.
    pub presence: &'a Presence,
    /// Where the state of the receivers is shown.
    pub statuses: Arc<Statuses>,
}

impl Setup {
    /// Reads the secrets.
    ///
    /// # Errors
    /// The file with the secrets cannot be read, or is invalid.
    pub fn new(config: &WebhooksConfig) -> Result<Self, WebhookSetupError> {
        let file = config.webhook_secret_file.as_deref();
        let file = file.filter(|_| !config.webhook.is_empty());
        let secrets = file.map(Secrets::read).transpose();
        Ok(Self {
            config: config.clone(),
            secrets: secrets.map_err(WebhookSetupError)?.map(Arc::new),
            wakes: Wakes::default(),
        })
    }

    fn wants(&self, event: WebhookEvent) -> bool {
        self.config.webhook_events.contains(&event)
    }

    /// What the store must keep. `None`: nothing.
    pub fn feed(&self) -> Option<EventFeed> {
        self.secrets.as_ref()?;
        let messages =
            self.wants(WebhookEvent::MessageCreated) || self.wants(WebhookEvent::MessageWaiting);
        let memberships =
            self.wants(WebhookEvent::RoomJoined) || self.wants(WebhookEvent::RoomLeft);
        let wakes = self.wakes.clone();
        (messages || memberships)
            .then(|| EventFeed::new(messages, memberships, move || wakes.wake()))
    }

    /// Starts the threads. A receiver that is new gets the events from now on; what was stored of others is removed.
    ///
    /// # Errors
    /// The store fails, or a thread cannot be started.
    pub fn start(self, server: Server<'_>) -> io::Result<Webhooks> {
        let store = EventStore::new(server.readers.clone(), server.writer.clone());
        let Some(secrets) = self.secrets.clone() else {
            // Receivers that were configured before.
            if !store
                .read(|reader| reader.receivers())
                .map_err(other)?
                .is_empty()
            {
                drop(store.write(EventWrite::Receivers(Vec::new())));
            }
            return Ok(Webhooks::default());
        };
        let urls = &self.config.webhook;
        let mut keys: Vec<_> = urls.iter().map(key_of).collect();
        let waits = self.wants(WebhookEvent::MessageWaiting);
        keys.extend(waits.then(waiting_key));
        let progress = register(&store, &keys).map_err(other)?;
        let mut started = Started::default();
        let mut shown = Vec::new();
        for ((url, key), state) in urls.iter().zip(&keys).zip(&progress) {
            let allow_private = self.config.webhook_allow_private;
            let client = Client::new(url, allow_private, MAX_IN_FLIGHT);
            let (secrets, clock) = (secrets.clone(), server.clock.clone());
            started.thread("webhook", &server.clock, |sender, wake, inputs| {
                let events = &self.config.webhook_events;
                let status = Arc::new(ReceiverStatus::new(url, events, wake.clone()));
                shown.push(status.clone());
                let thread = ReceiverThread::new(
                    Parts {
                        key: *key,
                        status,
                        store: store.clone(),
                        clock: clock.clone(),
                        wake,
                        inputs,
                        posts: Posts::new(client, secrets, clock, sender),
                        retry_ms: self.config.webhook_retry_hours.0,
                    },
                    state.clone(),
                );
                move || thread.run()
            })?;
        }
        if let (true, Some(state)) = (waits, progress.last()) {
            let after = Duration::from_secs(self.config.webhook_waiting_seconds);
            started.thread("webhook-waiting", &server.clock, |_, wake, inputs| {
                let thread = WaitingThread {
                    key: waiting_key(),
                    store: store.clone(),
                    clock: server.clock.clone(),
                    wake,
                    inputs,
                    after,
                    position: state.position,
                };
                move || thread.run()
            })?;
        }
        server.statuses.set(shown);
        if self.wants(WebhookEvent::UserOnline) || self.wants(WebhookEvent::UserOffline) {
            let inputs = started.inputs.clone();
            server.presence.set_observer(move |user, shown, at| {
                let (kind, event) = Event::of_presence(user, shown, at);
                for input in &inputs {
                    let _ = input.send(Input::Presence(user.clone(), kind, event.clone(), at));
                }
            });
        }
        self.wakes.set(started.wakes);
        Ok(Webhooks {
            secrets: Some(secrets),
            inputs: started.inputs,
            threads: Mutex::new(started.threads),
        })
    }
}

impl Webhooks {
    /// Whether there are receivers.
    pub fn is_on(&self) -> bool {
        self.secrets.is_some()
    }

    /// Reads the secrets again, and posts at once what waits, also to receivers that were paused.
    pub fn reload(&self) {
        if let Some(secrets) = &self.secrets {
            secrets.reload();
        }
        self.send(|| Input::Resume);
    }

    /// Ends the threads. Waits a moment for what is being posted.
    pub fn stop(&self) {
        self.send(|| Input::Stop);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A panic has ended the process.
            drop(thread.join());
        }
    }

    fn send(&self, input: fn() -> Input) {
        for sender in &self.inputs {
            let _ = sender.send(input());
        }
    }
}

/// The threads that were started so far.
#[derive(Default)]
struct Started {
    inputs: Vec<Sender<Input>>,
    wakes: Vec<Arc<Wake>>,
    threads: Vec<JoinHandle<()>>,
}

impl Started {
    fn thread<F: FnOnce() + Send + 'static>(
        &mut self,
        name: &str,
        clock: &Arc<Clock>,
        thread: impl FnOnce(Sender<Input>, Arc<Wake>, std::sync::mpsc::Receiver<Input>) -> F,
    ) -> io::Result<()> {
        let (sender, inputs) = channel();
        let wake = Wake::new(clock.clone(), sender.clone());
        let run = thread(sender.clone(), wake.clone(), inputs);
        let started = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                let _guard = AbortOnPanic("thread of a webhook");
                run();
            })?;
        self.inputs.push(sender);
        self.wakes.push(wake);
        self.threads.push(started);
        Ok(())
    }
}

/// Makes these the receivers of the store. Returns how far each has got.
fn register(store: &EventStore, keys: &[ReceiverKey]) -> Result<Vec<ReceiverState>, Unavailable> {
    let known = store.read(|reader| reader.receivers())?;
    let is_known = |key: &ReceiverKey| known.contains(key);
    if known.len() != keys.len() || !keys.iter().all(is_known) {
        // What was committed before is no event of a new receiver.
        store.read(|reader| reader.flush_events())?;
        store.write(EventWrite::Receivers(keys.to_vec()))?;
    }
    let mut states = Vec::with_capacity(keys.len());
    for key in keys {
        let key = *key;
        let state = store.read(move |reader| reader.receiver(&key))?;
        let missing = || Unavailable::Failed("a receiver was not recorded".to_owned());
        states.push(state.ok_or_else(missing)?);
    }
    Ok(states)
}

/// The URL may have a secret, and the file of the store is copied.
fn key_of(url: &WebhookUrl) -> ReceiverKey {
    hash(&["receiver ", url.whole()])
}

/// Whoever looks for messages that were not received has a position of its own.
fn waiting_key() -> ReceiverKey {
    hash(&["waiting"])
}

fn hash(parts: &[&str]) -> ReceiverKey {
    let hash = digest(&SHA256, parts.concat().as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(hash.as_ref());
    key
}

fn other(error: Unavailable) -> io::Error {
    io::Error::other(format!("webhooks cannot be started: {error}"))
}

//! Threads that post the events of a receiver.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::client::{Client, Request};
use super::event::Event;
use super::lanes::Key;
use super::receiver::Input;
use super::secrets::Secrets;
use crate::clock::Clock;
use crate::supervise::AbortOnPanic;

/// The maximum number of events of a receiver that are being posted.
pub const MAX_IN_FLIGHT: usize = 16;

/// An event that is to be posted.
pub struct Post {
    pub key: Key,
    pub event: Arc<Event>,
}

/// Threads that are started when they are needed.
pub struct Posts {
    shared: Arc<Shared>,
    sender: Sender<Post>,
    threads: usize,
    in_flight: usize,
}

struct Shared {
    client: Client,
    secrets: Arc<Secrets>,
    clock: Arc<Clock>,
    posts: Mutex<Receiver<Post>>,
    results: Sender<Input>,
}

impl Posts {
    /// Posts with `client`, and sends the results to `results`.
    pub fn new(
        client: Client,
        secrets: Arc<Secrets>,
        clock: Arc<Clock>,
        results: Sender<Input>,
    ) -> Self {
        let (sender, posts) = channel();
        Self {
            shared: Arc::new(Shared {
                client,
                secrets,
                clock,
                posts: Mutex::new(posts),
                results,
            }),
            sender,
            threads: 0,
            in_flight: 0,
        }
    }

    /// The number of events that may be added.
    pub fn free(&self) -> usize {
        MAX_IN_FLIGHT - self.in_flight
    }

    /// The number of events that are being posted.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Posts an event. At most [`Posts::free`] may be added.
    pub fn add(&mut self, post: Post) {
        self.in_flight += 1;
        if self.in_flight > self.threads {
            self.start_thread();
        }
        // The receiver exists as long as `shared`.
        let _ = self.sender.send(post);
    }

    /// The result of a post was received.
    pub fn finished(&mut self) {
        self.in_flight -= 1;
    }

    fn start_thread(&mut self) {
        let shared = self.shared.clone();
        let started = std::thread::Builder::new()
            .name("webhook-post".into())
            .spawn(move || {
                let _guard = AbortOnPanic("thread that posts webhooks");
                shared.run();
            });
        match started {
            Ok(_) => self.threads += 1,
            // Other threads take its posts; without any, a later post starts one.
            Err(error) => log::error!("cannot start a thread for webhooks: {error}"),
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let next = self
                .posts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(Post { key, event }) = next else {
                return;
            };
            let timestamp = self.clock.now() / 1000;
            let signatures = self.secrets.signatures(&event.id, timestamp, &event.body);
            let result = self.client.post(&Request {
                id: &event.id,
                timestamp,
                signatures: &signatures,
                body: &event.body,
            });
            if self.results.send(Input::Posted(key, result)).is_err() {
                return;
            }
        }
    }
}

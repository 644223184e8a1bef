//! Threads that post the events of a receiver.

use std::io;
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
    /// Starts a thread.
    start: fn(Arc<Shared>) -> io::Result<()>,
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
            start,
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

    /// Posts an event. At most [`Posts::free`] may be added. If no thread can be started, the result is an error.
    pub fn add(&mut self, post: Post) {
        self.in_flight += 1;
        if self.in_flight > self.threads {
            self.start_thread();
        }
        if self.threads == 0 {
            let error = "no thread can be started".to_owned();
            let _ = self
                .shared
                .results
                .send(Input::Posted(post.key, Err(error)));
            return;
        }
        // The receiver exists as long as `shared`.
        let _ = self.sender.send(post);
    }

    /// The result of a post was received.
    pub fn finished(&mut self) {
        self.in_flight -= 1;
    }

    fn start_thread(&mut self) {
        match (self.start)(self.shared.clone()) {
            Ok(()) => self.threads += 1,
            // Other threads take its posts, if there are any.
            Err(error) => log::error!("cannot start a thread for webhooks: {error}"),
        }
    }
}

fn start(shared: Arc<Shared>) -> io::Result<()> {
    let started = std::thread::Builder::new()
        .name("webhook-post".into())
        .spawn(move || {
            let _guard = AbortOnPanic("thread that posts webhooks");
            shared.run();
        });
    started.map(drop)
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    /// Waits for the result of a post.
    fn result(results: &Receiver<Input>) -> Result<u16, String> {
        match results.recv_timeout(Duration::from_secs(20)) {
            Ok(Input::Posted(Key::Conversation(5), result)) => result,
            _ => panic!("there is no result"),
        }
    }

    #[test]
    fn a_post_without_a_thread_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        // Connections are refused from now on.
        drop(listener);
        let url = format!("http://{address}/").parse().expect("a URL");
        let (sender, results) = channel();
        let secrets = Secrets::of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let client = Client::new(&url, true, 1);
        let clock = Arc::new(Clock::new(0));
        let mut posts = Posts::new(client, Arc::new(secrets), clock, sender);
        let post = || Post {
            key: Key::Conversation(5),
            event: Arc::new(Event {
                id: "evt".into(),
                body: Vec::new(),
            }),
        };
        posts.start = |_| Err(io::Error::other("no memory"));
        for _ in 0..=MAX_IN_FLIGHT {
            posts.add(post());
            assert_eq!(result(&results), Err("no thread can be started".to_owned()));
            posts.finished();
        }
        assert_eq!(posts.free(), MAX_IN_FLIGHT);
        // Nothing of them was queued for the first thread.
        posts.start = start;
        posts.add(post());
        let error = result(&results).expect_err("the connection is refused");
        assert_ne!(error, "no thread can be started");
        posts.finished();
        assert!(results.try_recv().is_err());
    }
}

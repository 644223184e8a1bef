//! Pairs of users: in each pair, one user sends to the other and keeps a number of messages in flight.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};

use crate::disk_latency::DiskLatency;
use crate::options::Options;
use crate::report::Report;
use crate::socket::Socket;
use crate::tally::{Shared, Tally, Template, is_ack, micros, progress, refuse_error};
use crate::target::{Target, Usage};

/// Time limit for the delivery of messages in flight after the last send.
pub const GRACE: Duration = Duration::from_secs(30);

/// A sender and a receiver.
pub struct Pair {
    from: Socket,
    to: Socket,
    message: Template,
    /// A frame to another user, sent after every given number of messages of the pair.
    pub aside: Option<(u64, Vec<u8>)>,
    window: u64,
    bare: bool,
    /// Frames sent, messages sent, messages delivered, acks received.
    frames: u64,
    sent: u64,
    delivered: u64,
    acked: u64,
}

impl Pair {
    /// Connects both.
    pub async fn open(target: &Target, options: &Options, n: usize) -> io::Result<Self> {
        let to = name("b", n);
        Ok(Self {
            from: Socket::open(target, &name("a", n)).await?,
            message: Template::new(&to, options.size.into(), options.ephemeral),
            to: Socket::open(target, &to).await?,
            aside: None,
            window: options.window as u64,
            bare: target.bare,
            frames: 0,
            sent: 0,
            delivered: 0,
            acked: 0,
        })
    }

    /// Sends until `until`, then waits for the messages in flight.
    async fn talk(mut self, began: Instant, until: Instant, tally: Shared) -> io::Result<Self> {
        poll_fn(|cx| self.poll(cx, began, until, &tally)).await?;
        Ok(self)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        began: Instant,
        until: Instant,
        tally: &RefCell<Tally>,
    ) -> Poll<io::Result<()>> {
        while self.to.poll_fill(cx)?.is_ready() {
            let now = micros(began);
            let mut tally = tally.borrow_mut();
            while let Some(text) = self.to.next() {
                self.delivered += u64::from(tally.take(text, self.delivered, now));
            }
        }
        while self.from.poll_fill(cx)?.is_ready() {
            while let Some(text) = self.from.next() {
                self.acked += u64::from(is_ack(text));
                tally.borrow_mut().acked += u64::from(is_ack(text));
                refuse_error(text)?;
            }
        }
        let now = Instant::now();
        if now < until {
            self.send(now.duration_since(began).as_micros() as u64, tally);
        }
        let mut flushed = self.from.poll_flush(cx)?.is_ready();
        flushed &= self.to.poll_flush(cx)?.is_ready();
        let complete = self.delivered >= self.sent && (self.bare || self.acked >= self.frames);
        if now >= until && flushed && complete {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn send(&mut self, now: u64, tally: &RefCell<Tally>) {
        while self.sent - self.delivered < self.window {
            self.from.queue_frame(self.message.stamped(self.sent, now));
            self.sent += 1;
            self.frames += 1;
            tally.borrow_mut().sent += 1;
            if let Some((every, frame)) = &self.aside
                && self.sent.is_multiple_of(*every)
            {
                self.from.queue_frame(frame);
                self.frames += 1;
            }
        }
    }
}

/// The name of a user of this run.
pub fn name(kind: &str, n: usize) -> String {
    format!("{kind}{n}.{:x}", std::process::id())
}

/// Connects all pairs.
pub async fn open(target: &Target, options: &Options) -> io::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for n in 0..options.pairs {
        pairs.push(Pair::open(target, options, n).await?);
    }
    target.settle().await;
    Ok(pairs)
}

/// The result of a run.
pub struct Talk {
    /// The pairs that finished in time.
    pub pairs: Vec<Pair>,
    /// The counts.
    pub tally: Tally,
    /// Duration in seconds until the last message was delivered.
    pub seconds: f64,
    /// The CPU time used.
    pub cost: Usage,
}

/// Runs all pairs, then waits for the messages in flight for at most `grace`.
pub async fn talk(
    target: &Target,
    pairs: Vec<Pair>,
    seconds: f64,
    grace: Duration,
) -> io::Result<Talk> {
    let tally = Shared::default();
    let before = target.usage();
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let progress = spawn_local(progress(tally.clone()));
    let tasks: Vec<JoinHandle<_>> = pairs
        .into_iter()
        .map(|pair| spawn_local(pair.talk(began, until, tally.clone())))
        .collect();
    let mut pairs = Vec::new();
    for mut task in tasks {
        match tokio::time::timeout_at((until + grace).into(), &mut task).await {
            Ok(done) => pairs.push(done.map_err(io::Error::other)??),
            Err(_late) => task.abort(),
        }
    }
    progress.abort();
    let (seconds, cost) = target.usage().since(before);
    let tally = std::mem::take(&mut *tally.borrow_mut());
    Ok(Talk {
        pairs,
        tally,
        seconds,
        cost,
    })
}

/// Runs all pairs as fast as their window allows.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    let pairs = open(target, options).await?;
    let disk = DiskLatency::before(target, options)?;
    let mut talk = talk(target, pairs, options.seconds, GRACE).await?;
    talk.tally.report(report, "", talk.seconds, talk.cost);
    disk.after(target, report, &mut talk.tally)?;
    talk.tally.check()
}

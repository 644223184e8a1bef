//! The load generator: `cargo bench --bench load -- --help`.
//!
//! It starts the release binary itself on a free loopback port with a store in a temporary folder (or talks to the server
//! that `--at` names), lets pairs of users talk, and prints what it cost. Every message carries its number and the moment
//! it was meant to be sent, so that loss, order and doubles are checked and latency is honest. Traffic goes to loopback only.

#[path = "../support/disk.rs"]
mod disk;
mod socket;
mod target;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

use disk::{Percentiles, fdatasync};
use socket::Socket;
use target::Target;

/// Load on a dmwire server, or on one that speaks enough of its protocol.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Pairs of users; in each one writes to the other.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Messages that a pair keeps in flight.
    #[arg(long, default_value_t = 16)]
    window: usize,
    /// Seconds that the talk lasts.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Messages per second of all pairs together, sent at their time whatever comes back; 0: as fast as the window allows.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Characters of text in a message, at least 32.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Send `ephemeral` messages, which are not stored.
    #[arg(long)]
    ephemeral: bool,
    /// Measure right before and after what it takes to write 4 KiB and fdatasync in the store's folder, and hold latency
    /// against it.
    #[arg(long, conflicts_with = "at")]
    fsync: bool,
    /// Instead of talking: open so many connections, and tell what each costs in memory.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// With --idle: each connection first sends itself one message of so many bytes of text.
    #[arg(long, default_value_t = 0)]
    warm: usize,
    /// With --idle: seconds of quiet before memory is read.
    #[arg(long, default_value_t = 2.0)]
    quiet: f64,
    /// The server's store: `sqlite:` for a file in a temporary folder, or `memory:`.
    #[arg(long, default_value = "sqlite:")]
    store: String,
    /// Further arguments for the server, separated by spaces.
    #[arg(long, default_value = "")]
    server: String,
    /// A server that is running already: HOST:PORT/PATH, the user id is appended to it.
    #[arg(long)]
    at: Option<String>,
    /// The process id of that server, to read its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// The server sends no `welcome`, `synced` or `ack`: a bare relay.
    #[arg(long)]
    bare: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the pairs share. One thread, so no locks.
#[derive(Debug, Default)]
struct Tally {
    delivered: u64,
    acked: u64,
    wrong: u64,
    /// Microseconds from the moment a message was meant to be sent to its delivery.
    latencies: Vec<u32>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let target = Target::new(&options)?;
        if options.idle > 0 {
            idle(&options, &target).await
        } else {
            talk(&options, &target).await
        }
    })
}

async fn talk(options: &Options, target: &Target) -> io::Result<()> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let run = format!("{:x}", std::process::id());
    let mut pairs = Vec::new();
    for n in 0..options.pairs {
        let (from, to) = (format!("a{n}.{run}"), format!("b{n}.{run}"));
        let sender = Socket::open(target, &from, options.bare).await?;
        let receiver = Socket::open(target, &to, options.bare).await?;
        pairs.push((sender, receiver, to));
    }
    let disk_before = disk(options, target)?;
    let cpu = target.cpu();
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(options.seconds);
    let mut tasks = Vec::new();
    for (n, (sender, receiver, to)) in pairs.into_iter().enumerate() {
        let pair = Pair::new(n, options, to, began, until, tally.clone());
        tasks.push(tokio::task::spawn_local(pair.run(sender, receiver)));
    }
    let (stop, stopped) = oneshot::channel();
    let progress = tokio::task::spawn_local(progress(tally.clone(), options.json, stopped));
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = target.cpu() - cpu;
    let _ = stop.send(());
    progress.await.map_err(io::Error::other)?;
    let disk = disk_before.zip(disk(options, target)?);
    report(options, &mut tally.borrow_mut(), seconds, cpu, disk);
    Ok(())
}

/// What the disk itself does, if that is asked for.
fn disk(options: &Options, target: &Target) -> io::Result<Option<Percentiles>> {
    match target.folder() {
        Some(folder) if options.fsync => fdatasync(folder, 300).map(Some),
        _ => Ok(None),
    }
}

async fn progress(tally: Rc<RefCell<Tally>>, quiet: bool, mut stopped: oneshot::Receiver<()>) {
    let mut before = 0;
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        let now = tally.borrow().delivered;
        if !quiet {
            eprintln!("{} messages/s", now - before);
        }
        before = now;
    }
}

fn report(
    options: &Options,
    tally: &mut Tally,
    seconds: f64,
    cpu: f64,
    disk: Option<(Percentiles, Percentiles)>,
) {
    let Tally {
        delivered,
        acked,
        wrong,
        latencies,
    } = tally;
    latencies.sort_unstable();
    let at = |permille: usize| {
        let place = latencies.len().saturating_sub(1) * permille / 1000;
        latencies.get(place).copied().unwrap_or(0)
    };
    let per_second = *delivered as f64 / seconds;
    let cpu_us = cpu * 1e6 / (*delivered).max(1) as f64;
    // A run is held against the disk as it was on both sides of it.
    let disk = disk.map(|(before, after)| {
        let mean = Percentiles {
            p50: f64::midpoint(before.p50, after.p50),
            p99: f64::midpoint(before.p99, after.p99),
        };
        (before, after, mean)
    });
    if options.json {
        println!(
            "{}",
            json!({
                "messages": delivered, "acks": acked, "wrong": wrong, "seconds": seconds, "per_second": per_second,
                "p50_us": at(500), "p99_us": at(990), "p999_us": at(999), "server_cpu_us": cpu_us,
                "fsync_us": disk.map(|(before, after, _)| json!({
                    "before": {"p50": before.p50, "p99": before.p99}, "after": {"p50": after.p50, "p99": after.p99}
                }))
            })
        );
    } else {
        println!("messages delivered   {delivered} in {seconds:.2} s, {acked} acknowledged");
        println!("lost, doubled, out of order   {wrong}");
        println!("messages/s           {per_second:.0}");
        println!(
            "latency              p50 {} us, p99 {} us, p99.9 {} us",
            at(500),
            at(990),
            at(999)
        );
        println!("server CPU           {cpu_us:.2} us a message");
        if let Some((before, after, mean)) = disk {
            println!(
                "fdatasync of 4 KiB   p50 {:.0} us, p99 {:.0} us before; p50 {:.0} us, p99 {:.0} us after",
                before.p50, before.p99, after.p50, after.p99
            );
            println!(
                "latency/fdatasync    p50 {:.1}, p99 {:.1}",
                f64::from(at(500)) / mean.p50,
                f64::from(at(990)) / mean.p99
            );
        }
    }
    assert_eq!(*wrong, 0, "messages were lost, doubled or out of order");
}

/// One user who writes, one who is written to.
struct Pair {
    options: Options,
    to: String,
    began: Instant,
    until: Instant,
    /// Seconds between two messages of this pair, and the time of its first; 0: no pace.
    every: f64,
    first: f64,
    tally: Rc<RefCell<Tally>>,
    /// Sent so far, and delivered so far.
    sent: u64,
    delivered: Rc<RefCell<u64>>,
    moved: Rc<Notify>,
}

impl Pair {
    fn new(
        n: usize,
        options: &Options,
        to: String,
        began: Instant,
        until: Instant,
        tally: Rc<RefCell<Tally>>,
    ) -> Self {
        let every = if options.rate > 0.0 {
            options.pairs as f64 / options.rate
        } else {
            0.0
        };
        Self {
            every,
            first: every * n as f64 / options.pairs as f64,
            options: options.clone(),
            to,
            began,
            until,
            tally,
            sent: 0,
            delivered: Rc::default(),
            moved: Rc::default(),
        }
    }

    async fn run(mut self, sender: Socket, receiver: Socket) -> io::Result<()> {
        let (mut write, mut acks) = sender.split();
        let (_keep, mut read) = receiver.split();
        let total = Rc::new(RefCell::new(None::<u64>));
        let reading = {
            let (tally, delivered, moved, total) = (
                self.tally.clone(),
                self.delivered.clone(),
                self.moved.clone(),
                total.clone(),
            );
            let began = self.began;
            tokio::task::spawn_local(async move {
                let mut texts = VecDeque::new();
                while *total.borrow() != Some(*delivered.borrow()) {
                    // The end may be known only after the last delivery.
                    tokio::select! {
                        read = read.read(&mut texts) => read?,
                        () = moved.notified() => continue,
                    }
                    let now = began.elapsed().as_micros() as u64;
                    let mut tally = tally.borrow_mut();
                    let mut delivered = delivered.borrow_mut();
                    for text in texts.drain(..) {
                        let Some((number, meant)) = stamp(&text) else {
                            continue;
                        };
                        tally.wrong += u64::from(number != *delivered);
                        *delivered += 1;
                        tally.delivered += 1;
                        tally.latencies.push(now.saturating_sub(meant) as u32);
                    }
                    drop((tally, delivered));
                    moved.notify_waiters();
                }
                io::Result::Ok(())
            })
        };
        let acking = {
            let (tally, total, bare) = (self.tally.clone(), total.clone(), self.options.bare);
            let done = self.moved.clone();
            tokio::task::spawn_local(async move {
                let mut acked = 0;
                let mut texts = VecDeque::new();
                while !bare && total.borrow().is_none_or(|total| acked < total) {
                    tokio::select! {
                        read = acks.read(&mut texts) => read?,
                        () = done.notified() => continue,
                    }
                    for text in texts.drain(..) {
                        if text.starts_with(br#"{"type":"ack""#) {
                            acked += 1;
                        } else if text.starts_with(br#"{"type":"error""#) {
                            return Err(io::Error::other(
                                String::from_utf8_lossy(&text).into_owned(),
                            ));
                        }
                    }
                }
                tally.borrow_mut().acked += acked;
                io::Result::Ok(())
            })
        };
        while Instant::now() < self.until {
            let due = self.due();
            if due == 0 {
                self.wait().await;
                continue;
            }
            for _ in 0..due {
                let text = self.next();
                write.queue(&text);
            }
            write.flush().await?;
        }
        *total.borrow_mut() = Some(self.sent);
        self.moved.notify_waiters();
        let end = async {
            reading.await.map_err(io::Error::other)??;
            self.moved.notify_waiters();
            acking.await.map_err(io::Error::other)?
        };
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(30), end).await {
            return done;
        }
        let missing = self.sent - *self.delivered.borrow();
        self.tally.borrow_mut().wrong += missing;
        Ok(())
    }

    /// How many messages may go now.
    #[allow(clippy::cast_sign_loss)] // time does not run backwards
    fn due(&self) -> usize {
        if self.every > 0.0 {
            let now = self.began.elapsed().as_secs_f64();
            let meant = ((now - self.first) / self.every).ceil().max(0.0) as u64;
            return (meant - self.sent.min(meant)) as usize;
        }
        self.options.window - (self.sent - *self.delivered.borrow()) as usize
    }

    async fn wait(&self) {
        if self.every > 0.0 {
            let next = self.first + self.sent as f64 * self.every;
            tokio::time::sleep_until((self.began + Duration::from_secs_f64(next)).into()).await;
        } else {
            let moved = self.moved.notified();
            if self.due() == 0 {
                let left = self.until.saturating_duration_since(Instant::now());
                let _ = tokio::time::timeout(left, moved).await;
            }
        }
    }

    #[allow(clippy::cast_sign_loss)] // time does not run backwards
    fn next(&mut self) -> String {
        let meant = if self.every > 0.0 {
            ((self.first + self.sent as f64 * self.every) * 1e6) as u128
        } else {
            self.began.elapsed().as_micros()
        };
        let mut text = format!("{} {meant} ", self.sent);
        while text.len() < self.options.size {
            text.push('x');
        }
        self.sent += 1;
        let ephemeral = if self.options.ephemeral {
            r#","ephemeral":true"#
        } else {
            ""
        };
        format!(
            r#"{{"message":"{text}","target_user":"{}"{ephemeral}}}"#,
            self.to
        )
    }
}

/// The number and the moment in a delivered message.
fn stamp(frame: &[u8]) -> Option<(u64, u64)> {
    let text = frame.strip_prefix(br#"{"type":"message","message":""#)?;
    let text = std::str::from_utf8(text.get(..text.len().min(48))?).ok()?;
    let mut parts = text.split(' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

async fn idle(options: &Options, target: &Target) -> io::Result<()> {
    // The first connections warm the server up.
    let mut open = Vec::new();
    for n in 0..50 {
        open.push(Socket::open(target, &format!("warm{n}"), options.bare).await?);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (before, cpu) = (target.memory(), target.cpu());
    for n in 0..options.idle {
        open.push(Socket::open(target, &format!("idle{n}"), options.bare).await?);
        // One process may not have more descriptors than its limit; the server needs as many.
        if !options.json && n % 1000 == 999 {
            eprintln!("{} connections", n + 1);
        }
    }
    let cpu = target.cpu() - cpu;
    if options.warm > 0 {
        let text = "w".repeat(options.warm);
        for (n, socket) in open.iter_mut().enumerate().skip(50) {
            let user = format!("idle{}", n - 50);
            socket.queue(&format!(r#"{{"message":"{text}","target_user":"{user}"}}"#));
            socket.flush().await?;
            let mut texts = VecDeque::new();
            while !texts
                .iter()
                .any(|text: &Vec<u8>| text.starts_with(br#"{"type":"message""#))
            {
                socket.read(&mut texts).await?;
            }
        }
    }
    // Pings are answered meanwhile, as a client would.
    let until = tokio::time::Instant::now() + Duration::from_secs_f64(options.quiet);
    let mut tasks = Vec::new();
    for mut socket in open {
        tasks.push(tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout_at(until, async {
                let mut texts = VecDeque::new();
                while socket.read(&mut texts).await.is_ok() {
                    texts.clear();
                }
            })
            .await;
            socket
        }));
    }
    let mut open = Vec::new();
    for task in tasks {
        open.push(task.await.map_err(io::Error::other)?);
    }
    let after = target.memory();
    let each = (after - before) as f64 / options.idle as f64;
    let connect = cpu * 1e6 / options.idle as f64;
    if options.json {
        println!(
            "{}",
            json!({"connections": options.idle, "kib_each": each, "connect_cpu_us": connect})
        );
    } else {
        println!("connections          {}", options.idle);
        println!(
            "memory               {each:.2} KiB each (server {before} KiB before, {after} KiB after)"
        );
        println!("server CPU           {connect:.1} us to connect");
    }
    drop(open);
    Ok(())
}

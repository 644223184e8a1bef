//! Pairs that send messages on a fixed schedule regardless of replies. Latency is measured from the scheduled time, so that
//! delays of the server show in it (no coordinated omission).

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::spawn_local;

use crate::disk_latency::DiskLatency;
use crate::options::Options;
use crate::pairs::{GRACE, name};
use crate::report::Report;
use crate::socket::Socket;
use crate::tally::{Shared, Template, is_ack, micros, progress, refuse_error};
use crate::target::Target;
use crate::wait::settle;

/// Time for the receivers to start before the first message.
const READY: Duration = Duration::from_millis(50);

/// A sender with a schedule.
struct Writer {
    stream: TcpStream,
    message: Template,
    sent: u64,
}

/// Writes from a separate thread, because the timers of the runtime have a granularity of a millisecond.
struct Pacer {
    writers: Vec<Writer>,
    /// Answers to pings, sent between messages.
    pongs: Receiver<(usize, Vec<u8>)>,
    began: Instant,
    /// Seconds between two messages of all pairs, and the number of messages.
    every: f64,
    total: u64,
    /// Deadline for a server that does not read.
    deadline: Instant,
}

impl Pacer {
    /// Returns the delay of each message against the schedule, in microseconds.
    fn run(mut self) -> io::Result<Vec<u32>> {
        let mut late = Vec::with_capacity(self.total as usize);
        for number in 0..self.total {
            let meant = Duration::from_secs_f64(self.every * number as f64);
            let left = (self.began + meant).saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::sleep(left);
            }
            let meant = meant.as_micros() as u64;
            late.push(micros(self.began).saturating_sub(meant) as u32);
            while let Ok((writer, pong)) = self.pongs.try_recv() {
                write(&mut self.writers[writer].stream, &pong, self.deadline)?;
            }
            let next = number as usize % self.writers.len();
            let writer = &mut self.writers[next];
            let frame = writer.message.stamped(writer.sent, meant);
            write(&mut writer.stream, frame, self.deadline)?;
            writer.sent += 1;
        }
        Ok(late)
    }
}

/// Writes all bytes to a non-blocking stream.
fn write(stream: &mut TcpStream, mut frame: &[u8], deadline: Instant) -> io::Result<()> {
    while !frame.is_empty() {
        match stream.write(frame) {
            Ok(written) => frame = &frame[written..],
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() > deadline {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                thread::sleep(Duration::from_micros(50));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Counts the messages that a receiver gets.
async fn receive(mut socket: Socket, began: Instant, tally: Shared) -> io::Result<()> {
    let mut expected = 0;
    poll_fn(|cx| {
        while socket.poll_fill(cx)?.is_ready() {
            let now = micros(began);
            let mut tally = tally.borrow_mut();
            while let Some(text) = socket.next() {
                expected += u64::from(tally.take(text, expected, now));
            }
        }
        let _ = socket.poll_flush(cx)?;
        Poll::Pending
    })
    .await
}

/// Counts the acks that a sender gets.
async fn acks(
    mut socket: Socket,
    n: usize,
    pongs: Sender<(usize, Vec<u8>)>,
    tally: Shared,
) -> io::Result<()> {
    poll_fn(|cx| {
        while socket.poll_fill(cx)?.is_ready() {
            while let Some(text) = socket.next() {
                refuse_error(text)?;
                tally.borrow_mut().acked += u64::from(is_ack(text));
            }
            if let Some(pong) = socket.take_out() {
                // The pacer may have ended already; the last answers are not needed.
                let _ = pongs.send((n, pong));
            }
        }
        Poll::Pending
    })
    .await
}

/// Runs the load.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    let tally = Shared::default();
    let mut sockets = Vec::new();
    for n in 0..options.pairs {
        let from = Socket::open(target, &name("a", n)).await?;
        let to = Socket::open(target, &name("b", n)).await?;
        sockets.push((from.with_handle()?, to));
    }
    target.settle().await;
    let disk = DiskLatency::before(target, options)?;
    let before = target.usage();
    let began = Instant::now() + READY;
    let until = began + Duration::from_secs_f64(options.seconds);
    let total = (options.rate * options.seconds).round().max(1.0);
    let (pongs_in, pongs) = channel();
    let (mut writers, mut tasks) = (Vec::new(), Vec::new());
    for (n, ((from, stream), to)) in sockets.into_iter().enumerate() {
        let message = Template::new(&name("b", n), options.size.into(), options.ephemeral);
        writers.push(Writer {
            stream,
            message,
            sent: 0,
        });
        tasks.push(spawn_local(receive(to, began, tally.clone())));
        tasks.push(spawn_local(acks(from, n, pongs_in.clone(), tally.clone())));
    }
    #[allow(clippy::cast_sign_loss)] // neither rate nor time is negative
    let pacer = Pacer {
        writers,
        pongs,
        began,
        every: options.rate.recip(),
        total: total as u64,
        deadline: until + GRACE,
    };
    let total = pacer.total;
    tally.borrow_mut().sent = total;
    let progress = spawn_local(progress(tally.clone()));
    let pacer = thread::spawn(move || pacer.run());
    let done = || {
        let tally = tally.borrow();
        tally.delivered >= total && (target.bare || tally.acked >= total)
    };
    settle(tasks, until, until + GRACE, done).await?;
    progress.abort();
    let (seconds, cost) = target.usage().since(before);
    let late = pacer
        .join()
        .map_err(|_| io::Error::other("the pacer failed"))?;
    let mut tally = tally.borrow_mut();
    tally.report(report, "", seconds, cost);
    lateness(report, late?);
    disk.after(target, report, &mut tally)?;
    tally.check()
}

/// Reports the delay of the generator itself, which is part of every latency.
fn lateness(report: &mut Report, mut late: Vec<u32>) {
    late.sort_unstable();
    let at = |percent: usize| {
        late.get(late.len().saturating_sub(1) * percent / 100)
            .copied()
    };
    let (p50, p99) = (at(50).unwrap_or(0), at(99).unwrap_or(0));
    report.line("of this, sent late", format!("p50 {p50} us, p99 {p99} us"));
    report.value("late_us", json!({"p50": p50, "p99": p99}));
}

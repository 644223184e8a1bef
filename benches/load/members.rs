//! The members of rooms: users who are connected and receive, and users who have joined and have disconnected.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout_at;

use crate::pairs::{GRACE, name};
use crate::socket::Socket;
use crate::tally::{Tally, Template, is_ack, micros, refuse_error};
use crate::target::Target;

/// Interval at which a server that completes its work is looked at, the CPU seconds that it uses in that time without work, and the
/// time limit.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const QUIET_CPU: f64 = 0.003;
const SETTLED: Duration = Duration::from_secs(20);

/// With [`Course::lets_others_run`], other threads may run after so many receivers.
const RECEIVERS_PER_TURN: u32 = 8;

/// What receivers and the senders share. All run on one thread, so no lock is needed.
pub type Shared = Rc<RefCell<Course>>;

/// The counts of the current phase, and the sender that waits for deliveries.
#[derive(Debug)]
pub struct Course {
    /// The counts of the current phase.
    pub tally: Tally,
    began: Instant,
    /// The number of the next message. Numbers rise over all phases.
    next: u64,
    sender: Option<Waker>,
    /// Other threads may run between receivers: the latency of somebody else is measured, and the clients of a real room are on other
    /// machines.
    pub lets_others_run: bool,
    /// Receivers that have run since.
    received: u32,
}

impl Course {
    /// Starts the clock.
    pub fn new() -> Shared {
        Rc::new(RefCell::new(Self {
            tally: Tally::default(),
            began: Instant::now(),
            next: 0,
            sender: None,
            lets_others_run: false,
            received: 0,
        }))
    }

    /// A receiver has run.
    fn receiver_ran(&mut self) {
        self.received += 1;
        if self.lets_others_run && self.received.is_multiple_of(RECEIVERS_PER_TURN) {
            std::thread::yield_now();
        }
    }

    /// The frame of the next message, which `receivers` sessions must get.
    pub fn stamped<'a>(&mut self, message: &'a mut Template, receivers: usize) -> &'a [u8] {
        let frame = message.stamped(self.next, micros(self.began));
        self.next += 1;
        self.tally.sent += receivers as u64;
        frame
    }
}

/// A room of the run, named after its kind and size.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The number of members.
    pub size: usize,
    /// Half of the members are not connected.
    pub half: bool,
}

impl Room {
    /// The rooms with these numbers of members: all online, and half offline.
    pub fn all(sizes: &[usize]) -> Vec<Self> {
        let rooms = sizes.iter().flat_map(|&size| {
            let halves = [false, true].into_iter();
            halves.map(move |half| Self { size, half })
        });
        rooms.collect()
    }

    /// Its name.
    pub fn name(self) -> String {
        let kind = if self.half { "half" } else { "all" };
        format!("{kind}{}", self.size)
    }

    /// The number of members who are connected.
    pub fn online(self) -> usize {
        self.size - self.offline()
    }

    fn offline(self) -> usize {
        if self.half { self.size / 2 } else { 0 }
    }
}

/// The members of rooms who are connected.
pub struct Members {
    /// The first of them, who sends.
    pub senders: Vec<Socket>,
    receivers: Vec<JoinHandle<io::Result<()>>>,
}

impl Members {
    /// Connects the users, who join with the handshake. The first `senders` of them are in all rooms.
    pub async fn join(
        target: &Target,
        rooms: &[Room],
        senders: usize,
        course: &Shared,
    ) -> io::Result<Self> {
        let query = |n: usize, of: fn(Room) -> usize| -> String {
            let joined = rooms.iter().filter(|room| n < of(**room));
            let joined = joined.map(|room| format!("&room={}", room.name()));
            joined.collect::<String>().replacen('&', "?", 1)
        };
        let most = |of: fn(Room) -> usize| rooms.iter().map(|room| of(*room)).max().unwrap_or(0);
        for n in 0..most(Room::offline) {
            let user = name("off", n) + &query(n, Room::offline);
            drop(Socket::open(target, &user).await?);
        }
        let mut members = Self {
            senders: Vec::new(),
            receivers: Vec::new(),
        };
        for n in 0..most(Room::online) {
            let user = name("on", n) + &query(n, Room::online);
            let socket = Socket::open(target, &user).await?;
            if n < senders {
                members.senders.push(socket);
            } else {
                members.receive(socket, course);
            }
        }
        Ok(members)
    }

    /// Receives with this session until the end of the run.
    pub fn receive(&mut self, socket: Socket, course: &Shared) {
        self.receivers
            .push(spawn_local(receive(socket, course.clone())));
    }

    /// # Errors
    /// Returns an error if a session has ended.
    pub fn check(&self) -> io::Result<()> {
        if self.receivers.iter().any(JoinHandle::is_finished) {
            return Err(io::Error::other("a connection ended early"));
        }
        Ok(())
    }
}

/// Counts the messages that a session gets. Each must have a higher number than the one before.
async fn receive(mut socket: Socket, course: Shared) -> io::Result<()> {
    let mut expected = 0;
    poll_fn(|cx| {
        while socket.poll_fill(cx)?.is_ready() {
            let mut course = course.borrow_mut();
            let now = micros(course.began);
            while let Some(text) = socket.next() {
                expected = course.tally.take_rising(text, expected, now);
            }
            if let Some(sender) = course.sender.take() {
                sender.wake();
            }
        }
        let _ = socket.poll_flush(cx)?;
        course.borrow_mut().receiver_ran();
        Poll::Pending
    })
    .await
}

/// Sends until `until` with so many messages in flight as `window` permits, and waits until all are delivered and acknowledged. In
/// flight is a message that is not acknowledged; and the deliveries that are missing are at most those of `window` messages.
pub async fn send(
    socket: &mut Socket,
    message: &mut Template,
    (receivers, window): (usize, usize),
    until: Instant,
    course: &Shared,
) -> io::Result<u64> {
    let (mut sent, mut acked) = (0, 0);
    let ended = poll_fn(|cx| {
        while socket.poll_fill(cx)?.is_ready() {
            while let Some(text) = socket.next() {
                refuse_error(text)?;
                acked += u64::from(is_ack(text));
            }
        }
        let mut course = course.borrow_mut();
        let window = window as u64;
        let room = |course: &Course| {
            course.tally.missing() + receivers as u64 <= window * receivers as u64
        };
        while Instant::now() < until && sent - acked < window && room(&course) {
            socket.queue_frame(course.stamped(message, receivers));
            sent += 1;
        }
        course.sender = Some(cx.waker().clone());
        let flushed = socket.poll_flush(cx)?.is_ready();
        if Instant::now() >= until && flushed && acked >= sent && course.tally.missing() == 0 {
            return Poll::Ready(io::Result::Ok(()));
        }
        Poll::Pending
    });
    timeout_at((until + GRACE).into(), ended).await??;
    course.borrow_mut().tally.acked = acked;
    Ok(sent)
}

/// Waits until the server has completed what it does after a phase: watermarks, and moving messages to their tables.
pub async fn settle(target: &Target) {
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < 3 && began.elapsed() < SETTLED {
        let (usage, disk) = (target.usage(), target.disk_bytes());
        tokio::time::sleep(LOOK_EVERY).await;
        let is_quiet =
            target.usage().since(usage).1.server < QUIET_CPU && target.disk_bytes() == disk;
        quiet = if is_quiet { quiet + 1 } else { 0 };
    }
}

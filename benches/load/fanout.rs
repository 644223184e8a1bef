//! One user sends to a user with many devices. Each device must get each message once and in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::spawn_local;

use crate::options::Options;
use crate::pairs::{GRACE, name};
use crate::report::Report;
use crate::socket::Socket;
use crate::tally::{Shared, Template, is_ack, micros, progress, refuse_error};
use crate::target::Target;
use crate::wait::settle;

/// Messages in flight, with the number of devices that have not received each of them yet.
#[derive(Default)]
struct Flight {
    /// The number of the oldest message in flight.
    first: u64,
    missing: VecDeque<usize>,
    /// The sender's waker, for when the window has room again.
    sender: Option<Waker>,
}

impl Flight {
    fn arrived(&mut self, number: u64) {
        let place = number.checked_sub(self.first);
        if let Some(missing) = place.and_then(|place| self.missing.get_mut(place as usize)) {
            *missing = missing.saturating_sub(1);
        }
        while self.missing.front() == Some(&0) {
            self.missing.pop_front();
            self.first += 1;
            if let Some(sender) = self.sender.take() {
                sender.wake();
            }
        }
    }
}

async fn receive(
    mut socket: Socket,
    began: Instant,
    flight: Rc<RefCell<Flight>>,
    tally: Shared,
) -> io::Result<()> {
    let mut expected = 0;
    poll_fn(|cx| {
        while socket.poll_fill(cx)?.is_ready() {
            let now = micros(began);
            let (mut tally, mut flight) = (tally.borrow_mut(), flight.borrow_mut());
            while let Some(text) = socket.next() {
                if tally.take(text, expected, now) {
                    flight.arrived(expected);
                    expected += 1;
                }
            }
        }
        let _ = socket.poll_flush(cx)?;
        Poll::Pending
    })
    .await
}

/// The sender.
struct Sender {
    socket: Socket,
    message: Template,
    window: usize,
    devices: usize,
    began: Instant,
    until: Instant,
}

impl Sender {
    async fn run(mut self, flight: Rc<RefCell<Flight>>, tally: Shared) -> io::Result<()> {
        let mut sent = 0;
        poll_fn(|cx| {
            while self.socket.poll_fill(cx)?.is_ready() {
                while let Some(text) = self.socket.next() {
                    refuse_error(text)?;
                    tally.borrow_mut().acked += u64::from(is_ack(text));
                }
            }
            let mut flight = flight.borrow_mut();
            while flight.missing.len() < self.window && Instant::now() < self.until {
                let frame = self.message.stamped(sent, micros(self.began));
                self.socket.queue_frame(frame);
                flight.missing.push_back(self.devices);
                sent += 1;
                tally.borrow_mut().sent += self.devices as u64;
            }
            flight.sender = Some(cx.waker().clone());
            let _ = self.socket.poll_flush(cx)?;
            Poll::Pending
        })
        .await
    }
}

/// Runs the load.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    let (tally, flight) = (Shared::default(), Rc::<RefCell<Flight>>::default());
    let to = name("b", 0);
    let socket = Socket::open(target, &name("a", 0)).await?;
    let mut devices = Vec::new();
    for n in 0..options.devices {
        // A user may have at most 16 devices, but more sessions.
        let device = format!("{to}?device=d{}", n % 16);
        devices.push(Socket::open(target, &device).await?);
    }
    target.settle().await;
    let before = target.usage();
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(options.seconds);
    let sender = Sender {
        socket,
        message: Template::new(&to, options.size.into(), options.ephemeral),
        window: options.window,
        devices: options.devices,
        began,
        until,
    };
    let progress = spawn_local(progress(tally.clone()));
    let mut tasks = vec![spawn_local(sender.run(flight.clone(), tally.clone()))];
    for socket in devices {
        let receive = receive(socket, began, flight.clone(), tally.clone());
        tasks.push(spawn_local(receive));
    }
    let done = || {
        let tally = tally.borrow();
        let acks = tally.sent / options.devices as u64;
        tally.missing() == 0 && (target.bare || tally.acked >= acks)
    };
    settle(tasks, until, until + GRACE, done).await?;
    progress.abort();
    let (seconds, cost) = target.usage().since(before);
    let mut tally = tally.borrow_mut();
    report.line("devices", options.devices.to_string());
    report.value("devices", json!(options.devices));
    tally.report(report, "", seconds, cost);
    tally.check()
}

//! The latency of two users who are in no room, in turn without other load and while a large room receives messages or edits.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::members::{Course, Members, Room, Shared, settle};
use crate::options::Options;
use crate::pairs::{GRACE, name};
use crate::report::Report;
use crate::socket::{Socket, next_frame, pong};
use crate::tally::{Template, is_ack, refuse_error};
use crate::target::Target;

/// Members of the room who send.
const SENDERS: usize = 3;
/// Time between two messages of the pair. It has no common divisor with usual intervals of the room, so that the pair's messages
/// are sent at all times of such an interval.
const EVERY: Duration = Duration::from_micros(17_310);

/// The time in which each sender sends the message that it edits.
const FIRST: Duration = Duration::from_secs(1);

/// One of the two users. It has a thread of its own that waits in the kernel, so that the generator's work for the room delays it
/// as little as possible.
struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    async fn open(target: &Target, user: &str) -> io::Result<Self> {
        let stream = Socket::open(target, user).await?.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(GRACE))?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// Waits for a text that `wanted` accepts.
    fn wait_for(&mut self, wanted: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        loop {
            while let Some((first, start, end)) = next_frame(&self.read) {
                let payload = &self.read[start..end];
                let is_text = first & 0x0F == 1;
                if is_text {
                    refuse_error(payload)?;
                } else if let Some(pong) = pong(first, payload) {
                    self.stream.write_all(&pong)?;
                }
                let found = is_text && wanted(payload);
                self.read.drain(..end);
                if found {
                    return Ok(());
                }
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                some => self.read.extend_from_slice(&chunk[..some]),
            }
        }
    }
}

/// Two users, of whom one sends to the other.
struct Pair {
    from: Peer,
    to: Peer,
    message: Template,
    sent: u64,
}

impl Pair {
    /// Sends on schedule and waits for each delivery. Returns the times from the scheduled sends to the deliveries in microseconds.
    fn run(&mut self, length: Duration) -> io::Result<Vec<u32>> {
        let began = Instant::now();
        let mut latencies = Vec::new();
        let mut meant = began;
        while meant < began + length {
            thread::sleep(meant.saturating_duration_since(Instant::now()));
            let frame = self.message.stamped(self.sent, 0);
            self.from.stream.write_all(frame)?;
            self.sent += 1;
            self.to
                .wait_for(|text| text.starts_with(br#"{"type":"message""#))?;
            latencies.push(meant.elapsed().as_micros() as u32);
            self.from.wait_for(is_ack)?;
            meant += EVERY;
        }
        Ok(latencies)
    }
}

/// The room and its members.
struct Crowd {
    members: Members,
    /// What each sender sends.
    frames: Vec<Template>,
    receivers: usize,
}

impl Crowd {
    /// Has each sender send a message, which it edits from then on.
    async fn begin_edits(
        &mut self,
        (room, size): (&str, usize),
        course: &Shared,
    ) -> io::Result<()> {
        let pairs = (0..SENDERS).map(|n| {
            let id = format!("00000000-0000-4000-8000-{n:012}");
            Template::with_edit(room, size, &id)
        });
        let (messages, edits) = pairs.unzip();
        self.frames = messages;
        let rate = SENDERS as f64 / FIRST.as_secs_f64();
        self.talk(FIRST, rate, course).await?;
        self.frames = edits;
        Ok(())
    }

    /// Sends to the room on schedule until `length` has passed, and waits until everything is delivered.
    async fn talk(&mut self, length: Duration, rate: f64, course: &Shared) -> io::Result<u64> {
        let began = tokio::time::Instant::now();
        let mut sent = 0;
        loop {
            let meant = began + Duration::from_secs_f64(sent as f64 / rate);
            if meant >= began + length {
                break;
            }
            tokio::time::sleep_until(meant).await;
            let n = sent as usize % SENDERS;
            // The other senders get the message, too, and do not count it.
            let frame = course
                .borrow_mut()
                .stamped(&mut self.frames[n], self.receivers);
            let sender = &mut self.members.senders[n];
            sender.queue_frame(frame);
            sender.flush().await?;
            sent += 1;
        }
        for (n, sender) in self.members.senders.iter_mut().enumerate() {
            let mut left = (sent as usize + SENDERS - 1 - n) / SENDERS;
            while left > 0 {
                let mut error = None;
                sender
                    .text(|text| {
                        error = error.take().or_else(|| refuse_error(text).err());
                        error.is_some() || is_ack(text)
                    })
                    .await?;
                error.map_or(Ok(()), Err)?;
                left -= 1;
            }
        }
        let deadline = Instant::now() + GRACE;
        while course.borrow().tally.missing() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(sent)
    }
}

/// Runs the load.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    let course = Course::new();
    course.borrow_mut().lets_others_run = true;
    let room = Room {
        size: options.beside_room,
        half: false,
    };
    let rate = if options.rate > 0.0 {
        options.rate
    } else {
        20.0
    };
    let members = Members::join(target, &[room], SENDERS, &course).await?;
    let size: usize = options.size.into();
    let mut crowd = Crowd {
        receivers: room.online().saturating_sub(SENDERS),
        frames: vec![Template::to_room(&room.name(), size, false); SENDERS],
        members,
    };
    if options.edits {
        crowd.begin_edits((&room.name(), size), &course).await?;
    }
    let to = name("b", 0);
    let mut pair = Pair {
        from: Peer::open(target, &name("a", 0)).await?,
        message: Template::new(&to, size, options.ephemeral),
        to: Peer::open(target, &to).await?,
        sent: 0,
    };
    let length = Duration::from_secs_f64(options.seconds);
    pair.run(length / 4)?;
    let usage = target.usage();
    let (mut idle, mut loaded, mut sent) = (Vec::new(), Vec::new(), 0);
    let (mut idle_rounds, mut loaded_rounds) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        eprintln!("round {}", round + 1);
        for with_load in [false, true] {
            let talk = thread::spawn(move || pair.run(length).map(|latencies| (pair, latencies)));
            if with_load {
                sent += crowd.talk(length, rate, &course).await?;
            }
            while !talk.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let ended = talk.join();
            let (again, latencies) = ended.map_err(|_| io::Error::other("the pair failed"))??;
            pair = again;
            crowd.members.check()?;
            settle(target).await;
            let (all, rounds) = if with_load {
                (&mut loaded, &mut loaded_rounds)
            } else {
                (&mut idle, &mut idle_rounds)
            };
            rounds.push(percentile(&mut latencies.clone(), 99));
            all.extend(latencies);
        }
    }
    let others = target.usage().since(usage).1.others();
    course.borrow().tally.check()?;
    for (what, all, rounds) in [
        ("idle", &mut idle, &idle_rounds),
        ("beside the room", &mut loaded, &loaded_rounds),
    ] {
        let (p50, p99) = (percentile(all, 50), percentile(all, 99));
        report.line(
            what,
            format!(
                "p50 {p50} us, p99 {p99} us of {} messages; p99 of each round {rounds:?}",
                all.len()
            ),
        );
        report.value(
            &what.replace(' ', "_"),
            json!({"p50_us": p50, "p99_us": p99, "rounds_p99_us": rounds}),
        );
    }
    let ratio =
        f64::from(percentile(&mut loaded, 99)) / f64::from(percentile(&mut idle, 99).max(1));
    report.line("p99 relative to idle", format!("x{ratio:.2}"));
    let deliveries = crowd.receivers;
    report.line(
        if options.edits {
            "edits in the room"
        } else {
            "messages to the room"
        },
        format!("{sent}, each to {deliveries} receivers and {SENDERS} senders"),
    );
    report.line("others", format!("{others:.0} % of the machine's CPU"));
    report.value("p99_ratio", json!(ratio));
    report.value("room_messages", json!(sent));
    report.value("others_percent", json!(others));
    Ok(())
}

fn percentile(latencies: &mut [u32], percent: usize) -> u32 {
    latencies.sort_unstable();
    let place = latencies.len().saturating_sub(1) * percent / 100;
    latencies.get(place).copied().unwrap_or(0)
}

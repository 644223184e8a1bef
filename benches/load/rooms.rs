//! One user sends to rooms of several sizes, and to one user: what a message costs the server.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::members::{Course, Members, Room, Shared, send, settle};
use crate::options::Options;
use crate::pairs::name;
use crate::report::Report;
use crate::socket::Socket;
use crate::tally::Template;
use crate::target::Target;

/// Length of the phase that warms up each conversation.
const WARM_UP: Duration = Duration::from_millis(300);

/// A conversation, and what its messages have cost.
struct Phase {
    what: String,
    message: Template,
    /// Sessions that get each message, besides the sender.
    receivers: usize,
    costs: Vec<Cost>,
}

/// What a message has cost in one phase.
#[derive(Clone, Copy)]
struct Cost {
    messages: u64,
    cpu_us: f64,
    disk_bytes: f64,
    p50_us: u32,
    p99_us: u32,
}

impl Phase {
    /// Sends for `length`.
    async fn run(
        &mut self,
        target: &Target,
        sender: &mut Socket,
        window: usize,
        length: Duration,
        course: &Shared,
    ) -> io::Result<Cost> {
        let (usage, disk) = (target.usage(), target.disk_bytes());
        let until = Instant::now() + length;
        let in_flight = (self.receivers, window);
        let messages = send(sender, &mut self.message, in_flight, until, course).await?;
        settle(target).await;
        let (_, cost) = target.usage().since(usage);
        let mut tally = std::mem::take(&mut course.borrow_mut().tally);
        tally.check()?;
        let each = (messages.max(1) as f64).recip();
        Ok(Cost {
            messages,
            cpu_us: cost.server * 1e6 * each,
            disk_bytes: (target.disk_bytes() - disk) as f64 * each,
            p50_us: tally.latency(500),
            p99_us: tally.latency(990),
        })
    }

    fn median(&self, of: impl Fn(usize, &Cost) -> f64) -> f64 {
        let costs = self.costs.iter().enumerate();
        median(costs.map(|(round, cost)| of(round, cost)).collect())
    }

    /// Reports medians of the rounds. `direct`: the phase of the same rounds to compare with.
    fn report(&self, direct: &Self, report: &mut Report) -> Value {
        let cpu = self.median(|_, cost| cost.cpu_us);
        let disk = self.median(|_, cost| cost.disk_bytes);
        let cpu_ratio = self.median(|round, cost| cost.cpu_us / direct.costs[round].cpu_us);
        let disk_ratio =
            self.median(|round, cost| cost.disk_bytes / direct.costs[round].disk_bytes.max(1.0));
        let delivery = cpu / self.receivers.max(1) as f64;
        let p50 = self.median(|_, cost| cost.p50_us.into());
        let p99 = self.median(|_, cost| cost.p99_us.into());
        let messages: u64 = self.costs.iter().map(|cost| cost.messages).sum();
        report.line(
            &self.what,
            format!(
                "CPU {cpu:.1} us x{cpu_ratio:.2}, {delivery:.2} us per delivery; disk {disk:.0} bytes x{disk_ratio:.2}; \
                 p50 {p50:.0} us, p99 {p99:.0} us; {messages} messages"
            ),
        );
        json!({
            "what": self.what,
            "messages": messages,
            "receivers": self.receivers,
            "server_cpu_us": cpu,
            "cpu_ratio": cpu_ratio,
            "server_cpu_us_per_delivery": delivery,
            "disk_bytes": disk,
            "disk_ratio": disk_ratio,
            "p50_us": p50,
            "p99_us": p99,
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Runs the load.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    let course = Course::new();
    let rooms = Room::all(&options.rooms);
    let mut members = Members::join(target, &rooms, 1, &course).await?;
    let peer = name("peer", 0);
    members.receive(Socket::open(target, &peer).await?, &course);
    let size = options.size.into();
    let mut phases = vec![Phase {
        what: "direct".into(),
        message: Template::new(&peer, size, options.ephemeral),
        receivers: 1,
        costs: Vec::new(),
    }];
    phases.extend(rooms.iter().map(|room| {
        let online = if room.half { "half" } else { "all" };
        Phase {
            what: format!("room of {}, {online} online", room.size),
            message: Template::to_room(&room.name(), size, options.ephemeral),
            receivers: room.online() - 1,
            costs: Vec::new(),
        }
    }));
    let mut sender = members.senders.remove(0);
    let length = Duration::from_secs_f64(options.seconds);
    for phase in &mut phases {
        let window = options.window;
        phase
            .run(target, &mut sender, window, WARM_UP, &course)
            .await?;
    }
    let usage = target.usage();
    for round in 0..options.rounds {
        eprintln!("round {}", round + 1);
        for phase in &mut phases {
            let window = options.window;
            let cost = phase
                .run(target, &mut sender, window, length, &course)
                .await?;
            members.check()?;
            phase.costs.push(cost);
        }
    }
    let others = target.usage().since(usage).1.others();
    let values: Vec<Value> = phases
        .iter()
        .map(|phase| phase.report(&phases[0], report))
        .collect();
    report.line("others", format!("{others:.0} % of the machine's CPU"));
    report.value("rooms", Value::Array(values));
    report.value("others_percent", json!(others));
    Ok(())
}

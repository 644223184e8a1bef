//! Many users reconnect at once: the cost of connecting a known user with nothing to replay.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::spawn_local;

use crate::options::Options;
use crate::pairs::name;
use crate::report::Report;
use crate::socket::Socket;
use crate::target::Target;

/// Time for the server to clean up ended sessions.
const SETTLE: Duration = Duration::from_secs(1);

/// State shared by the connections of one round.
struct Round {
    target: Rc<Target>,
    next: Cell<usize>,
    users: usize,
    open: RefCell<Vec<Socket>>,
    /// Microseconds from the start of the connection to `synced`, or to the upgrade for a plain relay.
    times: RefCell<Vec<u32>>,
}

impl Round {
    /// Connects all users, with limited concurrency. In the first round each of them receives and acknowledges a message.
    async fn run(target: &Rc<Target>, options: &Options, first: bool) -> io::Result<Rc<Self>> {
        let round = Rc::new(Self {
            target: target.clone(),
            next: Cell::new(0),
            users: options.storm,
            open: RefCell::default(),
            times: RefCell::default(),
        });
        let mut tasks = Vec::new();
        for _ in 0..options.concurrency {
            tasks.push(spawn_local(round.clone().connect(first)));
        }
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        Ok(round)
    }

    async fn connect(self: Rc<Self>, first: bool) -> io::Result<()> {
        loop {
            let n = self.next.replace(self.next.get() + 1);
            if n >= self.users {
                return Ok(());
            }
            let user = name("c", n);
            let began = Instant::now();
            let mut socket = Socket::open(&self.target, &user).await?;
            let time = began.elapsed().as_micros() as u32;
            self.times.borrow_mut().push(time);
            if first && !self.target.bare {
                become_known(&mut socket, &user).await?;
            } else if socket.replayed > 0 {
                return Err(io::Error::other("there was something to replay"));
            }
            self.open.borrow_mut().push(socket);
        }
    }
}

/// Sends a message to the user itself and acknowledges it.
async fn become_known(socket: &mut Socket, user: &str) -> io::Result<()> {
    socket.queue(&format!(r#"{{"message":"hello","target_user":"{user}"}}"#));
    let message = |text: &[u8]| text.starts_with(br#"{"type":"message""#);
    socket.text(message).await?;
    socket.queue(r#"{"type":"received","seq":1}"#);
    socket.queue(r#"{"type":"ping"}"#);
    let pong = |text: &[u8]| text.starts_with(br#"{"type":"pong""#);
    socket.text(pong).await
}

/// Runs the load.
pub async fn run(target: Rc<Target>, options: &Options, report: &mut Report) -> io::Result<()> {
    let first = Round::run(&target, options, true).await?;
    eprintln!("{} users are known", options.storm);
    drop(first);
    tokio::time::sleep(SETTLE).await;
    let before = target.usage();
    let round = Round::run(&target, options, false).await?;
    let (seconds, cost) = target.usage().since(before);
    tokio::time::sleep(SETTLE).await;
    let before = target.usage();
    round.open.borrow_mut().clear();
    tokio::time::sleep(SETTLE).await;
    let (_, leaving) = target.usage().since(before);
    let users = options.storm as f64;
    let (connect, leave) = (cost.server * 1e6 / users, leaving.server * 1e6 / users);
    let own = cost.own * 1e6 / users;
    let rate = users / seconds;
    let mut times = round.times.borrow_mut();
    times.sort_unstable();
    let at = |percent: usize| times[times.len().saturating_sub(1) * percent / 100];
    report.line("connections", options.storm.to_string());
    report.line("connections/s", format!("{rate:.0}"));
    report.line(
        "until connected",
        format!("p50 {} us, p99 {} us", at(50), at(99)),
    );
    report.line(
        "server CPU",
        format!(
            "{connect:.1} us to connect (the generator's own: {own:.1} us), {leave:.1} us to leave"
        ),
    );
    report.value("others_percent", json!(cost.others()));
    report.value("connections", json!(options.storm));
    report.value("per_second", json!(rate));
    report.value("p50_us", json!(at(50)));
    report.value("p99_us", json!(at(99)));
    report.value("connect_cpu_us", json!(connect));
    report.value("leave_cpu_us", json!(leave));
    Ok(())
}

//! The HTTP API: `POST /v1/messages` over one or several connections, with one request in flight on each. And a reader of `/metrics`
//! beside other loads.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use crate::options::Options;
use crate::pairs::name;
use crate::report::Report;
use crate::socket::Socket;
use crate::target::Target;

/// A connection to the operations port.
struct Connection {
    stream: TcpStream,
    /// Bytes of a response that have arrived.
    read: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// Sends a request and reads the response, which must have the status 200.
    async fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(length) = response_length(&self.read)? {
                self.read.drain(..length);
                return Ok(());
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The length of the first response in `bytes`; `None`: it is not complete.
fn response_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(io::Error::other(
            String::from_utf8_lossy(bytes).into_owned(),
        ));
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length
        .and_then(|length| length.trim().parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let total = end + 4 + length;
    Ok((bytes.len() >= total).then_some(total))
}

/// A request of this load.
fn request(user: &str, options: &Options) -> Vec<u8> {
    let text = "x".repeat(options.size.into());
    let mut body = json!({"from_user": "system", "target_user": user, "message": text});
    if options.ephemeral {
        body["ephemeral"] = json!(true);
    }
    let body = body.to_string();
    format!(
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Runs a phase for each number of connections. Each connection sends to a user of its own, who is online.
pub async fn run(target: &Target, options: &Options, report: &mut Report) -> io::Result<()> {
    for &connections in &options.api {
        let mut users = Vec::new();
        let mut clients = Vec::new();
        for n in 0..connections {
            let user = name(&format!("p{connections}."), n);
            users.push(spawn_local(Socket::open(target, &user).await?.rest()));
            let connection = Connection::open(target.operations()?).await?;
            clients.push((connection, request(&user, options)));
        }
        let latencies = Rc::new(RefCell::new(Vec::<u32>::new()));
        let before = target.usage();
        let until = Instant::now() + Duration::from_secs_f64(options.seconds);
        let tasks: Vec<JoinHandle<io::Result<()>>> = clients
            .into_iter()
            .map(|(mut connection, request)| {
                let latencies = latencies.clone();
                spawn_local(async move {
                    while Instant::now() < until {
                        let sent = Instant::now();
                        connection.ask(&request).await?;
                        let latency = sent.elapsed().as_micros();
                        latencies.borrow_mut().push(latency as u32);
                    }
                    Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        let (seconds, cost) = target.usage().since(before);
        for user in users {
            user.abort();
        }
        let mut latencies = latencies.borrow_mut();
        latencies.sort_unstable();
        let requests = latencies.len();
        let at = |permille: usize| {
            let place = requests.saturating_sub(1) * permille / 1000;
            latencies.get(place).copied().unwrap_or(0)
        };
        let each = 1e6 / requests.max(1) as f64;
        let (rate, server, own) = (
            requests as f64 / seconds,
            cost.server * each,
            cost.own * each,
        );
        report.line(
            &format!("{connections} connections"),
            format!(
                "{rate:.0} requests/s, {server:.1} us of server CPU per request (generator: {own:.1} us), p50 {} us, p99 {} us, \
                 others {:.0} %",
                at(500),
                at(990),
                cost.others()
            ),
        );
        let key = |what: &str| format!("api_{connections}_{what}");
        report.value(&key("per_second"), json!(rate));
        report.value(&key("server_cpu_us"), json!(server));
        report.value(&key("generator_cpu_us"), json!(own));
        report.value(&key("p50_us"), json!(at(500)));
        report.value(&key("p99_us"), json!(at(990)));
        report.value(&key("others_percent"), json!(cost.others()));
    }
    Ok(())
}

/// Reads `/metrics` so many times a second, until the returned task is aborted.
pub async fn scrape(target: &Target, per_second: f64) -> io::Result<JoinHandle<io::Result<()>>> {
    let mut connection = Connection::open(target.operations()?).await?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // An error of the first one is reported.
    connection.ask(request).await?;
    let mut due = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    Ok(spawn_local(async move {
        loop {
            due.tick().await;
            connection.ask(request).await?;
        }
    }))
}

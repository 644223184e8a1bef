//! The server under load: started here or already running.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::options::Options;

/// Clock ticks a second in /proc (the kernel's `USER_HZ`, 100 on every Linux that Rust runs on).
const TICKS: f64 = 100.0;

/// The server under load.
pub struct Target {
    /// Address of the server.
    pub address: SocketAddr,
    /// Whether it is a plain relay without `welcome`, `synced` and `ack`.
    pub bare: bool,
    /// The path to which the user id is appended.
    path: String,
    /// Address of the operations port, if the load needs it.
    operations: Option<SocketAddr>,
    pid: Option<u32>,
    child: Option<Child>,
    folder: Option<PathBuf>,
}

impl Target {
    /// Starts a server, or uses the one given with `--at`.
    pub fn new(options: &Options) -> io::Result<Self> {
        let target = match &options.at {
            Some(at) => Self::running(at, options)?,
            None => Self::start(options)?,
        };
        if !target.address.ip().is_loopback() {
            return Err(io::Error::other("load goes to loopback addresses only"));
        }
        Ok(target)
    }

    fn running(at: &str, options: &Options) -> io::Result<Self> {
        let (address, path) = at.split_once('/').unwrap_or((at, "ws/"));
        let address = address.to_socket_addrs()?.next();
        Ok(Self {
            address: address.ok_or(io::ErrorKind::AddrNotAvailable)?,
            bare: options.bare,
            path: format!("/{path}"),
            operations: None,
            pid: options.pid,
            child: None,
            folder: None,
        })
    }

    fn start(options: &Options) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("dmwire-load-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let built = Path::new(env!("CARGO_BIN_EXE_dmwire"));
        let mut child = Command::new(options.program.as_deref().unwrap_or(built))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--messages-per-second",
                "1000000",
                "--burst",
                "1000000",
                "--sessions-per-user",
                &options.devices.max(16).to_string(),
            ])
            .args(room_limits(options))
            .args(operations(options))
            .args(["--log", "warn,dmwire=info", "--store"])
            .arg(match options.store.as_str() {
                "sqlite:" => "sqlite:load.db",
                other => other,
            })
            .args(options.server.split_whitespace())
            // The private file of `memory:` is removed with the folder, because the server is killed at the end.
            .env("TMPDIR", &folder)
            .current_dir(&folder)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(stderr).lines();
        let (mut address, mut operations) = (None, None);
        let address = loop {
            let line = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            eprintln!("{line}");
            let after = |what: &str| {
                let rest = line.split(what).nth(1)?;
                rest.split([' ', '/']).next()?.parse().ok()
            };
            address = address.or_else(|| after("listening on http://"));
            operations = operations.or_else(|| after("operations port on http://"));
            if let Some(address) = address
                && (operations.is_some() || !needs_operations(options))
            {
                break address;
            }
        };
        // Keep reading the log, so that the server never blocks on a full pipe.
        thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            address,
            bare: false,
            path: "/ws/".into(),
            operations,
            pid: Some(child.id()),
            child: Some(child),
            folder: Some(folder),
        })
    }

    /// Address of the operations port.
    ///
    /// # Errors
    /// The server was not started here.
    pub fn operations(&self) -> io::Result<SocketAddr> {
        let unknown = || io::Error::other("this load needs a server that is started with it");
        self.operations.ok_or_else(unknown)
    }

    /// The folder of the store if the server was started here; otherwise the system's temporary folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// The upgrade request of a user, whose name may be followed by a query.
    pub fn request(&self, user: &str) -> String {
        format!(
            "GET {}{user} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.path
        )
    }

    /// Waits until the server has registered all connected users: a plain relay may answer the handshake earlier.
    pub async fn settle(&self) {
        if self.bare {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Returns the CPU time used so far.
    pub fn usage(&self) -> Usage {
        Usage {
            server: self.pid.map_or(0.0, |pid| cpu(&pid.to_string())),
            own: cpu("self"),
            machine: machine(),
            elapsed: 0.0,
            at: Instant::now(),
        }
    }

    fn proc(&self, file: &str) -> String {
        self.pid
            .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/{file}")).ok())
            .unwrap_or_default()
    }

    /// Bytes that the server has had written to disks so far.
    pub fn disk_bytes(&self) -> u64 {
        let io = self.proc("io");
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    }

    /// Resident memory of the server in KiB.
    pub fn memory(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }
}

/// Limits that the load on rooms does not reach. An earlier release may not have them, so other loads do not set them.
fn room_limits(options: &Options) -> &'static [&'static str] {
    if options.rooms.is_empty() && options.beside_room == 0 {
        return &[];
    }
    &[
        "--room-entries-per-second",
        "10000000",
        "--room-entries-burst",
        "10000000",
    ]
}

/// The operations port, for loads that use it. An earlier release may not have it.
fn operations(options: &Options) -> &'static [&'static str] {
    if !needs_operations(options) {
        return &[];
    }
    &[
        "--ops-listen",
        "127.0.0.1:0",
        "--api-requests-per-second",
        "1000000",
    ]
}

fn needs_operations(options: &Options) -> bool {
    !options.api.is_empty() || options.scrape > 0.0
}

/// CPU seconds (user and system) at some time.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of the server; 0 if its process id is not known.
    pub server: f64,
    /// Of the load generator.
    pub own: f64,
    /// Of all processes on the machine, including steal time.
    machine: f64,
    /// Elapsed time in seconds.
    elapsed: f64,
    at: Instant,
}

impl Usage {
    /// Returns the elapsed and CPU seconds since `before`.
    pub fn since(self, before: Self) -> (f64, Self) {
        let elapsed = self.at.duration_since(before.at).as_secs_f64();
        let cost = Self {
            server: self.server - before.server,
            own: self.own - before.own,
            machine: self.machine - before.machine,
            elapsed,
            at: self.at,
        };
        (elapsed, cost)
    }

    /// The share of the CPU used by neither the server nor the generator, in percent. With a large share the run is not
    /// meaningful.
    pub fn others(self) -> f64 {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let others = self.machine - self.server - self.own;
        others.max(0.0) * 100.0 / (self.elapsed * cores as f64)
    }
}

/// CPU seconds of the machine that were not idle (`cpu` in /proc/stat; fields 4 and 5 are idle time).
fn machine() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(1).take(8).enumerate();
    let busy = ticks.filter(|(n, _)| !matches!(n, 3 | 4));
    let busy = busy.filter_map(|(_, field)| field.parse::<f64>().ok());
    busy.sum::<f64>() / TICKS
}

/// CPU seconds of a process. The sum over its threads is in nanoseconds but lacks threads that have ended; the ticks of the
/// process are coarse but include them. Neither exceeds the true value, so the larger one is more accurate.
fn cpu(process: &str) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let nanoseconds = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        });
    let exact = nanoseconds.sum::<u64>() as f64 / 1e9;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields 14 and 15, counted after the name because the name may contain spaces.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok());
    exact.max(ticks.sum::<f64>() / TICKS)
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

//! The server under load: one that is started here, or one that is running already.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Options;

/// Clock ticks a second in /proc (the kernel's `USER_HZ`, 100 on every Linux that Rust runs on).
const TICKS: f64 = 100.0;

/// Where the load goes.
pub struct Target {
    /// Address of the server.
    pub address: SocketAddr,
    /// What the user id is appended to.
    pub path: String,
    pid: Option<u32>,
    child: Option<Child>,
    folder: Option<PathBuf>,
}

impl Target {
    /// Starts a server, or looks up the one that `--at` names.
    pub fn new(options: &Options) -> io::Result<Self> {
        let target = match &options.at {
            Some(at) => Self::running(at, options.pid)?,
            None => Self::start(options)?,
        };
        if !target.address.ip().is_loopback() {
            return Err(io::Error::other("load goes to loopback addresses only"));
        }
        Ok(target)
    }

    fn running(at: &str, pid: Option<u32>) -> io::Result<Self> {
        let (address, path) = at.split_once('/').unwrap_or((at, "ws/"));
        let address = address.to_socket_addrs()?.next();
        Ok(Self {
            address: address.ok_or(io::ErrorKind::AddrNotAvailable)?,
            path: format!("/{path}"),
            pid,
            child: None,
            folder: None,
        })
    }

    fn start(options: &Options) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("dmwire-load-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_dmwire"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--messages-per-second",
                "1000000",
                "--burst",
                "1000000",
            ])
            .args(["--log", "warn,dmwire=info", "--store"])
            .arg(match options.store.as_str() {
                "sqlite:" => "sqlite:load.db",
                other => other,
            })
            .args(options.server.split_whitespace())
            // The private database of `memory:` goes with the folder, as the server is ended by a kill.
            .env("TMPDIR", &folder)
            .current_dir(&folder)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(stderr).lines();
        let address = loop {
            let line = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            eprintln!("{line}");
            let address = line.split("listening on http://").nth(1);
            if let Some(address) =
                address.and_then(|rest| rest.split([' ', '/']).next()?.parse().ok())
            {
                break address;
            }
        };
        // The log is read to its end, so that the server never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            address,
            path: "/ws/".into(),
            pid: Some(child.id()),
            child: Some(child),
            folder: Some(folder),
        })
    }

    /// Where the store of a server is that was started here.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn proc(&self, file: &str) -> String {
        self.pid
            .and_then(|pid| fs::read_to_string(format!("/proc/{pid}/{file}")).ok())
            .unwrap_or_default()
    }

    /// CPU seconds that the server has used, user and system together; 0 when its process is not known.
    pub fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        // Fields 14 and 15, counted behind the name, which may hold spaces.
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let ticks = fields
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok());
        ticks.sum::<f64>() / TICKS
    }

    /// Resident memory of the server in KiB.
    pub fn memory(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }
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

//! A running server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::{Log, Reading};
use super::{DEADLINE, Folder};

/// A running server. It is killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Log>,
    out: Arc<Log>,
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    folder: Arc<Folder>,
}

impl Server {
    /// Starts the server on a free loopback port, with a database file in a temporary folder.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self::launch(arguments, Vec::new(), Arc::new(Folder::new()), 0)
    }

    fn launch(
        arguments: Vec<String>,
        environment: Vec<(String, PathBuf)>,
        folder: Arc<Folder>,
        port: u16,
    ) -> Self {
        let started = Self::try_launch(arguments, environment, folder, port);
        started.unwrap_or_else(|(status, log)| panic!("the server does not start: {status}\n{log}"))
    }

    /// An error if the server exits before it listens: its exit status and its log.
    fn try_launch(
        arguments: Vec<String>,
        environment: Vec<(String, PathBuf)>,
        folder: Arc<Folder>,
        port: u16,
    ) -> Result<Self, (ExitStatus, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
            command.env_remove(name);
        }
        if !arguments.iter().any(|argument| argument == "--listen") {
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        }
        // A port that only one of the servers on this machine could have.
        if !arguments.iter().any(|argument| argument == "--ops-listen") {
            command.args(["--ops-listen", "off"]);
        }
        let mut child = command
            .args(&arguments)
            // A private database that a killed server leaves behind is removed with the folder.
            .env("TMPDIR", &folder.0)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server can be started");
        let log = Log::of(child.stderr.take().expect("stderr is piped"));
        let out = Log::of(child.stdout.take().expect("stdout is piped"));
        let until = Instant::now() + DEADLINE;
        let line = loop {
            if let Some(line) = log.find("listening on http") {
                break line;
            }
            if let Some(status) = child.try_wait().expect("the server can be waited for") {
                return Err((status, log.whole()));
            }
            assert!(
                Instant::now() < until,
                "the server does not start: {}",
                log.text()
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        let address = line
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split(['/', ' ', '"']).next())
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Ok(Self {
            child,
            address,
            log,
            out,
            arguments,
            environment,
            folder,
        })
    }

    /// Starts the server again with the same folder and port, after [`Server::kill`] or [`Server::wait`].
    pub fn restart(&mut self) {
        let until = Instant::now() + DEADLINE;
        let again = loop {
            let started = Self::try_launch(
                self.arguments.clone(),
                self.environment.clone(),
                self.folder.clone(),
                self.address.port(),
            );
            match started {
                Ok(server) => break server,
                // The kernel has given the port to a connection of another test meanwhile.
                Err((_, log))
                    if log.contains("Address already in use") && Instant::now() < until =>
                {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err((status, log)) => panic!("the server does not start: {status}\n{log}"),
            }
        };
        drop(std::mem::replace(self, again));
    }

    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server with SIGKILL, as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {name} {pid}"
        );
    }

    /// Waits until the server has exited by itself.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            assert!(
                Instant::now() < until,
                "the server has not exited within {within:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the server, and moves SQLite's write-ahead log into the database file, as the next start does. The log stays when the
    /// server exits before its reader threads have closed their connections.
    pub fn stop(&mut self) {
        self.signal("TERM");
        assert!(self.wait(DEADLINE).success(), "{}", self.log());
        let database = rusqlite::Connection::open(self.store()).expect("the store can be opened");
        database
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
            .expect("the log is moved into the file");
    }

    /// Waits for a log line that contains `text`.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Waits for a line on stdout that contains `text`.
    pub fn wait_for_output(&self, text: &str) -> String {
        self.out.wait_for(text)
    }

    pub fn log(&self) -> String {
        self.log.text()
    }

    /// From now on, the pipe of the log is read in this way.
    pub fn set_log_reading(&self, reading: Reading) {
        self.log.set_reading(reading);
    }

    /// Resident memory in KiB, from /proc.
    pub fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server is running");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .expect("VmRSS is a number")
    }

    /// Sends a plain HTTP request; returns status line, headers and body as one text.
    pub fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the server accepts");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        stream
            .write_all(request.as_bytes())
            .expect("the request can be sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends `GET path` on a new connection.
    pub fn get(&self, path: &str) -> String {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    }

    /// The peak of the resident memory in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server is running");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .expect("VmHWM is a number")
    }

    /// The output of `dmwire verify` on the server's store, and whether it succeeded.
    pub fn verify(&self) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
            command.env_remove(name);
        }
        let output = command
            .arg("verify")
            .current_dir(&self.folder.0)
            .stdin(Stdio::null())
            .output()
            .expect("the program can be started");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// As [`Server::start`], in an existing folder.
    pub fn start_in(folder: &Arc<Folder>, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[])
    }

    /// As [`Server::start_in`], with more variables in the environment.
    pub fn start_with(
        folder: &Arc<Folder>,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Self {
        let started = Self::try_start_with(folder, arguments, environment);
        started.unwrap_or_else(|(status, log)| panic!("the server does not start: {status}\n{log}"))
    }

    /// As [`Server::start_with`]. An error if the server exits before it listens: its exit status and its log.
    pub fn try_start_with(
        folder: &Arc<Folder>,
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Result<Self, (ExitStatus, String)> {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::try_launch(arguments, environment, folder.clone(), 0)
    }

    /// The exit status if the server has exited. Its log is then complete.
    pub fn status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("the server can be waited for");
        if status.is_some() {
            self.log.whole();
        }
        status
    }

    /// The database file.
    pub fn store(&self) -> PathBuf {
        self.folder.0.join("dmwire.db")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

//! A server whose system calls can be made to fail, with one user who sends messages and knows what was acknowledged.

use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::faults::Faults;
use crate::support::{Client, Folder, Output, Server, dmwire, eventually, program, run_to_end, to};

/// How long a server with a failed disk may take to exit.
const EXIT: Duration = Duration::from_secs(10);

/// The exit code of a program whose disk has failed (`EX_IOERR`).
pub const DISK_FAILED: i32 = 74;

const LIMITS: [&str; 6] = [
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
    "--min-free-disk",
    "0",
];

/// A message of this many bytes is stored outside of the pending log and fills whole pages.
pub const LARGE: usize = 60_000;

/// The session that sends the messages. It reports no watermarks, so that nothing is written unless it sends something.
fn connect(server: &Server, user: &str) -> Client {
    let mut client = Client::connect(server, user, "?since=0&ack=manual");
    client.until("synced");
    client
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Ack,
    Error(String),
    /// The connection has ended.
    Ended,
}

pub struct Scene {
    pub name: String,
    pub faults: Faults,
    pub server: Server,
    pub folder: Arc<Folder>,
    client: Option<Client>,
    /// A user whose messages have no part in the checks.
    other_client: Option<Client>,
    epoch: String,
    /// The ids of the acknowledged messages, and of those without an ack. `a` sends all messages to `b`, so that both inboxes
    /// are the same.
    acknowledged: Vec<(u64, String)>,
    other: Vec<(String, usize)>,
    number: u64,
}

impl Scene {
    /// A server in which some messages are stored, all of them in their tables.
    pub fn new(name: &str, arguments: &[&str]) -> Self {
        let folder = Arc::new(Folder::new());
        let faults = Faults::new(&folder.0);
        let arguments = [&LIMITS[..], arguments].concat();
        let server = Server::start_with(&folder, &arguments, &faults.environment());
        let client = connect(&server, "a");
        let mut scene = Self {
            name: name.to_owned(),
            faults,
            epoch: client.epoch().to_owned(),
            client: Some(client),
            other_client: None,
            server,
            folder,
            acknowledged: Vec::new(),
            other: Vec::new(),
            number: 0,
        };
        for _ in 0..10 {
            scene.must_store("before the fault");
        }
        let mut other = connect(&scene.server, "c");
        other.ask(&to("c", "to be deleted"));
        other.expect("message");
        scene.other_client = Some(other);
        scene.wait_until_flushed();
        scene
    }

    /// Has a user delete a message, so that the write-ahead log is soon copied and truncated.
    pub fn delete(&mut self) {
        let client = self.other_client.as_mut().expect("it is connected");
        let sent = client.ask(&to("c", "to be deleted"));
        if sent["type"] == "ack" {
            let delete = json!({"type": "delete", "target_user": "c", "id": sent["id"]});
            let _ = client.try_send_text(&delete.to_string());
        }
    }

    /// Sends a message of this length and reads its answer.
    pub fn say(&mut self, length: usize) -> Reply {
        self.say_all(1, length).remove(0)
    }

    /// Sends this number of messages, then reads the answers, up to the end of the connection.
    pub fn say_all(&mut self, count: usize, length: usize) -> Vec<Reply> {
        let first = self.number + 1;
        self.number += count as u64;
        let id = |number| format!("019a2f4e-7b1c-7d3e-9a55-{number:012}");
        self.send((first..=self.number).map(|n| (id(n), length)).collect())
    }

    fn send(&mut self, mut messages: Vec<(String, usize)>) -> Vec<Reply> {
        let client = self.client.as_mut().expect("the client is connected");
        for (id, length) in &messages {
            let text = format!("{id} {}", "\u{1F600}".repeat(length / 4));
            let frame = json!({"message": text, "target_user": "b", "id": id, "ref": id});
            if !client.try_send_text(&frame.to_string()) {
                break;
            }
        }
        let mut replies = Vec::new();
        while !messages.is_empty() {
            let Ok(frame) = client.next() else {
                replies.push(Reply::Ended);
                break;
            };
            let at = messages.iter().position(|(id, _)| frame["ref"] == *id);
            let at = at.unwrap_or_else(|| panic!("{}: {frame}", self.name));
            let message = messages.remove(at);
            if frame["type"] == "error" {
                let code = frame["code"].as_str().expect("a code").to_owned();
                replies.push(Reply::Error(code));
                self.other.push(message);
            } else {
                assert_eq!(frame["type"], "ack", "{}: {frame}", self.name);
                let seq = frame["seq"].as_u64().expect("a number");
                self.acknowledged.push((seq, message.0));
                replies.push(Reply::Ack);
            }
        }
        self.other.extend(messages);
        replies
    }

    pub fn must_store(&mut self, when: &str) {
        let reply = self.say(10);
        assert_eq!(
            reply,
            Reply::Ack,
            "{}, {when}: {}",
            self.name,
            self.server.log()
        );
    }

    /// Waits until a call has failed, which may need further messages.
    pub fn wait_for_failure_with_messages(&mut self) {
        eventually("a call fails", || {
            !self.faults.failed().is_empty() || self.say(10) != Reply::Ack
        });
    }

    /// Sends large messages until the write-ahead log is long enough for a checkpoint and a call fails in it.
    pub fn fill_log(&mut self) {
        for _ in 0..20 {
            self.say_all(20, LARGE);
            if !self.faults.failed().is_empty() {
                return;
            }
        }
        panic!("{}: no call fails: {}", self.name, self.server.log());
    }

    /// Waits until the server has nothing more to write: the pending log is empty, and the session's device is stored.
    pub fn wait_until_flushed(&self) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(self.server.store(), flags);
        let database = database.expect("the store can be opened");
        let sql =
            "SELECT (SELECT count(*) FROM pending), (SELECT count(*) FROM users WHERE connected)";
        eventually("the pending log is flushed", || {
            let counts = database.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?)));
            counts == Ok((0_i64, 2_i64))
        });
    }

    /// Asserts that the server exits because of its disk, and says so.
    pub fn assert_exits(&mut self) {
        let name = &self.name;
        let status = self.server.wait(EXIT);
        let log = self.server.log();
        assert_eq!(status.code(), Some(DISK_FAILED), "{name}: {log}");
        let last = log.lines().rfind(|line| line.contains("ERROR"));
        let last = last.unwrap_or_else(|| panic!("{name}: no error in {log}"));
        assert!(
            last.contains("the disk of the store has failed") && last.contains("74"),
            "{name}: {last}"
        );
    }

    /// Asserts that a start fails because of the disk, and says so.
    pub fn assert_does_not_start(&self, code: i32) -> Output {
        let mut command = program(&self.folder.0, &["--listen", "127.0.0.1:0", "--log", "off"]);
        command.envs(self.faults.environment());
        let output = run_to_end(command);
        assert_eq!(output.code, Some(code), "{}: {output:?}", self.name);
        assert!(
            output.err.contains("dmwire.db"),
            "{}: {output:?}",
            self.name
        );
        output
    }

    /// Starts the server and kills it when it listens. Returns its exit code if it exits before, and its log.
    pub fn try_start(&self) -> (Option<i32>, String) {
        let path = self.folder.0.join("start.log");
        let log = File::create(&path).expect("a file");
        let mut command = program(&self.folder.0, &["--listen", "127.0.0.1:0"]);
        let mut child = command
            .envs(self.faults.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server can be started");
        let mut status = None;
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        eventually("the server listens or exits", || {
            status = child.try_wait().expect("the server can be waited for");
            status.is_some() || read().contains("listening")
        });
        let _ = child.kill();
        let _ = child.wait();
        (status.and_then(|status| status.code()), read())
    }

    /// Asserts that nothing is acknowledged any more: the disk has failed while the server was serving. A few messages may be
    /// acknowledged whose commit was running in another thread at that moment.
    pub fn assert_nothing_more_is_acknowledged(&mut self, but: usize) {
        let mut replies = Vec::new();
        while replies.last() != Some(&Reply::Ended) && replies.len() < 50 {
            replies.push(self.say(10));
            let acks = replies.iter().filter(|reply| **reply == Reply::Ack);
            assert!(
                acks.count() <= but,
                "{}: acknowledged after a failed call: {replies:?}\n{}\n{}",
                self.name,
                self.faults.failed(),
                self.server.log()
            );
        }
    }

    /// Starts the server without faults after it has ended.
    pub fn restart(&mut self) {
        self.faults.clear();
        self.server.restart();
        self.client = Some(connect(&self.server, "a"));
    }

    /// The epoch that the client has been told last.
    pub fn server_epoch(&self) -> String {
        let client = self.client.as_ref().expect("the client is connected");
        client.epoch().to_owned()
    }

    /// True if the server still has the epoch of the first start.
    pub fn keeps_epoch(&self) -> bool {
        self.server_epoch() == self.epoch
    }

    /// Asserts that both inboxes contain each acknowledged message once and in its place, and else only messages whose outcome
    /// the client does not know; that a client which has everything resumes without a gap; and that messages are stored.
    pub fn check(&mut self) {
        let name = &self.name;
        for user in ["a", "b"] {
            let query = format!("?since=0&epoch={}&ack=manual", self.epoch);
            let mut client = Client::connect(&self.server, user, &query);
            assert_eq!(client.epoch(), self.epoch, "{name}: the epoch");
            let mut ids: Vec<String> = Vec::new();
            loop {
                let frame = client.recv();
                if frame["type"] == "synced" {
                    break;
                }
                assert_eq!(frame["seq"], ids.len() as u64 + 1, "{name}: {frame}");
                let id = frame["id"].as_str().expect("an id").to_owned();
                assert!(!ids.contains(&id), "{name}: {user} has {id} twice");
                ids.push(id);
            }
            for (seq, id) in &self.acknowledged {
                let found = ids.get(*seq as usize - 1);
                assert_eq!(found, Some(id), "{name}: entry {seq} of {user}");
            }
            for id in &ids {
                let known = self.acknowledged.iter().any(|(_, known)| known == id)
                    || self.other.iter().any(|(other, _)| other == id);
                assert!(known, "{name}: {user} has an unknown message {id}");
            }
        }
        self.assert_verified();
    }

    pub fn assert_verified(&self) {
        let output = dmwire(&self.folder.0, &["verify"]);
        assert_eq!(output.code, Some(0), "{}: {output:?}", self.name);
    }

    /// Sends the messages without an ack again.
    pub fn send_again(&mut self) {
        let messages = std::mem::take(&mut self.other);
        let count = messages.len();
        let replies = self.send(messages);
        assert_eq!(replies, vec![Reply::Ack; count], "{}", self.server.log());
    }

    /// The whole life after a failure: the server starts again, has everything, continues, and still has everything after a
    /// crash.
    pub fn assert_recovers(&mut self) {
        self.restart();
        self.check();
        for _ in 0..3 {
            self.must_store("after the restart");
        }
        self.server.kill();
        self.restart();
        self.check();
    }
}

//! A session of a user's device. It asserts the order of the entries, and keeps the frames that it receives until they are
//! checked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::inbox_model::Model;
use crate::support::{Client, Server};

/// The number of sessions that began after entries were removed which they had not received.
pub static TRUNCATED: AtomicUsize = AtomicUsize::new(0);

pub struct Device {
    pub user: usize,
    pub name: String,
    pub manual: bool,
    client: Client,
    /// The newest entry that it has.
    pub cursor: u64,
    /// The clock of the model when the session was opened, and the head in `welcome`: replayed entries up to there show the state
    /// of a message at that moment or later.
    clock: usize,
    head: u64,
    synced: bool,
    /// Whether it has received an entry.
    pub has_received_entry: bool,
    /// Refs of frames without a reply, and whether the frame is about a conversation of the user with themself.
    waits: HashMap<String, bool>,
    pub replies: HashMap<String, Value>,
    /// After the ack of a frame to oneself: the id of the message, which must be the next frame.
    echo: Option<Value>,
    /// Whether `truncated` has moved its cursor. With `ack=auto` this counts as received, like an entry.
    pub is_truncated: bool,
    /// The oldest entry that is left, if the ones that it should have received first are removed.
    pub oldest: Option<u64>,
    /// Entries that are not checked yet, each with the earliest moment whose state it may show.
    unchecked: Vec<(Value, usize)>,
}

impl Device {
    /// Connects. `cursor` is the client's position, unless the server sends `truncated`.
    pub fn connect(
        server: &Server,
        model: &Model,
        (user, name, manual): (usize, &str, bool),
        (query, cursor): (&str, u64),
    ) -> Self {
        let ack = if manual { "manual" } else { "auto" };
        let query = format!("?device={name}&ack={ack}{query}");
        let client = Client::connect(server, &model.names[user], &query);
        Self {
            user,
            name: name.to_owned(),
            manual,
            cursor,
            clock: model.clock(),
            head: client.welcome["seq"].as_u64().expect("a seq"),
            synced: false,
            has_received_entry: false,
            client,
            waits: HashMap::new(),
            replies: HashMap::new(),
            echo: None,
            is_truncated: false,
            oldest: None,
            unchecked: Vec::new(),
        }
    }

    /// How the server found the position.
    pub fn resumed(&self) -> &str {
        self.client.welcome["resumed"].as_str().expect("a word")
    }

    /// The log line of the end of this session.
    pub fn close_log_line(&self) -> String {
        let (user, session) = (&self.client.welcome["user_id"], self.client.session_id());
        let user = user.as_str().expect("a user");
        format!("connection closed user={user} session={session}")
    }

    pub fn epoch(&self) -> String {
        self.client.epoch().to_owned()
    }

    /// Reads `truncated`, which must be the next frame, and continues from there.
    pub fn truncated(&mut self) {
        let truncated = self.client.expect("truncated");
        assert_eq!(truncated["reason"], "reset");
        let oldest = truncated["oldest_seq"].as_u64().expect("a number");
        self.cursor = oldest - 1;
        self.is_truncated = true;
        self.oldest = Some(oldest).filter(|oldest| *oldest > 1);
    }

    /// Entries that the device has not received are removed.
    fn retained(&mut self, truncated: &Value) {
        assert_eq!(truncated["reason"], "retention");
        assert!(!self.has_received_entry && !self.synced, "{truncated}");
        let oldest = truncated["oldest_seq"].as_u64().expect("a number");
        assert!(oldest > self.cursor + 1, "{truncated}");
        self.cursor = oldest - 1;
        self.is_truncated = true;
        self.oldest = Some(oldest);
        TRUNCATED.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the error of a join by the handshake, which must be the next frame.
    pub fn refused(&mut self, code: &str) {
        let mut error = self.client.recv();
        if error["type"] == "truncated" {
            self.process(error);
            error = self.client.recv();
        }
        assert_eq!(
            (&error["code"], &error["path"]),
            (&json!(code), &json!("/room/0")),
            "{error}"
        );
    }

    /// For a session without `since`: determines its position from the first frame.
    pub fn find_position(&mut self) {
        if self.oldest.is_some() {
            return;
        }
        let frame = self.client.recv();
        self.cursor = match frame["type"].as_str() {
            Some("synced") => self.head,
            Some("truncated") => 0,
            _ => frame["seq"].as_u64().expect("an entry") - 1,
        };
        self.process(frame);
    }

    pub fn send(&mut self, frame: &Value, to_self: bool, replies: bool) {
        if replies {
            let reference = frame["ref"].as_str().expect("a ref").to_owned();
            self.waits.insert(reference, to_self);
        }
        self.client.send(frame);
    }

    pub fn waiting(&self) -> usize {
        self.waits.len()
    }

    /// Reads while `wanted` returns true.
    pub fn read_while(&mut self, wanted: impl Fn(&Self) -> bool) {
        while wanted(self) {
            let frame = self.client.recv();
            self.process(frame);
        }
        self.client.receipts();
    }

    /// Reads until no reply is missing.
    pub fn read_replies(&mut self) {
        self.read_while(|device| !device.waits.is_empty() || device.echo.is_some());
    }

    /// Reads until it has all entries of the model.
    pub fn catch_up(&mut self, model: &Model) {
        let head = model.head(self.user);
        self.read_while(|device| device.cursor < head || !device.synced || device.echo.is_some());
        assert_eq!(self.cursor, head);
    }

    /// Reads up to `synced` and returns the entries unchecked.
    pub fn replay(mut self) -> Vec<Value> {
        self.read_while(|device| !device.synced);
        self.unchecked.into_iter().map(|(frame, _)| frame).collect()
    }

    fn process(&mut self, frame: Value) {
        let tag = frame["type"].as_str().expect("a type").to_owned();
        if let Some(id) = self.echo.take() {
            assert_eq!(
                frame["seq"], self.cursor,
                "after the ack of a frame to oneself: {frame}"
            );
            assert!(tag == "skipped" || frame["id"] == id, "{frame}");
            assert_ne!(tag, "ack");
            self.keep(frame);
            return;
        }
        let is_entry = match &*tag {
            "message" | "edited" | "deleted" | "reacted" | "room" | "skipped" => true,
            "ack" => frame["duplicate"] != true,
            "error" | "pong" | "history" | "conversations" | "members" => false,
            "heartbeat" => return,
            "truncated" => return self.retained(&frame),
            "synced" => {
                assert!(!self.synced, "a second synced frame");
                assert_eq!(
                    (&frame["seq"], self.head),
                    (&json!(self.cursor), self.cursor),
                    "synced must have the head in welcome"
                );
                self.synced = true;
                return;
            }
            _ => panic!("unexpected frame {frame}"),
        };
        if is_entry {
            assert_eq!(
                frame["seq"],
                self.cursor + 1,
                "expected the next entry, found {frame}"
            );
            self.cursor += 1;
            self.has_received_entry = true;
            self.keep(frame.clone());
        }
        if !is_entry || tag == "ack" {
            let reference = frame["ref"].as_str().expect("a ref").to_owned();
            let to_self = self.waits.remove(&reference);
            let to_self = to_self.unwrap_or_else(|| panic!("unexpected reply {frame}"));
            self.echo = (is_entry && to_self).then(|| frame["id"].clone());
            self.replies.insert(reference, frame);
        }
    }

    fn keep(&mut self, entry: Value) {
        let replayed = entry["seq"].as_u64() <= Some(self.head);
        self.unchecked
            .push((entry, if replayed { self.clock } else { 0 }));
    }

    /// Checks all received entries with the model.
    pub fn check(&mut self, model: &mut Model) {
        if let Some(oldest) = self.oldest.take() {
            let kept = model.head(self.user) + 1 - oldest;
            let limit = model.rooms.rules.inbox_limit as u64;
            assert!(kept >= limit, "entries from {oldest} on are left: {kept}");
        }
        for (entry, clock) in self.unchecked.drain(..) {
            model.check(self.user, &entry, clock);
        }
    }

    pub fn close(self) {
        self.client.close();
    }

    pub fn cut(self, reset: bool) {
        self.client.cut(reset);
    }

    /// As [`Device::cut`]; returns the unchecked entries for the session that continues.
    pub fn cut_and_take_unchecked(self, reset: bool) -> Vec<(Value, usize)> {
        let unchecked = self.unchecked;
        self.client.cut(reset);
        unchecked
    }

    /// Adds the unchecked entries of an earlier session.
    pub fn add_unchecked(&mut self, unchecked: Vec<(Value, usize)>) {
        self.unchecked = unchecked;
    }
}

//! One session of a user's device: it holds the server to the order of its inbox, and keeps what it was sent to be judged.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::inbox::Model;
use crate::support::{Client, Server};

pub struct Device {
    pub user: usize,
    pub name: String,
    pub manual: bool,
    client: Client,
    /// The newest entry that it holds.
    pub cursor: u64,
    /// The model's clock when it came, and the head that `welcome` named: what it is sent up to there shows the present
    /// of that moment or of a later one.
    clock: usize,
    head: u64,
    synced: bool,
    /// It has been sent an entry.
    pub fed: bool,
    /// References that wait for a reply, and whether the frame was to the user themself.
    waits: HashMap<String, bool>,
    pub replies: HashMap<String, Value>,
    /// After the ack of a frame to oneself: the message that is next.
    echo: Option<Value>,
    /// Entries that have not been judged, each with the moment since which what it shows may have been the present.
    unjudged: Vec<(Value, usize)>,
}

impl Device {
    /// Connects; `cursor` is where its client stands, for as long as the server does not say `truncated`.
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
            fed: false,
            client,
            waits: HashMap::new(),
            replies: HashMap::new(),
            echo: None,
            unjudged: Vec::new(),
        }
    }

    /// What the log has of its session when that has ended.
    pub fn last_words(&self) -> String {
        let (user, session) = (&self.client.welcome["user_id"], self.client.session_id());
        let user = user.as_str().expect("a user");
        format!("connection closed user={user} session={session}")
    }

    pub fn epoch(&self) -> String {
        self.client.epoch().to_owned()
    }

    /// Reads `truncated`, which must be next, and begins where it says.
    pub fn truncated(&mut self) {
        let truncated = self.client.expect("truncated");
        assert_eq!(truncated["reason"], "reset");
        assert_eq!(truncated["oldest_seq"], 1);
        self.cursor = 0;
    }

    /// For a session that came without `since`: learns from the first frame where it stands.
    pub fn find_place(&mut self) {
        let frame = self.client.recv();
        self.cursor = if frame["type"] == "synced" {
            self.head
        } else {
            frame["seq"].as_u64().expect("an entry") - 1
        };
        self.hear(frame);
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

    /// Reads while `wanted` says so.
    pub fn read_while(&mut self, wanted: impl Fn(&Self) -> bool) {
        while wanted(self) {
            let frame = self.client.recv();
            self.hear(frame);
        }
        self.client.receipts();
    }

    /// Reads until nothing that was asked is open.
    pub fn read_replies(&mut self) {
        self.read_while(|device| !device.waits.is_empty() || device.echo.is_some());
    }

    /// Reads until it holds all that the model has.
    pub fn catch_up(&mut self, model: &Model) {
        let head = model.head(self.user);
        self.read_while(|device| device.cursor < head || !device.synced || device.echo.is_some());
        assert_eq!(self.cursor, head);
    }

    /// Reads what the server owes up to `synced`, and gives it unjudged.
    pub fn replay(mut self) -> Vec<Value> {
        self.read_while(|device| !device.synced);
        self.unjudged.into_iter().map(|(frame, _)| frame).collect()
    }

    fn hear(&mut self, frame: Value) {
        let tag = frame["type"].as_str().expect("a type").to_owned();
        if let Some(id) = self.echo.take() {
            assert_eq!(
                (&frame["id"], &frame["seq"]),
                (&id, &json!(self.cursor)),
                "behind the ack of a frame to oneself: {frame}"
            );
            assert_ne!(tag, "ack");
            self.keep(frame);
            return;
        }
        let is_entry = match &*tag {
            "message" | "edited" | "deleted" | "reacted" => true,
            "ack" => frame["duplicate"] != true,
            "error" | "pong" | "history" | "conversations" => false,
            "heartbeat" => return,
            "synced" => {
                assert!(!self.synced, "synced twice");
                assert_eq!(
                    (&frame["seq"], self.head),
                    (&json!(self.cursor), self.cursor),
                    "synced where welcome said"
                );
                self.synced = true;
                return;
            }
            _ => panic!("nobody asked for {frame}"),
        };
        if is_entry {
            assert_eq!(
                frame["seq"],
                self.cursor + 1,
                "the next entry was due: {frame}"
            );
            self.cursor += 1;
            self.fed = true;
            self.keep(frame.clone());
        }
        if !is_entry || tag == "ack" {
            let reference = frame["ref"].as_str().expect("a ref").to_owned();
            let to_self = self.waits.remove(&reference);
            let to_self = to_self.unwrap_or_else(|| panic!("nothing waits for {frame}"));
            self.echo = (is_entry && to_self).then(|| frame["id"].clone());
            self.replies.insert(reference, frame);
        }
    }

    fn keep(&mut self, entry: Value) {
        let replayed = entry["seq"].as_u64() <= Some(self.head);
        self.unjudged
            .push((entry, if replayed { self.clock } else { 0 }));
    }

    /// Has the model judge all that it was sent.
    pub fn judge(&mut self, model: &mut Model) {
        for (entry, clock) in self.unjudged.drain(..) {
            model.judge(self.user, &entry, clock);
        }
    }

    pub fn close(self) {
        self.client.close();
    }

    pub fn cut(self, reset: bool) {
        self.client.cut(reset);
    }

    /// As [`Device::cut`], and gives what has not been judged, for the session that goes on in its place.
    pub fn give_up(self, reset: bool) -> Vec<(Value, usize)> {
        let unjudged = self.unjudged;
        self.client.cut(reset);
        unjudged
    }

    /// Has what an earlier session was sent judged with its own.
    pub fn take_over(&mut self, unjudged: Vec<(Value, usize)>) {
        self.unjudged = unjudged;
    }
}

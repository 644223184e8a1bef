//! Clients that send, change and receive messages while the server is recorded, and remember what they were told.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};

use crate::known::{Entry, Known, Target, author, kind, subject, text, version};
use crate::recorder::Recorder;
use crate::support::{Client, Random, Server};

const NAMES: [&str; 4] = ["ann", "ben", "cem", "dot"];

/// All users are members, from before the first message on.
pub const HALL: &str = "hall";

/// The first user is always a member, the others join and leave.
pub const LOBBY: &str = "lobby";

/// The maximum number of unanswered requests of a user.
const WINDOW: usize = 6;

/// The users of a recording, each with one client.
pub struct Users<'a> {
    users: Vec<User<'a>>,
}

struct User<'a> {
    recorder: &'a Recorder,
    name: &'static str,
    random: Random,
    entries: Vec<Entry>,
    epoch: Option<(u64, String)>,
    requests: u64,
    /// Not answered yet, in order.
    open: VecDeque<(String, Request)>,
    /// Acknowledged own messages that are not deleted and of which no change is open. None of the lobby: a change of such a message
    /// would reach only those who are members at that time.
    own: Vec<Own>,
    /// Messages of others.
    others: Vec<(String, Target)>,
    recipients: HashMap<String, Target>,
    /// By own message, the contents of its edits.
    edits: HashMap<String, Vec<u64>>,
}

#[derive(Clone)]
struct Own {
    id: String,
    to: Target,
    version: u64,
}

enum Request {
    Send(Own),
    Edit(Own),
    Delete(Own),
    React(String),
    Join,
    Leave,
}

impl<'a> Users<'a> {
    pub fn new(recorder: &'a Recorder, random: &mut Random) -> Self {
        let user = |name| User {
            recorder,
            name,
            random: Random::new(random.next()),
            entries: Vec::new(),
            epoch: None,
            requests: 0,
            open: VecDeque::new(),
            own: Vec::new(),
            others: Vec::new(),
            recipients: HashMap::new(),
            edits: HashMap::new(),
        };
        Self {
            users: NAMES.map(user).into(),
        }
    }

    /// Each user reads everything new, and makes this number of requests. False: the server has stopped.
    pub fn run(&mut self, server: &Server, requests: usize) -> bool {
        self.run_while(server, requests, || {})
    }

    pub fn run_while(
        &mut self,
        server: &Server,
        requests: usize,
        meanwhile: impl FnOnce(),
    ) -> bool {
        std::thread::scope(|scope| {
            let run = |user| scope.spawn(move || User::run(user, server, requests).is_some());
            let threads: Vec<_> = self.users.iter_mut().map(run).collect();
            meanwhile();
            // All of them are waited for.
            let done: Vec<bool> = threads
                .into_iter()
                .map(|thread| thread.join().expect("a client fails"))
                .collect();
            done.into_iter().all(|done| done)
        })
    }

    pub fn into_known(self) -> Known {
        let mut known = Known::default();
        for user in self.users {
            let (at, epoch) = user.epoch.expect("every user has connected");
            if known.epoch.is_empty() || at < known.epoch_at {
                known.epoch_at = at;
            }
            assert!(known.epoch.is_empty() || known.epoch == epoch);
            known.epoch = epoch;
            known.inboxes.insert(user.name.to_owned(), user.entries);
            known.recipients.extend(user.recipients);
            known.edits.extend(user.edits);
        }
        known.find_deletions();
        known
    }
}

/// The next frame. `None`: the server stops or has stopped.
fn next(client: &mut Client) -> Option<Value> {
    client
        .next()
        .ok()
        .filter(|frame| frame["type"] != "goodbye")
}

fn message(own: &Own) -> Value {
    let (field, name) = own.to;
    json!({"message": text(&own.id, own.version), field: name, "id": own.id})
}

impl User<'_> {
    /// `None`: the server has stopped.
    fn run(&mut self, server: &Server, requests: usize) -> Option<()> {
        let since = match &self.epoch {
            Some((_, epoch)) => format!("?since={}&epoch={epoch}", self.entries.len()),
            None => "?since=0".to_owned(),
        };
        let query = if self.name == NAMES[0] {
            format!("{since}&room={HALL}&room={LOBBY}")
        } else {
            format!("{since}&room={HALL}")
        };
        let mut client = Client::try_connect(server, self.name, &query)?;
        let epoch = client.epoch().to_owned();
        let at = self.recorder.position();
        let known = self.epoch.get_or_insert_with(|| (at, epoch.clone()));
        assert_eq!(known.1, epoch, "{}: the epoch has changed", self.name);
        loop {
            let frame = next(&mut client)?;
            if frame["type"] == "synced" {
                break;
            }
            self.entry(&frame);
        }
        // The replay has shown which changes were made. Messages are sent again with the same ids.
        for (_, request) in std::mem::take(&mut self.open) {
            match request {
                Request::Send(own) => {
                    let frame = self.open(message(&own), Request::Send(own));
                    if !client.try_send_text(&frame.to_string()) {
                        return None;
                    }
                }
                Request::Edit(own) => self.own.push(own),
                // A message that may be deleted is not changed again. The inbox shows what became of a join or leave.
                Request::Delete(_) | Request::React(_) | Request::Join | Request::Leave => {}
            }
        }
        for _ in 0..requests {
            let leave = self.random.below(WINDOW);
            while self.open.len() > leave {
                let frame = next(&mut client)?;
                self.receive(&frame);
            }
            client.receipts();
            let frame = self.request();
            if !client.try_send_text(&frame.to_string()) {
                return None;
            }
        }
        while !self.open.is_empty() {
            let frame = next(&mut client)?;
            self.receive(&frame);
        }
        Some(())
    }

    /// Makes a request. Those that are answered are added to the open ones.
    fn request(&mut self) -> Value {
        let chance = self.random.below(100);
        match chance {
            70..86 if !self.own.is_empty() => self.change(chance < 81),
            86..96 if !self.others.is_empty() => self.mark(chance < 91),
            96 if self.name != NAMES[0] => {
                self.open(json!({"type": "join", "room": LOBBY}), Request::Join)
            }
            97 if self.name != NAMES[0] => {
                self.open(json!({"type": "leave", "room": LOBBY}), Request::Leave)
            }
            96.. => json!({"type": "received", "seq": self.entries.len()}),
            _ => self.new_message(),
        }
    }

    fn new_message(&mut self) -> Value {
        // Not to oneself: such an entry has two frames.
        let mut others = NAMES.to_vec();
        others.retain(|name| *name != self.name);
        let to = match self.random.below(10) {
            0..3 => ("target_room", HALL),
            3..5 => ("target_room", LOBBY),
            _ => ("target_user", others[self.random.below(others.len())]),
        };
        let own = Own {
            id: self.random.uuid(),
            to,
            version: 0,
        };
        self.recipients.insert(own.id.clone(), own.to);
        let frame = message(&own);
        self.open(frame, Request::Send(own))
    }

    /// Edits or deletes an own message.
    fn change(&mut self, edit: bool) -> Value {
        let place = self.random.below(self.own.len());
        let mut own = self.own.swap_remove(place);
        let (field, name) = own.to;
        let mut frame = json!({"type": "delete", field: name, "id": own.id});
        if !edit {
            return self.open(frame, Request::Delete(own));
        }
        own.version += 1;
        frame["type"] = "edit".into();
        frame["message"] = text(&own.id, own.version).into();
        self.open(frame, Request::Edit(own))
    }

    /// Reacts to a message of another user, or marks it as read.
    fn mark(&mut self, react: bool) -> Value {
        let (id, (field, name)) = self.random.pick(&self.others).clone();
        let mut frame = json!({"type": "read", field: name, "id": id});
        if !react {
            return frame;
        }
        frame["type"] = "react".into();
        frame["emoji"] = (*self.random.pick(&["+", "-", "!"])).into();
        frame["remove"] = self.random.percent(20).into();
        self.open(frame, Request::React(id))
    }

    /// Notes that a request will be answered.
    fn open(&mut self, mut frame: Value, request: Request) -> Value {
        self.requests += 1;
        let reference = self.requests.to_string();
        frame["ref"] = reference.clone().into();
        self.open.push_back((reference, request));
        frame
    }

    fn receive(&mut self, frame: &Value) {
        if frame["type"] != "ack" && frame["type"] != "error" {
            self.entry(frame);
            return;
        }
        let place = self
            .open
            .iter()
            .position(|(reference, _)| frame["ref"] == **reference);
        let open = place.and_then(|place| self.open.remove(place));
        let Some((_, request)) = open else {
            panic!("{}: unexpected {frame}", self.name);
        };
        if frame["type"] == "error" {
            // The message was deleted meanwhile.
            let code = match request {
                Request::React(_) => "unknown_message",
                Request::Send(own) if own.to.1 == LOBBY => "not_member",
                _ => panic!("{}: {frame}", self.name),
            };
            assert_eq!(frame["code"], code, "{frame}");
            return;
        }
        assert_eq!(frame["status"], "stored", "{frame}");
        let (id, kind) = match &request {
            Request::Send(own) => (own.id.clone(), "message"),
            Request::Edit(own) => (own.id.clone(), "edited"),
            Request::Delete(own) => (own.id.clone(), "deleted"),
            Request::React(id) => (id.clone(), "reacted"),
            Request::Join => (LOBBY.to_owned(), "joined"),
            Request::Leave => (LOBBY.to_owned(), "left"),
        };
        let is_membership = matches!(request, Request::Join | Request::Leave);
        let subject = if is_membership { "room" } else { "id" };
        assert_eq!(frame[subject], id);
        let sent_at = frame["sent_at"].as_str().map(str::to_owned);
        let sent_at = sent_at.filter(|_| kind == "message" || is_membership);
        if frame["duplicate"] == true {
            if kind == "message" {
                let seq = frame["seq"].as_u64().expect("a seq");
                let first = &self.entries[seq as usize - 1];
                assert_eq!((&first.id, first.kind), (&id, "message"), "{frame}");
                assert!(first.sent_at == sent_at, "{first:?}: {frame}");
            }
        } else {
            self.add(frame, id, kind, self.name.to_owned(), sent_at);
        }
        match request {
            Request::Send(own) => self.own.extend(Some(own).filter(|own| own.to.1 != LOBBY)),
            Request::Edit(own) => {
                let versions = self.edits.entry(own.id.clone()).or_default();
                versions.push(own.version);
                self.own.push(own);
            }
            Request::Delete(_) | Request::React(_) | Request::Join | Request::Leave => {}
        }
    }

    /// An entry that this client has not made, or whose ack was lost.
    fn entry(&mut self, frame: &Value) {
        let kind = kind(frame);
        let text = |field: &str| frame[field].as_str().map(str::to_owned);
        if kind == "skipped" {
            self.add(frame, String::new(), kind, String::new(), None);
            return;
        }
        let [id, by] = [subject(frame), author(frame)]
            .map(|value| value.as_str().expect("a string").to_owned());
        if by == self.name && kind == "edited" {
            let version = version(&id, &frame["message"]);
            self.edits.entry(id.clone()).or_default().push(version);
        }
        if by != self.name && kind == "message" {
            let target = match frame["target_room"].as_str() {
                Some(HALL) => Some(("target_room", HALL)),
                Some(_) => None,
                None => {
                    let from = NAMES.into_iter().find(|name| by == *name);
                    Some(("target_user", from.expect("a user")))
                }
            };
            self.others
                .extend(target.map(|target| (id.clone(), target)));
        }
        let sent_at = match kind {
            "message" => text("sent_at"),
            _ => text("at").filter(|_| frame["type"] == "room"),
        };
        self.add(frame, id, kind, by, sent_at);
    }

    fn add(
        &mut self,
        frame: &Value,
        id: String,
        kind: &'static str,
        by: String,
        sent_at: Option<String>,
    ) {
        assert_eq!(
            frame["seq"],
            self.entries.len() as u64 + 1,
            "{}: {frame}",
            self.name
        );
        self.entries.push(Entry {
            at: self.recorder.position(),
            id,
            kind,
            by,
            sent_at,
        });
    }
}

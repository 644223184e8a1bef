//! A run: a few users with a few devices, and a sequence of random actions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::device::Device;
use crate::inbox_model::{Expected, Model, Request, Target};
use crate::rooms::{Rooms, Rules};
use crate::support::{Random, Server};

const STEPS: usize = 60;
const DEVICES: usize = 5;
const ROOMS: usize = 2;

/// Rules of a run without rooms.
const NO_ROOMS: Rules = Rules {
    small: 0,
    limit: 1,
    per_user: 1,
    hides_earlier: false,
    inbox_limit: 10_000,
};
/// The maximum number of simultaneous sessions of a user.
const SESSIONS: usize = 4;

pub static RUNS: AtomicUsize = AtomicUsize::new(0);
pub static ENTRIES: AtomicUsize = AtomicUsize::new(0);
pub static SESSIONS_SEEN: AtomicUsize = AtomicUsize::new(0);

/// What is known of the watermark that the server has stored for a device.
#[derive(Clone, Copy, Default)]
pub struct Watermark {
    /// It has stored one.
    pub is_stored: bool,
    /// The lowest and the highest that it may be, if there is one.
    pub low: u64,
    pub high: u64,
}

pub struct Run<'a> {
    pub server: &'a Server,
    pub random: Random,
    pub model: Model,
    pub devices: Vec<Device>,
    /// By user and device: the cursor of the last session.
    pub left: HashMap<(usize, String), u64>,
    /// By user and device: the watermark that the server may have stored. None for a device that has acknowledged nothing.
    pub watermarks: HashMap<(usize, String), Watermark>,
    /// Log lines that appear when the sessions of cut connections have ended.
    pub cut: Vec<String>,
    pub epoch: String,
    pub references: usize,
}

impl<'a> Run<'a> {
    /// `rules`: those of the server about rooms; `None`: a run without rooms.
    pub fn new(server: &'a Server, seed: u64, rules: Option<Rules>) -> Self {
        let mut random = Random::new(seed);
        let users = 3 + random.below(2);
        let names = (0..users).map(|n| format!("{seed:x}.{n}"));
        let rooms = match rules {
            Some(rules) => {
                let rooms = (0..ROOMS).map(|n| format!("{seed:x}.room{n}"));
                Rooms::new(rules, rooms.collect())
            }
            None => Rooms::new(NO_ROOMS, Vec::new()),
        };
        Self {
            server,
            random,
            model: Model::new(names.collect(), rooms),
            devices: Vec::new(),
            left: HashMap::new(),
            watermarks: HashMap::new(),
            epoch: String::new(),
            cut: Vec::new(),
            references: 0,
        }
    }

    pub fn execute(mut self) {
        for _ in 0..STEPS {
            if self.has_rooms() && self.random.percent(4) {
                self.ask_members();
            }
            match self.random.below(100) {
                0..=17 => self.connect_device(),
                18..=27 => self.disconnect_device(),
                28..=57 => self.burst(),
                58..=65 => self.cut_burst(),
                66..=75 => self.send_concurrently(),
                76..=85 => self.catch_up(),
                86..=91 => self.confirm(),
                92..=95 => self.ask_history(),
                _ => self.ask_conversations(),
            }
            self.check();
        }
        self.finish();
    }

    /// All devices catch up; then every user reads everything again from the beginning.
    pub fn finish(&mut self) {
        for device in &mut self.devices {
            device.catch_up(&self.model);
        }
        self.check();
        self.devices.clear();
        for user in 0..self.model.names.len() {
            let device = self.connect(user, "d0", "&since=0", 0);
            self.devices.push(device);
            let at = self.devices.len() - 1;
            self.devices[at].catch_up(&self.model);
            self.check();
            self.conversations(at);
            for with in self.model.conversations_of(user) {
                self.history(at, with);
            }
            for room in 0..self.model.rooms.all.len() {
                self.history(at, Target::Room(room));
            }
            ENTRIES.fetch_add(self.model.inboxes[user].len(), Ordering::Relaxed);
        }
        RUNS.fetch_add(1, Ordering::Relaxed);
    }

    pub fn check(&mut self) {
        for device in &mut self.devices {
            device.check(&mut self.model);
        }
    }

    pub fn connect(&mut self, user: usize, name: &str, query: &str, cursor: u64) -> Device {
        let manual = self.random.percent(50);
        self.connect_as(user, (name, manual), query, cursor)
    }

    pub fn connect_as(
        &mut self,
        user: usize,
        (name, manual): (&str, bool),
        query: &str,
        cursor: u64,
    ) -> Device {
        SESSIONS_SEEN.fetch_add(1, Ordering::Relaxed);
        // The server may resume this session by what the others have acknowledged until now.
        self.raise_watermarks();
        let device = Device::connect(
            self.server,
            &self.model,
            (user, name, manual),
            (query, cursor),
        );
        assert_eq!(device.resumed() == "cursor", query.contains("since="));
        if self.epoch.is_empty() {
            self.epoch = device.epoch();
        }
        device
    }

    /// The position of a device that the server does not know: the highest watermark of the user's devices.
    pub fn new_watermark(&self, user: usize) -> Watermark {
        let watermarks = self.watermarks.iter().filter(|((of, _), _)| *of == user);
        watermarks.fold(Watermark::default(), |highest, (_, mark)| Watermark {
            is_stored: false,
            low: highest.low.max(mark.low),
            high: highest.high.max(mark.high),
        })
    }

    /// With `ack=auto` the server may store any entry that was read as the watermark. To be called before a session begins and
    /// before one is removed.
    fn raise_watermarks(&mut self) {
        for device in &self.devices {
            let has_received = device.has_received_entry || device.is_truncated;
            if !device.manual && has_received {
                let mark = self.watermarks.entry((device.user, device.name.clone()));
                let high = &mut mark.or_default().high;
                *high = (*high).max(device.cursor);
            }
        }
    }

    /// Removes a session whose connection ends next.
    fn remove_device(&mut self, at: usize) -> Device {
        self.raise_watermarks();
        self.devices.swap_remove(at)
    }

    /// A device connects for the first time or again, with one of the possible positions.
    pub fn connect_device(&mut self) {
        let user = self.random.below(self.model.names.len());
        if self
            .devices
            .iter()
            .filter(|device| device.user == user)
            .count()
            >= SESSIONS
        {
            return;
        }
        let name = format!("d{}", self.random.below(DEVICES));
        let key = (user, name.clone());
        let (joined, mut refusal) = self.join_by_handshake(user);
        let head = self.model.head(user);
        let cursor = self.left.get(&key).copied().unwrap_or(0);
        let mut device = match self.random.below(10) {
            0..=4 => {
                let query = match self.random.below(3) {
                    _ if self.epoch.is_empty() => format!("&since={cursor}"),
                    0 => format!("&since={cursor}"),
                    _ => format!("&since={cursor}&epoch={}", self.epoch),
                };
                self.connect(user, &name, &format!("{query}{joined}"), cursor)
            }
            5 => self.connect(user, &name, &format!("&since=0{joined}"), 0),
            6 => {
                let query = if self.random.percent(50) {
                    format!("&since={}", head + 1 + self.random.below(5) as u64)
                } else {
                    format!("&since={cursor}&epoch={}", self.random.uuid())
                };
                let mut device = self.connect(user, &name, &format!("{query}{joined}"), 0);
                device.truncated();
                device
            }
            _ => {
                let mut device = self.connect(user, &name, &joined, 0);
                let known = self.watermarks.get(&key).copied();
                let is_known = device.resumed() == "device";
                let Watermark { low, high, .. } = match known {
                    Some(mark) if is_known => mark,
                    None if is_known => panic!("{name} has acknowledged nothing"),
                    Some(mark) if mark.is_stored => panic!("{name} was forgotten"),
                    _ => self.new_watermark(user),
                };
                if let Some(code) = refusal.take() {
                    device.refused(code);
                }
                // Its cursor is unknown until it has determined its position.
                device.find_position();
                let place = device.cursor - u64::from(device.has_received_entry);
                let is_truncated = device.oldest.is_some();
                let range = if is_truncated {
                    low + 1..=head
                } else {
                    low..=high
                };
                assert!(
                    range.contains(&place),
                    "{name} of {} starts after {place}, not within {range:?}",
                    self.model.names[user]
                );
                let is_known = is_known && !is_truncated;
                if let Some(mark) = self.watermarks.get_mut(&key).filter(|_| is_known) {
                    mark.is_stored = true;
                    mark.low = place;
                    mark.high = mark.high.max(place);
                }
                device
            }
        };
        if let Some(code) = refusal {
            device.refused(code);
        }
        self.devices.push(device);
    }

    /// Rarely, a user joins a room by connecting: the parameter for it, and the error if it is refused.
    fn join_by_handshake(&mut self, user: usize) -> (String, Option<&'static str>) {
        if !self.has_rooms() || !self.random.percent(25) {
            return (String::new(), None);
        }
        let room = self.random.below(self.model.rooms.all.len());
        let joins = true;
        let refusal = match self.model.apply(user, &Request::Member { room, joins }) {
            Expected::Error(code) => Some(code),
            _ => None,
        };
        let name = &self.model.rooms.all[room].name;
        (format!("&room={name}"), refusal)
    }

    pub fn disconnect_device(&mut self) {
        if self.devices.is_empty() {
            return;
        }
        let at = self.random.below(self.devices.len());
        let device = self.remove_device(at);
        self.left
            .insert((device.user, device.name.clone()), device.cursor);
        match self.random.below(3) {
            0 => device.close(),
            way => device.cut(way == 1),
        }
    }

    pub fn any_device(&mut self) -> usize {
        if self.devices.is_empty() {
            let user = self.random.below(self.model.names.len());
            let device = self.connect(user, "d0", "&since=0", 0);
            self.devices.push(device);
        }
        self.random.below(self.devices.len())
    }

    pub fn reference(&mut self) -> String {
        self.references += 1;
        format!("f{}", self.references)
    }

    /// One device sends several frames at once, and receives the replies of the model.
    pub fn burst(&mut self) {
        let at = self.any_device();
        let user = self.devices[at].user;
        let mut due = Vec::new();
        for _ in 0..=self.random.below(7) {
            let request = self.request(user);
            let answer = self.model.apply(user, &request);
            let reference = self.send(at, &request, answer != Expected::NoReply);
            due.push((reference, answer));
        }
        // The answer to this request, which needs the store as well, shows that frames without a reply are processed.
        let request = Request::Delete {
            to: Target::User(user),
            id: self.random.uuid(),
        };
        due.push((
            self.send(at, &request, true),
            Expected::Error("unknown_message"),
        ));
        self.devices[at].read_replies();
        for (reference, answer) in due {
            let reply = self.devices[at].replies.remove(&reference);
            self.check_reply(user, reply, &answer);
        }
    }

    pub fn send(&mut self, at: usize, request: &Request, replies: bool) -> String {
        let reference = self.reference();
        let frame = request.frame(&self.model, &reference);
        let device = &mut self.devices[at];
        let is_to_oneself = request.to() == Target::User(device.user);
        device.send(&frame, is_to_oneself, replies);
        reference
    }

    pub fn check_reply(&mut self, user: usize, reply: Option<Value>, answer: &Expected) {
        let reply = match (reply, answer) {
            (None, Expected::NoReply) => return,
            (Some(reply), _) => reply,
            (None, _) => panic!("no reply, expected {answer:?}"),
        };
        match answer {
            Expected::Entry(action) => self.model.check_ack(&reply, *action, false),
            Expected::Duplicate(Some(action)) if self.model.actions[*action].by == user => {
                self.model.check_ack(&reply, *action, true);
            }
            Expected::Duplicate(_) => {
                assert_eq!(
                    (&reply["type"], &reply["duplicate"]),
                    (&json!("ack"), &json!(true)),
                    "{reply}"
                );
                assert_eq!(reply.get("seq"), None, "{reply}");
            }
            Expected::Error(code) => {
                assert_eq!(
                    (&reply["type"], &reply["code"]),
                    (&json!("error"), &json!(code)),
                    "{reply}"
                );
            }
            Expected::NoReply => panic!("expected no reply, found {reply}"),
        }
    }

    /// One device sends messages; its connection is cut, and it reconnects and sends them all again.
    pub fn cut_burst(&mut self) {
        let at = self.any_device();
        let user = self.devices[at].user;
        let mut sent = Vec::new();
        for _ in 0..=self.random.below(10) {
            let request = self.new_message(user);
            let answer = self.model.apply(user, &request);
            let reference = self.send(at, &request, true);
            sent.push((request, answer, reference));
        }
        let leave = self.random.below(sent.len() + 1);
        self.devices[at].read_while(|device| device.waiting() > leave);
        let seen = self.cut_and_resume(at);
        let again: Vec<String> = sent
            .iter()
            .map(|(request, ..)| self.send(at, request, true))
            .collect();
        self.devices[at].read_replies();
        // A copy of a refused message that the closed connection still holds would be stored after a later join.
        if sent
            .iter()
            .any(|(_, answer, _)| !matches!(answer, Expected::Entry(_)))
        {
            for words in std::mem::take(&mut self.cut) {
                self.server.wait_for_log(&words);
            }
        }
        for ((_, answer, before), reference) in sent.into_iter().zip(again) {
            let ack = self.devices[at].replies.remove(&reference).expect("an ack");
            let Expected::Entry(action) = answer else {
                self.check_reply(user, Some(ack), &answer);
                continue;
            };
            let duplicate = ack["duplicate"] == true;
            if let Some(before) = seen.get(&before) {
                assert!(duplicate, "it was acknowledged before: {before}");
                self.model.check_ack(before, action, false);
            }
            self.model.check_ack(&ack, action, duplicate);
        }
    }

    /// Cuts the connection of a device and resumes. Returns the replies that were read before.
    pub fn cut_and_resume(&mut self, at: usize) -> HashMap<String, Value> {
        let reset = self.random.percent(50);
        let query = format!("&since={}&epoch={}", self.devices[at].cursor, self.epoch);
        let (user, cursor) = (self.devices[at].user, self.devices[at].cursor);
        let name = self.devices[at].name.clone();
        let mut old = self.remove_device(at);
        let seen = std::mem::take(&mut old.replies);
        self.cut.push(old.close_log_line());
        let frames = old.cut_and_take_unchecked(reset);
        let mut device = self.connect(user, &name, &query, cursor);
        device.add_unchecked(frames);
        self.devices.push(device);
        let last = self.devices.len() - 1;
        self.devices.swap(at, last);
        seen
    }

    pub fn catch_up(&mut self) {
        let at = self.any_device();
        self.devices[at].catch_up(&self.model);
    }

    /// A device with `ack=manual` confirms entries.
    pub fn confirm(&mut self) {
        let at = self.any_device();
        let device = &mut self.devices[at];
        if !device.manual {
            return;
        }
        let head = self.model.head(device.user);
        let confirmed = match self.random.below(10) {
            0 => 9_007_199_254_740_991,
            _ => self.random.below(device.cursor as usize + 1) as u64,
        };
        let counts = confirmed.min(head);
        device.send(&json!({"type": "received", "seq": confirmed}), false, false);
        if counts == 0 {
            return;
        }
        let mark = self.watermarks.entry((device.user, device.name.clone()));
        let mark = mark.or_default();
        mark.high = mark.high.max(counts);
        if self.random.percent(60) {
            self.references += 1;
            let reference = format!("f{}", self.references);
            device.send(&json!({"type": "ping", "ref": reference}), false, true);
            device.read_replies();
            device.replies.remove(&reference);
            mark.is_stored = true;
            mark.low = mark.low.max(counts);
        }
    }
}

//! Presence (PROTOCOL section 12): random actions of a few users, compared with what each session that watches them must be told. Now and
//! then the server is killed.

use std::collections::BTreeMap;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::presence_model::{
    LastSeen, Model, NOBODY, OBSERVER, ROOMS, Rules, Seen, Told, USERS, User,
};
use crate::support::{Client, Random, Server, eventually, make_contacts};

const SESSIONS: usize = 2;
const STATUSES: [&str; 4] = ["online", "away", "busy", "invisible"];

struct Session {
    client: Client,
    user: usize,
    /// By user who is watched: what was told last.
    told: BTreeMap<usize, Told>,
}

impl Session {
    /// Takes a frame. A notification must be one that this session may get now.
    fn take(&mut self, model: &Model, frame: &Value) {
        if frame["type"] != "presence" {
            return;
        }
        let (user, told) = read(model, frame);
        let viewer = self.user;
        let before = self.told.insert(user, told.clone());
        assert!(before.is_some(), "{frame} of a user who is not watched");
        assert!(before != Some(told.clone()), "{frame} twice");
        Self::assert_possible(model, (viewer, user), &told);
    }

    fn assert_possible(model: &Model, pair: (usize, usize), told: &Told) {
        let possible = &model.possible[&pair];
        assert!(
            possible.iter().any(|seen| model.fits(told, *seen)),
            "{} sees {told:?} of {}, possible are {possible:?} of {:?}",
            model.users[pair.0].name,
            model.users[pair.1].name,
            model.last_seen
        );
    }

    /// Sends a frame and returns its replies, which have its `ref`.
    fn ask(&mut self, model: &Model, mut frame: Value, replies: usize) -> Vec<Value> {
        frame["ref"] = json!("asked");
        self.client.send(&frame);
        let mut found = Vec::new();
        while found.len() < replies {
            let frame = self.client.recv();
            if frame["ref"] == "asked" {
                found.push(frame);
            } else {
                self.take(model, &frame);
            }
        }
        found
    }

    fn ask_one(&mut self, model: &Model, frame: Value, reply: &str) {
        let replies = self.ask(model, frame, 1);
        assert_eq!(replies[0]["type"], reply, "{replies:?}");
    }

    fn watch(&mut self, model: &Model, users: &[usize]) {
        let names: Vec<_> = users.iter().map(|n| &model.users[*n].name).collect();
        let answers = self.ask(model, json!({"type": "watch", "users": names}), users.len());
        for (answer, expected) in answers.iter().zip(users) {
            let (user, told) = read(model, answer);
            assert_eq!(user, *expected, "{answer}");
            Self::assert_possible(model, (self.user, user), &told);
            self.told.insert(user, told);
        }
    }

    /// Reads until all that was told is the present state, and everything that was sent is read.
    fn settle(&mut self, model: &Model) {
        let is_present = |session: &Self| {
            let mut told = session.told.iter();
            told.all(|(user, told)| model.fits(told, model.seen(session.user, *user)))
        };
        while !is_present(self) {
            let waiting = PrintState(format!(
                "{} was told {:?}, expected {:?}",
                model.users[self.user].name,
                self.told,
                self.told
                    .keys()
                    .map(|user| model.seen(self.user, *user))
                    .collect::<Vec<_>>()
            ));
            let frame = self.client.recv();
            drop(waiting);
            self.take(model, &frame);
        }
        self.ask_one(model, json!({"type": "ping"}), "pong");
        assert!(is_present(self), "{:?}", self.told);
    }
}

/// Prints what was waited for when a test fails.
struct PrintState(String);

impl Drop for PrintState {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// The user and the state in a `presence` frame.
fn read(model: &Model, frame: &Value) -> (usize, Told) {
    assert_eq!(frame["type"], "presence", "{frame}");
    let user = model
        .users
        .iter()
        .position(|user| frame["user"] == *user.name);
    let text = |field: &str| frame[field].as_str().map(str::to_owned);
    let status = text("status").expect("a status");
    (
        user.expect("a user of the run"),
        (status, text("last_seen")),
    )
}

/// A run, on a server of its own.
pub struct Run {
    server: Server,
    random: Random,
    model: Model,
    sessions: Vec<Session>,
    observer: Option<Session>,
}

impl Run {
    pub fn new(seed: u64, rules: Rules) -> Self {
        let arguments = rules.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let names = (0..USERS).map(|n| format!("user{n}"));
        let names = names.chain(["observer", "nobody"].map(str::to_owned));
        let mut run = Self {
            server: Server::start(&arguments),
            random: Random::new(seed),
            model: Model::new(rules, names),
            sessions: Vec::new(),
            observer: None,
        };
        for n in 0..USERS {
            make_contacts(&run.server, "observer", &format!("user{n}"));
            run.model.written.extend([(n, OBSERVER), (OBSERVER, n)]);
        }
        run.observe();
        // The sessions that have made them contacts.
        let Some(observer) = &mut run.observer else {
            return run;
        };
        for n in 0..USERS {
            let user = &mut run.model.users[n];
            let told = &observer.told[&n];
            if rules.has_grace {
                assert_eq!(*told, ("online".to_owned(), None));
                user.kept = Some("online");
            }
            user.last_seen = Some(run.model.last_seen.len());
            run.model.last_seen.push(LastSeen {
                from: String::new(),
                exact: told.1.clone(),
            });
        }
        run.model.possible.clear();
        run.model.note_possible();
        run
    }

    /// The observer connects and watches all users.
    fn observe(&mut self) {
        let mut client = Client::connect(&self.server, "observer", "");
        client.until("synced");
        let mut observer = Session {
            client,
            user: OBSERVER,
            told: BTreeMap::new(),
        };
        // What it is told first is checked by the caller.
        let names: Vec<_> = self.model.users[..USERS].iter().map(|u| &u.name).collect();
        let frame = json!({"type": "watch", "users": names});
        let answers = observer.ask(&self.model, frame, USERS);
        observer
            .told
            .extend(answers.iter().map(|frame| read(&self.model, frame)));
        if !self.model.rules.has_grace {
            // A session of before may have ended a moment later.
            while observer.told.values().any(|told| told.0 != "offline") {
                let frame = observer.client.recv();
                let (user, told) = read(&self.model, &frame);
                observer.told.insert(user, told);
            }
        }
        self.observer = Some(observer);
    }

    /// The time of the server.
    fn now(&mut self) -> String {
        let observer = self.observer.as_mut().expect("it is connected");
        let pong = observer.ask(&self.model, json!({"type": "ping"}), 1);
        pong[0]["server_time"].as_str().expect("a time").to_owned()
    }

    pub fn execute(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for _ in 0..=self.random.below(4) {
                self.act();
                self.model.note_possible();
            }
            self.settle();
            if self.random.percent(10) {
                self.crash();
            }
        }
    }

    /// All sessions are told the present state.
    fn settle(&mut self) {
        for session in self.sessions.iter_mut().chain(&mut self.observer) {
            session.settle(&self.model);
        }
        let now = self.now();
        for session in self.sessions.iter().chain(&self.observer) {
            for (user, told) in &session.told {
                if let Seen::Offline(Some(n)) = self.model.seen(session.user, *user) {
                    assert!(told.1.as_ref() <= Some(&now), "{told:?} is after {now}");
                    self.model.last_seen[n].exact.clone_from(&told.1);
                }
            }
        }
        // The time is the same for all who see a user.
        for session in self.sessions.iter_mut().chain(&mut self.observer) {
            session.settle(&self.model);
        }
        self.model.possible.clear();
        self.model.note_possible();
    }

    fn sessions_of(&self, user: usize) -> usize {
        let sessions = self.sessions.iter();
        sessions.filter(|session| session.user == user).count()
    }

    /// A user has another number of sessions, or another status.
    fn update(&mut self, user: usize, from: &str) {
        let sessions = self.sessions_of(user);
        self.model.update(user, sessions, from);
    }

    fn act(&mut self) {
        let at = match self.sessions.len() {
            0 => return self.connect(),
            sessions => self.random.below(sessions),
        };
        match self.random.below(100) {
            0..22 => self.connect(),
            22..31 => self.disconnect(at),
            31..47 => self.set_status(at),
            47..57 => self.watch(at),
            57..61 => self.unwatch(at),
            // Once two users have written to each other, they see each other for the rest of the run, but for blocks.
            61..64 => self.send(at),
            64..79 => self.block(at),
            _ => self.change_room(at),
        }
    }

    fn connect(&mut self) {
        let user = self.random.below(USERS);
        if self.sessions_of(user) >= SESSIONS {
            return;
        }
        let mut client = Client::connect(&self.server, &self.model.users[user].name, "");
        client.until("synced");
        self.sessions.push(Session {
            client,
            user,
            told: BTreeMap::new(),
        });
        self.update(user, "");
        if self.random.percent(70) {
            self.model.note_possible();
            self.watch(self.sessions.len() - 1);
        }
    }

    fn disconnect(&mut self, at: usize) {
        let from = self.now();
        let session = self.sessions.swap_remove(at);
        match self.random.below(3) {
            0 => session.client.close(),
            reset => session.client.cut(reset == 1),
        }
        self.update(session.user, &from);
    }

    fn set_status(&mut self, at: usize) {
        let from = self.now();
        let status = *self.random.pick(&STATUSES);
        let user = self.sessions[at].user;
        self.model.users[user].status = status;
        self.update(user, &from);
        // Sessions may be told before the answer.
        self.model.note_possible();
        let frame = json!({"type": "status", "status": status});
        self.sessions[at].ask_one(&self.model, frame, "ok");
    }

    fn watch(&mut self, at: usize) {
        let mut users: Vec<usize> = (0..USERS).chain([NOBODY]).collect();
        while users.len() > 1 && self.random.percent(50) {
            users.swap_remove(self.random.below(users.len()));
        }
        self.sessions[at].watch(&self.model, &users);
    }

    fn unwatch(&mut self, at: usize) {
        let session = &mut self.sessions[at];
        let users: Vec<usize> = session.told.keys().copied().collect();
        if users.is_empty() {
            return;
        }
        let user = *self.random.pick(&users);
        let name = &self.model.users[user].name;
        session.ask_one(
            &self.model,
            json!({"type": "unwatch", "users": [name]}),
            "ok",
        );
        session.told.remove(&user);
    }

    /// Another user of the run.
    fn other(&mut self, user: usize) -> usize {
        (user + 1 + self.random.below(USERS - 1)) % USERS
    }

    fn send(&mut self, at: usize) {
        let from = self.sessions[at].user;
        let to = self.other(from);
        let blocks = &self.model.blocks;
        if blocks.contains(&(from, to)) || blocks.contains(&(to, from)) {
            return;
        }
        self.model.written.insert((from, to));
        self.model.note_possible();
        let frame = json!({"message": "hello", "target_user": self.model.users[to].name});
        self.sessions[at].ask_one(&self.model, frame, "ack");
    }

    fn block(&mut self, at: usize) {
        let by = self.sessions[at].user;
        let user = self.other(by);
        // Mostly something that changes, and rather an end.
        let on = !self.model.blocks.contains(&(by, user)) && self.random.percent(60);
        if on {
            self.model.blocks.insert((by, user));
        } else {
            self.model.blocks.remove(&(by, user));
        }
        self.model.note_possible();
        let tag = if on { "block" } else { "unblock" };
        let frame = json!({"type": tag, "user": self.model.users[user].name});
        self.sessions[at].ask_one(&self.model, frame, "ok");
        if on {
            // They are told before the `ok`.
            let hidden = ("offline".to_owned(), None);
            let told = self.sessions[at].told.get(&user);
            assert!(told.is_none_or(|told| *told == hidden), "{told:?}");
        }
    }

    fn change_room(&mut self, at: usize) {
        let (user, n) = (self.sessions[at].user, self.random.below(ROOMS));
        let joins = !self.model.rooms[n].contains(&user);
        let room = &mut self.model.rooms[n];
        if joins {
            room.insert(user);
        } else {
            room.remove(&user);
        }
        self.model.note_possible();
        let tag = if joins { "join" } else { "leave" };
        let frame = json!({"type": tag, "room": format!("room{n}")});
        self.sessions[at].ask_one(&self.model, frame, "ack");
    }

    /// The server is killed, when it has recorded who is online, and when the others were.
    fn crash(&mut self) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = Connection::open_with_flags(self.server.store(), flags).expect("a store");
        let is_recorded = |user: &User| {
            let sql = "SELECT u.n IN (SELECT user FROM online), strftime('%Y-%m-%dT%H:%M:%S', last_seen / 1000, 'unixepoch')
                || printf('.%03dZ', last_seen % 1000) FROM users AS u WHERE id = ?1";
            let row = database.query_row(sql, [&user.name], |row| Ok((row.get(0)?, row.get(1)?)));
            let (is_online, last_seen): (bool, Option<String>) = row.expect("the user exists");
            is_online == user.is_online
                && (is_online
                    || self
                        .model
                        .is_last_seen(last_seen.as_deref(), user.last_seen))
        };
        eventually("who is online, and when others were, is recorded", || {
            self.model.users[..USERS].iter().all(is_recorded)
        });
        drop(database);
        let from = self.now();
        self.server.kill();
        self.sessions.clear();
        self.observer = None;
        self.server.restart();
        self.model.crashed(&from);
        self.model.possible.clear();
        self.model.note_possible();
        self.observe();
        self.settle();
    }
}

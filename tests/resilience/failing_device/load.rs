//! Users who send messages to each other, and remember every inbox entry that the server has told them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Client, Random, Server};

pub const USERS: usize = 3;
/// The maximum number of unacknowledged messages of a user.
const WINDOW: usize = 24;

/// A message that was sent.
#[derive(Clone)]
struct Sent {
    id: String,
    to: usize,
    length: usize,
}

pub struct User {
    name: String,
    random: Random,
    epoch: Option<String>,
    /// The ids of the entries that this user knows, by `seq`.
    known: BTreeMap<u64, String>,
    acknowledged: Vec<Sent>,
    /// Sent and not acknowledged.
    open: VecDeque<Sent>,
}

pub fn users(random: &mut Random) -> Vec<User> {
    let user = |n| User {
        name: format!("u{n}"),
        random: Random::new(random.next()),
        epoch: None,
        known: BTreeMap::new(),
        acknowledged: Vec::new(),
        open: VecDeque::new(),
    };
    (0..USERS).map(user).collect()
}

impl User {
    /// Sends and receives until the server stops or `stop` is set.
    fn run(&mut self, server: &Server, stop: &AtomicBool) {
        let since = self.known.keys().next_back().unwrap_or(&0);
        let query = match &self.epoch {
            Some(epoch) => format!("?since={since}&epoch={epoch}"),
            None => "?since=0".to_owned(),
        };
        let Some(mut client) = Client::try_connect(server, &self.name, &query) else {
            return;
        };
        self.assert_epoch(&client);
        let again: Vec<_> = self.open.iter().cloned().collect();
        for sent in &again {
            Self::send(&mut client, sent);
        }
        while !stop.load(Ordering::Relaxed) {
            while self.open.len() < WINDOW {
                let sent = Sent {
                    id: self.random.uuid(),
                    to: self.random.below(USERS),
                    length: self.random.below(6000),
                };
                Self::send(&mut client, &sent);
                self.open.push_back(sent);
            }
            match client.next() {
                Ok(frame) => self.receive(&mut client, &frame),
                Err(_) => return,
            }
            client.receipts();
        }
    }

    fn assert_epoch(&mut self, client: &Client) {
        let epoch = self.epoch.get_or_insert_with(|| client.epoch().to_owned());
        assert_eq!(
            epoch,
            client.epoch(),
            "{}: the epoch has changed",
            self.name
        );
    }

    fn send(client: &mut Client, sent: &Sent) {
        let frame = json!({
            "message": format!("{} {}", sent.id, "x".repeat(sent.length)), "target_user": format!("u{}", sent.to),
            "id": sent.id, "ref": sent.id
        });
        let _ = client.try_send_text(&frame.to_string());
    }

    fn receive(&mut self, client: &mut Client, frame: &Value) {
        match frame["type"].as_str() {
            Some("synced") => {}
            Some("message") => self.learn(frame),
            Some("ack") => {
                self.learn(frame);
                let at = self.open.iter().position(|sent| frame["id"] == sent.id);
                let at = at.unwrap_or_else(|| panic!("{}: unexpected {frame}", self.name));
                self.acknowledged.extend(self.open.remove(at));
            }
            // The message may be stored or not.
            Some("error") => {
                assert_eq!(frame["retryable"], true, "{}: {frame}", self.name);
                let sent = self.open.iter().find(|sent| frame["ref"] == sent.id);
                if let Some(sent) = sent.cloned() {
                    Self::send(client, &sent);
                }
            }
            _ => panic!("{}: {frame}", self.name),
        }
    }

    fn learn(&mut self, frame: &Value) {
        let seq = frame["seq"].as_u64().expect("a seq");
        let id = frame["id"].as_str().expect("an id").to_owned();
        if let Some(before) = self.known.insert(seq, id.clone()) {
            assert_eq!(before, id, "{}: entry {seq} is another one", self.name);
        }
    }

    /// Reads the whole inbox, which must contain every entry that the user knows.
    fn inbox(&mut self, server: &Server) -> Vec<String> {
        let name = &self.name;
        let epoch = self.epoch.as_deref().map(|epoch| format!("&epoch={epoch}"));
        let query = format!("?since=0&ack=manual{}", epoch.unwrap_or_default());
        let mut client = Client::connect(server, name, &query);
        let mut ids = Vec::new();
        loop {
            let frame = match client.next() {
                Ok(frame) => frame,
                Err(error) => panic!("{name}: {error:?}\n{}", server.log()),
            };
            match frame["type"].as_str() {
                Some("synced") => break,
                Some("message") => {}
                _ => panic!("{name}: {frame}\n{}", server.log()),
            }
            assert_eq!(frame["seq"], ids.len() as u64 + 1, "{name}: {frame}");
            ids.push(frame["id"].as_str().expect("an id").to_owned());
        }
        for (seq, id) in &self.known {
            let found = ids.get(*seq as usize - 1);
            assert_eq!(
                found,
                Some(id),
                "{name}: entry {seq} of {} is lost",
                ids.len()
            );
        }
        let different: HashSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "{name} has an entry twice");
        self.assert_epoch(&client);
        ids
    }
}

/// Runs all users until the server stops or `meanwhile` returns, which is given the number of running users.
pub fn run(users: &mut [User], server: &Server, meanwhile: impl FnOnce(&dyn Fn() -> usize)) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = users
            .iter_mut()
            .map(|user| scope.spawn(|| user.run(server, &stop)))
            .collect();
        let _stop = Stop(&stop);
        meanwhile(&|| {
            threads
                .iter()
                .filter(|thread| !thread.is_finished())
                .count()
        });
    });
}

/// Compares all inboxes with what the users know. With `remember` the users know the inboxes from then on; without it, the server
/// runs on a copy of the store.
pub fn check(users: &mut [User], server: &Server, remember: bool) {
    let inboxes: Vec<_> = users.iter_mut().map(|user| user.inbox(server)).collect();
    for user in users.iter() {
        for sent in &user.acknowledged {
            assert!(
                inboxes[sent.to].contains(&sent.id),
                "the message {} from {} is not in the inbox of u{}",
                sent.id,
                user.name,
                sent.to
            );
        }
    }
    if remember {
        for (user, ids) in users.iter_mut().zip(inboxes) {
            user.known = (1..).zip(ids).collect();
        }
    }
}

pub fn acknowledged(users: &[User]) -> usize {
    users.iter().map(|user| user.acknowledged.len()).sum()
}

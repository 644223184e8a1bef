//! SIGKILL while users send to rooms, react, join and leave: every acknowledged message is once, and in the same order, in the inbox of
//! every member between the entries of the join and of the leave (PROTOCOL section 11, "Order").

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::{ARGUMENTS, assert_verified, restart_after_kill};
use crate::support::{Client, Random, Server, env_number, random_seed};

/// All users are members of it, from the beginning on. It is not small.
const HALL: &str = "hall";

/// The first user is always a member. The senders join and leave, which all members see.
const LOBBY: &str = "lobby";

const SENDERS: usize = 4;

const USERS: usize = SENDERS + 3;

/// The maximum number of unanswered requests.
const WINDOW: usize = 32;

/// An inbox entry about a room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    room: String,
    by: String,
    /// The id of a message, with the emoji of a reaction, or `joined` or `left`.
    what: String,
    /// Empty for a reaction, of which no frame has the time.
    at: String,
}

#[derive(Clone)]
enum Request {
    Message {
        room: &'static str,
        id: String,
    },
    /// To a message in the hall.
    React {
        id: String,
        emoji: String,
    },
    Join,
    Leave,
}

/// A user, with what the user's client has received in all sessions.
struct User {
    name: String,
    sends: bool,
    random: Random,
    epoch: Option<String>,
    items: Vec<Item>,
    requests: u64,
    /// Not answered yet, with the number of the request.
    open: VecDeque<(u64, Request)>,
    is_in_lobby: bool,
    /// Acknowledged messages, with the number of the entry.
    promises: Vec<(String, u64)>,
    /// Acknowledged messages in the hall.
    own: Vec<String>,
    /// The whole inbox, read between the rounds.
    inbox: Vec<Item>,
}

fn text(id: &str) -> String {
    let number = usize::from_str_radix(&id[..8], 16).expect("an id begins with hexadecimal digits");
    let length = if number.is_multiple_of(20) {
        3000
    } else {
        number % 300
    };
    format!("{id} {}", "x".repeat(length))
}

fn item(frame: &Value) -> Item {
    let field = |name: &str| frame[name].as_str().expect("a string").to_owned();
    match frame["type"].as_str() {
        Some("message") => {
            let id = field("id");
            assert_eq!(frame["message"], text(&id));
            Item {
                room: field("target_room"),
                by: field("from_user"),
                what: id,
                at: field("sent_at"),
            }
        }
        Some("reacted") => Item {
            room: field("target_room"),
            by: field("from_user"),
            what: format!("{} {}", field("id"), field("emoji")),
            at: String::new(),
        },
        Some("room") => Item {
            room: field("room"),
            by: field("user"),
            what: field("event"),
            at: field("at"),
        },
        _ => panic!("unexpected {frame}"),
    }
}

impl User {
    fn new(n: usize, random: &mut Random) -> Self {
        Self {
            name: format!("u{n}"),
            sends: n > 0 && n <= SENDERS,
            random: Random::new(random.next()),
            epoch: None,
            items: Vec::new(),
            requests: 0,
            open: VecDeque::new(),
            is_in_lobby: n == 0,
            promises: Vec::new(),
            own: Vec::new(),
            inbox: Vec::new(),
        }
    }

    fn since(&self, entries: usize) -> String {
        match &self.epoch {
            Some(epoch) => format!("?since={entries}&epoch={epoch}"),
            None => format!("?since={entries}"),
        }
    }

    /// Sends and receives until the server stops, or, with `last`, until everything is answered and received. False: the server
    /// has stopped.
    fn run(&mut self, server: &Server, last: bool) -> bool {
        loop {
            let query = self.since(self.items.len());
            let Some(mut client) = Client::try_connect(server, &self.name, &query) else {
                return false;
            };
            let epoch = client.epoch().to_owned();
            let known = self.epoch.get_or_insert_with(|| epoch.clone());
            assert_eq!(*known, epoch, "{}: the epoch has changed", self.name);
            // Messages and reactions are sent again, and stored once. What became of a join or leave shows in the inbox.
            let again = std::mem::take(&mut self.open);
            let mut sent = again
                .into_iter()
                .filter(|(_, request)| !matches!(request, Request::Join | Request::Leave))
                .all(|(_, request)| self.send(&mut client, request));
            let mut is_synced = false;
            let mut newest = 0;
            loop {
                let leave = if last || !self.sends {
                    0
                } else {
                    self.random.below(WINDOW / 2)
                };
                let reads_on = |user: &Self, is_synced: bool| {
                    !is_synced || user.open.len() > leave || !user.sends && !last
                };
                while !sent || reads_on(self, is_synced) {
                    let Ok(frame) = client.next() else {
                        return false;
                    };
                    is_synced |= frame["type"] == "synced";
                    self.receive(&frame, &mut newest);
                }
                client.receipts();
                if last {
                    return true;
                }
                if self.random.percent(2) {
                    client.cut(self.random.percent(50));
                    break;
                }
                for _ in 0..=self.random.below(WINDOW - self.open.len()) {
                    let request = self.request();
                    sent = sent && self.send(&mut client, request);
                }
            }
        }
    }

    fn request(&mut self) -> Request {
        match self.random.below(20) {
            0 => Request::Join,
            1 => Request::Leave,
            2..5 if !self.own.is_empty() => Request::React {
                id: self.own[self.own.len() - 1 - self.random.below(self.own.len().min(4))].clone(),
                // Another one each time, so that none is superseded.
                emoji: format!("{:x}", self.random.next()),
            },
            n => Request::Message {
                room: if n < 11 { HALL } else { LOBBY },
                id: self.random.uuid(),
            },
        }
    }

    /// Sends a request. A message stays open even if it cannot be sent.
    fn send(&mut self, client: &mut Client, request: Request) -> bool {
        self.requests += 1;
        let mut frame = match &request {
            Request::Message { room, id } => {
                json!({"message": text(id), "target_room": room, "id": id})
            }
            Request::React { id, emoji } => {
                json!({"type": "react", "target_room": HALL, "id": id, "emoji": emoji})
            }
            Request::Join => json!({"type": "join", "room": LOBBY}),
            Request::Leave => json!({"type": "leave", "room": LOBBY}),
        };
        frame["ref"] = json!(self.requests.to_string());
        self.open.push_back((self.requests, request));
        client.try_send_text(&frame.to_string())
    }

    fn take(&mut self, frame: &Value, item: Item) {
        assert_eq!(
            frame["seq"],
            self.items.len() as u64 + 1,
            "{}: {item:?}",
            self.name
        );
        self.items.push(item);
    }

    /// `newest`: the newest request that this session has got an entry for.
    fn receive(&mut self, frame: &Value, newest: &mut u64) {
        match frame["type"].as_str() {
            Some("synced") => return,
            Some("message" | "reacted" | "room") => return self.take(frame, item(frame)),
            _ => {}
        }
        let number: Option<u64> = frame["ref"].as_str().and_then(|number| number.parse().ok());
        let place = self.open.iter().position(|(open, _)| Some(*open) == number);
        let open = place.and_then(|place| self.open.remove(place));
        let (number, request) = open.unwrap_or_else(|| panic!("{}: unexpected {frame}", self.name));
        if frame["type"] == "error" {
            assert_eq!(frame["code"], "not_member", "{frame}");
            assert!(
                matches!(request, Request::Message { room: LOBBY, .. }),
                "{frame}"
            );
            return;
        }
        assert_eq!(frame["status"], "stored", "{frame}");
        let is_reaction = matches!(request, Request::React { .. });
        let (room, what) = match request {
            Request::Message { room, id } => (room, id),
            Request::React { id, emoji } => (HALL, format!("{id} {emoji}")),
            Request::Join => (LOBBY, "joined".to_owned()),
            Request::Leave => (LOBBY, "left".to_owned()),
        };
        let is_message = frame.get("room").is_none();
        let seq = frame["seq"].as_u64();
        if frame["duplicate"] != true {
            assert!(number > *newest, "{}: the order of {frame}", self.name);
            *newest = number;
            let item = Item {
                room: room.to_owned(),
                by: self.name.clone(),
                what: what.clone(),
                at: if is_reaction {
                    String::new()
                } else {
                    frame["sent_at"].as_str().expect("a time").to_owned()
                },
            };
            self.take(frame, item);
        }
        if room == HALL && !is_reaction {
            self.own.push(what.clone());
        }
        if is_message {
            self.promises.push((what, seq.expect("a seq")));
        }
    }

    /// Reads the new entries of the whole inbox, and compares it with what the client has received.
    fn read_inbox(&mut self, server: &Server) {
        let query = self.since(self.inbox.len()) + "&device=check&ack=manual";
        let mut client = Client::connect(server, &self.name, &query);
        let mut members = None;
        loop {
            let frame = client.recv();
            if frame["type"] == "synced" {
                break;
            }
            assert_eq!(frame["seq"], self.inbox.len() as u64 + 1, "{}", self.name);
            if frame["type"] == "room" && frame["room"] == LOBBY && self.name == "u0" {
                let count = frame["members"].as_u64().expect("a number");
                let change = if frame["event"] == "joined" { 1 } else { -1 };
                let before = members.replace(count);
                assert!(
                    before.is_none_or(|before| before.checked_add_signed(change) == Some(count)),
                    "{before:?} before {frame}"
                );
            }
            self.inbox.push(item(&frame));
        }
        assert!(
            self.inbox.starts_with(&self.items),
            "{} has received other entries than the inbox contains",
            self.name
        );
        for (id, seq) in &self.promises {
            let entry = &self.inbox[*seq as usize - 1];
            assert_eq!(
                (&entry.what, &entry.by),
                (id, &self.name),
                "an acknowledged message is lost"
            );
        }
    }

    fn entries_of<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a Item> {
        self.inbox.iter().filter(move |item| item.room == room)
    }
}

/// Compares the inboxes with each other: all members have the same entries in the same order.
fn compare(users: &[User]) {
    let messages = |user: &User| -> Vec<Item> {
        let is_message = |item: &&Item| item.what != "joined" && item.what != "left";
        user.entries_of(HALL).filter(is_message).cloned().collect()
    };
    let of_first = messages(&users[0]);
    for user in &users[1..] {
        assert!(messages(user) == of_first, "{}: the hall", user.name);
    }
    // The lobby is small, so the inbox of the member who never leaves has everything that has happened in it.
    let mut expected: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    let mut present: HashSet<&str> = HashSet::new();
    for item in users[0].entries_of(LOBBY) {
        if item.what == "joined" {
            assert!(present.insert(&item.by), "{item:?} twice");
        }
        for user in &present {
            expected.entry(user).or_default().push(item);
        }
        if item.what == "left" {
            assert!(present.remove(&*item.by), "{item:?} twice");
        }
    }
    for user in users {
        let found: Vec<&Item> = user.entries_of(LOBBY).collect();
        let expected = expected.remove(&*user.name).unwrap_or_default();
        assert!(found == expected, "{}: the lobby", user.name);
    }
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    for (place, item) in users[0].inbox.iter().enumerate() {
        if item.what != "joined" && item.what != "left" {
            let before = places.insert((&item.room, &item.what), place);
            assert_eq!(before, None, "{item:?} twice");
        }
    }
}

#[test]
fn acknowledged_messages_in_rooms_survive_sigkill_in_the_same_order_for_all_members() {
    let rounds = env_number("DMWIRE_CRASH_ROUNDS", || 6);
    let mut random = Random::new(env_number("DMWIRE_CRASH_SEED", random_seed));
    let small = (SENDERS + 1).to_string();
    let limits = [
        "--small-room",
        &small,
        "--room-entries-per-second",
        "1000000",
        "--room-entries-burst",
        "1000000",
    ];
    let mut server = Server::start(&[ARGUMENTS, &limits].concat());
    let mut users: Vec<User> = (0..USERS).map(|n| User::new(n, &mut random)).collect();
    for user in &users {
        let rooms = if user.is_in_lobby {
            vec![HALL, LOBBY]
        } else {
            vec![HALL]
        };
        for room in rooms {
            let mut client = Client::connect(&server, &user.name, "?device=first&ack=manual");
            client.until("synced");
            client.send(&json!({"type": "join", "room": room}));
            client.until("ack");
        }
    }
    for round in 1..=rounds {
        let moment = Duration::from_micros(50_000 + random.next() % 350_000);
        std::thread::scope(|scope| {
            for user in &mut users {
                let server = &server;
                scope.spawn(|| user.run(server, false));
            }
            std::thread::sleep(moment);
            server.signal("KILL");
        });
        restart_after_kill(&mut server, &mut random);
        for user in &mut users {
            user.read_inbox(&server);
        }
        compare(&users);
        let promises: usize = users.iter().map(|user| user.promises.len()).sum();
        eprintln!("round {round}: killed after {moment:?}; {promises} acknowledged so far");
    }
    for user in &mut users {
        assert!(user.run(&server, true));
        assert!(user.open.is_empty());
    }
    for user in &mut users {
        user.read_inbox(&server);
    }
    compare(&users);
    server.kill();
    assert_verified(&server);
}

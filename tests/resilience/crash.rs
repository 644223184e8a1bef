//! `kill -9` under load, again and again on the same file: what was acknowledged is there once and in order, and who
//! resumes gets each entry once (PROTOCOL section 5, "Resume", "Durable", "Idempotent send").
//!
//! A few rounds by default; the full count is `DMWIRE_CRASH_ROUNDS=50 cargo test --test resilience crash::`. What is random follows from
//! a seed that is printed; `DMWIRE_CRASH_SEED` sets it (the moments of the operating system it cannot set).

use std::collections::{HashMap, VecDeque};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Client, Folder, Random, Server, any_seed, setting};
use serde_json::{Value, json};

const SENDERS: usize = 4;
const RECEIVERS: usize = 3;
/// No limit that the load would come to; above all, no entry is removed for want of room.
const ARGUMENTS: &[&str] = &[
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
    "--inbox-limit",
    "100000000",
];
/// Messages that a sender has under way at the most.
const WINDOW: usize = 48;

/// An entry as its inbox shows it. All messages here are made by [`text`], so that sender and number say all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    id: String,
    from: String,
    number: u64,
    sent_at: String,
}

/// What a client holds of an inbox, over all its sessions: entry `n` stands at `n - 1`.
#[derive(Default)]
struct Held {
    items: Vec<Item>,
    epoch: Option<String>,
}

impl Held {
    fn cursor(&self) -> u64 {
        self.items.len() as u64
    }

    fn since(&self) -> String {
        match &self.epoch {
            Some(epoch) => format!("?since={}&epoch={epoch}", self.cursor()),
            None => "?since=0".to_owned(),
        }
    }

    /// Resumes. `None`: the server has gone.
    fn connect(&mut self, server: &Server, user: &str) -> Option<Client> {
        let client = Client::try_connect(server, user, &self.since())?;
        let epoch = client.epoch().to_owned();
        let known = self.epoch.get_or_insert_with(|| epoch.clone());
        assert_eq!(*known, epoch, "{user}: a crash makes no new store");
        let head = client.welcome["seq"].as_u64();
        assert!(
            head >= Some(self.cursor()),
            "{user} holds more than there is: {} of {head:?}",
            self.cursor()
        );
        Some(client)
    }

    /// Takes an entry, which must be the next.
    fn take(&mut self, user: &str, seq: &Value, item: Item) {
        assert_eq!(
            *seq,
            self.cursor() + 1,
            "{user} was owed entry {}: {item:?}",
            self.cursor() + 1
        );
        self.items.push(item);
    }
}

fn text(from: &str, number: u64) -> String {
    let length = (number as usize * 7919) % 1500;
    format!("{from} {number} {}", "x".repeat(length))
}

/// The entry in a `message` frame, which must be what its sender wrote.
fn item(frame: &Value) -> Item {
    assert_eq!(frame["type"], "message", "{frame}");
    let string = |field: &str| frame[field].as_str().expect("a string").to_owned();
    let (from, said) = (string("from_user"), string("message"));
    let number = said.split(' ').nth(1).and_then(|n| n.parse().ok());
    let number = number.expect("a number");
    assert_eq!(said, text(&from, number));
    Item {
        id: string("id"),
        from,
        number,
        sent_at: string("sent_at"),
    }
}

/// A message that its sender must see acknowledged.
#[derive(Clone)]
struct Sent {
    id: String,
    to: String,
    number: u64,
}

/// What an ack has promised.
struct Promise {
    sent: Sent,
    seq: u64,
    sent_at: String,
}

struct Sender {
    name: String,
    random: Random,
    held: Held,
    next: u64,
    /// Sent and not acknowledged, in order.
    open: VecDeque<Sent>,
    promises: Vec<Promise>,
    /// Promises that have been checked.
    checked: usize,
    duplicates: u64,
}

impl Sender {
    /// Sends until the server is gone, or, with `last`, until all that is open is acknowledged. False: it is gone.
    fn run(&mut self, server: &Server, last: bool) -> bool {
        loop {
            let Some(mut client) = self.held.connect(server, &self.name) else {
                return false;
            };
            // What was not acknowledged is sent again, with the same ids.
            let again: Vec<Sent> = self.open.iter().cloned().collect();
            let mut sent = again.iter().all(|sent| self.put(&mut client, sent));
            let mut echo = None;
            loop {
                let leave = if last {
                    0
                } else {
                    self.random.below(WINDOW / 2)
                };
                while !sent || self.open.len() > leave {
                    let Ok(frame) = client.next() else {
                        return false;
                    };
                    self.hear(&frame, &mut echo);
                }
                client.receipts();
                if last {
                    return true;
                }
                if self.random.percent(2) {
                    // Now and then the line breaks and the server does not.
                    client.cut(self.random.percent(50));
                    break;
                }
                for _ in 0..=self.random.below(WINDOW - self.open.len()) {
                    let message = self.make();
                    self.open.push_back(message.clone());
                    sent = sent && self.put(&mut client, &message);
                }
            }
        }
    }

    fn make(&mut self) -> Sent {
        let to = match self.random.below(20) {
            0 => self.name.clone(),
            1..=3 => format!("s{}", self.random.below(SENDERS)),
            _ => format!("r{}", self.random.below(RECEIVERS)),
        };
        self.next += 1;
        Sent {
            id: self.random.uuid(),
            to,
            number: self.next - 1,
        }
    }

    fn put(&self, client: &mut Client, sent: &Sent) -> bool {
        let frame = json!({
            "message": text(&self.name, sent.number), "target_user": sent.to, "id": sent.id, "ref": sent.number.to_string()
        });
        client.try_send_text(&frame.to_string())
    }

    fn hear(&mut self, frame: &Value, echo: &mut Option<String>) {
        if let Some(id) = echo.take() {
            // A message to oneself: behind its ack comes the message, with the same `seq`.
            assert_eq!(
                (&frame["type"], &frame["id"]),
                (&json!("message"), &json!(id)),
                "{frame}"
            );
            assert_eq!(frame["seq"], self.held.cursor());
            return;
        }
        match frame["type"].as_str() {
            Some("synced") => {}
            Some("message") => {
                let item = item(frame);
                self.held.take(&self.name, &frame["seq"], item);
            }
            Some("ack") => {
                let at = self.open.iter().position(|sent| frame["id"] == sent.id);
                let sent = at.and_then(|at| self.open.remove(at));
                let sent =
                    sent.unwrap_or_else(|| panic!("{}: nothing waits for {frame}", self.name));
                assert_eq!(frame["ref"], sent.number.to_string());
                assert_eq!(frame["status"], "stored");
                let sent_at = frame["sent_at"].as_str().expect("a time").to_owned();
                if frame["duplicate"] == true {
                    self.duplicates += 1;
                } else {
                    assert_eq!(at, Some(0), "{}: acks in the order of the sends", self.name);
                    let item = Item {
                        id: sent.id.clone(),
                        from: self.name.clone(),
                        number: sent.number,
                        sent_at: sent_at.clone(),
                    };
                    self.held.take(&self.name, &frame["seq"], item);
                    *echo = (sent.to == self.name).then(|| sent.id.clone());
                }
                let seq = frame["seq"].as_u64().expect("a seq");
                self.promises.push(Promise { sent, seq, sent_at });
            }
            _ => panic!("{}: {frame}", self.name),
        }
    }
}

struct Receiver {
    name: String,
    /// With a device's name it leaves it to the server to know how far it is, without `since`.
    device: Option<&'static str>,
    held: Held,
    /// Entries that were sent again to a device that had them, which only a watermark may do.
    repeated: u64,
}

impl Receiver {
    /// Reads until the server is gone, or, with `last`, until it holds what there was when it came.
    fn run(&mut self, server: &Server, last: bool) -> bool {
        let client = match self.device {
            None => self.held.connect(server, &self.name),
            Some(device) => Client::try_connect(server, &self.name, &format!("?device={device}")),
        };
        let Some(mut client) = client else {
            return false;
        };
        let mut newest = None;
        loop {
            let Ok(frame) = client.next() else {
                return false;
            };
            client.receipts();
            if frame["type"] == "synced" {
                if last {
                    return true;
                }
                continue;
            }
            let seq = frame["seq"].as_u64();
            assert!(
                newest.is_none_or(|newest| seq == Some(newest + 1)),
                "{frame}"
            );
            newest = seq;
            let item = item(&frame);
            let held = frame["seq"]
                .as_u64()
                .and_then(|seq| self.held.items.get(seq as usize - 1));
            match held {
                Some(held) if self.device.is_some() => {
                    assert_eq!(*held, item);
                    self.repeated += 1;
                }
                _ => self.held.take(&self.name, &frame["seq"], item),
            }
        }
    }
}

/// The whole inbox of a user, read between the rounds.
#[derive(Default)]
struct Inbox {
    held: Held,
    places: HashMap<String, usize>,
    /// The newest number of each sender.
    newest: HashMap<String, u64>,
}

impl Inbox {
    /// Reads what is new, and looks at each entry by itself.
    fn read(&mut self, server: &Server, user: &str) {
        let from = self.held.items.len();
        let mut client = self
            .held
            .connect(server, user)
            .expect("the server is there");
        loop {
            let frame = client.recv();
            if frame["type"] == "synced" {
                break;
            }
            self.held.take(user, &frame["seq"], item(&frame));
        }
        for (place, item) in self.held.items.iter().enumerate().skip(from) {
            let before = self.places.insert(item.id.clone(), place);
            assert_eq!(before, None, "{user} has {item:?} twice");
            let number = item.number;
            let newest = self.newest.insert(item.from.clone(), number);
            assert!(
                newest < Some(number),
                "{user}: {item:?} came after {newest:?}"
            );
            if item.from == user {
                // All that a user sends is in their own inbox, so that nothing may be missing there.
                assert_eq!(
                    number,
                    newest.map_or(0, |n| n + 1),
                    "{user} misses a message of their own"
                );
            }
        }
    }

    fn has(&self, promise: &Promise, from: &str) -> bool {
        let place = self.places.get(&promise.sent.id);
        place.is_some_and(|place| {
            let item = &self.held.items[*place];
            (&*item.from, item.number, &item.sent_at)
                == (from, promise.sent.number, &promise.sent_at)
        })
    }
}

struct World {
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    inboxes: HashMap<String, Inbox>,
}

impl World {
    fn new(random: &mut Random) -> Self {
        let senders = (0..SENDERS).map(|n| Sender {
            name: format!("s{n}"),
            random: Random::new(random.next()),
            held: Held::default(),
            next: 0,
            open: VecDeque::new(),
            promises: Vec::new(),
            checked: 0,
            duplicates: 0,
        });
        // Each receiver resumes by `since`; two of them have a second device, one of which goes by its watermark.
        let receiver = |n: usize, device| Receiver {
            name: format!("r{n}"),
            device,
            held: Held::default(),
            repeated: 0,
        };
        let receivers = (0..RECEIVERS).map(|n| receiver(n, None));
        let more = [receiver(0, None), receiver(1, Some("lazy"))];
        Self {
            senders: senders.collect(),
            receivers: receivers.chain(more).collect(),
            inboxes: HashMap::new(),
        }
    }

    /// Everybody is busy until `meanwhile` has ended the server.
    fn busy(&mut self, server: &Server, meanwhile: impl FnOnce()) {
        std::thread::scope(|scope| {
            for sender in &mut self.senders {
                scope.spawn(|| sender.run(server, false));
            }
            for receiver in &mut self.receivers {
                scope.spawn(|| receiver.run(server, false));
            }
            meanwhile();
        });
    }

    /// Reads every inbox and holds everybody's word against it.
    fn check(&mut self, server: &Server) {
        let names = self.senders.iter().map(|sender| &sender.name);
        let names = names.chain(self.receivers.iter().map(|receiver| &receiver.name));
        for name in names {
            self.inboxes
                .entry(name.clone())
                .or_default()
                .read(server, name);
        }
        for sender in &mut self.senders {
            let own = &self.inboxes[&sender.name];
            for promise in &sender.promises[sender.checked..] {
                let id = &promise.sent.id;
                assert!(
                    own.has(promise, &sender.name),
                    "{}: lost {id} of their own",
                    sender.name
                );
                assert_eq!(
                    own.places[id] as u64 + 1,
                    promise.seq,
                    "{}: {id}",
                    sender.name
                );
                let to = &promise.sent.to;
                let lost = !self.inboxes[to].has(promise, &sender.name);
                assert!(!lost, "{to} has not got {id}, which was acknowledged");
            }
            sender.checked = sender.promises.len();
        }
        let helds = self
            .senders
            .iter()
            .map(|sender| (&sender.name, &sender.held));
        let helds = helds.chain(
            self.receivers
                .iter()
                .map(|receiver| (&receiver.name, &receiver.held)),
        );
        for (name, held) in helds {
            let inbox = &self.inboxes[name].held.items;
            assert!(
                inbox.starts_with(&held.items),
                "{name} was shown something else than there is now"
            );
        }
    }

    fn promises(&self) -> usize {
        self.senders
            .iter()
            .map(|sender| sender.promises.len())
            .sum()
    }
}

/// Starts a server on the same file and ends it before it can be of use: also what it does first may be cut off.
fn stillborn(folder: &std::path::Path, after: Duration) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
        command.env_remove(name);
    }
    let mut child = command
        .args(["--listen", "127.0.0.1:0"])
        .args(ARGUMENTS)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server can be started");
    std::thread::sleep(after);
    let _ = child.kill();
    let _ = child.wait();
}

fn assert_whole(server: &Server) {
    let (well, said) = server.verify();
    assert!(well, "verify: {said}");
}

#[test]
fn what_was_acknowledged_survives_kill_9_and_comes_once() {
    let rounds = setting("DMWIRE_CRASH_ROUNDS", || 6);
    let mut random = Random::new(setting("DMWIRE_CRASH_SEED", any_seed));
    let mut server = Server::start(ARGUMENTS);
    let mut world = World::new(&mut random);
    let began = Instant::now();
    for round in 1..=rounds {
        let before = world.promises();
        let moment = Duration::from_micros(50_000 + random.next() % 350_000);
        world.busy(&server, || {
            std::thread::sleep(moment);
            server.signal("KILL");
        });
        server.kill();
        assert_whole(&server);
        if random.percent(25) {
            let moment = Duration::from_micros(random.next() % 30_000);
            stillborn(server.folder(), moment);
            assert_whole(&server);
        }
        server.restart();
        world.check(&server);
        let open: usize = world.senders.iter().map(|sender| sender.open.len()).sum();
        eprintln!(
            "round {round}: killed after {moment:?}; {} acknowledged, {open} under way",
            world.promises() - before
        );
    }
    // In peace: what is open is sent again, everybody comes to the end, and nothing is there but what was sent.
    for sender in &mut world.senders {
        assert!(sender.run(&server, true));
    }
    for receiver in &mut world.receivers {
        assert!(receiver.run(&server, true));
    }
    world.check(&server);
    for sender in &world.senders {
        assert_eq!(
            sender.promises.len() as u64,
            sender.next,
            "each send acknowledged once"
        );
    }
    for receiver in &world.receivers {
        let inbox = &world.inboxes[&receiver.name].held.items;
        assert_eq!(receiver.held.items.len(), inbox.len());
    }
    let promises = world
        .senders
        .iter()
        .flat_map(|s| s.promises.iter().map(move |p| (s, p)));
    let due = promises.map(|(sender, promise)| 1 + usize::from(promise.sent.to != sender.name));
    let inboxes = world.inboxes.values();
    let there: usize = inboxes.map(|inbox| inbox.held.items.len()).sum();
    assert_eq!(
        there,
        due.sum::<usize>(),
        "entries that nobody sent, or lost ones"
    );
    // From the beginning each inbox still reads as it was read piece by piece.
    for (name, inbox) in &world.inboxes {
        let mut whole = Inbox::default();
        whole.read(&server, name);
        assert!(whole.held.items == inbox.held.items, "{name}");
    }
    server.kill();
    assert_whole(&server);
    eprintln!(
        "{rounds} kills: {} messages, {there} entries, {} duplicate acks, {} entries repeated by a watermark; {:.1} s",
        world.promises(),
        world
            .senders
            .iter()
            .map(|sender| sender.duplicates)
            .sum::<u64>(),
        world
            .receivers
            .iter()
            .map(|receiver| receiver.repeated)
            .sum::<u64>(),
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn a_start_that_is_cut_off_leaves_a_file_that_starts() {
    let mut random = Random::new(setting("DMWIRE_CRASH_SEED", any_seed));
    let folders = setting("DMWIRE_CRASH_ROUNDS", || 6);
    for _ in 0..folders {
        let folder = Folder::new();
        for _ in 0..3 {
            stillborn(&folder.0, Duration::from_micros(random.next() % 40_000));
        }
        let path = folder.0.join("dmwire.db");
        let store = format!("sqlite:{}", path.display());
        let server = Server::start(&["--store", &store]);
        let mut client = Client::fresh(&server, "a");
        let ack = client.ask(&crate::support::to("a", "hello"));
        assert_eq!(ack["seq"], 1);
    }
}

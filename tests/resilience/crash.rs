//! SIGKILL under load, repeatedly on the same file: every acknowledged message is stored once and in order, and a client that
//! resumes receives each entry once (PROTOCOL section 5, "Resume", "Durable", "Idempotent send").
//!
//! `DMWIRE_CRASH_ROUNDS` sets the number of rounds, which is 6 by default. The random decisions follow from a seed that is
//! printed and that `DMWIRE_CRASH_SEED` sets; the timing of the operating system remains random.

mod clients;
mod presence;
mod rooms;

use std::collections::{HashMap, VecDeque};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Client, Folder, Random, Server, env_number, random_seed};
use clients::{Held, Promise, RECEIVERS, Receiver, SENDERS, Sender, item};

/// Limits that the load does not reach. In particular, no entry is removed because of the inbox limit.
const ARGUMENTS: &[&str] = &[
    "--messages-per-second",
    "1000000",
    "--burst",
    "1000000",
    "--inbox-limit",
    "100000000",
];

/// The whole inbox of a user, read between the rounds.
#[derive(Default)]
struct Inbox {
    held: Held,
    places: HashMap<String, usize>,
    /// The highest message number of each sender.
    newest: HashMap<String, u64>,
}

impl Inbox {
    /// Reads the new entries and checks each one.
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
            assert!(newest < Some(number), "{user}: {item:?} follows {newest:?}");
            if item.from == user {
                // A user's own inbox contains all messages that they sent, so no number may be missing.
                assert_eq!(
                    number,
                    newest.map_or(0, |n| n + 1),
                    "{user} misses an own message"
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
        // Each receiver resumes with `since`. Two of them have a second device, one of which resumes from its watermark.
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

    /// Runs all clients until `meanwhile` has killed the server.
    fn run_until_killed(&mut self, server: &Server, meanwhile: impl FnOnce()) {
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

    /// Reads every inbox and compares it with what the clients have seen.
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
                    "{}: the own message {id} is lost",
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
                assert!(
                    !lost,
                    "the acknowledged message {id} is not in the inbox of {to}"
                );
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
                "{name} has received other entries than the inbox contains"
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

/// Checks the store of a server that was killed, and starts it again. Sometimes a start in between is killed as well.
fn restart_after_kill(server: &mut Server, random: &mut Random) {
    server.kill();
    assert_verified(server);
    if random.percent(25) {
        let moment = Duration::from_micros(random.next() % 30_000);
        start_and_kill(server.folder(), moment);
        assert_verified(server);
    }
    server.restart();
}

/// Starts a server on the same file and kills it soon, possibly before it is ready.
fn start_and_kill(folder: &std::path::Path, after: Duration) {
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

fn assert_verified(server: &Server) {
    let (valid, output) = server.verify();
    assert!(valid, "verify: {output}");
}

#[test]
fn acknowledged_messages_survive_sigkill_and_are_delivered_once() {
    let rounds = env_number("DMWIRE_CRASH_ROUNDS", || 6);
    let mut random = Random::new(env_number("DMWIRE_CRASH_SEED", random_seed));
    let mut server = Server::start(ARGUMENTS);
    let mut world = World::new(&mut random);
    let began = Instant::now();
    for round in 1..=rounds {
        let before = world.promises();
        let moment = Duration::from_micros(50_000 + random.next() % 350_000);
        world.run_until_killed(&server, || {
            std::thread::sleep(moment);
            server.signal("KILL");
        });
        restart_after_kill(&mut server, &mut random);
        world.check(&server);
        let open: usize = world.senders.iter().map(|sender| sender.open.len()).sum();
        eprintln!(
            "round {round}: killed after {moment:?}; {} acknowledged, {open} not yet",
            world.promises() - before
        );
    }
    // Without further crashes: all open messages are sent again, all clients catch up, and nothing else is stored.
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
            "each message is acknowledged once"
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
    assert_eq!(there, due.sum::<usize>(), "unexpected or missing entries");
    // Read from the beginning, each inbox has the same entries.
    for (name, inbox) in &world.inboxes {
        let mut whole = Inbox::default();
        whole.read(&server, name);
        assert!(whole.held.items == inbox.held.items, "{name}");
    }
    server.kill();
    assert_verified(&server);
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
fn a_server_killed_during_its_first_start_leaves_a_usable_file() {
    let mut random = Random::new(env_number("DMWIRE_CRASH_SEED", random_seed));
    let folders = env_number("DMWIRE_CRASH_ROUNDS", || 6);
    for _ in 0..folders {
        let folder = Folder::new();
        for _ in 0..3 {
            start_and_kill(&folder.0, Duration::from_micros(random.next() % 40_000));
        }
        let path = folder.0.join("dmwire.db");
        let store = format!("sqlite:{}", path.display());
        let server = Server::start(&["--store", &store]);
        let mut client = Client::fresh(&server, "a");
        let ack = client.ask(&crate::support::to("a", "hello"));
        assert_eq!(ack["seq"], 1);
    }
}

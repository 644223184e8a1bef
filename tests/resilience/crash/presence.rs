//! SIGKILL while users choose a status, connect and disconnect: the status is the last one that was acknowledged, or one that was sent
//! after it, and users were last seen when they were (PROTOCOL section 12).

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::{ARGUMENTS, assert_verified, restart_after_kill};
use crate::support::{Client, Random, Server, env_number, eventually, make_contacts, random_seed};

/// Users who choose a status until the server is killed.
const CHANGERS: usize = 4;

/// A user who is online when the server is killed, and one who is not any more.
const STEADY: &str = "steady";
const GONE: &str = "gone";

const OBSERVER: &str = "observer";

const STATUSES: [&str; 4] = ["online", "away", "busy", "invisible"];

const INVISIBLE: &str = "invisible";

/// Times of the server: not before the first, and not after the second, if that is known.
type Range = (String, Option<String>);

struct Changer {
    name: String,
    random: Random,
    /// The last status that was acknowledged, and one that was sent after it.
    acked: &'static str,
    open: Option<&'static str>,
    /// When the user became invisible, with the acknowledged status or with the one after it.
    hidden: Option<Range>,
    changes: u64,
}

fn ask(client: &mut Client, frame: &Value) -> Option<Value> {
    client
        .try_send_text(&frame.to_string())
        .then(|| client.next().ok())
        .flatten()
        .filter(|answer| answer["type"] != "goodbye")
}

fn time(client: &mut Client) -> Option<String> {
    let pong = ask(client, &json!({"type": "ping"}))?;
    assert_eq!(pong["type"], "pong", "{pong}");
    pong["server_time"].as_str().map(str::to_owned)
}

impl Changer {
    /// Changes the status until the server stops.
    fn run(&mut self, server: &Server) -> Option<()> {
        loop {
            let mut client = Client::try_connect(server, &self.name, "")?;
            while client.next().ok()?["type"] != "synced" {}
            for _ in 0..self.random.below(6) {
                self.change(&mut client)?;
            }
            match self.random.below(3) {
                0 => client.close(),
                reset => client.cut(reset == 1),
            }
        }
    }

    fn change(&mut self, client: &mut Client) -> Option<()> {
        let status = *self.random.pick(&STATUSES);
        let from = time(client)?;
        if status == INVISIBLE && self.acked != INVISIBLE {
            self.hidden = Some((from, None));
        }
        self.open = Some(status);
        let answer = ask(client, &json!({"type": "status", "status": status}))?;
        assert_eq!(answer["type"], "ok", "{answer}");
        (self.acked, self.open) = (status, None);
        self.changes += 1;
        if status != INVISIBLE {
            self.hidden = None;
        }
        let until = time(client)?;
        if let Some((_, known)) = &mut self.hidden {
            known.get_or_insert(until);
        }
        Some(())
    }

    /// Compares what the store has after a crash, and continues with it.
    fn check(&mut self, server: &Server, last_seen: Option<&str>, now: &str) {
        let mut client = Client::fresh(server, &self.name);
        let own = client.ask(&json!({"type": "watch", "users": [self.name]}));
        client.close();
        let shown = own["status"].as_str().expect("a status");
        let shown = if shown == "offline" { INVISIBLE } else { shown };
        let known = [Some(self.acked), self.open];
        let found = known.into_iter().flatten().find(|status| *status == shown);
        self.acked =
            found.unwrap_or_else(|| panic!("{} is {shown}, not one of {known:?}", self.name));
        self.open = None;
        if self.acked != INVISIBLE {
            self.hidden = None;
        }
        if let Some((from, until)) = &mut self.hidden {
            let until = until.get_or_insert_with(|| now.to_owned());
            let seen = last_seen.unwrap_or_else(|| panic!("{} was never seen", self.name));
            assert!(
                &**from <= seen && seen <= &**until,
                "{} was last seen {seen}, and became invisible from {from} to {until}",
                self.name
            );
        }
    }
}

/// Waits until the store has recorded that a user is online, or is not any more.
fn wait_until_recorded(server: &Server, user: &str, is_online: bool) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(server.store(), flags).expect("a store");
    eventually("who is online is recorded", || {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM online WHERE user = (SELECT n FROM users WHERE id = ?1))";
        database.query_row(sql, [user], |row| row.get(0)) == Ok(is_online)
    });
}

/// When the observer sees that users were last online, and the time of the server then.
fn last_seen(server: &Server, users: &[String]) -> (Vec<Option<String>>, String) {
    let mut client = Client::connect(server, OBSERVER, "?device=watching");
    client.until("synced");
    client.send(&json!({"type": "watch", "users": users}));
    let seen = users.iter().map(|user| {
        let frame = client.expect("presence");
        assert_eq!(
            (&frame["user"], &frame["status"]),
            (&json!(user), &json!("offline")),
            "{frame}"
        );
        frame["last_seen"].as_str().map(str::to_owned)
    });
    let seen = seen.collect();
    let now = time(&mut client).expect("the server runs");
    client.close();
    (seen, now)
}

#[test]
fn status_and_last_seen_survive_sigkill() {
    let rounds = env_number("DMWIRE_CRASH_ROUNDS", || 6);
    let mut random = Random::new(env_number("DMWIRE_CRASH_SEED", random_seed));
    let grace = ["--presence-grace-seconds", "0"];
    let mut server = Server::start(&[ARGUMENTS, &grace].concat());
    let mut changers: Vec<Changer> = (0..CHANGERS)
        .map(|n| Changer {
            name: format!("changer{n}"),
            random: Random::new(random.next()),
            acked: "online",
            open: None,
            hidden: None,
            changes: 0,
        })
        .collect();
    let names = changers.iter().map(|changer| changer.name.clone());
    let names: Vec<String> = names.chain([STEADY, GONE].map(str::to_owned)).collect();
    for name in &names {
        make_contacts(&server, OBSERVER, name);
    }
    let mut before: Vec<Option<String>> = vec![None; names.len()];
    for round in 1..=rounds {
        let gone = Client::fresh(&server, GONE);
        wait_until_recorded(&server, GONE, true);
        gone.close();
        wait_until_recorded(&server, GONE, false);
        let (seen, _) = last_seen(&server, &[GONE.to_owned()]);
        let mut steady = Client::fresh(&server, STEADY);
        wait_until_recorded(&server, STEADY, true);
        let online = time(&mut steady).expect("the server runs");
        let moment = Duration::from_micros(50_000 + random.next() % 350_000);
        std::thread::scope(|scope| {
            for changer in &mut changers {
                let server = &server;
                scope.spawn(|| changer.run(server));
            }
            std::thread::sleep(moment);
            server.signal("KILL");
        });
        restart_after_kill(&mut server, &mut random);
        let (after, now) = last_seen(&server, &names);
        for (name, (before, after)) in names.iter().zip(before.iter().zip(&after)) {
            assert!(
                before <= after,
                "{name} was seen {before:?}, and now {after:?}"
            );
            assert!(
                after.as_ref() <= Some(&now),
                "{name}: {after:?} is after {now}"
            );
        }
        assert_eq!(after[CHANGERS + 1], seen[0], "the user who was gone");
        assert!(
            after[CHANGERS].as_ref() >= Some(&online),
            "the user who was online"
        );
        for (changer, seen) in changers.iter_mut().zip(&after) {
            changer.check(&server, seen.as_deref(), &now);
        }
        before = after;
        let acknowledged: u64 = changers.iter().map(|changer| changer.changes).sum();
        eprintln!("round {round}: killed after {moment:?}; {acknowledged} acknowledged so far");
    }
    server.kill();
    assert_verified(&server);
}

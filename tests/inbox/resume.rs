//! A client that resumes tells what it knows of the entry at its cursor, so that a log that was rolled back is recognised
//! (PROTOCOL section 5, "Resume").

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Client, End, Random, Server, about, env_number, random_seed, to, with};

const OTHER_ID: &str = "0b9f4c1a-6a53-4f0e-9d3e-1f2a3b4c5d6e";
const OTHER_TIME: &str = "2020-01-01T00:00:00.000Z";

/// What a client may know of an entry: its number, the id of the message, and the time, which `reacted` does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    seq: u64,
    id: String,
    at: Option<String>,
}

impl Known {
    /// What a frame tells about its entry; `None` if it is none of the log's, or a duplicate ack, which moves no cursor.
    fn of(frame: &Value) -> Option<Self> {
        let field = match frame["type"].as_str()? {
            "message" => "sent_at",
            "ack" if frame["duplicate"].is_null() => "sent_at",
            "edited" => "edited_at",
            "deleted" => "deleted_at",
            "reacted" => "at",
            _ => return None,
        };
        Some(Self {
            seq: frame["seq"].as_u64()?,
            id: frame["id"].as_str()?.to_owned(),
            at: frame[field].as_str().map(str::to_owned),
        })
    }

    fn query(&self, epoch: &str) -> String {
        let Self { seq, id, .. } = self;
        let at = self.at.as_ref();
        let at = at.map_or(String::new(), |at| format!("&since_at={at}"));
        format!("?ack=manual&device=resumed&epoch={epoch}&since={seq}&since_id={id}{at}")
    }
}

/// Resumes, and returns the frames up to `synced`.
fn resume(server: &Server, user: &str, query: &str) -> Vec<Value> {
    let mut client = Client::connect(server, user, query);
    let mut frames = Vec::new();
    loop {
        let frame = client.recv();
        if frame["type"] == "synced" {
            return frames;
        }
        frames.push(frame);
    }
}

/// Asserts that the replay starts over: `truncated` with the reason `reset`, then all entries up to `head`.
#[track_caller]
fn assert_reset(server: &Server, user: &str, query: &str, head: usize) {
    let frames = resume(server, user, query);
    assert_eq!(frames[0]["type"], "truncated", "{query}");
    assert_eq!(frames[0]["reason"], "reset", "{query}");
    assert_eq!(frames[0]["oldest_seq"], 1, "{query}");
    let seqs: Vec<_> = frames[1..].iter().map(|frame| &frame["seq"]).collect();
    let expected: Vec<_> = (1..=head).map(|seq| json!(seq)).collect();
    assert_eq!(seqs, expected.iter().collect::<Vec<_>>(), "{query}");
}

/// Asserts that the replay continues after `known`.
#[track_caller]
fn assert_continues(server: &Server, user: &str, known: &Known, epoch: &str) {
    let frames = resume(server, user, &known.query(epoch));
    let first = frames.first();
    assert!(
        first.is_none_or(|frame| frame["type"] != "truncated"),
        "{known:?}: {first:?}"
    );
    assert!(first.is_none_or(|frame| frame["seq"] == known.seq + 1));
}

/// A copy of the database of a stopped server.
struct Snapshot(Vec<u8>);

impl Snapshot {
    fn of(server: &mut Server) -> Self {
        server.stop();
        let copy = fs::read(server.store()).expect("the store can be read");
        server.restart();
        Self(copy)
    }

    /// Puts the copy in place of the database, without the files next to it, as if the whole volume had been rolled back.
    fn restore(&self, server: &mut Server) {
        server.kill();
        let store = server.store();
        for suffix in ["-wal", "-shm", "-lock"] {
            let mut name = store.clone().into_os_string();
            name.push(suffix);
            let _ = fs::remove_file(PathBuf::from(name));
        }
        fs::write(&store, &self.0).expect("the store can be written");
        server.restart();
    }
}

/// Sends messages, and returns what their acks tell.
fn send(client: &mut Client, texts: std::ops::RangeInclusive<u32>) -> Vec<Known> {
    texts
        .map(|n| Known::of(&client.ask(&to("b", &n.to_string()))).expect("an ack"))
        .collect()
}

#[test]
fn a_log_that_was_rolled_back_and_has_overtaken_the_client_is_recognised() {
    let mut server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let before = send(&mut a, 1..=10);
    a.close();
    let snapshot = Snapshot::of(&mut server);
    let mut a = Client::connect(&server, "a", "?since=10");
    a.expect("synced");
    let epoch = a.epoch().to_owned();
    let lost = send(&mut a, 11..=20);
    assert_continues(&server, "b", &lost[9], &epoch);
    snapshot.restore(&mut server);
    let mut a = Client::connect(&server, "a", "?since=10");
    a.expect("synced");
    assert_eq!(a.epoch(), epoch, "only the entry shows the rollback");
    assert_reset(&server, "b", &lost[9].query(&epoch), 10);
    let after = send(&mut a, 21..=35);
    for user in ["a", "b"] {
        for known in &lost {
            assert_reset(&server, user, &known.query(&epoch), 25);
            // The id alone and the time alone are enough.
            let (seq, id) = (known.seq, &known.id);
            let at = known.at.as_deref().expect("a time");
            assert_reset(&server, user, &format!("?since={seq}&since_id={id}"), 25);
            assert_reset(&server, user, &format!("?since={seq}&since_at={at}"), 25);
        }
        for known in before.iter().chain(&after) {
            assert_continues(&server, user, known, &epoch);
        }
    }
}

#[test]
fn a_message_that_was_sent_again_after_a_rollback_is_another_entry() {
    let mut server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let kept = &send(&mut a, 1..=1)[0];
    a.close();
    let snapshot = Snapshot::of(&mut server);
    let frame = with(to("b", "again"), &json!({"id": OTHER_ID}));
    let mut a = Client::connect(&server, "a", "?since=1");
    a.expect("synced");
    let epoch = a.epoch().to_owned();
    let lost = Known::of(&a.ask(&frame)).expect("an ack");
    snapshot.restore(&mut server);
    let mut a = Client::connect(&server, "a", "?since=1");
    a.expect("synced");
    let again = Known::of(&a.ask(&frame)).expect("an ack");
    assert_eq!((again.seq, &again.id), (lost.seq, &lost.id));
    assert_ne!(again.at, lost.at);
    assert_reset(&server, "b", &lost.query(&epoch), 2);
    assert_continues(&server, "b", &again, &epoch);
    assert_continues(&server, "b", kept, &epoch);
}

#[test]
fn a_change_in_place_of_another_entry_is_recognised() {
    let mut server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let mut b = Client::fresh(&server, "b");
    let first = a.ask(&to("b", "first"));
    b.expect("message");
    let id = &first["id"];
    let edit = |text: &str| with(about("edit", "b", id), &json!({"message": text}));
    let react = with(about("react", "b", id), &json!({"emoji": "+"}));
    let delete = about("delete", "b", id);
    a.close();
    b.close();
    let snapshot = Snapshot::of(&mut server);
    let changes = [edit("second"), edit("third"), react, delete, to("b", "x")];
    for (n, old) in changes.iter().enumerate() {
        for new in [old, &changes[(n + 1) % changes.len()]] {
            snapshot.restore(&mut server);
            let mut a = Client::connect(&server, "a", "?since=1");
            a.expect("synced");
            let epoch = a.epoch().to_owned();
            let mut b = Client::connect(&server, "b", "?since=1");
            b.expect("synced");
            let lost = Known::of(&a.ask(old)).expect("an ack");
            let seen = Known::of(&b.recv()).expect("an entry");
            assert_continues(&server, "b", &seen, &epoch);
            snapshot.restore(&mut server);
            let mut a = Client::connect(&server, "a", "?since=1");
            a.expect("synced");
            a.ask(new);
            assert_reset(&server, "a", &lost.query(&epoch), 2);
            if seen.at.is_some() {
                assert_reset(&server, "b", &seen.query(&epoch), 2);
            }
        }
    }
}

#[test]
fn what_a_client_knows_is_compared_only_with_an_entry_of_the_log() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    let epoch = a.epoch().to_owned();
    let known = send(&mut a, 1..=3);
    let differs = format!("since_id={OTHER_ID}&since_at={OTHER_TIME}");
    assert_reset(&server, "b", &format!("?since=3&{differs}"), 3);
    // An entry beyond the log, or of another epoch.
    let (id, at) = (&known[2].id, known[2].at.as_ref().expect("a time"));
    let matches = format!("since_id={id}&since_at={at}");
    assert_reset(&server, "b", &format!("?since=4&{matches}"), 3);
    let other_epoch = format!("?since=3&epoch={OTHER_ID}&{matches}");
    assert_reset(&server, "b", &other_epoch, 3);
    // Without `since`, and at the start, there is nothing to compare.
    for query in ["?", "?since=0&"] {
        let frames = resume(&server, "b", &format!("{query}{differs}"));
        assert_eq!(frames[0]["seq"], 1, "{query}");
    }
    // Equivalent forms.
    let forms = Known {
        seq: 3,
        id: id.to_uppercase(),
        at: Some(at.replace('Z', "%2B00:00")),
    };
    assert_continues(&server, "b", &forms, &epoch);
}

#[test]
fn invalid_knowledge_is_rejected() {
    let server = Server::start(&[]);
    for query in [
        "since_id=1",
        "since_id=",
        "since_id=019a2f4e7b1c7d3e9a550c1d2e3f4a5b",
        "since_at=",
        "since_at=now",
        "since_at=1795172580123",
        "since_at=2026-11-20",
        "since_at=2026-11-20T11:03:00.123Z&since_at=2026-11-20T11:03:00.123Z",
    ] {
        for since in ["", "since=0&"] {
            let path = format!("/ws/b?{since}{query}");
            let headers = [("sec-websocket-protocol", "dmwire.v1")];
            let mut client = Client::dial(&server, &path, &headers).expect("an upgrade");
            let (goodbye, end) = client.goodbye();
            assert_eq!(goodbye["reason"], "invalid_request", "{path}");
            assert_eq!(end, End::Closed(4400));
        }
    }
}

#[test]
fn a_removed_entry_is_answered_like_a_cursor_without_knowledge() {
    let server = Server::start(&["--inbox-limit", "3"]);
    let mut a = Client::fresh(&server, "a");
    send(&mut a, 1..=8);
    let differs = format!("since_id={OTHER_ID}&since_at={OTHER_TIME}");
    // Entries 6 to 8 are kept: 5 cannot be compared, and nothing after it is missing.
    let frames = resume(&server, "b", &format!("?since=5&{differs}"));
    assert_eq!(frames[0]["seq"], 6);
    let frames = resume(&server, "b", &format!("?since=4&{differs}"));
    assert_eq!(frames[0]["reason"], "retention");
    let frames = resume(&server, "b", &format!("?since=6&{differs}"));
    assert_eq!(
        (&frames[0]["reason"], &frames[0]["oldest_seq"]),
        (&json!("reset"), &json!(6))
    );
}

/// Users whose sessions see the same log live, by acks and by replays, and all that they have seen.
struct Observers {
    live: Vec<(&'static str, Client)>,
    seen: Vec<(&'static str, BTreeSet<Known>)>,
}

impl Observers {
    fn see(&mut self, user: &'static str, frame: &Value) {
        let Some(known) = Known::of(frame) else {
            return;
        };
        let seen = self.seen.iter_mut().find(|(of, _)| *of == user);
        seen.expect("an observed user").1.insert(known);
    }

    /// Reads the frames that have arrived at all sessions, up to the answer to a ping.
    fn read(&mut self) {
        let mut frames = Vec::new();
        for (user, client) in &mut self.live {
            client.send(&json!({"type": "ping", "ref": "read"}));
            loop {
                let frame = client.recv();
                if frame["type"] == "pong" {
                    break;
                }
                frames.push((*user, frame));
            }
        }
        for (user, frame) in frames {
            self.see(user, &frame);
        }
    }

    /// Everything that was seen, at any time, is still that of the log.
    fn check(&self, server: &Server, epoch: &str, random: &mut Random, samples: usize) {
        for (user, seen) in &self.seen {
            let seen: Vec<_> = seen.iter().collect();
            for _ in 0..samples.min(seen.len()) {
                let known = *random.pick(&seen);
                assert_continues(server, user, known, epoch);
                let other = Known {
                    id: OTHER_ID.to_owned(),
                    ..known.clone()
                };
                let first = resume(server, user, &other.query(epoch)).swap_remove(0);
                assert_eq!(first["reason"], "reset", "{known:?}");
                let other = Known {
                    at: Some(OTHER_TIME.to_owned()),
                    ..known.clone()
                };
                let first = resume(server, user, &other.query(epoch)).swap_remove(0);
                assert_eq!(first["reason"], "reset", "{known:?}");
            }
        }
    }
}

#[test]
fn an_entry_of_the_log_is_recognised_however_it_was_seen() {
    let seed = env_number("DMWIRE_RESUME_SEED", random_seed);
    let mut random = Random::new(seed);
    let server = Server::start(&["--messages-per-second", "10000", "--burst", "10000"]);
    let session = |user| (user, Client::fresh(&server, user));
    let live = vec![session("a"), session("a"), session("b")];
    let epoch = live[0].1.epoch().to_owned();
    let mut all = Observers {
        live,
        seen: vec![("a", BTreeSet::new()), ("b", BTreeSet::new())],
    };
    // Author, recipient and id of each message.
    let mut messages: Vec<(usize, &str, String)> = Vec::new();
    for step in 0..150 {
        let author = *random.pick(&[0, 2]);
        let user = all.live[author].0;
        let peer = if user == "a" { "b" } else { "a" };
        let frame = match random.below(10) {
            0..3 => {
                let peer = if random.percent(20) { user } else { peer };
                let id = random.uuid();
                messages.push((author, peer, id.clone()));
                with(to(peer, &step.to_string()), &json!({"id": id}))
            }
            _ if messages.is_empty() => continue,
            kind => {
                // Mostly one of the last, so that the same message is changed several times.
                let from = messages.len().saturating_sub(4);
                let (author, to, id) = &messages[from + random.below(messages.len() - from)];
                let id = json!(id);
                let same = all.live[*author].0 == user;
                let target = if same { to } else { all.live[*author].0 };
                match kind {
                    3..7 if same => with(
                        about("edit", target, &id),
                        &json!({"message": format!("edit {}", random.below(3))}),
                    ),
                    7 if same && random.percent(50) => about("delete", target, &id),
                    _ => with(
                        about("react", target, &id),
                        &json!({"emoji": "+", "remove": random.percent(40)}),
                    ),
                }
            }
        };
        all.live[author].1.send(&frame);
        let reply = loop {
            let frame = all.live[author].1.recv();
            all.see(user, &frame);
            if frame["type"] == "ack" || frame["type"] == "error" {
                break frame;
            }
        };
        assert!(
            reply["type"] == "ack" || reply["code"] == "unknown_message",
            "{reply}"
        );
        all.read();
        if step % 5 == 0 {
            // A replay shows entries with the present state of their messages.
            for user in ["a", "b"] {
                for frame in resume(&server, user, "?ack=manual&device=replayed&since=0") {
                    all.see(user, &frame);
                }
            }
        }
        all.check(&server, &epoch, &mut random, 1);
    }
    all.check(&server, &epoch, &mut random, 40);
}

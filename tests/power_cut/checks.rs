//! Starts a server on a folder as a power cut left it, and checks what it has.

use std::collections::BTreeMap;
use std::fs;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::disk::{self, Contents, Disk, Loss};
use crate::known::{Entry, Known, text};
use crate::recorder::{Library, Recorder, Recording, boot, start};
use crate::support::{Client, Folder, Random, Server};
use crate::workload::HALL;

/// The number of starts so far.
static BOOTS: AtomicU32 = AtomicU32::new(0);

/// What all checks have in common.
pub struct Setting {
    pub preloaded: Library,
    pub arguments: Vec<&'static str>,
    /// A power cut loses nothing that a client was told, so the epoch must stay.
    pub keeps_epoch: bool,
}

/// A folder after a power cut.
pub struct Image {
    /// The number of operations before the power cut.
    pub at: u64,
    pub contents: Contents,
    pub seed: u64,
    /// The number of images of a second power cut, during this start.
    pub second: usize,
}

/// The number of images that were checked, and of those after which the epoch was another one than clients knew.
#[derive(Clone, Copy, Default)]
pub struct Checked {
    pub images: usize,
    pub new_epochs: usize,
}

impl AddAssign for Checked {
    fn add_assign(&mut self, more: Self) {
        self.images += more.images;
        self.new_epochs += more.new_epochs;
    }
}

/// A server that runs on an image.
struct Run<'a> {
    server: Server,
    known: &'a Known,
    at: u64,
    epoch: String,
    /// The newest entry of each user.
    heads: BTreeMap<String, usize>,
    /// The members of the hall.
    hall: Vec<String>,
}

/// Starts a server on an image, and checks it.
pub fn check(setting: &Setting, known: &Known, image: &Image) -> Checked {
    let mut random = Random::new(image.seed);
    let folder = Arc::new(Folder::new());
    disk::write(&folder.0, &image.contents);
    if random.percent(30) {
        let bytes: Vec<u8> = (0..32 << 10).map(|_| random.next() as u8).collect();
        fs::write(folder.0.join("dmwire.db-shm"), bytes).expect("a file can be written");
    }
    let library = &setting.preloaded;
    // Each start follows a power cut, so it is another boot.
    let boot_name = &format!("boot {:011}", BOOTS.fetch_add(1, Ordering::Relaxed));
    let files = Folder::new();
    let recorder = (image.second > 0).then(|| Recorder::new(library, folder.clone(), boot_name));
    let server = if let Some(recorder) = &recorder {
        recorder.start(&setting.arguments)
    } else {
        let boot = boot(library, &files.0, boot_name);
        start(&folder, &setting.arguments, &boot)
    };
    let mut run = Run::on(server, known, image.at);
    run.check_epoch(setting);
    run.check_resume(&mut random);
    run.check_duplicates(&mut random);
    let position = || recorder.as_ref().map_or(0, Recorder::position);
    let mut after = run.known_afterwards(position());
    run.send(&mut after, position);
    run.server.kill();
    let (valid, output) = run.server.verify();
    assert!(valid, "verify: {output}");
    let mut checked = Checked {
        images: 1,
        new_epochs: usize::from(
            known
                .told_epoch(image.at)
                .is_some_and(|told| told != run.epoch),
        ),
    };
    if let Some(recorder) = &recorder {
        let recording = recorder.recording();
        checked += check_second_cuts(setting, &after, &recording, image, &mut random);
    }
    // A crash without a power cut.
    run.server.restart();
    let again = Run::on(run.server, &after, u64::MAX);
    assert_eq!(again.epoch, run.epoch, "the epoch after a crash");
    assert_eq!(again.heads, run.heads, "the entries after a crash");
    checked
}

/// A second power cut, during the first start after an earlier one.
fn check_second_cuts(
    setting: &Setting,
    known: &Known,
    recording: &Recording,
    image: &Image,
    random: &mut Random,
) -> Checked {
    let points = crate::cut_points::choose(&recording.records, image.second, random);
    let mut disk = Disk::with(&image.contents);
    let mut records = recording.records.iter();
    let mut checked = Checked::default();
    for point in &points {
        let ahead = point - disk.position();
        for record in records.by_ref().take(ahead as usize) {
            disk.apply(record);
        }
        let loss = Loss::random(random);
        let second = Image {
            at: *point,
            contents: disk.after(loss, random),
            seed: random.next(),
            second: 0,
        };
        let description = format!("second power cut, {loss}");
        checked += crate::images::explain(&second, &description, || check(setting, known, &second));
    }
    checked
}

impl<'a> Run<'a> {
    /// Reads and checks all inboxes.
    fn on(server: Server, known: &'a Known, at: u64) -> Self {
        let mut run = Self {
            server,
            known,
            at,
            epoch: String::new(),
            heads: BTreeMap::new(),
            hall: Vec::new(),
        };
        let mut inboxes = BTreeMap::new();
        for user in known.inboxes.keys() {
            let (epoch, frames) = run.replay(user, "?since=0&ack=manual");
            known.check(user, &frames);
            run.heads.insert(user.clone(), frames.len());
            assert!(run.epoch.is_empty() || run.epoch == epoch);
            run.epoch = epoch;
            inboxes.insert(user.clone(), frames);
        }
        run.hall = crate::rooms::check(&inboxes);
        run
    }

    /// The epoch, and the frames between `welcome` and `synced`.
    fn replay(&self, user: &str, query: &str) -> (String, Vec<Value>) {
        let mut client = Client::connect(&self.server, user, query);
        let mut frames = Vec::new();
        loop {
            // The frames are not validated by their schema, which other tests do, because that takes most of the time.
            let message = client.next_message().expect("the server answers");
            let Message::Text(text) = message else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
            match frame["type"].as_str() {
                Some("synced") => break,
                Some("receipt") => {}
                _ => frames.push(frame),
            }
        }
        (client.epoch().to_owned(), frames)
    }

    /// The epoch is one that clients know only if everything is there that they had received in it.
    fn check_epoch(&self, setting: &Setting) {
        if let Some(told) = self.known.told_epoch(self.at) {
            if setting.keeps_epoch {
                assert_eq!(self.epoch, told, "the epoch");
            }
            if self.epoch == told {
                for (user, head) in &self.heads {
                    let told = self.known.told(user, self.at);
                    assert!(
                        *head >= told,
                        "{user} had received {told} entries, {head} are left"
                    );
                }
            }
        }
        if let Some((epoch, told)) = &self.known.earlier
            && *epoch == self.epoch
        {
            for (user, head) in &self.heads {
                let told = told[user];
                assert!(
                    *head >= told,
                    "{user} had received {told} entries before, {head} are left"
                );
            }
        }
    }

    /// A client resumes.
    fn check_resume(&self, random: &mut Random) {
        let users: Vec<_> = self.heads.keys().collect();
        let user = *random.pick(&users);
        let Some(told) = self.known.told_epoch(self.at) else {
            return;
        };
        let since = self.known.told(user, self.at);
        // What the client knows of the entry at its cursor.
        let known = since.checked_sub(1).map(|n| &self.known.inboxes[user][n]);
        let known = known.filter(|entry| entry.kind != "skipped");
        let message = known.filter(|entry| !entry.is_membership());
        let id = message.map(|entry| format!("&since_id={}", entry.id));
        let time = known.and_then(|entry| entry.sent_at.as_ref());
        let time = time.map(|time| format!("&since_at={time}"));
        let query = format!(
            "?since={since}&epoch={told}&ack=manual{}{}",
            id.unwrap_or_default(),
            time.unwrap_or_default()
        );
        let (_, frames) = self.replay(user, &query);
        let mut next = since;
        for (n, frame) in frames.iter().enumerate() {
            if n == 0 && told != self.epoch {
                assert_eq!(frame["type"], "truncated", "the epoch has changed");
                assert_eq!(frame["reason"], "reset");
                next = 0;
                continue;
            }
            next += 1;
            assert_eq!(frame["seq"], next, "{frame}");
        }
        assert_eq!(next, self.heads[user], "{user} has resumed after {since}");
    }

    /// Messages that are sent again are not stored again.
    fn check_duplicates(&self, random: &mut Random) {
        for (user, head) in &self.heads {
            let entries = &self.known.inboxes[user][..*head];
            let own = |n: &usize| entries[*n].kind == "message" && entries[*n].by == *user;
            let Some(n) = (0..5)
                .map(|_| random.below(*head))
                .find(|n| *head > 0 && own(n))
            else {
                continue;
            };
            let entry = &entries[n];
            let Some((field, to)) = self.known.recipients.get(&entry.id) else {
                continue;
            };
            let mut client = self.connect(user);
            let ack =
                client.ask(&json!({"message": text(&entry.id, 0), *field: to, "id": entry.id}));
            assert_eq!(ack["duplicate"], true, "{entry:?}: {ack}");
            assert_eq!(ack["seq"], n + 1, "{entry:?}: {ack}");
            if let Some(sent_at) = &entry.sent_at {
                assert_eq!(ack["sent_at"], **sent_at, "{entry:?}");
            }
        }
    }

    /// Connects at the end of a user's inbox.
    fn connect(&self, user: &str) -> Client {
        let query = format!(
            "?since={}&epoch={}&ack=manual",
            self.heads[user], self.epoch
        );
        let mut client = Client::connect(&self.server, user, &query);
        client.expect("synced");
        client
    }

    /// What clients know now, `position` operations after the start on the image.
    fn known_afterwards(&self, position: u64) -> Known {
        let mut after = self.known.clone();
        let told = self.known.told_epoch(self.at);
        let is_same = told == Some(&self.epoch);
        let told_before: BTreeMap<_, _> = self
            .heads
            .keys()
            .map(|user| (user.clone(), self.known.told(user, self.at)))
            .collect();
        for (user, entries) in &mut after.inboxes {
            entries.truncate(self.heads[user]);
            for (n, entry) in entries.iter_mut().enumerate() {
                entry.at = if is_same && n < told_before[user] {
                    0
                } else {
                    position
                };
            }
        }
        let heads = &self.heads;
        after.deletions.retain(|(user, _), n| *n < heads[user]);
        after.epoch_at = if is_same { 0 } else { position };
        after.earlier = told.map(|told| (told.to_owned(), told_before));
        after.epoch.clone_from(&self.epoch);
        after
    }

    /// Each user sends a message to the next one and, if the user is a member, to the hall.
    fn send(&mut self, known: &mut Known, position: impl Fn() -> u64) {
        let users: Vec<_> = self.heads.keys().cloned().collect();
        for (user, to) in users.iter().zip(users.iter().cycle().skip(1)) {
            let mut receivers = vec![("target_user", &**to, vec![user.clone(), to.clone()])];
            if self.hall.contains(user) {
                receivers.push(("target_room", HALL, self.hall.clone()));
            }
            let mut client = self.connect(user);
            for (field, target, receivers) in receivers {
                let id = uuid::Uuid::new_v4().to_string();
                let message = json!({"message": text(&id, 0), field: target, "id": id});
                let ack = client.ask(&message);
                assert_eq!(ack["status"], "stored", "{ack}");
                for receiver in &receivers {
                    *self.heads.get_mut(receiver).expect("the user is known") += 1;
                    let entry = Entry {
                        at: position(),
                        id: id.clone(),
                        kind: "message",
                        by: user.clone(),
                        sent_at: ack["sent_at"].as_str().map(str::to_owned),
                    };
                    let entries = known.inboxes.get_mut(receiver).expect("the user is known");
                    entries.push(entry);
                }
                assert_eq!(ack["seq"], self.heads[user], "{ack}");
            }
        }
    }
}

//! Counts while messages are removed between ones that are kept.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::store::sqlite::{Durability, Sqlite, admin};
use crate::store::{
    Authority, ContactObserver, Conversation, ConversationsQuery, HistoryAnswer, HistoryQuery,
    MessageRef, NewMessage, Reader, Retention, Store as _, StoreOptions, StoredMessage, Write,
};

const DAY: i64 = 86_400_000;
const RETENTION: Retention = Retention {
    inbox_ms: 10 * DAY,
    inbox_limit: 60,
    history_ms: Some(20 * DAY),
    device_ms: 30 * DAY,
};

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("dmwire-retention-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).expect("the folder is created");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Sweeps the whole store once, without the pauses.
fn sweep(store: &mut Sqlite, now: i64) {
    store.flush().expect("the log is flushed");
    store.expire_at = Some(now);
    store.sweeper = super::RetentionSweeper::default();
    for _ in 0..1000 {
        let began = Instant::now();
        store.sweep_at = began;
        store.sweep().expect("the sweep continues");
        if store.sweep_at > began + Duration::from_millis(500) {
            return;
        }
    }
    panic!("the sweep does not end");
}

fn at(by: &str, peer: &str, n: u32) -> MessageRef {
    MessageRef {
        actor: by.into(),
        conversation: Conversation::Direct(peer.into()),
        id: Uuid::from_u128(n.into()),
    }
}

fn message(from: &str, to: &str, n: u32, bytes: usize) -> Write {
    Write::Message(NewMessage {
        from: from.into(),
        to: Conversation::Direct(to.into()),
        id: Uuid::from_u128(n.into()),
        content: format!("\"{}\"", "x".repeat(bytes)).into(),
        reply_to: None,
        fresh: false,
        ip_quota: None,
        authority: Authority::User,
    })
}

fn number(message: &StoredMessage) -> u32 {
    message.id.as_u128() as u32
}

/// The messages of a conversation, oldest first.
fn history(
    reader: &mut dyn Reader,
    (user, peer): (&str, &str),
    not_before: Option<i64>,
) -> Vec<StoredMessage> {
    let query = HistoryQuery {
        user: user.into(),
        conversation: Conversation::Direct(peer.into()),
        position: None,
        limit: 100_000,
        not_before,
        bytes: usize::MAX,
    };
    match reader.history(&query) {
        Ok(HistoryAnswer::Page(page)) => page.messages,
        other => panic!("{other:?}"),
    }
}

/// The unread messages of a user's only conversation. `None`: it is not listed.
fn unread(reader: &mut dyn Reader, user: &str, not_before: Option<i64>) -> Option<u64> {
    let query = ConversationsQuery {
        user: user.into(),
        limit: 10,
        cursor: None,
        not_before,
        bytes: usize::MAX,
    };
    let page = reader.conversations(&query).expect("the list is read");
    let page = page.expect("there is no cursor");
    page.items.first().map(|item| item.unread)
}

/// Reactions keep some old messages, so that later ones are removed before them, also the newest ones.
#[test]
fn counts_are_right_while_messages_between_kept_ones_are_removed() {
    let folder = Folder::new();
    let path = folder.0.join("store.db");
    let open = || {
        let options = StoreOptions::new(RETENTION);
        Sqlite::open(&path, Durability::Normal, options).expect("the store opens")
    };
    let mut store = open();
    let users = [("una", "vic"), ("vic", "una")];
    let mut marks = [0, 0];
    let mut state = 3_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let (mut now, mut gaps, mut ends) = (1_800_000_000_000, 0, 0);
    for n in 1..=300_u32 {
        let by = random(2) as usize;
        let (user, peer) = users[by];
        now += 1000 + random(3) as i64 * DAY / 3;
        let mut batch = vec![message(user, peer, n, [1, 1500, 3000][random(3) as usize])];
        let kept = history(store.reader().expect("it opens").as_mut(), users[0], None);
        for _ in 0..random(4) {
            let other = n - random(u64::from(n.min(80))) as u32;
            match random(4) {
                0 => batch.push(Write::Delete(at(user, peer, other))),
                1 if random(3) == 0 && kept.iter().any(|kept| number(kept) == other) => {
                    batch.push(Write::Read(at(user, peer, other)));
                    marks[by] = other.max(marks[by]);
                }
                _ => batch.push(Write::React {
                    message: at(user, peer, other),
                    emoji: n.to_string().into(),
                    remove: false,
                }),
            }
        }
        let batch: Vec<_> = batch.iter().collect();
        store.commit(now, &batch).expect("the batch is committed");
        if n % 50 == 0 {
            // An old message is kept, and the newest ones expire.
            now += 11 * DAY;
            let oldest = number(&kept[0]);
            let reaction = Write::React {
                message: at(user, peer, oldest),
                emoji: "!".into(),
                remove: false,
            };
            store
                .commit(now, &[&reaction])
                .expect("the batch is committed");
            now += 9 * DAY + DAY / 2;
        }
        if n % 7 == 0 || n % 50 == 0 {
            sweep(&mut store, now);
        }
        if n % 31 == 0 || n % 100 == 50 {
            drop(store);
            store = open();
        }
        if n % 7 == 0 || n % 50 == 0 {
            let findings = admin::verify(&path).expect("it is readable");
            assert_eq!(findings, [] as [&str; 0], "after message {n}");
        }
        store.flush().expect("the log is flushed");
        let mut reader = store.reader().expect("a reader opens");
        for (pair, read) in users.into_iter().zip(marks) {
            for days in [None, Some(4), Some(12)] {
                let not_before = days.map(|days| now - days * DAY);
                let shown = history(reader.as_mut(), pair, not_before);
                let is_unread = |message: &&StoredMessage| {
                    message.from == pair.1 && message.deleted_at.is_none() && number(message) > read
                };
                let expected = shown.iter().filter(is_unread).count() as u64;
                assert_eq!(
                    unread(reader.as_mut(), pair.0, not_before),
                    (!shown.is_empty()).then_some(expected),
                    "{} after message {n}, {days:?} days, read {read}",
                    pair.0
                );
                if days.is_none() {
                    let numbers: Vec<_> = shown.iter().map(number).collect();
                    gaps += numbers.windows(2).filter(|two| two[1] > two[0] + 1).count();
                    ends += usize::from(numbers.last().is_some_and(|last| *last < n));
                }
            }
        }
    }
    assert!(gaps > 30 && ends > 2, "{gaps} {ends}");
}

/// The last message that is removed is an old one. The store keeps running, so that its cache has the counts of the newest one.
#[test]
fn users_without_messages_are_no_contacts_although_the_newest_ones_were_removed_first() {
    let folder = Folder::new();
    let path = folder.0.join("store.db");
    let lost = Arc::new(Mutex::new(Vec::new()));
    let mut options = StoreOptions::new(RETENTION);
    let report = lost.clone();
    options.lost_contacts = ContactObserver::new(move |a, b| {
        let mut lost = report.lock().expect("no test has panicked with the lock");
        lost.push((a.to_owned(), b.to_owned()));
    });
    let mut store = Sqlite::open(&path, Durability::Normal, options).expect("the store opens");
    let now = 1_800_000_000_000;
    let messages = [
        message("una", "vic", 1, 1),
        message("vic", "una", 2, 1),
        message("una", "vic", 3, 1),
    ];
    for message in &messages {
        store.commit(now, &[message]).expect("it is committed");
    }
    let reaction = Write::React {
        message: at("vic", "una", 1),
        emoji: "!".into(),
        remove: false,
    };
    let reacted = store.commit(now + 15 * DAY, &[&reaction]);
    reacted.expect("it is committed");
    for (days, left) in [(21, 1), (30, 0)] {
        sweep(&mut store, now + days * DAY);
        let mut reader = store.reader().expect("a reader opens");
        let shown = history(reader.as_mut(), ("una", "vic"), None);
        assert_eq!(shown.len(), left, "after {days} days");
        let findings = admin::verify(&path).expect("it is readable");
        assert_eq!(findings, [] as [&str; 0], "after {days} days");
    }
    let lost = lost.lock().expect("no test has panicked with the lock");
    assert_eq!(*lost, [("una".to_owned(), "vic".to_owned())]);
}

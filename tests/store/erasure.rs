//! Erasing a user, with a crash after any step.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dmwire::store::sqlite::{Durability, Sqlite, admin};
use dmwire::store::{
    Erased, ErasureStep, Outcome, RoomMode, RoomRules, Store as _, StoreOptions, Write,
};

use crate::fixture::{RETENTION, START};
use crate::rooms;
use crate::support::{DEADLINE, Folder};
use crate::writes::{block, delete, message, react, read, unreact};

const NAME: &str = "zaphod.beeblebrox";
const TEXT: &str = "heart of gold";
const OTHERS: [&str; 4] = ["ann", "ben", "cid", "dan"];
/// The number of rows of a step: less than most phases need.
const ROWS: u32 = 8;

fn open(folder: &Path) -> Sqlite {
    let options = StoreOptions {
        rooms: RoomRules {
            mode: RoomMode::Open,
            small: 3,
            ..RoomRules::default()
        },
        ..StoreOptions::new(RETENTION)
    };
    let path = folder.join("store.db");
    Sqlite::open(&path, Durability::Normal, options).expect("the store opens")
}

fn commit(store: &mut Sqlite, batch: &[Write]) -> Vec<Outcome> {
    let batch: Vec<_> = batch.iter().collect();
    store.commit(START, &batch).expect("it is committed")
}

/// Stores everything that an erasure removes.
fn fill(store: &mut Sqlite) {
    for user in OTHERS.iter().chain([&NAME]) {
        commit(store, &[rooms::join(user, "hall")]);
    }
    for (user, room) in [(NAME, "lobby"), ("ann", "lobby"), (NAME, "own")] {
        commit(store, &[rooms::join(user, room)]);
    }
    commit(store, &[block(NAME, "eve"), block("fay", NAME)]);
    let mut n = 0;
    for user in &OTHERS[..2] {
        for _ in 0..2 {
            commit(
                store,
                &[
                    message(NAME, user, n + 1, TEXT),
                    message(user, NAME, n + 2, "hello"),
                    rooms::say(NAME, "hall", n + 3, TEXT),
                    rooms::say(user, "hall", n + 4, "hello"),
                ],
            );
            commit(
                store,
                &[
                    react(NAME, user, n + 2, "+"),
                    react(NAME, user, n + 2, "-"),
                    unreact(NAME, user, n + 2, "-"),
                    react(user, NAME, n + 1, "+"),
                    read(NAME, user, n + 2),
                    rooms::react(NAME, "hall", n + 4),
                    rooms::react(NAME, "hall", n + 3),
                ],
            );
            n += 4;
        }
        commit(store, &[delete(NAME, user, n - 3)]);
    }
}

fn step(store: &mut Sqlite, user: i64, is_first: bool) -> ErasureStep {
    let step = Write::EraseStep {
        user,
        is_first,
        limit: ROWS,
        awaits_log: true,
    };
    match commit(store, &[step]).pop() {
        Some(Outcome::Erasing(step)) => *step,
        other => panic!("{other:?}"),
    }
}

/// Lets the store empty its logs.
fn wait(store: &mut Sqlite) {
    store.maintain(None).expect("it is maintained");
    std::thread::sleep(Duration::from_millis(2));
}

/// Continues an erasure until it is complete.
fn finish(store: &mut Sqlite, user: i64) -> Erased {
    let until = Instant::now() + DEADLINE;
    let mut is_first = true;
    loop {
        let step = step(store, user, std::mem::take(&mut is_first));
        if let Some(erased) = step.done {
            return erased;
        }
        if step.waits {
            assert!(Instant::now() < until, "the logs are not emptied");
            wait(store);
        }
    }
}

fn unfinished(store: &mut Sqlite) -> Vec<i64> {
    store.unfinished_erasures().expect("they are read")
}

/// Copies the files as a kill would leave them. The write-ahead log first: what a checkpoint copies meanwhile is in it.
fn copy(from: &Path, to: &Path) {
    let mut names: Vec<_> = fs::read_dir(from)
        .expect("the folder is read")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| !name.to_string_lossy().ends_with("-shm"))
        .collect();
    names.sort_by_key(|name| !name.to_string_lossy().ends_with("-wal"));
    for name in names {
        fs::copy(from.join(&name), to.join(&name)).expect("the file is copied");
    }
}

/// Checks a store in which the erasure is complete, and closes it.
#[track_caller]
fn assert_complete(mut store: Sqlite, folder: &Path) {
    assert_eq!(unfinished(&mut store), [0; 0]);
    let has = |file: &str, text: &str| {
        let bytes = fs::read(folder.join(file)).unwrap_or_default();
        let mut parts = bytes.windows(text.len());
        parts.any(|part| part == text.as_bytes())
    };
    assert!(!has("store.db", NAME));
    assert!(!has("store.db-wal", NAME) && !has("store.db-wal", TEXT));
    store.close().expect("it closes");
    let findings = admin::verify(&folder.join("store.db")).expect("it is read");
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn an_erasure_is_continued_after_a_crash_at_any_step() {
    let folder = Folder::new();
    let mut store = open(&folder.0);
    fill(&mut store);
    let begun = commit(&mut store, &[Write::Erase { user: NAME.into() }]);
    let [Outcome::ErasureBegun { user }] = begun[..] else {
        panic!("{begun:?}");
    };
    let mut totals = Vec::new();
    let mut is_first = true;
    let done = loop {
        let crashed = Folder::new();
        copy(&folder.0, &crashed.0);
        let mut continued = open(&crashed.0);
        assert_eq!(unfinished(&mut continued), [user]);
        totals.push(finish(&mut continued, user));
        assert_complete(continued, &crashed.0);
        let mut next = step(&mut store, user, std::mem::take(&mut is_first));
        while next.waits {
            wait(&mut store);
            next = step(&mut store, user, false);
        }
        if let Some(done) = next.done {
            break done;
        }
    };
    totals.push(done);
    assert_complete(store, &folder.0);
    assert!(totals.len() > 10, "{}", totals.len());
    let expected = Erased {
        // One of each two direct messages was deleted before.
        messages: 2 + 4,
        // Of those to messages of others, one was removed before. The others are to the user's own, of which some are deleted.
        reactions: 4 + 4 + 4 + 2,
        entries: totals[0].entries,
        notified: 4,
    };
    for erased in totals {
        assert_eq!(erased, expected);
    }
}

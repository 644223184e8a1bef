//! The limit of bytes that a user stores per day.

use dmwire::store::{Outcome, Quotas};

use crate::fixture::{DAY, TestStore};
use crate::writes::{edit, message, react};

/// What each message counts as in addition to its content.
const ENTRY: u64 = 64;
const MESSAGES: u64 = 20;

fn limit(store: &mut TestStore) {
    // The content of each message is 36 bytes long.
    store.set_quotas(Quotas {
        user_bytes_per_day: Some(MESSAGES * (36 + ENTRY)),
        ..Quotas::default()
    });
    store.maintain();
}

/// Sends messages until one is rejected. Returns the number of the others and when the next one may be stored.
fn fill(store: &mut TestStore, from: &str, first: u32) -> (u64, u64) {
    for n in 0.. {
        match store.commit_one(message(from, "bob", first + n, &"x".repeat(34))) {
            Outcome::Stored {
                duplicate: false, ..
            } => {}
            Outcome::TooManyBytes { retry_after_ms } => return (n.into(), retry_after_ms),
            other => panic!("{other:?}"),
        }
    }
    unreachable!("it is rejected at some time")
}

pub fn bytes_are_limited_and_refilled_over_a_day(store: &mut TestStore) {
    limit(store);
    assert_eq!(fill(store, "ada", 1000).0, MESSAGES);
    assert_eq!(fill(store, "cy", 2000).0, MESSAGES, "each user has a limit");
    let rejected = |outcome| matches!(outcome, Outcome::TooManyBytes { .. });
    assert!(rejected(store.commit_one(edit("ada", "bob", 1000, "y"))));
    assert!(rejected(store.commit_one(react("ada", "bob", 1000, "y"))));
    let again = store.commit_one(message("ada", "bob", 1000, &"x".repeat(34)));
    assert!(matches!(
        again,
        Outcome::Stored {
            duplicate: true,
            ..
        }
    ));
    store.now += DAY / 2;
    assert_eq!(fill(store, "ada", 3000).0, MESSAGES / 2);
    store.now += 5 * DAY;
    let (count, wait) = fill(store, "ada", 4000);
    assert_eq!(count, MESSAGES);
    store.now += i64::try_from(wait).expect("a time") - 1000;
    assert_eq!(fill(store, "ada", 5000).0, 1);
}

pub fn the_use_of_bytes_is_kept(store: &mut TestStore) {
    limit(store);
    fill(store, "ada", 1000);
    if !store.is_persistent {
        return;
    }
    store.reopen();
    store.maintain();
    let minutes = fill(store, "ada", 2000);
    assert!(minutes.0 <= 1, "{minutes:?}");
    // A clock that may be wrong refills nothing at a start.
    store.set_certain(false);
    store.reopen();
    store.now += 300 * DAY;
    assert!(fill(store, "ada", 3000).0 <= 1);
    // Nor does one that is set back lock the user out.
    store.now -= 600 * DAY;
    fill(store, "ada", 4000);
    store.now += DAY;
    assert_eq!(fill(store, "ada", 5000).0, MESSAGES);
}

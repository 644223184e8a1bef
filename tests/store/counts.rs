//! Counts of unread messages, and whether both users of a conversation have written.

use dmwire::store::HistoryQuery;

use crate::fixture::{DAY, TestStore};
use crate::writes::{conversations_query, delete, history_query, message, number, react, read};

/// The unread messages of a user's only conversation, with messages from before `not_before` hidden. `None`: it is not listed.
fn unread(store: &mut TestStore, user: &str, not_before: Option<i64>) -> Option<u64> {
    let mut query = conversations_query(user, None, 10);
    query.not_before = not_before;
    let page = store.conversations(&query);
    page.items.first().map(|item| item.unread)
}

/// The same, counted in the history. Message numbers are in the order in which the messages were sent.
fn counted(
    store: &mut TestStore,
    (user, peer): (&str, &str),
    read: u32,
    not_before: Option<i64>,
) -> Option<u64> {
    let query = HistoryQuery {
        not_before,
        ..history_query(user, peer, None, 10_000)
    };
    let page = store.history_page(&query).expect("there is no position");
    let unread = page.messages.iter().filter(|message| {
        message.from == peer && message.deleted_at.is_none() && number(message) > read
    });
    (!page.messages.is_empty()).then_some(unread.count() as u64)
}

pub fn unread_messages_are_those_that_a_history_shows(store: &mut TestStore) {
    let users = [("una", "vic"), ("vic", "una")];
    let mut marks = [0, 0];
    // A fixed sequence of numbers that looks random.
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    for n in 1..=300_u32 {
        let by = random(2) as usize;
        let (user, peer) = users[by];
        // The clock may be set back.
        store.now += (random(9) as i64 - 2) * DAY / 8;
        store.commit_one(message(user, peer, n, "x"));
        let other = 1 + random(u64::from(n)) as u32;
        match random(6) {
            0 => drop(store.commit_one(delete(user, peer, other))),
            1 => drop(store.commit_one(react(user, peer, other, "+"))),
            2 => {
                store.commit_one(read(user, peer, other));
                let is_kept = store.history(user, peer, None, 10_000);
                if is_kept.is_some_and(|(kept, _)| kept.contains(&other)) {
                    marks[by] = other.max(marks[by]);
                }
            }
            _ => {}
        }
        if n % 110 == 0 {
            store.maintain();
        }
        if n % 70 == 0 {
            store.reopen();
        }
        if n % 5 != 0 {
            continue;
        }
        for (index, pair) in users.into_iter().enumerate() {
            for days in [None, Some(1), Some(5), Some(15), Some(200)] {
                let not_before = days.map(|days| store.now - days * DAY);
                assert_eq!(
                    unread(store, pair.0, not_before),
                    counted(store, pair, marks[index], not_before),
                    "{} after message {n}, {days:?} days, read {}",
                    pair.0,
                    marks[index]
                );
            }
        }
    }
}

pub fn both_users_have_written_while_messages_of_both_are_kept(store: &mut TestStore) {
    let is_mutual = |store: &mut TestStore, a: &str, b: &str| {
        let there = store.reader().is_mutual(a, b).expect("it is looked up");
        let back = store.reader().is_mutual(b, a).expect("it is looked up");
        assert_eq!(there, back);
        there
    };
    assert!(is_mutual(store, "una", "una"));
    assert!(!is_mutual(store, "una", "vic"));
    store.commit_one(message("vic", "una", 1, "x"));
    store.commit_one(message("vic", "una", 2, "x"));
    store.commit_one(message("una", "una", 3, "x"));
    assert!(!is_mutual(store, "una", "vic"));
    store.commit_one(message("una", "vic", 4, "an answer"));
    assert!(is_mutual(store, "una", "vic"));
    store.reopen();
    store.commit_one(delete("una", "vic", 4));
    assert!(is_mutual(store, "una", "vic"), "deleted messages count");
    store.now += 15 * DAY;
    store.commit_one(message("vic", "una", 5, "x"));
    store.now += 15 * DAY;
    store.maintain();
    assert!(!is_mutual(store, "una", "vic"), "the answer has expired");
    store.commit_one(message("una", "vic", 6, "an answer"));
    assert!(is_mutual(store, "una", "vic"));
    // The message that is left of the one user is still in the pending log when the last of the other one is removed.
    store.now += 15 * DAY;
    store.commit_one(message("vic", "una", 7, "x"));
    store.now += 15 * DAY;
    store.maintain();
    assert!(!is_mutual(store, "una", "vic"));
    store.now += 30 * DAY;
    store.maintain();
    store.commit_one(message("una", "vic", 8, "x"));
    assert!(!is_mutual(store, "una", "vic"));
    store.commit_one(message("vic", "una", 9, "x"));
    assert!(is_mutual(store, "una", "vic"));
}

//! Wrong times: the order of entries and messages, and what is removed, does not follow a single stored time.

use dmwire::store::StoredTimes;

use crate::fixture::{DAY, INBOX_LIMIT, TestStore};
use crate::writes::{conversations_query, history_query, message, number, react, receive};

/// Commits at another time than the present one.
fn commit_at(store: &mut TestStore, days: i64, write: dmwire::store::Write) {
    store.now += days * DAY;
    store.commit_one(write);
    store.now -= days * DAY;
}

/// The messages that a history shows to one that hides those of more than 20 days.
fn shown(store: &mut TestStore) -> Vec<u32> {
    let mut query = history_query("ada", "bob", None, 100);
    query.not_before = Some(store.now - 20 * DAY);
    let page = store.history_page(&query).expect("there is no position");
    page.messages.iter().map(number).collect()
}

/// Whether the conversation is listed if conversations of more than 20 days are hidden.
fn is_listed(store: &mut TestStore) -> bool {
    let mut query = conversations_query("ada", None, 10);
    query.not_before = Some(store.now - 20 * DAY);
    !store.conversations(&query).items.is_empty()
}

pub fn a_time_that_is_too_early_removes_nothing_before_it(store: &mut TestStore) {
    store.commit(&[message("ada", "bob", 1, "a"), message("ada", "bob", 2, "b")]);
    commit_at(store, -400, message("ada", "bob", 3, "with a wrong clock"));
    commit_at(store, -400, react("ada", "bob", 1, "+"));
    store.maintain();
    for user in ["ada", "bob"] {
        assert_eq!(store.inbox_range(user), Some((1, 4)));
    }
    assert_eq!(shown(store), [1, 2, 3]);
    assert!(is_listed(store));
    store.commit_one(message("ada", "bob", 4, "c"));
    // It expires together with what was stored before it.
    store.now += 11 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("bob"), None);
    assert_eq!(shown(store), [1, 2, 3, 4]);
    store.commit_one(message("ada", "bob", 5, "d"));
    assert_eq!(store.inbox_range("bob"), Some((6, 6)));
    store.now += 10 * DAY;
    store.maintain();
    assert_eq!(shown(store), [5]);
    let kept = store.history("ada", "bob", None, 10);
    assert_eq!(kept, Some((vec![5], false)));
}

pub fn a_time_that_is_too_late_keeps_what_follows_it(store: &mut TestStore) {
    store.commit_one(message("ada", "bob", 1, "a"));
    commit_at(store, 400, message("ada", "bob", 2, "with a wrong clock"));
    store.commit_one(message("ada", "bob", 3, "b"));
    store.now += 40 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("bob"), Some((2, 3)));
    assert_eq!(shown(store), [2, 3]);
    assert!(is_listed(store));
    let (kept, _) = store
        .history("ada", "bob", None, 10)
        .expect("the conversation exists");
    assert_eq!(kept, [2, 3]);
    // The number of entries is limited all the same.
    let more: Vec<_> = (1..=INBOX_LIMIT as u32)
        .map(|n| message("ada", "bob", 10 + n, "x"))
        .collect();
    store.commit(&more);
    store.maintain();
    assert_eq!(store.inbox_range("bob"), Some((4, 3 + INBOX_LIMIT)));
}

pub fn nothing_expires_while_the_time_is_uncertain(store: &mut TestStore) {
    let count = INBOX_LIMIT as u32;
    let messages = |from: u32| {
        let numbers = from..from + count;
        let messages = numbers.map(|n| message("ada", "bob", n, "x"));
        messages.collect::<Vec<_>>()
    };
    store.commit(&messages(1));
    store.set_certain(false);
    store.now += 400 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("bob"), Some((1, INBOX_LIMIT)));
    // Inboxes stay limited by their number of entries.
    store.commit(&messages(1 + count));
    let trimmed = Some((INBOX_LIMIT + 1, 2 * INBOX_LIMIT));
    assert_eq!(store.inbox_range("bob"), trimmed);
    store.maintain();
    assert_eq!(store.inbox_range("bob"), trimmed);
    let kept = |store: &mut TestStore| {
        let page = store.history("ada", "bob", None, 1000);
        page.map(|(kept, _)| kept.len())
    };
    assert_eq!(kept(store), Some(2 * count as usize));
    store.set_certain(true);
    store.maintain();
    assert_eq!(kept(store), Some(count as usize));
    store.now += 400 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("bob"), None);
    assert_eq!(kept(store), Some(0));
}

pub fn hiding_follows_the_time_in_both_directions(store: &mut TestStore) {
    store.commit_one(message("ada", "bob", 1, "a"));
    store.now += DAY;
    store.commit_one(message("ada", "bob", 2, "b"));
    store.now += 20 * DAY - 1;
    assert_eq!((shown(store), is_listed(store)), (vec![2], true));
    store.now += DAY;
    assert_eq!((shown(store), is_listed(store)), (vec![], false));
    store.now -= DAY;
    assert_eq!((shown(store), is_listed(store)), (vec![2], true));
    store.now -= DAY + 1000;
    assert_eq!((shown(store), is_listed(store)), (vec![1, 2], true));
    let mut query = history_query("ada", "bob", None, 100);
    store.now += 3 * DAY;
    assert!(shown(store).is_empty());
    query.not_before = None;
    let page = store.history_page(&query).expect("there is no position");
    assert_eq!(page.messages.len(), 2);
}

pub fn reactions_keep_their_order_whatever_the_time(store: &mut TestStore) {
    store.commit_one(message("ned", "oz", 1, "x"));
    store.commit_one(message("oz", "ned", 2, "x"));
    commit_at(store, 400, react("oz", "ned", 1, "first"));
    store.commit_one(react("ned", "oz", 1, "second"));
    commit_at(store, -400, react("oz", "ned", 1, "third"));
    store.commit_one(react("ned", "oz", 1, "first"));
    let reactions = store.message("oz", "ned", 1).reactions;
    let shown: Vec<_> = reactions
        .iter()
        .map(|(emoji, users)| (emoji.as_str(), users.join(" ")))
        .collect();
    let by = |users: &str| users.to_owned();
    assert_eq!(
        shown,
        [
            ("first", by("oz ned")),
            ("second", by("ned")),
            ("third", by("oz"))
        ]
    );
}

pub fn the_times_of_commits_are_known_after_a_start(store: &mut TestStore) {
    assert_eq!(store.stored_times(), None);
    let times = |newest, trusted| Some(StoredTimes { newest, trusted });
    store.commit_one(message("ada", "bob", 1, "a"));
    let first = store.now;
    assert_eq!(store.stored_times(), times(first, first));
    store.maintain();
    store.now += DAY;
    store.commit_one(message("ada", "bob", 2, "a"));
    let second = store.now;
    assert_eq!(store.stored_times(), times(second, second));
    // Within a minute nothing is written.
    store.now += 58_000;
    store.commit_one(message("ada", "bob", 3, "a"));
    assert_eq!(store.stored_times(), times(second, second));
    // A server that nobody writes to was right until its end.
    store.now += 7 * DAY;
    store.maintain();
    let end = store.now;
    let second = if store.is_persistent {
        store.reopen();
        assert_eq!(store.stored_times(), times(end, end));
        end
    } else {
        second
    };
    // The newest commit counts, not the latest time; and only a time that is certain is trusted.
    store.set_certain(false);
    store.maintain();
    for days in [400, -800, 10] {
        store.now += days * DAY;
        store.commit_one(receive("bob", "d", 1));
        assert_eq!(store.stored_times(), times(store.now, second));
        if store.is_persistent {
            store.reopen();
            assert_eq!(store.stored_times(), times(store.now, second));
        }
    }
}

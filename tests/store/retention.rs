//! What is removed, and when: entries by number and age, messages by age.

use dmwire::store::Outcome;

use crate::fixture::{DAY, INBOX_LIMIT, TestStore};
use crate::reads::talk;
use crate::writes::{conversations_query, duplicate, message, react, receive, stored};

pub fn inboxes_are_trimmed_to_their_limit(store: &mut TestStore) {
    talk(store);
    let count = 5 * INBOX_LIMIT as u32;
    let batch: Vec<_> = (1..=count).map(|n| message("xi", "yan", n, "x")).collect();
    for part in batch.chunks(37) {
        store.commit(part);
    }
    let head = u64::from(count);
    let oldest = head - INBOX_LIMIT + 1;
    for user in ["xi", "yan"] {
        // Entries beyond the limit count as removed, whether or not they are removed already.
        let inbox = store.open_inbox(user, "new");
        assert_eq!((inbox.head, inbox.oldest), (head, oldest));
        let (first, last) = store.inbox_range(user).expect("there are entries");
        assert!(first <= inbox.oldest, "entries within the limit are kept");
        assert!(first > 1, "commits remove entries as well");
        assert_eq!(last, head);
    }
    store.maintain();
    assert_eq!(store.inbox_range("yan"), Some((oldest, head)));
    // Other inboxes are not affected, and the history is complete.
    assert_eq!(store.inbox_range("una"), Some((1, 20)));
    let page = store.history("yan", "xi", None, 1000);
    let (messages, more) = page.expect("there is no position");
    assert_eq!((messages.len(), more), (count as usize, false));
    store.reopen();
    let inbox = store.open_inbox("yan", "new");
    assert_eq!((inbox.head, inbox.oldest), (head, oldest));
    // A new device of a user without a watermark starts before the oldest entry, so that its session is told of the gap.
    assert_eq!(inbox.received, 0);
    let outcome = store.commit_one(message("xi", "yan", count + 1, "next"));
    assert_eq!(stored(&outcome), (head + 1, head + 1));
    // A repetition of the very first message has its first outcome.
    let outcome = store.commit_one(message("xi", "yan", 1, "x"));
    assert_eq!(duplicate(&outcome).0, Some(1));
    // A watermark among removed entries makes no receipts.
    let outcome = store.commit_one(receive("yan", "phone", 7));
    assert_eq!(outcome, Outcome::Received(Vec::new()));
    assert_eq!(store.open_inbox("yan", "phone").received, 7);
}

pub fn a_message_is_kept_while_an_inbox_shows_it(store: &mut TestStore) {
    store.commit(&[
        message("zoe", "abe", 1, "old"),
        message("zoe", "abe", 2, "older"),
    ]);
    store.now += 19 * DAY;
    let outcome = store.commit_one(react("abe", "zoe", 1, "+"));
    assert_eq!(stored(&outcome), (3, 3));
    // The message has expired by now, but a newer entry of both inboxes refers to it.
    store.now += 5 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("zoe"), Some((3, 3)));
    assert_eq!(store.inbox_range("abe"), Some((3, 3)));
    assert_eq!(store.message("abe", "zoe", 1).content, "\"old\"");
    let page = store.history("zoe", "abe", None, 10);
    assert_eq!(page, Some((vec![1], false)));
    let inbox = store.open_inbox("abe", "new");
    assert_eq!((inbox.head, inbox.oldest), (3, 3));
}

pub fn expired_entries_and_messages_are_removed(store: &mut TestStore) {
    store.commit_one(message("ada", "bob", 500, "first"));
    store.now += 9 * DAY;
    store.commit_one(message("ada", "bob", 501, "second"));
    store.now += 2 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("ada"), Some((2, 2)));
    assert_eq!(store.inbox_range("bob"), Some((2, 2)));
    // Histories are kept longer.
    let page = store.history("ada", "bob", None, 10);
    assert_eq!(page, Some((vec![500, 501], false)));
    store.now += 10 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("ada"), None);
    let page = store.history("ada", "bob", None, 10);
    assert_eq!(page, Some((vec![501], false)));
    store.now += 20 * DAY;
    store.maintain();
    let page = store.history("ada", "bob", None, 10);
    assert_eq!(page, Some((vec![], false)));
    let page = store.conversations(&conversations_query("ada", None, 9));
    assert_eq!(page.items, Vec::new());
}

pub fn sequence_numbers_continue_after_everything_has_expired(store: &mut TestStore) {
    store.commit(&[
        message("ada", "ada", 1, "to myself"),
        message("ada", "bob", 500, "first"),
        message("ada", "bob", 501, "second"),
        receive("bob", "desk", 2),
    ]);
    store.now += 40 * DAY;
    store.maintain();
    for reopen in [false, true] {
        if reopen {
            store.reopen();
        }
        let inbox = store.open_inbox("bob", "new");
        assert_eq!((inbox.head, inbox.oldest), (2, 3));
    }
    assert_eq!(store.open_inbox("bob", "desk").received, 2);
    // The id of a removed message can be used again.
    let outcome = store.commit_one(message("bob", "ada", 500, "something else"));
    assert_eq!(stored(&outcome), (3, 4));
    assert_eq!(store.inbox_range("bob"), Some((3, 3)));
    assert_eq!(store.entry("ada", 4).message.content, "\"something else\"");
}

pub fn the_epoch_stays_when_the_store_is_reopened(store: &mut TestStore) {
    let epoch = store.epoch();
    store.commit_one(message("ada", "bob", 1, "hello"));
    store.reopen();
    assert_eq!(store.epoch(), epoch);
}

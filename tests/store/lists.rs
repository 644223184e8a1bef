//! The list of a user's conversations: its order, its pages, and that it is kept right while it is changed lazily.

use dmwire::store::sqlite::{Durability, Sqlite, admin};
use dmwire::store::{
    ConversationsQuery, HistoryAnswer, HistoryQuery, Reader, Retention, Store as _, StoreOptions,
};
use uuid::Uuid;

use crate::fixture::{DAY, RETENTION, START, TestStore};
use crate::support::Folder;
use crate::writes::{conversations_query, history_query, message, number, react};

/// Numbers that look random, always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        let factor = 6_364_136_223_846_793_005;
        self.0 = self.0.wrapping_mul(factor).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// The peers and newest messages of a user's conversations, read in pages of `limit`.
fn pages(reader: &mut dyn Reader, limit: usize, not_before: Option<i64>) -> Vec<(String, u32)> {
    let mut cursor: Option<Uuid> = None;
    let mut found = Vec::new();
    loop {
        let query = ConversationsQuery {
            not_before,
            ..conversations_query("ada", cursor, limit)
        };
        let page = reader.conversations(&query).expect("the list is read");
        let page = page.expect("the cursor is known");
        found.extend(page.items.iter().map(|item| {
            let peer = item.conversation.peer().expect("it is direct");
            (
                peer.to_string(),
                number(item.last.as_ref().expect("a message")),
            )
        }));
        cursor = page.cursor;
        if cursor.is_none() {
            return found;
        }
        assert_eq!(page.items.len(), limit, "only the last page is shorter");
    }
}

/// The same, from the histories of the conversations with all peers. Message numbers are in the order of sending.
fn expected(
    reader: &mut dyn Reader,
    peers: &[String],
    not_before: Option<i64>,
) -> Vec<(String, u32)> {
    let mut newest = Vec::new();
    for peer in peers {
        let query = HistoryQuery {
            not_before,
            ..history_query("ada", peer, None, 1)
        };
        let answer = reader.history(&query).expect("the history is read");
        if let HistoryAnswer::Page(page) = answer {
            newest.extend(
                page.messages
                    .iter()
                    .map(|last| (peer.clone(), number(last))),
            );
        }
    }
    newest.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    newest
}

fn check_list_with(retention: Retention, messages: u32, gap: u64) {
    let folder = Folder::new();
    let path = folder.0.join("lists.db");
    let open = || {
        Sqlite::open(&path, Durability::Normal, StoreOptions::new(retention))
            .expect("the store opens")
    };
    let mut store = open();
    let mut random = Random(u64::from(messages));
    let mut peers: Vec<String> = (0..40).map(|n| format!("peer{n}")).collect();
    peers.push("ada".to_owned());
    let mut now = 1_800_000_000_000;
    for n in 1..=messages {
        now += random.below(gap) as i64;
        let peer = peers[random.below(41).min(random.below(41)) as usize].as_str();
        let write = match random.below(8) {
            0..=3 => message("ada", peer, n, "x"),
            4 => message(peer, "peer0", n, &"long".repeat(800)),
            5 => message("ada", peer, n, &"long".repeat(800)),
            _ => message(peer, "ada", n, "x"),
        };
        store.commit(now, &[&write]).expect("it is committed");
        match random.below(100) {
            0..=4 => store.flush().expect("the log is flushed"),
            5..=9 => drop(store.maintain(Some(now)).expect("maintenance succeeds")),
            10 => drop(
                store
                    .commit(now, &[&react("ada", peer, n, "+")])
                    .expect("it is committed"),
            ),
            11 if n % 3 == 0 => {
                drop(store);
                store = open();
            }
            _ => {}
        }
        if n % 131 == 0 || n == messages {
            // Without a waker the reader cannot have the log flushed, and includes it.
            let mut reader = store.reader().expect("a reader opens");
            for not_before in [None, Some(now - 2 * DAY), Some(now - 15 * DAY)] {
                let expected = expected(reader.as_mut(), &peers, not_before);
                for limit in [4, 200] {
                    let found = pages(reader.as_mut(), limit, not_before);
                    assert_eq!(
                        found, expected,
                        "message {n}, pages of {limit}, from {not_before:?}"
                    );
                }
            }
        }
    }
    for _ in 0..2 {
        store.flush().expect("the log is flushed");
        assert_eq!(
            admin::verify(&path).expect("it is readable"),
            [] as [&str; 0]
        );
        drop(store);
        assert_eq!(
            admin::verify(&path).expect("it is readable"),
            [] as [&str; 0]
        );
        store = open();
    }
}

#[test]
fn a_list_follows_the_newest_messages() {
    let unlimited = Retention {
        inbox_limit: 100_000,
        ..RETENTION
    };
    check_list_with(unlimited, 800, 1000);
}

#[test]
fn a_list_is_right_while_inboxes_are_trimmed() {
    check_list_with(RETENTION, 600, 1000);
}

#[test]
fn a_list_is_right_while_conversations_expire() {
    check_list_with(RETENTION, 700, DAY as u64);
}

pub fn a_cursor_is_valid_for_its_user_only(store: &mut TestStore) {
    for (n, peer) in ["ada", "bob", "cy"].into_iter().enumerate() {
        store.commit_one(message("una", peer, 10 + n as u32, "x"));
        store.commit_one(message("vic", peer, 20 + n as u32, "x"));
    }
    let first = |store: &mut TestStore, user| {
        let page = store.conversations(&conversations_query(user, None, 1));
        page.cursor.expect("there are more")
    };
    let cursor = first(store, "una");
    assert_ne!(cursor, first(store, "vic"));
    let of_vic = conversations_query("vic", Some(cursor), 1);
    assert_eq!(store.find_conversations(&of_vic), None);
    for bit in [0, 63, 64, 127] {
        let changed = Uuid::from_u128(cursor.as_u128() ^ 1 << bit);
        let query = conversations_query("una", Some(changed), 1);
        assert_eq!(store.find_conversations(&query), None);
    }
    store.reopen();
    if store.is_persistent {
        let rest = store.conversations(&conversations_query("una", Some(cursor), 9));
        assert_eq!((rest.items.len(), rest.cursor), (2, None));
    }
    // Messages of others do not show in later cursors as a difference of numbers.
    let high = |cursor: Uuid| (cursor.as_u128() >> 64) as u64;
    let low = |cursor: Uuid| cursor.as_u128() as u64;
    store.commit_one(message("una", "bob", 30, "x"));
    let next = first(store, "una");
    for part in [high, low] {
        assert!(part(next).abs_diff(part(cursor)) > 1_000_000);
    }
}

/// Entries that arrive faster than they are moved to their tables, in another order than that of the inbox.
#[test]
fn a_list_is_settled_again_when_missing_entries_have_been_moved() {
    let folder = Folder::new();
    let path = folder.0.join("lists.db");
    let retention = Retention {
        inbox_limit: 1_000_000,
        ..RETENTION
    };
    let mut store = Sqlite::open(&path, Durability::Normal, StoreOptions::new(retention))
        .expect("the store opens");
    for round in 0..12 {
        let batch: Vec<_> = (0..1024)
            .map(|n| match n % 8 {
                0 => message(&format!("peer{n}"), "ada", round * 1024 + n, "hi"),
                _ => message("flood", "ada", round * 1024 + n, "hi"),
            })
            .collect();
        let batch: Vec<_> = batch.iter().collect();
        let now = START + i64::from(round);
        store.commit(now, &batch).expect("the batch is stored");
        store.maintain(Some(now)).expect("it is maintained");
    }
    store.close().expect("the store closes");
    drop(store);
    let connection = rusqlite::Connection::open(&path).expect("the file opens");
    let unsettled: i64 = connection
        .query_row(
            "SELECT count(*) FROM inbox JOIN users ON n = user WHERE id = 'ada' AND seq > listed",
            [],
            |row| row.get(0),
        )
        .expect("the entries are counted");
    assert!(unsettled < 256, "{unsettled} entries are not settled");
}

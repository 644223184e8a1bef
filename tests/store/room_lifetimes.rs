//! How long rooms, their messages and the names in them are kept.

use dmwire::store::sqlite::admin;
use dmwire::store::{Conversation, HistoryAnswer, RoomHistory, RoomRules};

use crate::fixture::{DAY, Fixture as _, INBOX_LIMIT, SqliteFile, TestStore};
use crate::rooms::{RULES, delete, inbox, join, leave, react, read, say};
use crate::writes::{conversations_query, history_query, number};

fn history(store: &mut TestStore, user: &str, room: &str) -> Vec<u32> {
    let mut query = history_query(user, "", None, 1000);
    query.conversation = Conversation::Room(room.into());
    let page = store.history_page(&query).expect("there is no position");
    page.messages.iter().map(number).collect()
}

pub fn a_message_in_a_room_is_kept_while_an_inbox_shows_it(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        say("a", "lobby", 1, "x"),
        say("a", "lobby", 2, "x"),
        leave("b", "lobby"),
    ]);
    // Expired, but the entries in the inbox of b, who has left, have not.
    store.now += 19 * DAY;
    store.set_certain(false);
    store.commit_one(react("a", "lobby", 1));
    store.now += 2 * DAY;
    store.set_certain(true);
    store.commit_one(say("a", "lobby", 3, "x"));
    store.maintain();
    assert_eq!(inbox(store, "b"), Vec::<String>::new());
    // The entry about the reaction keeps its message.
    assert_eq!(history(store, "a", "lobby"), [1, 3]);
    store.verify();
    store.now += 12 * DAY;
    store.maintain();
    assert_eq!(history(store, "a", "lobby"), [3]);
    store.verify();
}

pub fn inboxes_with_messages_in_rooms_are_trimmed_to_their_limit(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("a", "lobby"), join("b", "lobby")]);
    for n in 0..3 * INBOX_LIMIT as u32 {
        store.commit_one(say("a", "lobby", n + 1, "x"));
    }
    store.maintain();
    for user in ["a", "b"] {
        let (first, last) = store.inbox_range(user).expect("entries are left");
        assert!(last - first < 2 * INBOX_LIMIT, "{user}: {first} to {last}");
    }
    // The history has them all.
    assert_eq!(history(store, "b", "lobby").len(), 3 * INBOX_LIMIT as usize);
    store.verify();
}

pub fn a_room_without_members_keeps_its_history_until_that_expires(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        say("a", "lobby", 1, "x"),
        leave("a", "lobby"),
    ]);
    store.maintain();
    store.commit_one(join("b", "lobby"));
    assert_eq!(history(store, "b", "lobby"), [1]);
    store.commit_one(leave("b", "lobby"));
    store.now += 40 * DAY;
    store.maintain();
    store.maintain();
    assert_eq!(store.inbox_range("a"), None);
    store.commit_one(join("a", "lobby"));
    assert_eq!(history(store, "a", "lobby"), [] as [u32; 0]);
    assert_eq!(inbox(store, "a"), ["joined a 1"]);
    store.verify();
}

#[test]
fn a_room_that_nothing_refers_to_is_removed_from_the_file() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    store.set_rooms(RULES);
    let rooms = || -> i64 {
        let connection = rusqlite::Connection::open(&path).expect("it opens");
        let count = connection.query_row("SELECT count(*) FROM rooms", (), |row| row.get(0));
        count.expect("it is counted")
    };
    store.commit(&[
        join("a", "one"),
        join("a", "two"),
        say("a", "two", 1, "x"),
        leave("a", "one"),
        leave("a", "two"),
    ]);
    store.maintain();
    // The inbox of a names them.
    assert_eq!(rooms(), 2);
    store.now += 12 * DAY;
    store.maintain();
    assert_eq!(rooms(), 1);
    store.now += 12 * DAY;
    store.maintain();
    assert_eq!(rooms(), 0);
    store.verify();
}

#[test]
fn an_erased_member_leaves_without_a_name() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        say("b", "lobby", 1, "secret"),
        say("a", "lobby", 2, "x"),
        react("b", "lobby", 2),
        read("b", "lobby", 2),
        join("b", "own"),
        say("b", "own", 3, "secret"),
    ]);
    let now = store.now;
    store.close();
    admin::erase(&path, "b", now, RULES.small).expect("b is erased");
    assert_eq!(
        admin::verify(&path).expect("it is read"),
        Vec::<String>::new()
    );
    store.set_rooms(RULES);
    let entries = inbox(&mut store, "a");
    assert_eq!(entries[0], "joined a 1");
    assert!(entries[1].starts_with("joined erased."), "{entries:?}");
    assert_eq!(entries[2..5], ["message 1", "message 2", "superseded"]);
    assert_eq!(store.entry("a", 3).message.content, "");
    assert!(entries[5].starts_with("erased erased."), "{entries:?}");
    assert!(entries[6].starts_with("left erased.") && entries[6].ends_with(" 1"));
    assert!(store.reader().is_mutual("a", "b").is_ok_and(|see| !see));
    // A new user of the name is not a member.
    let outcome = store.commit_one(delete("b", "lobby", 1));
    assert_eq!(outcome, dmwire::store::Outcome::NotMember);
    store.maintain();
    store.verify();
    store.now += 60 * DAY;
    store.maintain();
    store.maintain();
    store.verify();
}

#[test]
fn what_is_exported_includes_rooms() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    store.set_rooms(RoomRules { small: 0, ..RULES });
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        say("b", "lobby", 1, "x"),
        join("c", "lobby"),
        say("b", "lobby", 2, "x"),
    ]);
    let mut query = history_query("c", "", None, 1000);
    query.conversation = Conversation::Room("lobby".into());
    for (history, expected) in [
        (RoomHistory::All, vec![1, 2]),
        (RoomHistory::Joined, vec![2]),
    ] {
        let mut reader = admin::reader_of(&path, "c", history).expect("it is read");
        let answer = reader.history(&query).expect("it is read");
        let HistoryAnswer::Page(page) = answer else {
            panic!("expected messages, found {answer:?}");
        };
        assert_eq!(
            page.messages.iter().map(number).collect::<Vec<_>>(),
            expected
        );
        let list = reader.conversations(&conversations_query("c", None, 10));
        let list = list.expect("it is read").expect("there is no cursor");
        assert_eq!(list.items.len(), 1);
    }
}

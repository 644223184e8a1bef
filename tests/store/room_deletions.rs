//! The deletion of rooms, step by step.

use dmwire::store::{
    Conversation, EntryKind, HistoryAnswer, InboxItem, MembershipKind, Outcome, RoomDeletionId,
    RoomDeletionStep, RoomRules, Write,
};
use rusqlite::Connection;

use crate::fixture::{DAY, Fixture as _, INBOX_LIMIT, SqliteFile, TestStore};
use crate::rooms::{RULES, delete, edit, inbox, join, leave, react, read, say};
use crate::writes::{conversations_query, history_query, number};

fn step(outcome: Outcome) -> RoomDeletionStep {
    match outcome {
        Outcome::RoomDeletion(step) => *step,
        other => panic!("expected a step, found {other:?}"),
    }
}

fn delete_room(store: &mut TestStore, room: &str) -> RoomDeletionStep {
    step(store.commit_one(Write::DeleteRoom { room: room.into() }))
}

/// Runs all steps that are left. Returns the numbers of members, and of messages, of each.
fn finish(store: &mut TestStore, id: RoomDeletionId) -> Vec<(usize, u64)> {
    let mut steps = Vec::new();
    loop {
        let done = step(store.commit_one(Write::ContinueDeletion(id)));
        steps.push((done.members.len(), done.messages));
        store.verify();
        if !done.more {
            return steps;
        }
    }
}

fn left(store: &mut TestStore) -> Vec<RoomDeletionId> {
    store.reader().room_deletions().expect("they are read")
}

fn history(store: &mut TestStore, user: &str, room: &str) -> Vec<u32> {
    let mut query = history_query(user, "", None, 1000);
    query.conversation = Conversation::Room(room.into());
    match store.reader().history(&query).expect("it is read") {
        HistoryAnswer::Page(page) => page.messages.iter().map(number).collect(),
        other => panic!("expected a page, found {other:?}"),
    }
}

/// Whether the messages of an inbox have content.
fn have_content(store: &mut TestStore, user: &str) -> Vec<bool> {
    let items = store.items(user, (1, u64::MAX >> 1), usize::MAX);
    let messages = items.iter().filter_map(|item| match item {
        InboxItem::Entry(entry) if entry.kind != EntryKind::Deleted => Some(&entry.message),
        _ => None,
    });
    messages
        .map(|message| {
            assert_eq!(message.deleted_at.is_none(), !message.content.is_empty());
            assert_eq!(message.to, Conversation::Room("lobby".into()));
            message.deleted_at.is_none()
        })
        .collect()
}

pub fn a_room_is_deleted_before_entries_of_its_messages_have_moved(store: &mut TestStore) {
    store.set_rooms(RULES);
    let members = ["a", "b", "c", "d", "e"];
    store.commit(&members.map(|user| join(user, "lobby")));
    store.commit(
        &(1..=10)
            .map(|n| say("a", "lobby", n, "x"))
            .collect::<Vec<_>>(),
    );
    // The messages move, and no reader waits for their entries.
    let id = delete_room(store, "lobby").id;
    while step(store.commit_one(Write::ContinueDeletion(id))).more {}
    for user in members {
        assert_eq!(have_content(store, user), [false; 10], "{user}");
    }
    store.verify();
}

pub fn a_deleted_room_is_gone_with_the_first_step(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        join("c", "lobby"),
        leave("c", "lobby"),
        say("a", "lobby", 1, "x"),
        say("b", "lobby", 2, &"long".repeat(1000)),
        say("a", "lobby", 3, "x"),
    ]);
    store.commit(&[
        edit("a", "lobby", 1, "y"),
        delete("a", "lobby", 3),
        react("b", "lobby", 1),
        read("b", "lobby", 2),
        // It is pending when the room is deleted.
        say("b", "lobby", 4, "x"),
    ]);
    let first = delete_room(store, "lobby");
    let members: Vec<&str> = first.members.iter().map(|member| &*member.user).collect();
    assert_eq!(
        (members, first.messages, first.more),
        (vec!["a", "b"], 0, true)
    );
    let regrouped = first.regrouped.expect("the room was a small one");
    assert_eq!(regrouped.users.len(), 2);
    store.verify();
    for user in ["a", "b"] {
        // Only the own membership.
        let entries = inbox(store, user);
        assert_eq!(entries.last(), Some(&format!("left {user} 0 deleted")));
        let ends = entries.iter().filter(|entry| entry.ends_with("deleted"));
        assert_eq!(ends.count(), 1, "{entries:?}");
        assert_eq!(store.head(user), entries.len() as u64);
        let page = store.conversations(&conversations_query(user, None, 10));
        assert_eq!(page.items, []);
    }
    assert_eq!(inbox(store, "c"), ["joined c 3", "left c 2"]);
    // The content is there, and nobody sees it.
    assert!(!have_content(store, "a").contains(&true));
    assert_eq!(
        store.commit_one(say("a", "lobby", 5, "x")),
        Outcome::NotMember
    );
    let again = Write::DeleteRoom {
        room: "lobby".into(),
    };
    assert_eq!(store.commit_one(again), Outcome::UnknownRoom);
    // The name is that of a new room.
    store.commit(&[join("a", "lobby"), say("a", "lobby", 1, "new")]);
    assert_eq!(history(store, "a", "lobby"), [1]);
    assert_eq!(have_content(store, "a").last(), Some(&true));
    store.verify();
    assert_eq!(finish(store, first.id), [(0, 3)]);
    assert_eq!(
        store.commit_one(Write::ContinueDeletion(first.id)),
        Outcome::UnknownRoom
    );
    assert_eq!(history(store, "a", "lobby"), [1]);
    assert_eq!(have_content(store, "a").last(), Some(&true));
    assert_eq!(left(store), []);
}

pub fn a_room_that_does_not_exist_is_not_deleted(store: &mut TestStore) {
    store.set_rooms(RULES);
    let deletion = || Write::DeleteRoom {
        room: "lobby".into(),
    };
    assert_eq!(store.commit_one(deletion()), Outcome::UnknownRoom);
    // Only inboxes have entries about it.
    store.commit(&[join("a", "lobby"), leave("a", "lobby")]);
    assert_eq!(store.commit_one(deletion()), Outcome::UnknownRoom);
    // It has messages and no members.
    store.commit(&[
        join("a", "lobby"),
        say("a", "lobby", 1, "x"),
        leave("a", "lobby"),
    ]);
    let first = delete_room(store, "lobby");
    assert_eq!(first.members, []);
    assert_eq!(finish(store, first.id), [(0, 1)]);
}

pub fn a_former_member_who_joins_the_next_room_leaves_first(store: &mut TestStore) {
    let many = 100;
    store.set_rooms(RoomRules {
        members: many as u64,
        ..RULES
    });
    let users: Vec<String> = (0..many).map(|n| format!("user{n}")).collect();
    let joins: Vec<Write> = users.iter().map(|user| join(user, "lobby")).collect();
    store.commit(&joins);
    let last = &users[many - 1];
    let removed = Write::Leave {
        user: users[0].as_str().into(),
        room: "lobby".into(),
        kind: MembershipKind::Assigned,
    };
    store.commit(&[say(last, "lobby", 1, "x"), removed]);
    let first = delete_room(store, "lobby");
    assert_eq!((first.members.len(), first.regrouped), (32, None));
    store.verify();
    // The user is a member in the tables, and for nobody else.
    assert_eq!(
        store.commit_one(say(last, "lobby", 2, "x")),
        Outcome::NotMember
    );
    let page = store.conversations(&conversations_query(last, None, 10));
    assert_eq!(page.items, []);
    for user in [last, &users[0]] {
        let joined = store.commit_one(join(user, "lobby"));
        let Outcome::Membership {
            duplicate: false,
            seq: Some(seq),
            ..
        } = joined
        else {
            panic!("the user has joined: {joined:?}");
        };
        assert_eq!(seq, store.head(user));
    }
    let entries = inbox(store, last);
    let end = entries.len() - 3;
    assert_eq!(
        entries[end..],
        [
            format!("left {last} 0 deleted"),
            format!("joined {last} 1"),
            "joined user0 2".to_owned()
        ]
    );
    store.verify();
    store.reopen();
    if !store.is_persistent {
        return;
    }
    assert_eq!(left(store), [first.id]);
    assert_eq!(
        finish(store, first.id),
        [(32, 0), (32, 0), (2, 0), (0, 0), (0, 1)]
    );
    let entries = inbox(store, last);
    assert_eq!(
        entries
            .iter()
            .filter(|entry| entry.starts_with("left"))
            .count(),
        1
    );
}

pub fn messages_of_a_deleted_room_are_removed_in_steps(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("a", "lobby"), join("b", "lobby")]);
    // Those in no inbox any more are removed, the others lose their content.
    let messages = 20 * INBOX_LIMIT as u32;
    for n in 0..messages {
        store.commit_one(say("a", "lobby", n + 1, "x"));
    }
    store.maintain();
    let first = delete_room(store, "lobby");
    let second = step(store.commit_one(Write::ContinueDeletion(first.id)));
    assert!(second.more && second.messages > 0, "{second:?}");
    store.verify();
    store.reopen();
    if !store.is_persistent {
        return;
    }
    // What is retained belongs to no room that a sweep examines.
    store.maintain();
    store.verify();
    assert_eq!(left(store), [first.id]);
    let rest: u64 = finish(store, first.id).iter().map(|step| step.1).sum();
    assert_eq!(second.messages + rest, u64::from(messages));
    for user in ["a", "b"] {
        let contents = have_content(store, user);
        assert!(!contents.is_empty() && !contents.contains(&true));
    }
    store.now += 12 * DAY;
    store.maintain();
    store.maintain();
    store.verify();
}

#[test]
fn nothing_is_left_of_a_deleted_room_when_inboxes_have_no_entries_of_it() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    store.set_rooms(RULES);
    store.commit(&[join("a", "lobby"), say("a", "lobby", 1, "secret")]);
    let first = delete_room(&mut store, "lobby");
    finish(&mut store, first.id);
    let count = |sql: &str| {
        let connection = Connection::open(&path).expect("the file opens");
        let count = connection.query_row(sql, (), |row| row.get::<_, i64>(0));
        count.expect("they are counted")
    };
    assert_eq!(
        count("SELECT count(*) FROM messages WHERE content IS NULL"),
        1
    );
    store.now += 12 * DAY;
    store.maintain();
    store.maintain();
    assert_eq!(inbox(&mut store, "a"), Vec::<String>::new());
    assert_eq!(count("SELECT count(*) FROM messages"), 0);
    assert_eq!(count("SELECT count(*) FROM rooms"), 0);
    store.verify();
}

pub fn members_of_a_deleted_small_room_stop_seeing_each_other_at_once(store: &mut TestStore) {
    let many = 50;
    store.set_rooms(RoomRules {
        members: many,
        small: many,
        ..RULES
    });
    let users: Vec<String> = (0..many).map(|n| format!("user{n:02}")).collect();
    for user in &users {
        store.commit_one(join(user, "lobby"));
    }
    let sees = |store: &mut TestStore, n: usize| {
        let seen = store.reader().is_mutual(&users[0], &users[n]);
        seen.expect("it is read")
    };
    assert!(sees(store, 1) && sees(store, 49));
    let first = delete_room(store, "lobby");
    assert!(
        first.members.len() < users.len(),
        "others are members for a while"
    );
    assert_eq!(
        first.regrouped.expect("it was small").users.len(),
        users.len()
    );
    assert!(!sees(store, 1) && !sees(store, 49));
    store.verify();
    finish(store, first.id);
    store.verify();
}

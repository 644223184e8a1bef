//! Rooms in lists of conversations, lists of members, and who sees whom.

use dmwire::store::{Conversation, MembersAnswer, MembersPage, MembersQuery, Outcome, RoomMembers};
use uuid::Uuid;

use crate::fixture::{DAY, TestStore};
use crate::rooms::{RULES, delete, join, leave, read, say};
use crate::writes::{block, conversations_query, history_query, id, message, number, receive};

/// A user's list: the room or other user, the number of members, the newest message, unread messages and the read mark.
fn list(store: &mut TestStore, user: &str, not_before: Option<i64>) -> Vec<String> {
    let query = dmwire::store::ConversationsQuery {
        not_before,
        ..conversations_query(user, None, 100)
    };
    let items = store.conversations(&query).items;
    items
        .iter()
        .map(|item| {
            let last = item.last.as_ref().map(number);
            let read = item.my_read.map(|id| id.as_u128());
            let name = match &item.conversation {
                Conversation::Direct(peer) => {
                    assert_eq!(item.members, None);
                    peer.to_string()
                }
                Conversation::Room(room) => {
                    assert_eq!((item.their_read, item.their_received), (None, None));
                    format!("#{room} {}", item.members.expect("a number"))
                }
            };
            let show = |n: Option<u128>| n.map_or("-".to_owned(), |n| n.to_string());
            format!(
                "{name} {} {} {}",
                show(last.map(u128::from)),
                item.unread,
                show(read)
            )
        })
        .collect()
}

pub fn rooms_are_listed_with_direct_conversations(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "one"),
        message("a", "b", 1, "x"),
        join("b", "one"),
        say("b", "one", 2, "x"),
        join("a", "two"),
        message("c", "a", 3, "x"),
    ]);
    assert_eq!(
        list(store, "a", None),
        ["c 3 1 -", "#two 1 - 0 -", "#one 2 2 1 -", "b 1 0 -"]
    );
    assert_eq!(list(store, "b", None), ["#one 2 2 0 -", "a 1 1 -"]);
    store.commit(&[
        say("b", "one", 4, "x"),
        say("b", "one", 5, "x"),
        say("a", "one", 6, "x"),
    ]);
    assert_eq!(list(store, "a", None)[0], "#one 2 6 3 -");
    store.commit(&[read("a", "one", 4), delete("b", "one", 5)]);
    assert_eq!(list(store, "a", None)[0], "#one 2 6 0 4");
    // Pages.
    let mut cursor = None;
    let mut names = Vec::new();
    loop {
        let page = store.conversations(&conversations_query("a", cursor, 1));
        names.extend(page.items.into_iter().map(|item| item.conversation));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let room = |name: &str| Conversation::Room(name.into());
    let user = |name: &str| Conversation::Direct(name.into());
    assert_eq!(names, [room("one"), user("c"), room("two"), user("b")]);
    // A room that was left is not listed, and its position and read mark are forgotten.
    store.commit(&[leave("a", "one"), leave("a", "two")]);
    assert_eq!(list(store, "a", None), ["c 3 1 -", "b 1 0 -"]);
    store.reopen();
    if store.is_persistent {
        store.commit(&[join("a", "one"), say("b", "one", 7, "x")]);
        assert_eq!(
            list(store, "a", None),
            ["#one 2 7 1 -", "c 3 1 -", "b 1 0 -"]
        );
    }
    store.verify();
}

pub fn a_room_is_listed_without_its_hidden_messages(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "quiet"),
        join("b", "old"),
        join("a", "old"),
        say("b", "old", 1, "x"),
        message("b", "a", 2, "x"),
    ]);
    store.now += DAY;
    let now = store.now;
    store.commit(&[message("c", "a", 3, "x")]);
    assert_eq!(
        list(store, "a", Some(now)),
        ["c 3 1 -", "#old 2 - 0 -", "#quiet 1 - 0 -"]
    );
    let mut query = history_query("a", "", None, 10);
    query.conversation = Conversation::Room("old".into());
    query.not_before = Some(now);
    let page = store.history_page(&query).expect("there is no position");
    assert_eq!(page.messages, []);
}

pub fn lists_of_rooms_are_settled_like_others(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "one"),
        join("b", "one"),
        join("a", "two"),
        join("b", "two"),
    ]);
    // More than the entries after which a list is settled.
    for n in 0..300 {
        let room = if n % 2 == 0 { "one" } else { "two" };
        store.commit_one(say("a", room, n + 1, "x"));
    }
    // The inbox keeps fewer.
    store.maintain();
    assert_eq!(
        list(store, "b", None),
        ["#two 2 300 150 -", "#one 2 299 150 -"]
    );
    assert!(store.inbox_range("b").expect("entries are left").0 > 200);
    store.verify();
    store.commit_one(leave("b", "two"));
    store.maintain();
    assert_eq!(list(store, "b", None), ["#one 2 299 150 -"]);
    store.verify();
}

pub fn unread_messages_in_a_room_are_counted_from_the_join_up_to_a_limit(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("a", "one"), say("a", "one", 1, "x"), join("b", "one")]);
    assert_eq!(list(store, "b", None), ["#one 2 1 0 -"]);
    let batch: Vec<_> = (2..=1100).map(|n| say("a", "one", n, "x")).collect();
    store.commit(&batch);
    assert_eq!(list(store, "b", None), ["#one 2 1100 1000 -"]);
    store.commit_one(read("b", "one", 200));
    assert_eq!(list(store, "b", None), ["#one 2 1100 900 200"]);
}

fn members(
    store: &mut TestStore,
    user: &str,
    cursor: Option<Uuid>,
    limit: usize,
) -> Option<MembersPage> {
    let query = MembersQuery {
        user: user.into(),
        room: "lobby".into(),
        limit,
        cursor,
    };
    match store.reader().members(&query).expect("members are read") {
        MembersAnswer::Page(page) => Some(page),
        MembersAnswer::UnknownCursor => None,
        other => panic!("expected members, found {other:?}"),
    }
}

pub fn members_are_read_in_pages(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("b", "lobby"), say("b", "lobby", 1, "x")]);
    store.commit_one(join("a", "lobby"));
    store.commit_one(join("Z", "lobby"));
    let joined_at = store.now;
    store.commit_one(read("a", "lobby", 1));
    let page = members(store, "a", None, 2).expect("the first page");
    let users: Vec<_> = page
        .members
        .iter()
        .map(|member| (&*member.user, member.read))
        .collect();
    // By bytes.
    assert_eq!(users, [("Z", None), ("a", Some(id(1)))]);
    assert_eq!((page.total, page.is_small), (3, true));
    assert_eq!(page.members[0].joined_at, joined_at);
    let cursor = page.cursor.expect("there is another page");
    let page = members(store, "a", Some(cursor), 2).expect("the cursor is known");
    assert_eq!((&*page.members[0].user, page.members.len()), ("b", 1));
    assert_eq!(page.cursor, None);
    // The cursor is a's.
    assert_eq!(members(store, "b", Some(cursor), 2), None);
    assert_eq!(members(store, "a", Some(Uuid::from_u128(1)), 2), None);
    // In a larger room nobody sees what others have read.
    store.commit_one(join("c", "lobby"));
    let page = members(store, "b", None, 10).expect("the first page");
    assert!(page.members.iter().all(|member| member.read.is_none()));
    assert_eq!((page.total, page.is_small), (4, false));
}

pub fn members_of_a_small_room_see_each_other(store: &mut TestStore) {
    store.set_rooms(RULES);
    let see = |store: &mut TestStore, a: &str, b: &str| {
        let see = store.reader().is_mutual(a, b).expect("it is read");
        let reverse = store.reader().is_mutual(b, a).expect("it is read");
        assert_eq!(see, reverse);
        see
    };
    let regrouped = |outcome: Outcome| match outcome {
        Outcome::Membership { regrouped, .. } => regrouped.map(|members| {
            let mut users: Vec<_> = members.users.iter().map(ToString::to_string).collect();
            users.sort_unstable();
            (users.join(" "), members.is_small)
        }),
        other => panic!("expected a membership, found {other:?}"),
    };
    store.commit_one(join("a", "lobby"));
    assert!(!see(store, "a", "b"));
    assert_eq!(regrouped(store.commit_one(join("b", "lobby"))), None);
    assert!(see(store, "a", "b"));
    assert_eq!(regrouped(store.commit_one(join("c", "lobby"))), None);
    let grown = regrouped(store.commit_one(join("d", "lobby")));
    assert_eq!(grown, Some(("a b c".to_owned(), false)));
    assert!(!see(store, "a", "b"));
    assert_eq!(regrouped(store.commit_one(join("e", "lobby"))), None);
    assert_eq!(regrouped(store.commit_one(leave("c", "lobby"))), None);
    let shrunk = regrouped(store.commit_one(leave("b", "lobby")));
    assert_eq!(shrunk, Some(("a d e".to_owned(), true)));
    assert!(see(store, "a", "d") && !see(store, "a", "b"));
    // For a direct conversation it is as if both had written.
    store.commit_one(message("a", "d", 1, "x"));
    let visible = |outcome: Outcome| match outcome {
        Outcome::Received(received) => received.iter().map(|one| one.visible).collect::<Vec<_>>(),
        other => panic!("expected receipts, found {other:?}"),
    };
    let head = store.head("d");
    assert_eq!(
        visible(store.commit_one(receive("d", "phone", head))),
        [true]
    );
    let their_received = |store: &mut TestStore| {
        let page = store.conversations(&conversations_query("a", None, 1));
        page.items[0].their_received
    };
    assert_eq!(their_received(store), Some(id(1)));
    store.commit_one(leave("d", "lobby"));
    assert_eq!(their_received(store), None);
    store.commit_one(message("a", "d", 2, "x"));
    let head = store.head("d");
    assert_eq!(
        visible(store.commit_one(receive("d", "phone", head))),
        [false]
    );
    store.commit(&[
        join("d", "lobby"),
        block("d", "a"),
        message("a", "e", 3, "x"),
    ]);
    assert!(
        see(store, "a", "d"),
        "blocks are no matter of the store's answer"
    );
}

pub fn read_marks_are_for_the_members_of_a_small_room(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        join("a", "lobby"),
        join("b", "lobby"),
        say("a", "lobby", 1, "x"),
        say("a", "lobby", 2, "x"),
    ]);
    let mark = |store: &mut TestStore, n| match store.commit_one(read("b", "lobby", n)) {
        Outcome::ReadMark {
            moved,
            blocked: false,
            received: None,
            members,
        } => (moved, members.map(|members| members.users.len())),
        other => panic!("expected a read mark, found {other:?}"),
    };
    assert_eq!(mark(store, 2), (true, Some(2)));
    assert_eq!(mark(store, 1), (false, Some(2)));
    let members = |store: &mut TestStore| {
        let members = store.with_store(|store| store.room_members("lobby", Some("a")));
        let RoomMembers { users, is_small } = members.expect("it is read").expect("a member");
        (users.len(), is_small)
    };
    assert_eq!(members(store), (2, true));
    store.commit(&[
        join("c", "lobby"),
        join("d", "lobby"),
        say("a", "lobby", 3, "x"),
    ]);
    assert_eq!(mark(store, 3), (true, None));
    assert_eq!(members(store), (4, false));
    // A mark ends with the membership.
    store.commit(&[leave("b", "lobby"), join("b", "lobby"), leave("d", "lobby")]);
    assert_eq!(mark(store, 1), (true, Some(3)));
    store.verify();
}

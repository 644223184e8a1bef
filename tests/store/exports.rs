//! Exports of all messages of a user.

use dmwire::store::{
    Conversation, ExportPage, ExportPosition, ExportQuery, Outcome, RoomHistory, RoomMode,
    RoomRules, StoredMessage, Write,
};

use crate::fixture::TestStore;
use crate::rooms::{self, RULES, join, leave, say};
use crate::writes::{delete, edit, message, number, react};

const JOINED: RoomRules = RoomRules {
    history: RoomHistory::Joined,
    ..RULES
};

fn page(
    store: &mut TestStore,
    user: &str,
    after: Option<ExportPosition>,
    limit: usize,
) -> Option<ExportPage> {
    let query = ExportQuery {
        user: user.into(),
        after,
        limit,
        bytes: usize::MAX,
    };
    store.reader().export(&query).expect("a page is read")
}

/// All messages, in pages. `between` is called after each page.
fn messages(
    store: &mut TestStore,
    user: &str,
    limit: usize,
    mut between: impl FnMut(&mut TestStore, &[StoredMessage]),
) -> Vec<StoredMessage> {
    let (mut messages, mut after) = (Vec::new(), None);
    loop {
        let page = page(store, user, after, limit).expect("the user is known");
        assert!(page.messages.len() <= limit);
        between(store, &page.messages);
        messages.extend(page.messages);
        after = page.next;
        if after.is_none() {
            return messages;
        }
    }
}

/// The numbers of all messages, sorted. Pages of any size have them in the same order: conversation by conversation, oldest first.
fn exported(store: &mut TestStore, user: &str) -> Vec<u32> {
    let all = messages(store, user, 1000, |_, _| {});
    for limit in 1..5 {
        assert_eq!(messages(store, user, limit, |_, _| {}), all, "{limit}");
    }
    let conversation = |message: &StoredMessage| match &message.to {
        Conversation::Direct(to) => {
            let mut users = [message.from.clone(), to.to_string()];
            users.sort_unstable();
            users.concat()
        }
        Conversation::Room(room) => format!("#{room}"),
    };
    let parts = all.chunk_by(|a, b| conversation(a) == conversation(b));
    let mut found = Vec::new();
    for part in parts {
        assert!(part.is_sorted_by_key(number));
        found.push(conversation(&part[0]));
    }
    let parts = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), parts, "{found:?}");
    sorted(all.iter().map(number).collect())
}

fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers
}

pub fn an_export_has_the_messages_of_all_conversations(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        message("a", "b", 1, "x"),
        message("b", "a", 2, "x"),
        message("c", "b", 3, "x"),
        message("b", "b", 4, "x"),
        join("a", "one"),
        join("b", "one"),
        join("b", "two"),
        join("c", "two"),
        say("a", "one", 5, "x"),
        message("d", "b", 6, "x"),
        say("c", "two", 7, "x"),
        say("b", "two", 8, "x"),
        message("b", "a", 9, "x"),
        message("a", "c", 10, "x"),
    ]);
    assert_eq!(exported(store, "b"), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(exported(store, "a"), [1, 2, 5, 9, 10]);
    assert_eq!(exported(store, "d"), [6]);
    assert_eq!(page(store, "nobody", None, 10), None);
    // A user who has only been a member of a room.
    store.commit_one(join("e", "three"));
    assert_eq!(page(store, "e", None, 10), Some(ExportPage::default()));
}

pub fn an_exported_message_is_as_a_history_shows_it(store: &mut TestStore) {
    store.commit(&[
        message("a", "b", 1, "x"),
        message("a", "b", 2, "x"),
        message("b", "a", 3, &"long".repeat(1000)),
    ]);
    store.commit(&[
        edit("a", "b", 1, "y"),
        react("b", "a", 1, "+"),
        delete("a", "b", 2),
    ]);
    for user in ["a", "b"] {
        let all = messages(store, user, 2, |_, _| {});
        let peer = if user == "a" { "b" } else { "a" };
        for message in &all {
            assert_eq!(*message, store.message(user, peer, number(message)));
        }
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].content, "\"y\"");
        assert_eq!(all[0].reactions.len(), 1);
        assert!(all[1].deleted_at.is_some() && all[1].content.is_empty());
    }
}

pub fn an_export_has_own_messages_of_all_rooms(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("a", "one"), join("b", "one"), join("a", "two")]);
    store.commit(&[
        say("a", "one", 1, "x"),
        say("b", "one", 2, "x"),
        say("a", "two", 3, "x"),
        say("b", "one", 4, "x"),
        say("b", "one", 5, "x"),
    ]);
    store.commit(&[rooms::delete("b", "one", 4), leave("b", "one")]);
    store.commit_one(say("a", "one", 6, "x"));
    assert_eq!(exported(store, "b"), [2, 4, 5]);
    assert_eq!(exported(store, "a"), [1, 2, 3, 4, 5, 6]);
    let all = messages(store, "b", 1, |_, _| {});
    assert!(all.iter().all(|message| message.from == "b"));
    let deleted = all.iter().map(|message| message.deleted_at.is_some());
    assert_eq!(deleted.collect::<Vec<_>>(), [false, true, false]);
    // As a member again, b may read everything.
    store.commit_one(join("b", "one"));
    assert_eq!(exported(store, "b"), [1, 2, 4, 5, 6]);
    // What is stored does not depend on whether there are rooms.
    if store.is_persistent {
        store.set_rooms(RoomRules {
            mode: RoomMode::Off,
            ..RULES
        });
        assert_eq!(exported(store, "b"), [1, 2, 4, 5, 6]);
    }
}

pub fn an_export_has_what_the_last_join_hides_only_if_it_is_own(store: &mut TestStore) {
    store.set_rooms(JOINED);
    store.commit(&[join("a", "one"), join("b", "one")]);
    store.commit(&[say("a", "one", 1, "x"), say("b", "one", 2, "x")]);
    store.commit_one(leave("b", "one"));
    store.commit_one(say("a", "one", 3, "x"));
    assert_eq!(exported(store, "b"), [2]);
    store.commit_one(join("b", "one"));
    store.commit(&[
        say("b", "one", 4, "x"),
        say("a", "one", 5, "x"),
        say("b", "one", 6, "x"),
    ]);
    assert_eq!(exported(store, "b"), [2, 4, 5, 6]);
    assert_eq!(exported(store, "a"), [1, 2, 3, 4, 5, 6]);
}

pub fn an_export_has_no_content_of_a_deleted_room(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("a", "one"), join("b", "one")]);
    store.commit(&[say("a", "one", 1, "x"), say("b", "one", 2, "x")]);
    let Outcome::RoomDeletion(first) = store.commit_one(Write::DeleteRoom { room: "one".into() })
    else {
        panic!("the room exists");
    };
    store.commit(&[join("b", "one"), say("b", "one", 3, "x")]);
    // While the deletion has steps left, and afterwards.
    loop {
        let all = messages(store, "b", 1, |_, _| {});
        assert_eq!(all.iter().map(number).collect::<Vec<_>>(), [2, 3]);
        assert!(all[0].deleted_at.is_some() && all[0].content.is_empty());
        assert!(all[1].deleted_at.is_none());
        let room = Conversation::Room("one".into());
        assert!(all.iter().all(|message| message.to == room));
        match store.commit_one(Write::ContinueDeletion(first.id)) {
            Outcome::RoomDeletion(step) if step.more => {}
            _ => break,
        }
    }
    let all = messages(store, "b", 1, |_, _| {});
    assert!(all[0].deleted_at.is_some() && all[0].content.is_empty());
}

pub fn an_export_continues_whatever_happens_between_its_pages(store: &mut TestStore) {
    store.set_rooms(RULES);
    let users = ["a", "b", "c", "d"];
    store.commit(&users.map(|user| join(user, "one")));
    store.commit(&users.map(|user| join(user, "two")));
    let mut n = 0;
    let mut round = |store: &mut TestStore| {
        for user in users {
            n += 5;
            store.commit(&[
                message("b", user, n, "x"),
                message(user, "b", n + 1, "x"),
                say("b", "one", n + 2, "x"),
                say("b", "two", n + 3, "x"),
                say("a", "two", n + 4, "x"),
            ]);
        }
    };
    (0..3).for_each(|_| round(store));
    let before = exported(store, "b");
    let mut pages = 0;
    let all = messages(store, "b", 2, |store, _| {
        pages += 1;
        match pages {
            // Every conversation moves to the front of the list.
            1..4 => round(store),
            4 => drop(store.commit_one(leave("b", "one"))),
            6 => drop(store.commit_one(join("b", "one"))),
            _ => {}
        }
    });
    let all = sorted(all.iter().map(number).collect());
    let mut once = all.clone();
    once.dedup();
    assert_eq!(once, all);
    assert!(before.iter().all(|n| all.contains(n)), "{before:?} {all:?}");
    // A user who leaves a room while it is read gets only the own messages of the rest.
    let mut has_left = false;
    let all = messages(store, "b", 3, |store, page| {
        let room = Conversation::Room("two".into());
        if !has_left && page.iter().any(|message| message.to == room) {
            store.commit_one(leave("b", "two"));
            has_left = true;
        } else if has_left {
            let of_room = page.iter().filter(|message| message.to == room);
            assert!(of_room.into_iter().all(|message| message.from == "b"));
        }
    });
    assert!(has_left);
    let all = sorted(all.iter().map(number).collect());
    let own = exported(store, "b");
    assert!(own.iter().all(|n| all.contains(n)), "{own:?} {all:?}");
}

pub fn an_export_page_ends_where_its_bytes_do(store: &mut TestStore) {
    let text = "x".repeat(1000);
    let writes: Vec<_> = (1..=10)
        .map(|n| message(["b", "c"][n as usize % 2], "a", n, &text))
        .collect();
    store.commit(&writes);
    let mut after = None;
    let mut sizes = Vec::new();
    loop {
        let query = ExportQuery {
            user: "a".into(),
            after,
            limit: 100,
            bytes: 5000,
        };
        let page = store.reader().export(&query).expect("a page is read");
        let page = page.expect("the user is known");
        sizes.push(page.messages.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // Also one that is longer than that.
    assert_eq!(sizes, [3, 3, 3, 1]);
    store.commit_one(message("a", "d", 11, &"x".repeat(20_000)));
    assert_eq!(messages(store, "d", 5, |_, _| {}).len(), 1);
    let query = ExportQuery {
        user: "d".into(),
        after: None,
        limit: 100,
        bytes: 1,
    };
    let page = store.reader().export(&query).expect("a page is read");
    assert_eq!(page.expect("the user is known").messages.len(), 1);
}

pub fn a_position_in_an_export_is_valid_for_its_user_only(store: &mut TestStore) {
    store.commit(&[
        message("a", "b", 1, "x"),
        message("a", "b", 2, "x"),
        message("c", "b", 3, "x"),
    ]);
    let first = page(store, "a", None, 1).expect("the user is known");
    let next = first.next.expect("there is another message");
    assert_eq!(page(store, "b", Some(next), 10), None);
    let second = page(store, "a", Some(next), 10).expect("the user is known");
    assert_eq!(second.messages.iter().map(number).collect::<Vec<_>>(), [2]);
}

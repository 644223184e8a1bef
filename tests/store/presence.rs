//! When users were last seen, and who may know what they have received.

use dmwire::store::{Outcome, PresenceMode, RoomMode, RoomRules, UserStatus, Write};

use crate::fixture::TestStore;
use crate::rooms::{RULES, join};
use crate::writes::{conversations_query, id, message, read, receive, status};

fn seen(user: &str, until: Option<i64>) -> Write {
    Write::Seen {
        user: user.into(),
        until,
    }
}

fn last_seen(store: &mut TestStore, user: &str) -> Option<i64> {
    let found = store.reader().watched("viewer", &[user.into()]);
    found.expect("it is read")[0].last_seen
}

/// The number of the message that `peer` is shown to have received, as `user` sees it.
fn their_received(store: &mut TestStore, user: &str, peer: &str) -> Option<u32> {
    let query = conversations_query(user, None, 100);
    let page = store.reader().conversations(&query);
    let page = page.expect("they are read").expect("a page");
    let item = page
        .items
        .iter()
        .find(|item| item.conversation.peer().is_some_and(|name| **name == *peer));
    let id = item.expect("a conversation").their_received;
    id.map(|id| id.as_u128() as u32)
}

pub fn a_late_record_does_not_change_when_an_invisible_user_was_seen(store: &mut TestStore) {
    let lost = |store: &mut TestStore| {
        let at = store.now + 900;
        store.commit_one(Write::LostSessions { at });
        at
    };
    store.commit_one(seen("ada", None));
    store.commit_one(status("ada", UserStatus::Invisible));
    let since = store.now;
    assert_eq!(last_seen(store, "ada"), Some(since));
    // Records of before: the user has a session, the last one has ended.
    store.commit_one(seen("ada", None));
    lost(store);
    assert_eq!(last_seen(store, "ada"), Some(since));
    let end = store.now;
    store.commit_one(seen("ada", Some(end)));
    assert_eq!(last_seen(store, "ada"), Some(since));
    // In the same commit, and after a start.
    store.commit(&[
        status("ada", UserStatus::Away),
        seen("ada", None),
        status("ada", UserStatus::Invisible),
        seen("ada", None),
    ]);
    let since = store.now;
    store.reopen();
    store.commit_one(seen("ada", None));
    lost(store);
    assert_eq!(last_seen(store, "ada"), Some(since));
    // A user who is visible again is recorded again.
    store.commit(&[status("ada", UserStatus::Busy), seen("ada", None)]);
    let at = lost(store);
    assert_eq!(last_seen(store, "ada"), Some(at));
    store.commit(&[seen("ada", None), seen("ada", Some(at + 5))]);
    assert_eq!(last_seen(store, "ada"), Some(at + 5));
}

pub fn without_rooms_former_members_are_strangers(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("ada", "lobby"), join("bob", "lobby")]);
    store.commit_one(message("ada", "bob", 1, "x"));
    let visible = |store: &mut TestStore| match store.commit_one(receive("bob", "phone", 99)) {
        Outcome::Received(received) => received.iter().map(|one| one.visible).collect(),
        other => panic!("expected receipts, found {other:?}"),
    };
    let all: Vec<bool> = visible(store);
    assert_eq!(all, [true]);
    assert_eq!(their_received(store, "ada", "bob"), Some(1));
    if !store.is_persistent {
        return;
    }
    store.set_rooms(RoomRules {
        mode: RoomMode::Off,
        ..RULES
    });
    assert!(!store.reader().is_mutual("ada", "bob").expect("it is read"));
    assert_eq!(their_received(store, "ada", "bob"), None);
    store.commit_one(message("ada", "bob", 2, "x"));
    let all: Vec<bool> = visible(store);
    assert_eq!(all, [false]);
    assert_eq!(their_received(store, "ada", "bob"), None);
    // With rooms again, they see each other again.
    store.set_rooms(RULES);
    assert_eq!(their_received(store, "ada", "bob"), Some(2));
}

pub fn what_is_deferred_in_many_conversations_is_shown_before_the_user_is_invisible_again(
    store: &mut TestStore,
) {
    const PEERS: u32 = 100;
    store.commit_one(status("uma", UserStatus::Invisible));
    for n in 0..PEERS {
        let peer = format!("peer{n}");
        store.commit(&[
            message("uma", &peer, 2 * n, "x"),
            message(&peer, "uma", 2 * n + 1, "x"),
            receive("uma", "phone", 999),
        ]);
    }
    store.commit(&[
        message("uma", "vic", 900, "x"),
        message("vic", "uma", 901, "x"),
        status("vic", UserStatus::Invisible),
        receive("vic", "phone", 999),
    ]);
    assert_eq!(their_received(store, "peer7", "uma"), None);
    let outcomes = store.commit(&[
        status("uma", UserStatus::Busy),
        status("uma", UserStatus::Invisible),
    ]);
    assert!(matches!(outcomes[0], Outcome::StatusSet { reveals: true }));
    for n in 0..PEERS {
        let shown = their_received(store, &format!("peer{n}"), "uma");
        assert_eq!(shown, Some(2 * n + 1));
    }
    // Not what others defer.
    assert_eq!(their_received(store, "uma", "vic"), None);
    store.verify();
    // An action reveals only what was received since.
    let informed = |outcome: Outcome| match outcome {
        Outcome::ReadMark { received, .. } => received,
        other => panic!("expected a read mark, found {other:?}"),
    };
    store.commit_one(message("peer8", "uma", 500, "x"));
    store.commit_one(receive("uma", "phone", 999));
    assert_eq!(informed(store.commit_one(read("uma", "peer7", 15))), None);
    let outcome = store.commit_one(read("uma", "peer8", 17));
    assert_eq!(informed(outcome), Some(id(500)));
    let outcome = store.commit_one(read("vic", "uma", 900));
    assert!(matches!(outcome, Outcome::ReadMark { moved: true, .. }));
    store.verify();
}

pub fn what_was_shown_with_another_setting_stays_shown(store: &mut TestStore) {
    store.set_presence(PresenceMode::Off);
    for peer in ["bob", "eli"] {
        store.commit(&[
            message("ada", peer, 1, "x"),
            message(peer, "ada", 2, "x"),
            message("ada", peer, 3, "x"),
        ]);
    }
    store.commit_one(status("eli", UserStatus::Invisible));
    for user in ["bob", "eli"] {
        store.commit_one(receive(user, "phone", 99));
    }
    let before = [
        their_received(store, "ada", "bob"),
        their_received(store, "ada", "eli"),
    ];
    assert_eq!(before, [None, None]);
    if !store.is_persistent {
        return;
    }
    for mode in [PresenceMode::Contacts, PresenceMode::Everyone] {
        store.set_presence(mode);
        assert_eq!(their_received(store, "ada", "bob"), Some(3));
        assert_eq!(their_received(store, "ada", "eli"), None);
    }
    store.set_presence(PresenceMode::Off);
    assert_eq!(their_received(store, "ada", "bob"), Some(3));
    assert_eq!(their_received(store, "ada", "eli"), None);
    store.verify();
}

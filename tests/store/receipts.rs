//! Watermarks of devices and read marks of users.

use dmwire::store::{Outcome, PresenceMode, Received, UserStatus, Write};

use crate::fixture::TestStore;
use crate::writes::{
    block, conversations_query, delete, edit, id, message, react, read, receive, status,
};

pub fn watermarks_only_increase(store: &mut TestStore) {
    // bob's inbox: ada's messages 1, 10 and 20 at 1, 3 and 5, his own at 2, 4 and 6.
    store.commit(&[
        message("ada", "bob", 1, "x"),
        message("bob", "ada", 2, "x"),
        message("ada", "bob", 10, "x"),
        message("bob", "ada", 11, "x"),
        message("ada", "bob", 20, "x"),
        message("bob", "ada", 21, "x"),
    ]);
    let received = |from: &str, n| {
        let peer = from.into();
        Outcome::Received(vec![Received {
            peer,
            id: id(n),
            visible: true,
        }])
    };
    let nothing = Outcome::Received(Vec::new());
    assert_eq!(store.open_inbox("bob", "phone").received, 0);
    let outcome = store.commit_one(receive("bob", "phone", 3));
    assert_eq!(outcome, received("ada", 10));
    assert_eq!(store.commit_one(receive("bob", "phone", 3)), nothing);
    assert_eq!(store.commit_one(receive("bob", "phone", 1)), nothing);
    assert_eq!(store.open_inbox("bob", "phone").received, 3);
    // A new device starts at the highest watermark, and lower ones of its own make no receipt.
    assert_eq!(store.open_inbox("bob", "desk").received, 3);
    assert_eq!(store.commit_one(receive("bob", "desk", 2)), nothing);
    assert_eq!(store.open_inbox("bob", "desk").received, 2);
    assert_eq!(store.open_inbox("bob", "third").received, 3);
    // A user's own messages make no receipt.
    assert_eq!(store.commit_one(receive("bob", "phone", 4)), nothing);
    // A watermark beyond the newest entry counts as the newest.
    let outcome = store.commit_one(receive("bob", "desk", u64::MAX >> 1));
    assert_eq!(outcome, received("ada", 20));
    assert_eq!(store.open_inbox("bob", "desk").received, 6);
    store.reopen();
    assert_eq!(store.open_inbox("bob", "desk").received, 6);
    assert_eq!(store.open_inbox("bob", "phone").received, 4);
    assert_eq!(store.commit_one(receive("bob", "phone", 6)), nothing);
}

pub fn one_watermark_covers_several_conversations(store: &mut TestStore) {
    store.commit(&[
        message("dan", "eve", 30, "0"),
        message("cy", "eve", 40, "1"),
        message("dan", "eve", 41, "2"),
        message("eve", "cy", 42, "3"),
        message("dan", "eve", 43, "4"),
    ]);
    let Outcome::Received(mut all) = store.commit_one(receive("eve", "phone", 99)) else {
        panic!("expected receipts");
    };
    all.sort_by(|a, b| a.peer.cmp(&b.peer));
    // Only cy has had an answer.
    let all: Vec<_> = all.iter().map(|r| (&*r.peer, r.id, r.visible)).collect();
    assert_eq!(all, [("cy", id(40), true), ("dan", id(43), false)]);
}

/// The unread count of a user's only conversation, and its marks: own read, peer's read, peer's received.
fn marks(store: &mut TestStore, user: &str) -> (u64, [Option<u32>; 3]) {
    let page = store.conversations(&conversations_query(user, None, 10));
    assert_eq!((page.items.len(), page.cursor), (1, None));
    let item = &page.items[0];
    let marks = [item.my_read, item.their_read, item.their_received];
    let marks = marks.map(|mark| mark.map(|id| id.as_u128() as u32));
    (item.unread, marks)
}

pub fn read_marks_only_increase(store: &mut TestStore) {
    store.commit(&[
        message("hal", "ivy", 60, "1"),
        message("hal", "ivy", 61, "2"),
        message("ivy", "hal", 62, "3"),
        message("hal", "ivy", 63, "4"),
    ]);
    assert_eq!(marks(store, "ivy"), (3, [None; 3]));
    assert_eq!(marks(store, "hal"), (1, [None; 3]));
    let marked = |moved| Outcome::ReadMark {
        moved,
        blocked: false,
        received: None,
        members: None,
    };
    assert_eq!(store.commit_one(read("ivy", "hal", 61)), marked(true));
    assert_eq!(store.commit_one(read("ivy", "hal", 61)), marked(false));
    assert_eq!(store.commit_one(read("ivy", "hal", 60)), marked(false));
    for unknown in [read("ivy", "hal", 64), read("ada", "hal", 61)] {
        assert_eq!(store.commit_one(unknown), Outcome::UnknownMessage);
    }
    // A read message counts as received.
    assert_eq!(marks(store, "ivy"), (1, [Some(61), None, None]));
    assert_eq!(marks(store, "hal"), (1, [None, Some(61), Some(61)]));
    store.commit_one(receive("ivy", "phone", 4));
    assert_eq!(marks(store, "hal"), (1, [None, Some(61), Some(63)]));
    store.reopen();
    let outcomes = store.commit(&[read("ivy", "hal", 63), read("ivy", "hal", 62)]);
    assert_eq!(outcomes, [marked(true), marked(false)]);
    assert_eq!(marks(store, "ivy"), (0, [Some(63), None, None]));
    assert_eq!(marks(store, "hal"), (1, [None, Some(63), Some(63)]));
}

pub fn a_deleted_message_is_not_unread(store: &mut TestStore) {
    store.commit_one(message("hal", "ivy", 65, "5"));
    assert_eq!(marks(store, "ivy").0, 1);
    store.commit_one(delete("hal", "ivy", 65));
    assert_eq!(marks(store, "ivy").0, 0);
}

pub fn a_first_answer_reveals_what_was_received(store: &mut TestStore) {
    let new_contact = |outcome: Outcome| match outcome {
        Outcome::Stored {
            new_contact,
            received,
            ..
        } => (new_contact, received),
        other => panic!("expected a stored message, found {other:?}"),
    };
    let contact = |n: Option<u32>| (true, n.map(id));
    let no_contact = (false, None);
    for n in 70..73 {
        let first = store.commit_one(message("jo", "kim", n, "hello?"));
        assert_eq!(new_contact(first), no_contact);
    }
    store.commit_one(receive("kim", "phone", 2));
    // A stranger does not see it, unless a message was read.
    assert_eq!(marks(store, "jo"), (0, [None; 3]));
    store.commit_one(read("kim", "jo", 70));
    assert_eq!(marks(store, "jo"), (0, [None, Some(70), Some(70)]));
    let answer = store.commit_one(message("kim", "jo", 73, "hello!"));
    assert_eq!(new_contact(answer), contact(Some(71)));
    assert_eq!(marks(store, "jo"), (1, [None, Some(70), Some(71)]));
    for (from, to, n) in [("jo", "kim", 74), ("kim", "jo", 75), ("jo", "jo", 76)] {
        let later = store.commit_one(message(from, to, n, "x"));
        assert_eq!(new_contact(later), no_contact);
    }
    // Nothing was received yet.
    store.commit_one(message("lea", "kim", 77, "x"));
    let answer = store.commit_one(message("kim", "lea", 78, "x"));
    assert_eq!(new_contact(answer), contact(None));
    // One of the two blocks the other.
    store.commit_one(message("moe", "kim", 79, "x"));
    store.commit_one(receive("kim", "phone", 99));
    store.commit_one(block("kim", "moe"));
    let answer = store.commit_one(message("kim", "moe", 80, "x"));
    assert_eq!(new_contact(answer), contact(None));
}

/// What the other user of the conversation is informed of, if anything.
fn informed(outcome: Outcome) -> Option<u32> {
    let received = match outcome {
        Outcome::Stored { received, .. } | Outcome::ReadMark { received, .. } => received,
        Outcome::Received(mut all) => {
            let one = all.pop().expect("more was received");
            assert!(all.is_empty());
            one.visible.then_some(one.id)
        }
        other => panic!("unexpected: {other:?}"),
    };
    received.map(|id| id.as_u128() as u32)
}

pub fn with_presence_off_a_read_or_a_write_reveals_what_was_received(store: &mut TestStore) {
    store.set_presence(PresenceMode::Off);
    for n in 90..93 {
        store.commit_one(message("ned", "oli", n, "x"));
    }
    let outcome = store.commit_one(receive("oli", "phone", 2));
    assert_eq!(informed(outcome), None);
    assert_eq!(marks(store, "ned").1, [None; 3]);
    assert_eq!(informed(store.commit_one(read("oli", "ned", 90))), Some(91));
    assert_eq!(marks(store, "ned").1, [None, Some(90), Some(91)]);
    // Nothing new is revealed by the same read, or to the other side's own reads and messages.
    assert_eq!(informed(store.commit_one(receive("oli", "phone", 3))), None);
    for write in [
        read("oli", "ned", 90),
        edit("ned", "oli", 90, "y"),
        message("ned", "oli", 93, "x"),
    ] {
        assert_eq!(informed(store.commit_one(write)), None);
    }
    assert_eq!(marks(store, "ned").1, [None, Some(90), Some(91)]);
    store.reopen();
    assert_eq!(marks(store, "ned").1, [None, Some(90), Some(91)]);
    let answer = store.commit_one(message("oli", "ned", 94, "x"));
    assert_eq!(informed(answer), Some(92));
    assert_eq!(marks(store, "ned").1, [None, Some(90), Some(92)]);
    // What is read up to the newest message reveals no more than the read mark.
    assert_eq!(informed(store.commit_one(receive("oli", "phone", 5))), None);
    assert_eq!(informed(store.commit_one(read("oli", "ned", 93))), None);
    assert_eq!(marks(store, "ned").1, [None, Some(93), Some(93)]);
    // So do changes, and not what was done before.
    for n in 95..97 {
        store.commit_one(message("ned", "oli", n, "x"));
        assert_eq!(
            informed(store.commit_one(receive("oli", "phone", 99))),
            None
        );
        let change = react("oli", "ned", 90, if n == 95 { "+" } else { "-" });
        assert_eq!(informed(store.commit_one(change.clone())), Some(n));
        assert_eq!(informed(store.commit_one(change)), None);
    }
    // Not to a user who is blocked.
    store.commit(&[block("oli", "ned"), message("oli", "ned", 97, "x")]);
    store.commit_one(block("ned", "pat"));
    assert_eq!(marks(store, "ned").1, [None; 3]);
    store.verify();
    // With another setting, what is deferred is shown.
    store.commit(&[
        message("quin", "rob", 98, "x"),
        message("rob", "quin", 99, "x"),
    ]);
    assert_eq!(informed(store.commit_one(receive("rob", "phone", 9))), None);
    store.set_presence(PresenceMode::Contacts);
    if store.is_persistent {
        assert_eq!(marks(store, "quin").1, [None, None, Some(98)]);
        store.commit_one(message("quin", "rob", 100, "x"));
        assert_eq!(
            informed(store.commit_one(receive("rob", "phone", 9))),
            Some(100)
        );
        store.verify();
    }
}

pub fn everyone_sees_what_strangers_have_received(store: &mut TestStore) {
    store.set_presence(PresenceMode::Everyone);
    store.commit_one(message("sue", "tom", 101, "x"));
    assert_eq!(
        informed(store.commit_one(receive("tom", "phone", 9))),
        Some(101)
    );
    assert_eq!(marks(store, "sue").1, [None, None, Some(101)]);
    let answer = store.commit_one(message("tom", "sue", 102, "x"));
    assert!(matches!(
        answer,
        Outcome::Stored {
            new_contact: true,
            received: None,
            ..
        }
    ));
    store.set_presence(PresenceMode::Contacts);
}

pub fn what_an_invisible_user_has_received_is_revealed_in_steps(store: &mut TestStore) {
    const PEERS: u32 = 70;
    let set = |store: &mut TestStore, value| match store.commit_one(status("uma", value)) {
        Outcome::StatusSet { reveals } => reveals,
        other => panic!("expected a status, found {other:?}"),
    };
    let reveal = |store: &mut TestStore| {
        let reveal = Write::Reveal { user: "uma".into() };
        match store.commit_one(reveal) {
            Outcome::Revealed { received, more } => {
                let ids = received.iter().map(|one| one.id.as_u128() as u32);
                (ids.collect::<Vec<_>>(), more)
            }
            other => panic!("expected receipts, found {other:?}"),
        }
    };
    assert!(!set(store, UserStatus::Invisible));
    for n in 0..PEERS {
        let peer = format!("peer{n}");
        store.commit(&[
            message("uma", &peer, 200 + 2 * n, "x"),
            message(&peer, "uma", 201 + 2 * n, "x"),
        ]);
        assert_eq!(
            informed(store.commit_one(receive("uma", "phone", 999))),
            None
        );
    }
    store.commit_one(message("stranger", "uma", 400, "x"));
    assert_eq!(
        informed(store.commit_one(receive("uma", "phone", 999))),
        None
    );
    // Nothing is revealed while the user is invisible.
    assert_eq!(reveal(store), (Vec::new(), false));
    assert_eq!(marks(store, "peer4").1, [None; 3]);
    store.reopen();
    assert!(!set(store, UserStatus::Invisible));
    assert_eq!(marks(store, "peer4").1, [None; 3]);
    assert!(set(store, UserStatus::Away));
    assert_eq!(marks(store, "peer4").1, [None, None, Some(209)]);
    // What is received or sent meanwhile is not revealed twice.
    store.commit(&[
        message("peer1", "uma", 401, "x"),
        message("peer2", "uma", 402, "x"),
    ]);
    let Outcome::Received(received) = store.commit_one(receive("uma", "phone", 999)) else {
        panic!("expected receipts");
    };
    assert!(received.len() == 2 && received.iter().all(|one| one.visible));
    let answer = store.commit_one(message("uma", "peer3", 403, "x"));
    assert_eq!(informed(answer), Some(207));
    let (mut revealed, more) = reveal(store);
    assert!(more && revealed.len() < 65);
    assert!(!set(store, UserStatus::Busy));
    let (rest, more) = reveal(store);
    assert!(!more);
    revealed.extend(rest);
    revealed.sort_unstable();
    let expected = (0..PEERS).filter(|n| !(1..=3).contains(n));
    let expected: Vec<u32> = expected.map(|n| 201 + 2 * n).collect();
    assert_eq!(revealed, expected);
    assert_eq!(reveal(store), (Vec::new(), false));
    store.verify();
    // A user who is invisible again has been visible until then.
    set(store, UserStatus::Invisible);
    store.commit_one(message("peer5", "uma", 404, "x"));
    store.commit_one(receive("uma", "phone", 999));
    assert!(set(store, UserStatus::Online));
    assert!(!set(store, UserStatus::Invisible));
    assert_eq!(marks(store, "peer5").1, [None, None, Some(404)]);
    assert!(!set(store, UserStatus::Online));
    store.verify();
}

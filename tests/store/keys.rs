//! Writes on behalf of keys: in the name of users, under other rules.

use dmwire::store::{
    Authority, Conversation, HistoryAnswer, HistoryQuery, MembershipKind, MessageRef, NewMessage,
    Outcome, Quotas, Recipient, RoomMode, RoomRules, Write,
};

use crate::fixture::TestStore;
use crate::rooms::{RULES, delete, inbox, join, leave, say};
use crate::writes::{
    block, conversations_query, duplicate, history_query, id, message, number, receive,
};

/// The same write on behalf of a key.
fn by_key(write: Write) -> Write {
    with(write, Authority::Key)
}

fn with(write: Write, authority: Authority) -> Write {
    match write {
        Write::Message(message) => Write::Message(NewMessage {
            authority,
            ..message
        }),
        Write::Join { user, room, .. } => Write::Join {
            user,
            room,
            kind: MembershipKind::Assigned,
        },
        Write::Leave { user, room, .. } => Write::Leave {
            user,
            room,
            kind: MembershipKind::Assigned,
        },
        Write::Delete(at) => Write::Moderate(at),
        other => other,
    }
}

fn moderate(author: &str, conversation: Conversation, n: u32) -> Write {
    Write::Moderate(MessageRef {
        actor: author.into(),
        conversation,
        id: id(n),
    })
}

/// The author's entry, and those of the recipients.
fn stored(outcome: &Outcome) -> (Option<u64>, Vec<(String, u64)>) {
    match outcome {
        Outcome::Stored {
            seq,
            recipients,
            duplicate: false,
            ..
        } => {
            let entry = |recipient: &Recipient| (recipient.user.to_string(), recipient.seq);
            (*seq, recipients.iter().map(entry).collect())
        }
        other => panic!("expected a new message, found {other:?}"),
    }
}

fn to(user: &str, seq: u64) -> Vec<(String, u64)> {
    vec![(user.to_owned(), seq)]
}

/// The conversations of a user with the numbers of their last messages, newest first.
fn listed(store: &mut TestStore, user: &str) -> Vec<(String, u32)> {
    let page = store.conversations(&conversations_query(user, None, 100));
    let item = |item: &dmwire::store::ConversationItem| {
        let name = match &item.conversation {
            Conversation::Direct(peer) | Conversation::Room(peer) => peer.to_string(),
        };
        (name, item.last.as_ref().map_or(0, number))
    };
    page.items.iter().map(item).collect()
}

pub fn an_author_who_has_never_connected_gets_no_entries(store: &mut TestStore) {
    let outcomes = store.commit(&[
        by_key(message("system", "ada", 1, "a")),
        by_key(message("system", "bo", 2, "b")),
        // Long content is not delayed in the log.
        by_key(message("system", "ada", 3, &"c".repeat(5000))),
        by_key(message("system", "ada", 4, "d")),
    ]);
    let expected = [to("ada", 1), to("bo", 1), to("ada", 2), to("ada", 3)];
    for (outcome, recipients) in outcomes.iter().zip(expected) {
        assert_eq!(stored(outcome), (None, recipients));
    }
    assert_eq!(store.head("system"), 0);
    assert_eq!(inbox(store, "ada"), ["message 1", "message 3", "message 4"]);
    // The author's conversations are complete all the same, in the order of their messages.
    let both = |store: &mut TestStore| {
        assert_eq!(
            listed(store, "system"),
            [("ada".to_owned(), 4), ("bo".to_owned(), 2)]
        );
        assert_eq!(listed(store, "ada"), [("system".to_owned(), 4)]);
    };
    both(store);
    store.reopen();
    both(store);
    // Repetitions, on behalf of either.
    for repeated in [message("system", "bo", 2, "b"), message("bo", "bo", 7, "x")] {
        store.commit_one(repeated);
    }
    let again = store.commit_one(by_key(message("system", "bo", 2, "b")));
    assert_eq!(duplicate(&again).0, None);
    let other = store.commit_one(by_key(message("system", "bo", 2, "other")));
    assert_eq!(other, Outcome::IdConflict);
    store.verify();
    // From the first session on, the author has entries.
    store.open_inbox("system", "phone");
    let outcome = store.commit_one(by_key(message("system", "bo", 5, "e")));
    assert_eq!(stored(&outcome), (Some(1), to("bo", 3)));
    store.verify();
    store.now += 40 * crate::fixture::DAY;
    store.maintain();
    store.verify();
    assert_eq!(listed(store, "system"), []);
}

pub fn an_author_who_has_connected_gets_entries(store: &mut TestStore) {
    store.commit_one(receive("ada", "phone", 1));
    let outcome = store.commit_one(by_key(message("ada", "bo", 1, "a")));
    assert_eq!(stored(&outcome), (Some(1), to("bo", 1)));
    // The same message as a frame of the author, and the reverse.
    let again = store.commit_one(message("ada", "bo", 1, "a"));
    assert_eq!(duplicate(&again).0, Some(1));
    store.commit_one(message("ada", "bo", 2, "b"));
    let again = store.commit_one(by_key(message("ada", "bo", 2, "b")));
    assert_eq!(duplicate(&again).0, Some(2));
    // A message to oneself is an entry of its recipient, whether or not the author has connected.
    for user in ["ada", "cy"] {
        let outcome = store.commit_one(by_key(message(user, user, 3, "c")));
        assert_eq!(stored(&outcome).0, Some(store.head(user)));
    }
    assert_eq!(inbox(store, "cy"), ["message 3"]);
    store.verify();
}

pub fn users_that_a_key_names_are_known(store: &mut TestStore) {
    let quotas = Quotas {
        known_only: true,
        ..Quotas::default()
    };
    store.set_quotas(quotas);
    let unknown = store.commit_one(message("ada", "bo", 1, "a"));
    assert_eq!(unknown, Outcome::UnknownUser);
    stored(&store.commit_one(by_key(message("system", "bo", 2, "b"))));
    store.reopen();
    for user in ["bo", "system"] {
        stored(&store.commit_one(message("ada", user, 3, "c")));
    }
    store.set_rooms(RULES);
    if store.is_persistent {
        store.commit_one(by_key(join("cy", "lobby")));
        stored(&store.commit_one(message("ada", "cy", 4, "d")));
    }
    // Messages to users who are named later count no longer.
    store.set_quotas(Quotas {
        unknown_recipients_per_user: 1,
        ..Quotas::default()
    });
    stored(&store.commit_one(message("dee", "eve", 5, "e")));
    let limit = store.commit_one(message("dee", "fay", 6, "f"));
    assert_eq!(limit, Outcome::UnknownRecipientLimit);
    store.commit_one(by_key(message("system", "eve", 7, "g")));
    stored(&store.commit_one(message("dee", "fay", 6, "f")));
    store.verify();
}

pub fn limits_of_users_do_not_apply_to_keys(store: &mut TestStore) {
    store.set_quotas(Quotas {
        user_bytes_per_day: Some(70),
        unknown_recipients_per_user: 0,
        ..Quotas::default()
    });
    store.set_rooms(RoomRules {
        entries_per_second: Some(1),
        entries_burst: 1,
        ..RULES
    });
    for n in 0..5 {
        stored(&store.commit_one(by_key(message("ada", "bo", n, "a"))));
    }
    for user in ["ada", "bo", "cy"] {
        store.commit_one(by_key(join(user, "lobby")));
    }
    for n in 10..15 {
        stored(&store.commit_one(by_key(say("ada", "lobby", n, "b"))));
    }
    // Nothing of it counts for the user's own frames.
    store.commit_one(receive("ada", "phone", 1));
    stored(&store.commit_one(say("ada", "lobby", 20, "c")));
    // Blocks apply.
    store.commit_one(block("bo", "ada"));
    let blocked = store.commit_one(by_key(message("ada", "bo", 9, "a")));
    assert_eq!(blocked, Outcome::Blocked);
    store.verify();
}

pub fn a_key_sends_to_rooms_as_a_member_or_not(store: &mut TestStore) {
    store.set_rooms(RULES);
    let anyone = |n| with(say("system", "lobby", n, "x"), Authority::KeyOfNonMember);
    assert_eq!(store.commit_one(anyone(1)), Outcome::UnknownRoom);
    store.commit_one(join("ada", "lobby"));
    let refused = store.commit_one(by_key(say("system", "lobby", 1, "x")));
    assert_eq!(refused, Outcome::NotMember);
    let outcome = store.commit_one(anyone(1));
    assert_eq!(stored(&outcome), (None, to("ada", 2)));
    assert_eq!(duplicate(&store.commit_one(anyone(1))).0, None);
    let outcome = store.commit_one(with(say("ada", "lobby", 2, "y"), Authority::KeyOfNonMember));
    assert_eq!(stored(&outcome).0, Some(3));
    // A member who has never connected.
    store.commit_one(by_key(join("bo", "lobby")));
    let outcome = store.commit_one(by_key(say("bo", "lobby", 3, "z")));
    assert_eq!(stored(&outcome), (None, to("ada", 5)));
    stored(&store.commit_one(say("ada", "lobby", 4, "w")));
    assert_eq!(inbox(store, "bo"), ["joined bo 2", "message 4"]);
    assert_eq!(listed(store, "bo"), [("lobby".to_owned(), 4)]);
    store.verify();
    // Without members, the room exists as long as it has messages.
    for user in ["ada", "bo"] {
        store.commit_one(leave(user, "lobby"));
    }
    assert_eq!(stored(&store.commit_one(anyone(5))), (None, vec![]));
    store.verify();
    store.now += 40 * crate::fixture::DAY;
    store.maintain();
    assert_eq!(store.commit_one(anyone(6)), Outcome::UnknownRoom);
    store.verify();
}

pub fn a_member_whom_a_key_removes_cannot_join_again(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[join("ada", "lobby"), join("bo", "lobby")]);
    let left = store.commit_one(by_key(leave("bo", "lobby")));
    assert!(matches!(
        left,
        Outcome::Membership {
            duplicate: false,
            members: 1,
            ..
        }
    ));
    assert_eq!(inbox(store, "bo"), ["joined bo 2", "left bo 1"]);
    let closed = |store: &mut TestStore| {
        assert_eq!(store.commit_one(join("bo", "lobby")), Outcome::RoomClosed);
        let of_session = Write::Join {
            user: "bo".into(),
            room: "lobby".into(),
            kind: MembershipKind::Session,
        };
        assert_eq!(store.commit_one(of_session), Outcome::RoomClosed);
    };
    closed(store);
    store.reopen();
    closed(store);
    // A leave or a removal by then changes nothing.
    for write in [leave("bo", "lobby"), by_key(leave("bo", "lobby"))] {
        let outcome = store.commit_one(write);
        assert!(matches!(
            outcome,
            Outcome::Membership {
                seq: None,
                duplicate: true,
                ..
            }
        ));
    }
    closed(store);
    store.verify();
    // Also after the last member has left, and the room has no messages.
    store.commit_one(leave("ada", "lobby"));
    store.now += 40 * crate::fixture::DAY;
    store.maintain();
    closed(store);
    // The user is a member again, and may leave and join.
    store.commit_one(by_key(join("bo", "lobby")));
    store.commit(&[leave("bo", "lobby"), join("bo", "lobby")]);
    let again = store.commit_one(join("bo", "lobby"));
    assert!(matches!(
        again,
        Outcome::Membership {
            duplicate: true,
            members: 1,
            ..
        }
    ));
    // Who is not a member is not removed.
    store.commit_one(by_key(leave("cy", "lobby")));
    let joined = store.commit_one(join("cy", "lobby"));
    assert!(matches!(joined, Outcome::Membership { members: 2, .. }));
    store.verify();
}

pub fn a_key_makes_members_of_a_managed_room(store: &mut TestStore) {
    store.set_rooms(RoomRules {
        mode: RoomMode::Managed,
        ..RULES
    });
    assert_eq!(store.commit_one(join("a", "lobby")), Outcome::RoomClosed);
    for user in ["a", "b", "c", "d", "e"] {
        store.commit_one(by_key(join(user, "lobby")));
    }
    // The sizes of rooms are limited all the same.
    let full = store.commit_one(by_key(join("f", "lobby")));
    assert_eq!(full, Outcome::RoomFull);
    for room in ["1", "2", "3"] {
        store.commit_one(by_key(join("f", room)));
    }
    let many = store.commit_one(by_key(join("f", "4")));
    assert_eq!(many, Outcome::TooManyRooms);
    let again = store.commit_one(join("a", "lobby"));
    assert!(matches!(
        again,
        Outcome::Membership {
            duplicate: true,
            ..
        }
    ));
    // The members have not connected by that.
    assert!(!store.open_inbox("b", "phone").has_connected);
    store.verify();
}

pub fn a_key_deletes_messages_in_the_name_of_their_authors(store: &mut TestStore) {
    store.set_rooms(RULES);
    store.commit(&[
        message("ada", "bo", 1, "a"),
        message("bo", "ada", 2, "b"),
        block("bo", "ada"),
    ]);
    let with_bo = || Conversation::Direct("bo".into());
    // The author could not delete it at the moment.
    let refused = store.commit_one(crate::writes::delete("ada", "bo", 1));
    assert_eq!(refused, Outcome::Blocked);
    let outcome = store.commit_one(moderate("ada", with_bo(), 1));
    assert_eq!(stored(&outcome), (Some(3), to("bo", 3)));
    let again = store.commit_one(moderate("ada", with_bo(), 1));
    assert_eq!(duplicate(&again).0, Some(3));
    assert_eq!(
        store.commit_one(moderate("ada", with_bo(), 2)),
        Outcome::NotAuthor
    );
    assert_eq!(
        store.commit_one(moderate("ada", with_bo(), 9)),
        Outcome::UnknownMessage
    );
    // An author without entries.
    store.commit_one(by_key(message("system", "bo", 3, "c")));
    let outcome = store.commit_one(moderate("system", with_bo(), 3));
    assert_eq!(stored(&outcome), (None, to("bo", 5)));
    assert_eq!(
        duplicate(&store.commit_one(moderate("system", with_bo(), 3))).0,
        None
    );
    assert_eq!(store.head("system"), 0);
    // An author who has left the room.
    store.commit(&[
        join("ada", "lobby"),
        join("bo", "lobby"),
        say("bo", "lobby", 4, "d"),
    ]);
    store.commit_one(leave("bo", "lobby"));
    assert_eq!(
        store.commit_one(delete("bo", "lobby", 4)),
        Outcome::NotMember
    );
    let head = store.head("bo");
    let lobby = || Conversation::Room("lobby".into());
    let outcome = store.commit_one(moderate("bo", lobby(), 4));
    assert_eq!(stored(&outcome), (None, to("ada", store.head("ada"))));
    assert_eq!(store.head("bo"), head);
    let nowhere = Conversation::Room("nowhere".into());
    assert_eq!(
        store.commit_one(moderate("bo", nowhere, 4)),
        Outcome::UnknownMessage
    );
    let answer = store.reader().history(&HistoryQuery {
        conversation: lobby(),
        ..history_query("ada", "lobby", None, 10)
    });
    let HistoryAnswer::Page(page) = answer.expect("the history is read") else {
        panic!("expected messages");
    };
    assert_eq!(page.messages.len(), 1);
    assert!(page.messages[0].deleted_at.is_some());
    store.reopen();
    store.verify();
}

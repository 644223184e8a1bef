//! Blocks, and limits on messages to users who have never connected.

use dmwire::store::{ConversationItem, Outcome, Quotas};

use crate::fixture::TestStore;
use crate::writes::{
    block, conversations_query, delete, edit, message, react, read, receive, unblock,
};

/// The user's newest conversation.
fn newest_conversation(store: &mut TestStore, user: &str) -> ConversationItem {
    let page = store.conversations(&conversations_query(user, None, 1));
    page.items.into_iter().next().expect("a conversation")
}

pub fn a_block_applies_to_the_writes_behind_it(store: &mut TestStore) {
    store.commit(&[
        message("ned", "oda", 900, "hi"),
        message("oda", "ned", 901, "ho"),
    ]);
    let outcomes = store.commit(&[
        block("oda", "ned"),
        message("ned", "oda", 902, "again"),
        // Repetitions of what was stored before the block are answered as without it.
        message("ned", "oda", 900, "hi"),
        message("ned", "oda", 900, "other"),
        edit("ned", "oda", 900, "ha"),
        edit("ned", "oda", 900, "hi"),
        delete("ned", "oda", 900),
        delete("ned", "oda", 999),
        react("ned", "oda", 901, "+"),
        read("ned", "oda", 901),
        message("oda", "ned", 903, "bye"),
        unblock("oda", "ned"),
        message("ned", "oda", 904, "hello"),
        block("oda", "ned"),
        block("oda", "ned"),
        // A user without a conversation, and one who is unknown.
        block("oda", "stranger"),
        message("stranger", "oda", 905, "hello"),
        unblock("oda", "nobody at all"),
    ]);
    let codes: String = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::BlockSet => 's',
            Outcome::Blocked => 'b',
            Outcome::Stored {
                duplicate: true, ..
            } => 'd',
            Outcome::Stored { .. } => '+',
            Outcome::ReadMark {
                moved: true,
                blocked: true,
                ..
            } => 'm',
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, "sbdbbdbbbm+s+sssbs");
    assert_eq!((store.head("ned"), store.head("oda")), (4, 4));
    assert_eq!(store.head("stranger"), 0);
    let Outcome::Received(received) = store.commit_one(receive("oda", "phone", 4)) else {
        panic!("expected receipts");
    };
    assert!(!received[0].visible, "{received:?}");
    let item = newest_conversation(store, "oda");
    assert_eq!(item.their_read, None, "hidden during a block");
    store.commit_one(unblock("oda", "ned"));
    let item = newest_conversation(store, "oda");
    assert!(item.their_read.is_some(), "shown after the block");
}

pub fn blocks_are_listed_and_limited(store: &mut TestStore) {
    store.set_quotas(Quotas {
        blocks_per_user: 2,
        ..Quotas::default()
    });
    store.commit(&[
        message("ned", "oda", 900, "hi"),
        block("oda", "ned"),
        block("oda", "stranger"),
    ]);
    store.reopen();
    assert_eq!(store.blocks(), ["oda ned", "oda stranger"]);
    let outcome = store.commit_one(message("ned", "oda", 906, "x"));
    assert_eq!(outcome, Outcome::Blocked);
    let outcomes = store.commit(&[
        block("oda", "ned"),
        block("oda", "ada"),
        unblock("oda", "ned"),
        block("oda", "ada"),
        unblock("oda", "ada"),
        unblock("oda", "stranger"),
    ]);
    let rejected = outcomes
        .iter()
        .position(|outcome| *outcome != Outcome::BlockSet);
    assert_eq!((rejected, &outcomes[1]), (Some(1), &Outcome::TooManyBlocks));
    assert_eq!(store.blocks(), [] as [String; 0]);
}

/// One letter for each outcome of a message: stored, duplicate, or the limit that rejected it.
fn codes(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Stored {
            duplicate: true, ..
        } => 'd',
        Outcome::Stored { .. } => '+',
        Outcome::UnknownRecipientLimit => 'l',
        Outcome::UnknownRecipientTotal => 'n',
        Outcome::UnknownUser => 'u',
        other => panic!("{other:?}"),
    };
    outcomes.iter().map(letter).collect()
}

pub fn messages_to_unknown_recipients_are_limited(store: &mut TestStore) {
    let quotas = Quotas {
        unknown_recipients: 5,
        unknown_recipients_per_user: 3,
        ..Quotas::default()
    };
    // Messages from before the limit do not count.
    store.commit(&[
        message("pat", "ghost1", 950, "hi"),
        message("pat", "ghost1", 951, "hi"),
    ]);
    store.set_quotas(quotas);
    store.commit_one(message("ada", "bob", 1, "hi"));
    store.commit_one(receive("bob", "phone", 1));
    let outcomes = store.commit(&[
        message("pat", "pat", 951, "to myself"),
        message("pat", "ghost1", 952, "hi"),
        message("pat", "ghost2", 953, "hi"),
        message("pat", "ghost2", 953, "hi"),
        message("pat", "ghost3", 954, "hi"),
        message("pat", "ghost4", 955, "hi"),
        message("pat", "ghost1", 956, "hi"),
        // A repetition is answered as before, in the same batch too.
        message("pat", "ghost1", 952, "hi"),
        // A user who has connected, but has not written to the sender.
        message("pat", "bob", 957, "bob has devices"),
        message("bob", "pat", 964, "hi"),
        message("pat", "bob", 957, "bob has devices"),
        message("quin", "ghost1", 958, "hi"),
        message("quin", "ghost1", 959, "hi"),
        message("quin", "ghost1", 960, "the sixth of all senders"),
    ]);
    assert_eq!(codes(&outcomes), "+++d+lldl++++n");
    let head = store.head("ghost4");
    assert_eq!(head, 0, "a rejected message creates no user");
    store.reopen();
    let more = [
        message("pat", "ghost5", 961, "hi"),
        message("quin", "ghost5", 962, "hi"),
    ];
    let outcomes = store.commit(&more);
    assert_eq!(codes(&outcomes), "ln", "the counts are stored");
    // A user who connects is known at once; their messages stop counting when it is stored.
    store.open_inbox("ghost1", "phone");
    let hello = [
        message("pat", "ghost1", 963, "you are here!"),
        message("rae", "ghost1", 969, "you are here!"),
    ];
    assert_eq!(codes(&store.commit(&hello)), "l+");
    store.commit_one(receive("ghost1", "phone", 1));
    assert_eq!(codes(&store.commit(&hello)), "+d");
    let outcomes = store.commit(&[
        message("pat", "ghost5", 964, "hi"),
        message("pat", "ghost5", 965, "hi"),
        message("quin", "ghost5", 966, "hi"),
        message("quin", "ghost5", 967, "hi"),
        message("rae", "ghost5", 968, "hi"),
    ]);
    assert_eq!(codes(&outcomes), "+l++n");
}

pub fn only_known_users_receive_messages_when_required(store: &mut TestStore) {
    store.commit_one(message("quin", "ghost5", 966, "hi"));
    store.set_quotas(Quotas {
        known_only: true,
        ..Quotas::default()
    });
    store.commit_one(receive("ghost1", "phone", 0));
    let outcomes = store.commit(&[
        message("quin", "ghost1", 969, "hi"),
        message("quin", "ghost5", 970, "hi"),
        message("quin", "ghost5", 966, "hi"),
        message("quin", "ghost9", 971, "hi"),
        message("quin", "quin", 972, "hi"),
    ]);
    // A message that was stored before is a duplicate, if the store has kept it.
    let expected = if store.is_persistent {
        "+udu+"
    } else {
        "+uuu+"
    };
    assert_eq!(codes(&outcomes), expected);
}

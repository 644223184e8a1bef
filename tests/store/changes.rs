//! Edits, deletions and reactions.

use dmwire::store::{EntryKind, Outcome};

use crate::fixture::TestStore;
use crate::writes::{delete, duplicate, edit, message, react, read, stored, unreact};

pub fn authors_edit_their_messages(store: &mut TestStore) {
    store.commit_one(message("jo", "kim", 70, "frist"));
    let sent_at = store.now;
    let outcome = store.commit_one(edit("jo", "kim", 70, "first"));
    let edited_at = store.now;
    assert_eq!(stored(&outcome), (2, 2));
    let outcome = store.commit_one(edit("kim", "jo", 70, "mine"));
    assert_eq!(outcome, Outcome::NotAuthor);
    for unknown in [edit("jo", "ada", 70, "x"), edit("jo", "kim", 71, "x")] {
        assert_eq!(store.commit_one(unknown), Outcome::UnknownMessage);
    }
    store.reopen();
    let outcome = store.commit_one(edit("jo", "kim", 70, "first"));
    assert_eq!(duplicate(&outcome), (Some(2), edited_at));
    // Sent again with its first content it is a duplicate; with its present content it is another message.
    let outcome = store.commit_one(message("jo", "kim", 70, "frist"));
    assert_eq!(duplicate(&outcome), (Some(1), sent_at));
    let outcome = store.commit_one(message("jo", "kim", 70, "first"));
    assert_eq!(outcome, Outcome::IdConflict);
    // Both entries show the present content.
    let entries = store.entries("kim", 1, 9);
    let fields: Vec<_> = entries
        .iter()
        .map(|e| (&e.kind, &*e.message.content, e.message.edited_at))
        .collect();
    assert_eq!(
        fields,
        [
            (&EntryKind::Message, "\"first\"", Some(edited_at)),
            (&EntryKind::Edited, "\"first\"", Some(edited_at))
        ]
    );
    assert_eq!((entries[1].at, &*entries[1].actor), (edited_at, "jo"));
    // An edit back to the first content is a change too. Two edits in one batch are two, the same one twice is one.
    let outcomes = store.commit(&[
        edit("jo", "kim", 70, "frist"),
        edit("jo", "kim", 70, "first!"),
        edit("jo", "kim", 70, "first!"),
    ]);
    assert_eq!(
        (stored(&outcomes[0]), stored(&outcomes[1])),
        ((3, 3), (4, 4))
    );
    assert_eq!(duplicate(&outcomes[2]).0, Some(4));
}

pub fn an_edit_that_changes_nothing_is_a_duplicate_of_the_message(store: &mut TestStore) {
    store.commit_one(message("jo", "kim", 72, "same"));
    let outcome = store.commit_one(edit("jo", "kim", 72, "same"));
    assert_eq!(duplicate(&outcome).0, Some(1));
    assert_eq!(store.message("jo", "kim", 72).edited_at, None);
}

pub fn authors_delete_their_messages(store: &mut TestStore) {
    store.commit_one(message("leo", "mia", 80, "secret"));
    store.commit_one(react("mia", "leo", 80, "+"));
    let outcome = store.commit_one(delete("mia", "leo", 80));
    assert_eq!(outcome, Outcome::NotAuthor);
    let outcome = store.commit_one(delete("leo", "mia", 80));
    let deleted_at = store.now;
    assert_eq!(stored(&outcome), (3, 3));
    let outcome = store.commit_one(delete("leo", "mia", 80));
    assert_eq!(duplicate(&outcome), (Some(3), deleted_at));
    store.reopen();
    let outcome = store.commit_one(delete("leo", "mia", 80));
    assert_eq!(duplicate(&outcome), (Some(3), deleted_at));
    for write in [
        delete("mia", "leo", 80),
        edit("leo", "mia", 80, "back"),
        react("mia", "leo", 80, "+"),
        unreact("mia", "leo", 80, "+"),
    ] {
        let outcome = store.commit_one(write.clone());
        assert_eq!(outcome, Outcome::UnknownMessage, "{write:?}");
    }
    // Sent again it is still a duplicate, and a read mark may point to it.
    let outcome = store.commit_one(message("leo", "mia", 80, "secret"));
    assert_eq!(duplicate(&outcome).0, Some(1));
    let outcome = store.commit_one(message("leo", "mia", 80, "other"));
    assert_eq!(outcome, Outcome::IdConflict);
    assert_eq!(
        store.commit_one(read("mia", "leo", 80)),
        Outcome::ReadMark {
            moved: true,
            blocked: false,
            received: None,
            members: None,
        }
    );
    let entries = store.entries("mia", 1, 9);
    assert_eq!(entries.len(), 3);
    for entry in entries {
        let message = &entry.message;
        assert_eq!(
            (message.deleted_at, &*message.content),
            (Some(deleted_at), ""),
            "{entry:?}"
        );
    }
    let message = store.message("mia", "leo", 80);
    assert_eq!((&*message.content, message.reactions.len()), ("", 0));
    assert_eq!(message.deleted_at, Some(deleted_at));
}

/// A resend is compared with the first content, also when an edit and a deletion followed.
pub fn an_edited_message_that_is_deleted_is_still_recognised(store: &mut TestStore) {
    store.commit(&[
        message("leo", "mia", 81, "one"),
        edit("leo", "mia", 81, "two"),
        delete("leo", "mia", 81),
    ]);
    let outcome = store.commit_one(message("leo", "mia", 81, "one"));
    assert_eq!(duplicate(&outcome).0, Some(1));
    let outcome = store.commit_one(message("leo", "mia", 81, "two"));
    assert_eq!(outcome, Outcome::IdConflict);
}

pub fn both_users_react(store: &mut TestStore) {
    store.commit_one(message("ned", "oz", 90, "x"));
    let outcomes = store.commit(&[
        react("oz", "ned", 90, "+"),
        react("ned", "oz", 90, "+"),
        react("ned", "oz", 90, "-"),
        react("ned", "oz", 90, "-"),
    ]);
    let reacted_at = store.now;
    let seqs: Vec<_> = outcomes[..3].iter().map(stored).collect();
    assert_eq!(seqs, [(2, 2), (3, 3), (4, 4)]);
    assert_eq!(duplicate(&outcomes[3]), (Some(4), reacted_at));
    let reactions = |store: &mut TestStore| store.message("oz", "ned", 90).reactions;
    let by = |emoji: &str, users: &[&str]| {
        let users: Vec<_> = users.iter().map(ToString::to_string).collect();
        (emoji.to_owned(), users)
    };
    assert_eq!(
        reactions(store),
        [by("+", &["oz", "ned"]), by("-", &["ned"])]
    );
    store.reopen();
    // The removal of a reaction that does not exist changes nothing, and has no entry to point to.
    let outcome = store.commit_one(unreact("oz", "ned", 90, "-"));
    assert_eq!(duplicate(&outcome).0, None);
    let outcome = store.commit_one(unreact("ned", "oz", 90, "-"));
    assert_eq!(stored(&outcome), (5, 5));
    let outcome = store.commit_one(unreact("ned", "oz", 90, "-"));
    assert_eq!(duplicate(&outcome).0, Some(5));
    assert_eq!(reactions(store), [by("+", &["oz", "ned"])]);
    let outcome = store.commit_one(react("ned", "oz", 90, "-"));
    assert_eq!(stored(&outcome), (6, 6));
    for (by, peer, n) in [("ada", "oz", 90), ("oz", "ned", 91), ("oz", "nobody", 90)] {
        let outcome = store.commit_one(react(by, peer, n, "+"));
        assert_eq!(outcome, Outcome::UnknownMessage);
    }
    let kinds: Vec<_> = store
        .entries("oz", 2, 9)
        .into_iter()
        .map(|e| (e.kind, e.actor))
        .collect();
    let reacted = |emoji: &str, removed, by: &str| {
        let emoji = emoji.to_owned();
        (EntryKind::Reacted { emoji, removed }, by.to_owned())
    };
    assert_eq!(
        kinds,
        [
            reacted("+", false, "oz"),
            reacted("+", false, "ned"),
            reacted("-", false, "ned"),
        ]
    );
}

pub fn reactions_are_limited_per_user(store: &mut TestStore) {
    store.commit_one(message("ned", "oz", 90, "x"));
    let outcomes: Vec<_> = (0..40)
        .map(|n| store.commit_one(react("oz", "ned", 90, &format!("e{n}"))))
        .collect();
    let rejected = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::TooManyReactions)
        .count();
    assert!((1..40).contains(&rejected), "{rejected}");
    stored(&store.commit_one(react("ned", "oz", 90, "e0")));
}

pub fn a_reaction_to_a_message_to_oneself_is_one_entry(store: &mut TestStore) {
    store.commit_one(message("pip", "pip", 95, "note"));
    let outcome = store.commit_one(react("pip", "pip", 95, "+"));
    assert_eq!(stored(&outcome), (2, 2));
    assert_eq!(store.inbox_range("pip"), Some((1, 2)));
}

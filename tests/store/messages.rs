//! Messages and the entries that they make in both inboxes.

use dmwire::store::{
    Conversation, EntryKind, HistoryAnswer, HistoryPosition, HistoryQuery, InboxState, MessageRef,
    NewMessage, Outcome, Repeated, UserStatus, Write,
};

use crate::fixture::TestStore;
use crate::writes::{
    conversations_query, delete, duplicate, edit as change, history_query, id, message, number,
    stored,
};

pub fn a_repetition_is_found_and_nothing_else_is_stored(store: &mut TestStore) {
    let repeat = |write: Write, repeated| match write {
        Write::Message(message) => Write::Repeat(
            MessageRef {
                actor: message.from,
                conversation: message.to,
                id: message.id,
            },
            message.content,
            repeated,
        ),
        other => other,
    };
    let again = |to, n, text| repeat(message("ada", to, n, text), Repeated::Message);
    let edit = |n, text| repeat(message("ada", "bob", n, text), Repeated::Edit);
    // In the same batch, while the message waits in the log, and when it is in its table.
    let outcomes = store.commit(&[
        message("ada", "bob", 1, "hello"),
        again("bob", 1, "hello"),
        again("bob", 2, "hello"),
    ]);
    assert_eq!(stored(&outcomes[0]), (1, 1));
    assert_eq!(duplicate(&outcomes[1]).0, Some(1));
    assert_eq!(outcomes[2], Outcome::NotStored);
    for _ in 0..2 {
        let outcomes = store.commit(&[
            again("bob", 1, "hello"),
            again("bob", 1, "other"),
            again("cy", 1, "hello"),
            edit(1, "hello"),
            edit(1, "other"),
            edit(2, "hello"),
        ]);
        assert_eq!(duplicate(&outcomes[0]).0, Some(1));
        assert_eq!(duplicate(&outcomes[3]).0, Some(1));
        for n in [1, 2, 4, 5] {
            assert_eq!(outcomes[n], Outcome::NotStored, "{n}");
        }
        store.maintain();
    }
    assert_eq!((store.head("ada"), store.head("bob")), (1, 1));
    assert_eq!(store.inbox_range("cy"), None);
    // The first content counts for a message, the present one for an edit.
    store.commit(&[change("ada", "bob", 1, "other")]);
    let outcomes = store.commit(&[
        again("bob", 1, "hello"),
        edit(1, "other"),
        edit(1, "hello"),
        delete("ada", "bob", 1),
        again("bob", 1, "hello"),
        edit(1, "other"),
    ]);
    assert_eq!(duplicate(&outcomes[0]).0, Some(1));
    assert_eq!(duplicate(&outcomes[1]).0, Some(2));
    assert_eq!(outcomes[2], Outcome::NotStored);
    assert_eq!(duplicate(&outcomes[4]).0, Some(1));
    assert_eq!(outcomes[5], Outcome::NotStored);
}

pub fn users_exist_from_their_first_message(store: &mut TestStore) {
    let empty = InboxState {
        head: 0,
        oldest: 1,
        received: 0,
        is_known: false,
        has_connected: false,
        status: UserStatus::Online,
        last_seen: None,
        epoch: store.epoch(),
        diverged: false,
    };
    assert_eq!(store.open_inbox("ada", "phone"), empty);
    assert_eq!(store.inbox_range("ada"), None);
    assert_eq!(
        store.history("ada", "bob", None, 10),
        Some((Vec::new(), false))
    );
    let unknown = HistoryPosition::Before(id(1));
    assert_eq!(store.history("ada", "bob", Some(unknown), 10), None);
    let page = store.conversations(&conversations_query("ada", None, 10));
    assert_eq!(page.items, Vec::new());

    let outcomes = store.commit(&[
        message("ada", "bob", 1, "hello"),
        message("bob", "ada", 2, "and you"),
        message("ada", "ada", 3, "to myself"),
        message("ada", "cy", 4, "hello too"),
    ]);
    let seqs: Vec<_> = outcomes.iter().map(stored).collect();
    // Each inbox has its own numbers; a message to oneself is one entry.
    assert_eq!(seqs, [(1, 1), (2, 2), (3, 3), (4, 1)]);
    assert_eq!((store.head("ada"), store.head("bob")), (4, 2));
    // The reader was opened before the commit and sees it.
    let entries = store.entries("ada", 1, 9);
    let fields: Vec<_> = entries
        .iter()
        .map(|e| {
            (
                e.seq,
                &*e.actor,
                e.message.to.peer().map_or("", |user| user),
                &*e.message.content,
                number(&e.message),
            )
        })
        .collect();
    assert_eq!(
        fields,
        [
            (1, "ada", "bob", "\"hello\"", 1),
            (2, "bob", "ada", "\"and you\"", 2),
            (3, "ada", "ada", "\"to myself\"", 3),
            (4, "ada", "cy", "\"hello too\"", 4),
        ]
    );
    let now = store.now;
    assert!(
        entries
            .iter()
            .all(|e| e.kind == EntryKind::Message && (e.at, e.message.sent_at) == (now, now))
    );
    assert_eq!(store.inbox_range("bob"), Some((1, 2)));
}

pub fn an_inbox_range_ends_where_its_bytes_do(store: &mut TestStore) {
    for n in 1..=4 {
        store.commit_one(message("ada", "bob", n, "hello"));
    }
    // A range that is shorter than an entry still returns one.
    let entries = store.entries_within("ada", (2, 4), 1);
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [2]);
}

pub fn a_message_is_stored_once(store: &mut TestStore) {
    store.commit_one(message("ada", "ada", 1, "to myself"));
    let outcomes = store.commit(&[
        message("ada", "bob", 10, "once"),
        message("ada", "bob", 10, "once"),
        message("bob", "ada", 11, "next"),
    ]);
    let sent_at = store.now;
    assert_eq!(stored(&outcomes[0]), (2, 1));
    assert_eq!(duplicate(&outcomes[1]), (Some(2), sent_at));
    assert_eq!(stored(&outcomes[2]), (2, 3));
    let Outcome::Stored { recipients, .. } = &outcomes[1] else {
        panic!("the second message is a duplicate");
    };
    assert_eq!(recipients.len(), 0, "a duplicate appends nothing");
    // In a later batch; after the store was closed, and in another spelling of the same text.
    let outcome = store.commit_one(message("ada", "bob", 10, "once"));
    assert_eq!(duplicate(&outcome), (Some(2), sent_at));
    store.reopen();
    let outcome = store.commit_one(message("ada", "bob", 10, "on\\u0063e"));
    assert_eq!(duplicate(&outcome), (Some(2), sent_at));
    assert_eq!((store.head("ada"), store.head("bob")), (3, 2));
    // The same id in another conversation is another message.
    let outcome = store.commit_one(message("ada", "cy", 10, "once"));
    assert_eq!(stored(&outcome), (4, 1));
}

pub fn a_rejected_write_does_not_affect_the_rest_of_its_batch(store: &mut TestStore) {
    store.commit_one(message("ada", "bob", 10, "once"));
    let outcomes = store.commit(&[
        message("ada", "bob", 20, "good"),
        message("ada", "bob", 10, "something else"),
        message("bob", "ada", 10, "once"),
        delete("ada", "bob", 999),
        delete("ada", "nobody", 10),
        message("bob", "ada", 21, "good too"),
    ]);
    assert_eq!(stored(&outcomes[0]), (2, 2));
    assert_eq!(outcomes[1], Outcome::IdConflict);
    assert_eq!(outcomes[2], Outcome::IdConflict);
    assert_eq!(outcomes[3], Outcome::UnknownMessage);
    assert_eq!(outcomes[4], Outcome::UnknownMessage);
    assert_eq!(stored(&outcomes[5]), (3, 3));
    assert_eq!(store.inbox_range("ada"), Some((1, 3)));
    assert_eq!(store.inbox_range("bob"), Some((1, 3)));
    assert_eq!(store.head("nobody"), 0);
}

/// A store without rooms answers every operation on one.
pub fn a_room_is_unknown(store: &mut TestStore) {
    let room = || Conversation::Room("lobby".into());
    let at = || MessageRef {
        actor: "ada".into(),
        conversation: room(),
        id: id(1),
    };
    let Write::Message(message) = message("ada", "bob", 1, "hello") else {
        panic!("it is a message");
    };
    let outcomes = store.commit(&[
        Write::Message(NewMessage {
            to: room(),
            ..message
        }),
        Write::Edit(at(), "\"hi\"".into()),
        Write::Delete(at()),
        Write::React {
            message: at(),
            emoji: "+".into(),
            remove: false,
        },
        Write::Read(at()),
    ]);
    assert_eq!(outcomes, vec![Outcome::UnknownRoom; 5]);
    assert_eq!(store.head("ada"), 0);
    let query = HistoryQuery {
        conversation: room(),
        ..history_query("ada", "bob", None, 5)
    };
    let answer = store.reader().history(&query).expect("it is answered");
    assert_eq!(answer, HistoryAnswer::UnknownRoom);
}

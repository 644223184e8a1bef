//! Changes that later ones supersede: their entries keep their numbers only, and do not count towards the limit of an inbox.

use dmwire::store::{DeviceRef, EntryKind, InboxQuery, KnownEntry, Outcome};

use crate::fixture::{DAY, INBOX_LIMIT, TestStore};
use crate::rooms;
use crate::writes::{delete, duplicate, edit, id, message, react, stored, unreact};

/// The numbers and kinds of entries that are not superseded.
fn shown(store: &mut TestStore, user: &str) -> Vec<(u64, EntryKind)> {
    let entries = store.entries(user, 1, 1000);
    entries.into_iter().map(|e| (e.seq, e.kind)).collect()
}

fn reacted(emoji: &str, removed: bool) -> EntryKind {
    EntryKind::Reacted {
        emoji: emoji.to_owned(),
        removed,
    }
}

pub fn an_edit_is_superseded_by_the_next_edit_or_the_deletion(store: &mut TestStore) {
    store.commit(&[
        message("ann", "ben", 1, "one"),
        message("ann", "ben", 2, "two"),
        edit("ann", "ben", 1, "one!"),
        edit("ann", "ben", 2, "two!"),
        edit("ann", "ben", 1, "one!!"),
    ]);
    let outcome = store.commit_one(edit("ann", "ben", 1, "one!!!"));
    assert_eq!(stored(&outcome), (6, 6));
    for reopen in [false, true] {
        if reopen {
            store.reopen();
        }
        for user in ["ann", "ben"] {
            assert_eq!(store.superseded(user), [3, 5]);
            let expected = [
                (1, EntryKind::Message),
                (2, EntryKind::Message),
                (4, EntryKind::Edited),
                (6, EntryKind::Edited),
            ];
            assert_eq!(shown(store, user), expected);
        }
        let contents = store.entries("ben", 1, 9);
        let contents: Vec<_> = contents.iter().map(|e| &*e.message.content).collect();
        assert_eq!(
            contents,
            ["\"one!!!\"", "\"two!\"", "\"two!\"", "\"one!!!\""]
        );
    }
    // A repeated change is answered with its own entry.
    let outcome = store.commit_one(edit("ann", "ben", 1, "one!!!"));
    assert_eq!(duplicate(&outcome).0, Some(6));
    let outcome = store.commit_one(delete("ann", "ben", 1));
    assert_eq!(stored(&outcome), (7, 7));
    assert_eq!(store.superseded("ben"), [3, 5, 6]);
    // The deletion itself is not superseded, and nothing follows it.
    assert_eq!(
        store.commit_one(edit("ann", "ben", 1, "x")),
        Outcome::UnknownMessage
    );
    assert_eq!(
        duplicate(&store.commit_one(delete("ann", "ben", 1))).0,
        Some(7)
    );
    assert_eq!(store.entry("ben", 7).message.content, "");
}

pub fn a_reaction_is_superseded_by_the_same_users_next_change_of_it(store: &mut TestStore) {
    store.commit(&[
        message("ann", "ben", 1, "one"),
        react("ann", "ben", 1, "+"),
        react("ben", "ann", 1, "+"),
        react("ben", "ann", 1, "-"),
        edit("ann", "ben", 1, "one!"),
        unreact("ben", "ann", 1, "+"),
        react("ann", "ben", 1, "-"),
        edit("ann", "ben", 1, "one!!"),
    ]);
    for user in ["ann", "ben"] {
        assert_eq!(store.superseded(user), [3, 5]);
        let expected = [
            (1, EntryKind::Message),
            (2, reacted("+", false)),
            (4, reacted("-", false)),
            (6, reacted("+", true)),
            (7, reacted("-", false)),
            (8, EntryKind::Edited),
        ];
        assert_eq!(shown(store, user), expected);
    }
    // Only a message and an edit come with the content.
    let entries = store.entries("ben", 1, 9);
    let with_content = entries.iter().filter(|e| !e.message.content.is_empty());
    assert_eq!(with_content.map(|e| e.seq).collect::<Vec<_>>(), [1, 8]);
    let actors: Vec<_> = entries.iter().map(|e| &*e.actor).collect();
    assert_eq!(actors, ["ann", "ann", "ben", "ben", "ann", "ann"]);
    // The reactions of a deleted message are not changed by the deletion: the replay shows them as `deleted`.
    store.commit_one(delete("ann", "ben", 1));
    assert_eq!(store.superseded("ben"), [3, 5, 8]);
    let entries = store.entries("ben", 1, 9);
    assert!(entries.iter().all(|e| e.message.deleted_at.is_some()));
}

pub fn a_reaction_that_is_no_longer_remembered_is_superseded(store: &mut TestStore) {
    store.commit_one(message("ann", "ben", 1, "one"));
    // The store remembers 32 removed reactions.
    for _ in 0..3 {
        for n in 0..50 {
            let emoji = format!("e{n}");
            stored(&store.commit_one(react("ben", "ann", 1, &emoji)));
            stored(&store.commit_one(unreact("ben", "ann", 1, &emoji)));
        }
        let shown = shown(store, "ann").len();
        assert_eq!(shown, 51, "the message, and the last change of each");
    }
}

pub fn changes_of_messages_to_oneself_are_superseded_once(store: &mut TestStore) {
    store.commit(&[
        message("pip", "pip", 1, "note"),
        edit("pip", "pip", 1, "note 1"),
        react("pip", "pip", 1, "+"),
        edit("pip", "pip", 1, "note 2"),
        unreact("pip", "pip", 1, "+"),
        react("pip", "pip", 1, "+"),
    ]);
    assert_eq!(store.superseded("pip"), [2, 3, 5]);
    assert_eq!(store.inbox_range("pip"), Some((1, 6)));
}

pub fn superseded_entries_do_not_count_towards_the_limit(store: &mut TestStore) {
    let friend = INBOX_LIMIT - 2;
    for n in 1..=friend {
        store.commit_one(message("friend", "ben", n as u32, "x"));
    }
    store.commit_one(message("stranger", "ben", 1000, "y"));
    let mut batch = Vec::new();
    for n in 0..1500 {
        let change = if n % 2 == 0 { react } else { unreact };
        batch.push(change("stranger", "ben", 1000, "+"));
    }
    for part in batch.chunks(100) {
        store.commit(part);
    }
    let head = INBOX_LIMIT - 1 + 1500;
    for reopen in [false, true] {
        if reopen {
            store.reopen();
        }
        store.maintain();
        let inbox = store.open_inbox("ben", "new");
        assert_eq!((inbox.head, inbox.oldest), (head, 1));
        assert_eq!(store.entries("ben", 1, friend).len() as u64, friend);
        assert_eq!(store.superseded("ben").len(), 1499);
    }
    // All other entries still count.
    for n in 1..=3 {
        store.commit_one(message("friend", "ben", 2000 + n, "x"));
    }
    store.maintain();
    assert_eq!(store.open_inbox("ben", "new").oldest, 4);
    assert_eq!(store.inbox_range("ben"), Some((4, head + 3)));
    // When the front has reached the superseded entries, they go together with the ones before them.
    for n in 1..=INBOX_LIMIT as u32 {
        store.commit_one(message("friend", "ben", 3000 + n, "x"));
    }
    store.maintain();
    let oldest = head + 3 + 1;
    assert_eq!(store.open_inbox("ben", "new").oldest, oldest);
    assert_eq!(store.superseded("ben"), [] as [u64; 0]);
}

pub fn superseded_entries_have_a_bound_of_their_own(store: &mut TestStore) {
    const BOUND: u64 = 10_000;
    store.commit_one(message("ann", "ben", 1, "x"));
    let mut batch = Vec::new();
    for n in 0..BOUND + 2000 {
        let change = if n % 2 == 0 { react } else { unreact };
        batch.push(change("ben", "ann", 1, "+"));
    }
    for part in batch.chunks(1000) {
        store.commit(part);
    }
    store.maintain();
    let kept = BOUND + INBOX_LIMIT;
    let inbox = store.open_inbox("ann", "new");
    assert_eq!(inbox.head - inbox.oldest + 1, kept);
    assert_eq!(store.inbox_range("ann"), Some((inbox.oldest, inbox.head)));
}

pub fn superseded_entries_in_a_room_do_not_count_before_they_move(store: &mut TestStore) {
    store.set_rooms(rooms::RULES);
    let members = ["a", "b", "c", "d", "e"];
    store.commit(&members.map(|user| rooms::join(user, "lobby")));
    let count = INBOX_LIMIT - store.head("e");
    let messages: Vec<_> = (1..count)
        .map(|n| rooms::say("a", "lobby", n as u32, "x"))
        .collect();
    store.commit(&messages);
    store.commit_one(rooms::react("b", "lobby", 1));
    assert_eq!(store.head("e"), INBOX_LIMIT);
    for n in 1..300 {
        let change = if n % 2 == 1 {
            rooms::unreact
        } else {
            rooms::react
        };
        store.commit_one(change("b", "lobby", 1));
        let inbox = store.open_inbox("e", "new");
        assert_eq!((inbox.head, inbox.oldest), (INBOX_LIMIT + n, 1));
        if n % 100 == 99 {
            // The reader has the entries moved.
            assert_eq!(store.superseded("e").len() as u64, n);
            store.maintain();
        }
    }
    assert_eq!(store.inbox_range("e"), Some((1, INBOX_LIMIT + 299)));
    // All other entries still count.
    store.commit_one(rooms::say("a", "lobby", 1000, "x"));
    assert_eq!(store.open_inbox("e", "new").oldest, 2);
}

pub fn a_superseded_entry_does_not_keep_its_message(store: &mut TestStore) {
    store.commit(&[
        message("zoe", "abe", 1, "old"),
        message("zoe", "abe", 2, "kept"),
    ]);
    store.now += 19 * DAY;
    for n in 0..4 {
        let change = if n % 2 == 0 { react } else { unreact };
        store.commit_one(change("abe", "zoe", 1, "+"));
    }
    store.now += 5 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("zoe"), Some((3, 6)));
    assert_eq!(store.superseded("zoe"), [3, 4, 5]);
    // The last change keeps it. When the entries have expired, nothing does.
    assert_eq!(
        store.history("zoe", "abe", None, 10),
        Some((vec![1], false))
    );
    store.now += 6 * DAY;
    store.maintain();
    assert_eq!(store.inbox_range("zoe"), None);
    assert_eq!(store.history("zoe", "abe", None, 10), Some((vec![], false)));
}

pub fn a_superseded_entry_is_known_by_its_message_and_every_time_told_for_it(
    store: &mut TestStore,
) {
    store.commit_one(message("ann", "ben", 1, "one"));
    let mut times = Vec::new();
    for n in 0..4 {
        store.commit_one(edit("ann", "ben", 1, &format!("edit {n}")));
        times.push(store.now);
    }
    store.commit_one(react("ben", "ann", 1, "+"));
    let reacted_at = store.now;
    store.commit_one(unreact("ben", "ann", 1, "+"));
    let differs = |store: &mut TestStore, seq, n: u32, at: Option<i64>| {
        let query = InboxQuery {
            device: DeviceRef {
                user: "ben".into(),
                device: "phone".into(),
            },
            known: Some(KnownEntry {
                seq,
                id: Some(id(n)),
                at,
                epoch: None,
            }),
        };
        store.reader().open_inboxes(&[query]).expect("it opens")[0].diverged
    };
    assert_eq!(store.superseded("ben"), [2, 3, 4, 6]);
    for (n, seq) in (2..=4).enumerate() {
        assert!(!differs(store, seq, 1, None));
        assert!(differs(store, seq, 2, None), "another message");
        for (m, at) in times.iter().enumerate() {
            assert_eq!(differs(store, seq, 1, Some(*at)), m < n, "{seq} {m}");
        }
        assert!(differs(store, seq, 1, Some(times[3] + 1)));
    }
    assert!(!differs(store, 6, 1, Some(reacted_at)));
    assert!(differs(store, 6, 2, None));
    assert!(differs(store, 6, 1, Some(reacted_at + 1)));
    // An entry of a deleted message is shown with the time of the deletion.
    store.commit_one(delete("ann", "ben", 1));
    let deleted_at = store.now;
    for seq in 1..=8 {
        assert!(!differs(store, seq, 1, Some(deleted_at)), "{seq}");
    }
}

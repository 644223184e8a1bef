//! What clients know of the entry at their cursor (PROTOCOL section 5, "Resume"), compared with the log.

use dmwire::store::{DeviceRef, InboxQuery, KnownEntry, Outcome};
use uuid::Uuid;

use crate::fixture::{INBOX_LIMIT, TestStore};
use crate::rooms::{self, RULES, join, say};
use crate::writes::{delete, edit, id, message, react, stored, unreact};

/// When a write was stored.
fn time(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Stored { at, .. } => *at,
        other => panic!("not stored: {other:?}"),
    }
}

fn query(user: &str, known: Option<KnownEntry>) -> InboxQuery {
    InboxQuery {
        device: DeviceRef {
            user: user.into(),
            device: "phone".into(),
        },
        known,
    }
}

/// True if the entry `seq` of the user counts as another one than that of a message and a time.
fn differs(
    store: &mut TestStore,
    user: &str,
    seq: u64,
    id: Option<Uuid>,
    at: impl Into<Option<i64>>,
) -> bool {
    let at = at.into();
    let query = query(
        user,
        Some(KnownEntry {
            seq,
            id,
            at,
            epoch: None,
        }),
    );
    let states = store.reader().open_inboxes(&[query]);
    states.expect("the inbox opens")[0].diverged
}

pub fn a_pending_or_moved_message_is_compared(store: &mut TestStore) {
    let outcomes = store.commit(&[
        message("ann", "ben", 1, "one"),
        message("ann", "ann", 2, "to oneself"),
        message("ben", "ann", 3, "three"),
    ]);
    let at = time(&outcomes[0]);
    for moved in [false, true] {
        if moved {
            // A query of messages has the pending log flushed.
            assert_eq!(store.entries("ann", 1, 3).len(), 3);
        }
        for (user, seq, n) in [("ann", 1, 1), ("ben", 1, 1), ("ann", 2, 2), ("ann", 3, 3)] {
            let id = Some(id(n));
            assert!(!differs(store, user, seq, id, at), "{user} {seq} {moved}");
            assert!(!differs(store, user, seq, id, None));
            assert!(!differs(store, user, seq, None, at));
            assert!(differs(store, user, seq, Some(Uuid::nil()), at));
            assert!(differs(store, user, seq, Some(Uuid::nil()), None));
            assert!(differs(store, user, seq, id, at + 1));
            assert!(differs(store, user, seq, None, at - 1));
        }
        // Several at once, of which some know the same entry. Entries beyond the log, and users without one, are not compared.
        let known = |seq, n| {
            Some(KnownEntry {
                seq,
                id: Some(id(n)),
                at: None,
                epoch: None,
            })
        };
        let queries = [
            query("ann", known(1, 1)),
            query("ann", known(1, 2)),
            query("ann", None),
            query("ben", known(2, 2)),
            query("ben", known(3, 1)),
            query("nobody", known(1, 1)),
            query("ann", known(1, 1)),
            query("ann", known(3, 1)),
        ];
        let states = store.reader().open_inboxes(&queries).expect("they open");
        let diverged: Vec<bool> = states.iter().map(|state| state.diverged).collect();
        let expected = [false, true, false, true, false, false, false, true];
        assert_eq!(diverged, expected, "{moved}");
    }
}

pub fn an_edit_is_known_by_its_own_time_and_by_those_of_later_edits(store: &mut TestStore) {
    let sent = time(&store.commit_one(message("ann", "ben", 1, "0")));
    let edits: Vec<(u64, i64)> = (1..=4)
        .map(|n| {
            let outcome = store.commit_one(edit("ann", "ben", 1, &n.to_string()));
            (stored(&outcome).0, time(&outcome))
        })
        .collect();
    for user in ["ann", "ben"] {
        for (n, (seq, _)) in edits.iter().enumerate() {
            for (m, (_, at)) in edits.iter().enumerate() {
                let earlier = m < n;
                assert_eq!(
                    differs(store, user, *seq, Some(id(1)), *at),
                    earlier,
                    "{n} {m}"
                );
            }
            assert!(differs(store, user, *seq, Some(id(1)), sent));
            assert!(!differs(store, user, *seq, Some(id(1)), None));
        }
        // The message is replayed with its own time.
        assert!(!differs(store, user, 1, Some(id(1)), sent));
        assert!(differs(store, user, 1, Some(id(1)), edits[0].1));
    }
    let deleted = time(&store.commit_one(delete("ann", "ben", 1)));
    for seq in 1..=6 {
        assert!(!differs(store, "ben", seq, Some(id(1)), deleted), "{seq}");
        assert!(
            differs(store, "ben", seq, Some(id(1)), deleted + 1),
            "{seq}"
        );
    }
    for (seq, at) in edits {
        assert!(!differs(store, "ben", seq, Some(id(1)), at), "{seq}");
    }
    assert!(!differs(store, "ben", 1, Some(id(1)), sent));
}

pub fn a_reaction_is_known_by_its_ack_or_as_deleted(store: &mut TestStore) {
    store.commit_one(message("ann", "ben", 1, "x"));
    let added = time(&store.commit_one(react("ben", "ann", 1, "+")));
    let removed = time(&store.commit_one(unreact("ben", "ann", 1, "+")));
    for (seq, at) in [(2, added), (3, removed)] {
        for user in ["ann", "ben"] {
            assert!(!differs(store, user, seq, Some(id(1)), None));
            assert!(!differs(store, user, seq, Some(id(1)), at));
            assert!(differs(store, user, seq, Some(id(2)), None));
        }
    }
    assert!(differs(store, "ben", 2, Some(id(1)), removed));
    let deleted = time(&store.commit_one(delete("ann", "ben", 1)));
    assert!(!differs(store, "ben", 2, Some(id(1)), deleted));
}

pub fn a_removed_entry_is_not_compared(store: &mut TestStore) {
    let last = INBOX_LIMIT + 5;
    for n in 1..=last {
        store.commit_one(message("ann", "ben", n as u32, "x"));
    }
    for seq in 1..=5 {
        assert!(!differs(store, "ben", seq, Some(Uuid::nil()), None));
    }
    assert!(differs(store, "ben", 6, Some(Uuid::nil()), None));
    assert!(!differs(store, "ben", 0, Some(Uuid::nil()), None));
}

pub fn a_change_in_a_room_is_compared_before_its_entries_move(store: &mut TestStore) {
    store.set_rooms(RULES);
    let members = ["ann", "ben", "cat", "dan"];
    store.commit(&members.map(|user| join(user, "lobby")));
    store.commit(&[say("ann", "lobby", 1, "one"), say("ann", "lobby", 2, "two")]);
    let first = store.head("dan") - 1;
    let edit = |n| rooms::edit("ann", "lobby", 1, n);
    let writes = [
        edit("1"),
        rooms::react("ben", "lobby", 2),
        edit("2"),
        rooms::delete("ann", "lobby", 2),
    ];
    let times: Vec<_> = writes.map(|write| time(&store.commit_one(write))).to_vec();
    assert_eq!(store.head("dan"), first + 5);
    for moved in [false, true] {
        if moved {
            assert_eq!(store.superseded("dan"), [first + 2]);
        }
        for (index, n) in [1, 2, 1, 2].into_iter().enumerate() {
            let (seq, at) = (first + 2 + index as u64, times[index]);
            for (known, other) in [(Some(id(n)), Some(id(3 - n))), (None, Some(Uuid::nil()))] {
                assert!(!differs(store, "dan", seq, known, at), "{seq} {moved}");
                assert!(differs(store, "dan", seq, other, at), "{seq} {moved}");
                assert!(differs(store, "dan", seq, known, at - 1), "{seq} {moved}");
            }
        }
    }
}

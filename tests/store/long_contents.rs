//! Content that is not in the row of its message.

use dmwire::store::Outcome;
use dmwire::store::sqlite::admin;
use rusqlite::Connection;

use crate::fixture::{DAY, Fixture as _, SqliteFile, TestStore};
use crate::writes::{delete, duplicate, edit, message};

/// Lengths around those at which something changes: the row of a message, a hash instead of the content, the pending log.
const LENGTHS: [usize; 8] = [1, 766, 767, 1022, 1023, 2046, 2047, 60_000];

pub fn content_of_any_length_is_stored_replaced_and_removed(store: &mut TestStore) {
    let text = |n: u32, letter: &str| letter.repeat(LENGTHS[n as usize % LENGTHS.len()]);
    let all = 0..LENGTHS.len() as u32;
    // First in the pending log, as far as they are not too long for it.
    let sent: Vec<_> = all
        .clone()
        .map(|n| message("una", "vic", n, &text(n, "x")))
        .collect();
    store.commit(&sent);
    let check = |store: &mut TestStore, expected: &dyn Fn(u32) -> String| {
        for reopen in [false, true] {
            if reopen {
                store.reopen();
                if !store.is_persistent {
                    break;
                }
            }
            for n in all.clone() {
                assert_eq!(store.message("vic", "una", n).content, expected(n), "{n}");
            }
            let entries = store.entries("vic", 1, 8);
            for (n, entry) in (0..).zip(&entries) {
                assert_eq!(entry.message.content, expected(n), "{n}");
            }
        }
    };
    check(store, &|n| format!("\"{}\"", text(n, "x")));
    for n in all.clone() {
        // The same again, and something else.
        let again = store.commit_one(message("una", "vic", n, &text(n, "x")));
        assert_eq!(duplicate(&again).0, Some(u64::from(n) + 1));
        let other = store.commit_one(message("una", "vic", n, &text(n, "y")));
        assert_eq!(other, Outcome::IdConflict);
        // To each other length.
        for to in all.clone() {
            let edited = store.commit_one(edit("una", "vic", n, &text(to, "z")));
            assert!(
                matches!(
                    edited,
                    Outcome::Stored {
                        duplicate: false,
                        ..
                    }
                ),
                "{n} {to} {edited:?}"
            );
            assert_eq!(
                store.message("una", "vic", n).content,
                format!("\"{}\"", text(to, "z"))
            );
        }
        store.commit_one(edit("una", "vic", n, &text(n + 1, "z")));
    }
    for n in all.clone().step_by(2) {
        store.commit_one(delete("una", "vic", n));
    }
    for n in all.clone() {
        let content = store.message("vic", "una", n).content;
        assert_eq!(content.is_empty(), n % 2 == 0, "{n}");
    }
}

#[test]
fn content_leaves_the_file_with_its_message() {
    let fixture = SqliteFile::new();
    let path = fixture.path();
    let mut store = TestStore::new(fixture);
    let contents = || -> i64 {
        let connection = Connection::open(&path).expect("it opens");
        let count = connection.query_row("SELECT count(*) FROM contents", (), |row| row.get(0));
        count.expect("they are counted")
    };
    for n in 1..=6 {
        store.commit_one(message(
            "una",
            "vic",
            n,
            &"x".repeat(100 * n as usize * n as usize),
        ));
    }
    store.history("una", "vic", None, 10);
    assert_eq!(contents(), 4);
    store.commit_one(delete("una", "vic", 3));
    store.commit_one(edit("una", "vic", 4, "short"));
    assert_eq!(contents(), 2);
    assert_eq!(
        admin::verify(&path).expect("it is readable"),
        [] as [&str; 0]
    );
    store.now += 40 * DAY;
    store.maintain();
    assert_eq!(contents(), 0);
    assert_eq!(
        admin::verify(&path).expect("it is readable"),
        [] as [&str; 0]
    );
}

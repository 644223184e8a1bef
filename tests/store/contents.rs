//! Comparison of contents: the value counts, and long contents are compared by the hashes that the callers have computed.

use dmwire::store::sqlite::{Durability, Sqlite};
use dmwire::store::{
    Authority, Content, ContentHasher, Conversation, MessageRef, NewMessage, Outcome, Store as _,
    StoreOptions, Write,
};
use rusqlite::Connection;

use crate::fixture::RETENTION;
use crate::support::Folder;
use crate::writes::{delete, id};

/// Two spellings of one long content.
fn spellings(name: &str) -> [String; 2] {
    let text = "x".repeat(1500);
    [
        format!(r#"{{"type":"data","name":"{name}","data":{{"a":1,"b":"{text}"}}}}"#),
        format!(r#"{{"data":{{"b":"{text}","a":1.0}}, "name":"{name}","type":"data"}}"#),
    ]
}

fn send(content: Content) -> Write {
    Write::Message(NewMessage {
        from: "ada".into(),
        to: Conversation::Direct("bob".into()),
        id: id(1),
        content,
        reply_to: None,
        fresh: false,
        ip_quota: None,
        authority: Authority::User,
    })
}

fn edit(content: Content) -> Write {
    let at = MessageRef {
        actor: "ada".into(),
        conversation: Conversation::Direct("bob".into()),
        id: id(1),
    };
    Write::Edit(at, content)
}

fn commit(store: &mut Sqlite, write: &Write) -> Outcome {
    let outcomes = store.commit(1_800_000_000_000, &[write]);
    outcomes.expect("it is committed").remove(0)
}

fn is_duplicate(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Stored {
            duplicate: true,
            ..
        }
    )
}

fn is_new(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Stored {
            duplicate: false,
            ..
        }
    )
}

#[test]
fn long_contents_are_compared_by_hashes_that_the_writer_does_not_compute() {
    let folder = Folder::new();
    let path = folder.0.join("contents.db");
    let open = || {
        Sqlite::open(&path, Durability::Full, StoreOptions::new(RETENTION))
            .expect("the store opens")
    };
    let mut store = open();
    let hasher = store.content_hasher();
    let content_of = |raw: &str| Content::new(raw, &hasher);
    let wrong = ContentHasher::new(b"another key");
    let wrongly = |raw: &str| Content::new(raw, &wrong);
    let [first, first_again] = spellings("first");
    let [second, second_again] = spellings("second");

    assert!(is_new(&commit(&mut store, &send(content_of(&first)))));
    for round in ["in the log", "in the tables", "opened again"] {
        assert!(
            is_duplicate(&commit(&mut store, &send(content_of(&first)))),
            "{round}"
        );
        assert!(
            is_duplicate(&commit(&mut store, &send(content_of(&first_again)))),
            "{round}"
        );
        // A caller that has not hashed it is answered as well.
        assert!(
            is_duplicate(&commit(&mut store, &send(first_again.as_str().into()))),
            "{round}"
        );
        // Its hash is used as it is: nothing is parsed. The same bytes need no hash.
        assert_eq!(
            commit(&mut store, &send(wrongly(&first_again))),
            Outcome::IdConflict,
            "{round}"
        );
        assert!(
            is_duplicate(&commit(&mut store, &send(wrongly(&first)))),
            "{round}"
        );
        assert_eq!(
            commit(&mut store, &send(content_of(&second))),
            Outcome::IdConflict,
            "{round}"
        );
        store.flush().expect("the log is flushed");
        if round == "in the tables" {
            drop(store);
            store = open();
        }
    }
    let stored: Option<Vec<u8>> = Connection::open(&path)
        .and_then(|file| file.query_row("SELECT hash FROM messages", (), |row| row.get(0)))
        .expect("the message is there");
    assert!(stored.is_some(), "the hash passes through the log");

    assert!(is_duplicate(&commit(
        &mut store,
        &edit(content_of(&first_again))
    )));
    assert!(is_new(&commit(&mut store, &edit(content_of(&second)))));
    assert!(is_duplicate(&commit(
        &mut store,
        &edit(content_of(&second_again))
    )));
    assert!(is_duplicate(&commit(
        &mut store,
        &send(content_of(&first_again))
    )));
    assert_eq!(
        commit(&mut store, &send(content_of(&second))),
        Outcome::IdConflict
    );
    // Short content after long content, and the reverse.
    assert!(is_new(&commit(&mut store, &edit(content_of("\"short\"")))));
    assert!(is_duplicate(&commit(
        &mut store,
        &edit(content_of("\"sh\\u006frt\""))
    )));
    assert!(is_new(&commit(&mut store, &edit(content_of(&second)))));
    assert!(is_new(&commit(&mut store, &delete("ada", "bob", 1))));
    assert!(is_duplicate(&commit(
        &mut store,
        &send(content_of(&first_again))
    )));
    assert_eq!(
        commit(&mut store, &send(content_of(&second))),
        Outcome::IdConflict
    );
}

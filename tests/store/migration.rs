//! Opens a store of an older version.

use dmwire::store::sqlite::{Durability, Sqlite, admin};
use dmwire::store::{
    DeviceRef, EntryKind, HistoryAnswer, InboxItem, Store as _, StoreOptions, StoredMessage,
    UserQuery,
};
use rusqlite::Connection;

use crate::fixture::RETENTION;
use crate::support::Folder;
use crate::writes::{history_query, id, receive};

/// The rows of the pending log of the store in `version4.sql`, as version 4 wrote them: records without a version byte, each of
/// a message between two users.
fn pending_rows() -> [Vec<u8>; 3] {
    let hex = |digits: &str| -> Vec<u8> {
        let digits = digits.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits
            .map(|pair| byte(pair).expect("it is hexadecimal"))
            .collect()
    };
    let long = |letter: &str| format!("\"{}\"", letter.repeat(1500)).into_bytes();
    [
        hex(concat!(
            "010201020202A28BA0FCA1340000000000004000800000000000000200072268656C6C6F22",
            "010302010303A28BA0FCA134000000000000400080000000000000030100000000000040008000000000000002",
            "0B22616E20616E7377657222",
        )),
        [
            hex(concat!(
                "020401010404A48BA0FCA13400000000000040008000000000000004000B22746F206D7973656C6622",
                "030501030501A48BA0FCA1340000000000004000800000000000000500DE0B",
            )),
            long("x"),
            hex("030601030602A48BA0FCA1340000000000004000800000000000000600DE0B"),
            long("y"),
        ]
        .concat(),
        [
            hex("030701030703A48BA0FCA1340000000000004000800000000000000700DE0B"),
            long("z"),
        ]
        .concat(),
    ]
}

/// A file that version 4 has written, with messages in its pending log.
fn old_store(folder: &Folder) -> std::path::PathBuf {
    let path = folder.0.join("old.db");
    let connection = Connection::open(&path).expect("the file is created");
    connection
        .execute_batch(include_str!("version4.sql"))
        .expect("the tables are created");
    for row in pending_rows() {
        connection
            .execute("INSERT INTO pending (records) VALUES (?1)", [row])
            .expect("the row is inserted");
    }
    path
}

fn contents(messages: &[StoredMessage]) -> Vec<String> {
    let short = |message: &StoredMessage| message.content.chars().take(12).collect();
    messages.iter().map(short).collect()
}

#[test]
fn a_store_of_version_4_is_migrated_with_its_pending_messages() {
    let folder = Folder::new();
    let path = old_store(&folder);
    // The commands that only read see them in the old form, and do not migrate the file.
    assert_eq!(
        admin::verify(&path).expect("it is readable"),
        [] as [&str; 0]
    );
    for round in ["migrated", "opened again"] {
        let store = Sqlite::open(&path, Durability::Full, StoreOptions::new(RETENTION))
            .expect("the store opens");
        // The file does not record it.
        let times = store.stored_times().expect("the times are read");
        assert_eq!(
            times.map(|times| times.newest),
            Some(1_795_825_337_764),
            "{round}"
        );
        let mut reader = store.reader().expect("a reader opens");
        let history = reader.history(&history_query("ada", "bob", None, 10));
        let HistoryAnswer::Page(page) = history.expect("the history is read") else {
            panic!("there is a conversation");
        };
        assert_eq!(
            contents(&page.messages),
            ["\"moved\"", "\"hello\"", "\"an answer\""],
            "{round}"
        );
        let range = dmwire::store::InboxRange {
            user: "ada".into(),
            first: 1,
            last: 99,
            bytes: usize::MAX,
        };
        let items = reader.entries(&range).expect("the inbox is read");
        let entries: Vec<_> = items
            .into_iter()
            .map(|item| match item {
                InboxItem::Entry(entry) => entry,
                other => panic!("entry {} is no change", other.seq()),
            })
            .collect();
        let numbers: Vec<_> = entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7], "{round}");
        assert!(entries.iter().all(|entry| entry.kind == EntryKind::Message));
        assert_eq!(entries[2].message.reply_to, Some(uuid(2)));
        assert_eq!(
            (&*entries[2].actor, &*entries[3].message.from),
            ("bob", "ada")
        );
        assert_eq!(entries[6].message.content.len(), 1502);
        let user = reader.user_overview(&UserQuery {
            user: "ada".into(),
            conversations: 1,
            rooms: 1,
            not_before: None,
        });
        let user = user.expect("the user is read").expect("there is one");
        assert_eq!(user.first_seen, None);
        // Who had connected has a device.
        for (user, has_connected) in [("ada", true), ("bob", true), ("cy", false)] {
            for (device, is_known) in [("default", has_connected), ("new", false)] {
                let device = DeviceRef {
                    user: user.into(),
                    device: device.into(),
                };
                let states = reader.open_inboxes(&[device.into()]);
                let state = states.expect("the inbox opens")[0];
                assert_eq!(
                    (state.has_connected, state.is_known),
                    (has_connected, is_known)
                );
            }
        }
        drop(reader);
        drop(store);
        assert_eq!(
            admin::verify(&path).expect("it is readable"),
            [] as [&str; 0]
        );
    }
}

#[test]
fn devices_that_older_versions_stored_at_connect_make_place_for_others() {
    let folder = Folder::new();
    let path = old_store(&folder);
    let old = Connection::open(&path).expect("the file opens");
    // Fifteen more connected: ten before the user had received anything, five were given the position of another device.
    old.execute_batch(
        "WITH RECURSIVE tab (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM tab WHERE n < 14)
         INSERT INTO devices (user, device, received, used) SELECT 1, 'tab' || n, n > 9, 1795825336100 + n FROM tab",
    )
    .expect("the devices are stored");
    drop(old);
    let mut store = Sqlite::open(&path, Durability::Full, StoreOptions::new(RETENTION))
        .expect("the store opens");
    let mut now = 1_795_825_400_000;
    let mut acknowledge = |store: &mut Sqlite, device: &str, seq| {
        now += 1000;
        let outcomes = store.commit(now, &[&receive("ada", device, seq)]);
        outcomes.expect("it is committed");
    };
    let is_known = |store: &Sqlite, device: &str| {
        let device = DeviceRef {
            user: "ada".into(),
            device: device.into(),
        };
        let mut reader = store.reader().expect("a reader opens");
        let states = reader.open_inboxes(&[device.into()]);
        states.expect("the inbox opens")[0].is_known
    };
    // One of them acknowledges, another one connects.
    acknowledge(&mut store, "tab1", 2);
    acknowledge(&mut store, "tab2", 0);
    for n in 0..20 {
        acknowledge(&mut store, &format!("new{n}"), 1);
    }
    let is_new_known = |n| is_known(&store, &format!("new{n}"));
    assert_eq!((0..20).filter(|n| is_new_known(*n)).count(), 10);
    assert!((0..10).all(is_new_known));
    assert!(is_known(&store, "tab1"), "it has acknowledged");
    for device in ["default", "tab0", "tab2", "tab9"] {
        assert!(!is_known(&store, device), "{device}");
    }
    for device in ["tab10", "tab14"] {
        assert!(
            is_known(&store, device),
            "{device} may have acknowledged its position"
        );
    }
}

/// Edits of the message 1, and reactions to it, as older versions recorded them. Entries 1 to 7 of ada and 1 to 3 of bob are
/// messages.
const CHANGES: &str = "
    INSERT INTO inbox (user, seq, at, conversation, message, kind, by, emoji) VALUES
        (1, 8, 1795825337765, 1, 1, 1, 1, NULL), (2, 4, 1795825337765, 1, 1, 1, 1, NULL),
        (1, 9, 1795825337766, 1, 1, 3, 2, '+'), (2, 5, 1795825337766, 1, 1, 3, 2, '+'),
        (1, 10, 1795825337767, 1, 1, 3, 1, '+'), (2, 6, 1795825337767, 1, 1, 3, 1, '+'),
        (1, 11, 1795825337768, 1, 1, 1, 1, NULL), (2, 7, 1795825337768, 1, 1, 1, 1, NULL),
        (1, 12, 1795825337769, 1, 1, 4, 2, '+'), (2, 8, 1795825337769, 1, 1, 4, 2, '+'),
        (1, 13, 1795825337770, 1, 1, 3, 2, '-'), (2, 9, 1795825337770, 1, 1, 3, 2, '-');
    UPDATE messages SET edited_at = 1795825337768, change_seq = 11, content = '\"now\"' WHERE conversation = 1 AND n = 1;
    INSERT INTO reactions (conversation, message, user, emoji, removed, seq, at) VALUES
        (1, 1, 2, '+', 1, 8, 1795825337769), (1, 1, 1, '+', 0, 10, 1795825337767), (1, 1, 2, '-', 0, 9, 1795825337770);
";

#[test]
fn superseded_changes_of_a_store_of_version_4_are_marked() {
    let folder = Folder::new();
    let path = old_store(&folder);
    let old = Connection::open(&path).expect("the file opens");
    old.execute_batch(CHANGES).expect("the changes are there");
    drop(old);
    assert_eq!(
        admin::verify(&path).expect("it is readable"),
        [] as [&str; 0]
    );
    let store = Sqlite::open(&path, Durability::Full, StoreOptions::new(RETENTION))
        .expect("the store opens");
    let mut reader = store.reader().expect("a reader opens");
    for (user, first, superseded) in [("ada", 8, [8, 9]), ("bob", 4, [4, 5])] {
        let range = dmwire::store::InboxRange {
            user: user.into(),
            first,
            last: 99,
            bytes: usize::MAX,
        };
        let items = reader.entries(&range).expect("the inbox is read");
        assert_eq!(items.len(), 6);
        let found: Vec<_> = items
            .iter()
            .filter(|item| matches!(item, InboxItem::Superseded(_)))
            .map(InboxItem::seq)
            .collect();
        assert_eq!(found, superseded, "{user}");
    }
    drop(reader);
    drop(store);
    assert_eq!(
        admin::verify(&path).expect("it is readable"),
        [] as [&str; 0]
    );
}

/// The version 4 ids have the version and variant bits of UUIDs.
fn uuid(n: u32) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x4000_8000_0000_0000_0000 | id(n).as_u128())
}

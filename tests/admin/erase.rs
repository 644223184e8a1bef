//! `dmwire erase`.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::helpers::{FAST, assert_failed, assert_verified, listing, replay, used_store};
use crate::support::{Client, Folder, Server, dmwire, to};

/// Whether any database file of the store in this folder contains `needle`.
fn store_files_contain(folder: &Path, needle: &str) -> bool {
    listing(folder).iter().any(|name| {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        let mut windows = bytes.windows(needle.len());
        name.starts_with("dmwire.db") && windows.any(|window| window == needle.as_bytes())
    })
}

const USER: &str = "zaphod.beeblebrox";

/// Fills the store with messages and changes of `USER` (`z`) in a conversation with `a`, and in one with themself.
fn conversation(z: &mut Client, a: &mut Client) {
    // Texts of many lengths among those of other users, so that pages are split and rows are moved.
    let mut last = Value::Null;
    for n in 0..600_usize {
        let text = format!("heartofgold-{n}-{}", "g".repeat(n * 37 % 3000));
        z.send(&to("a", &text));
        z.expect("ack");
        let ack = a.until("message");
        last = ack["id"].clone();
        if n % 3 == 0 {
            a.send(&to(
                USER,
                &format!("reply {n} {}", "r".repeat(n * 53 % 2000)),
            ));
            a.until("ack");
            z.expect("message");
        }
        if n % 7 == 0 {
            let edited = format!("improbability-{n}-{}", "i".repeat(n * 11 % 1500));
            z.ask(&json!({"type": "edit", "target_user": "a", "id": last, "message": edited}));
        }
        if n % 11 == 0 {
            z.ask(&json!({"type": "delete", "target_user": "a", "id": last}));
        }
    }
    a.send(&to(USER, "kept"));
    let own = a.until("ack")["id"].clone();
    z.until("message");
    z.ask(&json!({"type": "react", "target_user": "a", "id": own, "emoji": "vogonpoetry"}));
    z.ask(&to(USER, "heartofgold to himself"));
    z.until("message");
    z.send(&json!({"type": "read", "target_user": "a", "id": last}));
    z.assert_quiet();
}

/// Asserts that an entry contains nothing of the erased user: `then` before it was erased, `now` after it.
fn assert_erased(then: &Value, now: &Value) {
    assert_eq!(then["seq"], now["seq"]);
    if then["from_user"] == "a" && then["type"] == "message" {
        // Messages to the erased user remain, with an empty target.
        assert_eq!(
            (&then["message"], &then["id"]),
            (&now["message"], &now["id"])
        );
    } else if matches!(
        then["type"].as_str(),
        Some("message" | "edited" | "deleted")
    ) {
        assert_eq!(
            (&now["type"], &now["id"]),
            (&json!("deleted"), &then["id"]),
            "{now}"
        );
    }
    assert!(!now.to_string().contains(USER), "{now}");
}

#[test]
fn an_erased_user_leaves_no_traces_and_others_keep_their_messages() {
    let folder = Arc::new(Folder::new());
    let mut server = Server::start_in(&folder, &FAST);
    let mut z = Client::connect(&server, USER, "?device=pangalactic");
    z.until("synced");
    let mut a = Client::connect(&server, "a", "?ack=manual");
    a.until("synced");
    conversation(&mut z, &mut a);
    let epoch = a.epoch().to_owned();
    let mut again = Client::connect(&server, "a", "?since=0&ack=manual&device=other");
    let before = replay(&mut again);
    assert!(before.len() > 800);

    // Erasing fails while a server uses the store.
    let output = dmwire(&folder.0, &["erase", "--user", USER]);
    assert_failed(&output, 1, &["cannot erase", "dmwire.db", "in use"]);
    server.signal("TERM");
    assert!(server.wait(crate::support::DEADLINE).success());
    for trace in [USER, "heartofgold-", "improbability-", "pangalactic"] {
        assert!(store_files_contain(&folder.0, trace), "{trace}");
    }
    let output = dmwire(&folder.0, &["erase", "--user", "nobody"]);
    assert_failed(&output, 1, &["cannot erase", "nobody"]);
    let output = dmwire(&folder.0, &["erase", "--user", USER]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.out.contains(USER), "{output:?}");
    let traces = "heartofgold improbability- gggggggg iiiiiiii vogonpoetry pangalactic";
    for trace in traces.split(' ').chain([USER]) {
        assert!(
            !store_files_contain(&folder.0, trace),
            "{trace} is still in the files"
        );
    }
    assert_verified(&folder.0, "dmwire.db");
    let output = dmwire(&folder.0, &["erase", "--user", USER]);
    assert_failed(&output, 1, &["cannot erase"]);

    server.restart();
    // Others keep their place.
    let mut a = Client::connect(&server, "a", &format!("?since=3&epoch={epoch}&ack=manual"));
    assert_eq!(a.expect("deleted")["seq"], 4);
    a.until("synced");
    let mut a = Client::connect(&server, "a", &format!("?since=0&epoch={epoch}&ack=manual"));
    let mut after = replay(&mut a);
    let notice = after.pop().expect("an entry");
    assert_eq!(notice["type"], "erased", "{notice}");
    assert_eq!(after.len(), before.len(), "the inbox has no gap");
    for (then, now) in before.iter().zip(&after) {
        assert_erased(then, now);
    }
    // The id of an erased user is free, and the new user starts with nothing.
    let mut z = Client::connect(&server, USER, "?since=0");
    assert_eq!(z.welcome["seq"], 0);
    z.expect("synced");
    let page = z.ask(&json!({"type": "conversations"}));
    assert_eq!(page["items"], json!([]));
    assert_eq!(z.ask(&to("a", "new"))["seq"], 1);
    let message = a.expect("message");
    assert_eq!(message["seq"], before.len() as u64 + 2);
    assert_eq!(
        (&message["from_user"], &message["message"]),
        (&json!(USER), &json!("new"))
    );
    drop(server);
    assert_verified(&folder.0, "dmwire.db");
}

#[test]
fn an_erase_that_cannot_remove_all_traces_fails() {
    let folder = used_store();
    let reader = Connection::open(folder.0.join("dmwire.db")).expect("it opens");
    let read = "SELECT count(*) FROM messages";
    reader.execute_batch("BEGIN").expect("it begins");
    let count: i64 = reader
        .query_row(read, (), |row| row.get(0))
        .expect("it reads");
    assert_eq!(count, 12);
    let output = dmwire(&folder.0, &["erase", "--user", "a"]);
    assert_failed(&output, 1, &["reading the file", "a is erased", "traces"]);
    reader.close().expect("it closes");
    assert_verified(&folder.0, "dmwire.db");
}

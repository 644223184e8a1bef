//! Nothing is lost when the server ends between the attempts, and each event keeps its id.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::receiver::{Answer, Receiver, events, listed, start, start_in};
use crate::support::{Client, DEADLINE, Folder, Server, assert_has, eventually, to};

/// The ids of events by the texts of their messages. Each must have one.
fn note(ids: &mut HashMap<String, String>, text: &str, id: &str) {
    let known = ids.entry(text.to_owned()).or_insert_with(|| id.to_owned());
    assert_eq!(known, id, "{text}");
}

fn survives(end: fn(&mut Server)) {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    let mut ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut ids = HashMap::new();
    for round in 0..3 {
        for n in 0..5 {
            for user in ["bo", "cy"] {
                ada.send(&to(user, &format!("{user} {}", round * 5 + n)));
                ada.until("ack");
            }
        }
        // At least one attempt in each conversation.
        for _ in 0..2 {
            let post = receiver.next();
            note(&mut ids, post.text(), post.id());
        }
        end(&mut ops.server);
        while let Some(post) = receiver.try_next() {
            note(&mut ids, post.text(), post.id());
        }
        if round == 2 {
            receiver.answer_with(|_| Answer::Status(200));
        }
        ops.server.restart();
        ada = Client::connect(&ops.server, "ada", "");
    }
    let mut texts: HashMap<String, Vec<String>> = HashMap::new();
    let is_complete = |texts: &HashMap<String, Vec<String>>| {
        ["bo", "cy"]
            .iter()
            .all(|user| texts.get(*user).is_some_and(|texts| texts.len() >= 15))
    };
    while !is_complete(&texts) {
        let post = receiver.next();
        note(&mut ids, post.text(), post.id());
        let user = post.event["data"]["target_user"].as_str().expect("a user");
        let texts = texts.entry(user.to_owned()).or_default();
        // The answer to an earlier attempt may have come when the server had ended.
        if texts.last().is_none_or(|last| last != post.text()) {
            texts.push(post.text().to_owned());
        }
    }
    for user in ["bo", "cy"] {
        let expected: Vec<_> = (0..15).map(|n| format!("{user} {n}")).collect();
        assert_eq!(texts[user], expected);
    }
    let mut all: Vec<_> = ids.values().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 30);
}

#[test]
fn events_survive_a_kill() {
    survives(Server::kill);
}

#[test]
fn events_survive_a_shutdown() {
    survives(|server| {
        server.signal("TERM");
        assert!(server.wait(DEADLINE).success(), "{}", server.log());
    });
}

#[test]
fn accepted_events_are_not_posted_again_after_a_shutdown() {
    let receiver = Receiver::start();
    let mut ops = start(&receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    for n in 0..20 {
        ada.send(&to("bo", &n.to_string()));
        ada.until("ack");
    }
    for n in 0..20 {
        assert_eq!(receiver.next().text(), n.to_string());
    }
    ops.server.signal("TERM");
    assert!(ops.server.wait(DEADLINE).success(), "{}", ops.server.log());
    ops.server.restart();
    let mut ada = Client::connect(&ops.server, "ada", "");
    ada.send(&to("bo", "next"));
    assert_eq!(receiver.next().text(), "next");
}

/// Makes what the store has of events `hours` older, as if the server had been stopped so long.
fn age(folder: &Folder, hours: i64) {
    let path = folder.0.join("dmwire.db");
    let database = Connection::open(path).expect("the store can be opened");
    let ms = hours * 3_600_000;
    database
        .execute("UPDATE events SET at = at - ?1", [ms])
        .expect("events can be changed");
    let memory: String = database
        .query_row("SELECT memory FROM receivers", (), |row| row.get(0))
        .expect("a receiver that fails");
    let mut memory: Value = serde_json::from_str(&memory).expect("JSON");
    let mut count = 0;
    let mut make_older = |time: &mut Value| {
        if let Some(at) = time.as_i64() {
            *time = json!(at - ms);
            count += 1;
        }
    };
    make_older(&mut memory["failing_since"]);
    make_older(&mut memory["stored_at"]);
    for lane in memory["lanes"].as_array_mut().expect("lanes") {
        make_older(&mut lane[2]);
    }
    assert!(count > 1, "{memory}");
    database
        .execute("UPDATE receivers SET memory = ?1", [memory.to_string()])
        .expect("receivers can be changed");
}

#[test]
fn events_do_not_expire_while_the_server_is_stopped() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    let folder = Arc::new(Folder::new());
    let mut ops = start_in(&folder, &receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    for n in 0..3 {
        ada.send(&to("bo", &n.to_string()));
        ada.until("ack");
    }
    receiver.next();
    eventually("the first one has failed", || events(&ops, "retried") > 0.5);
    ops.server.signal("TERM");
    assert!(ops.server.wait(DEADLINE).success(), "{}", ops.server.log());
    // Longer than events are posted again by default.
    age(&folder, 48);
    let ops = start_in(&folder, &receiver.url(), &["--webhook-allow-private"]);
    // The server looks for expired events again after each failure.
    eventually("posts fail again", || events(&ops, "retried") > 1.5);
    assert_has(&listed(&ops)[0], &json!({"dropped": 0}));
    while receiver.try_next().is_some() {}
    receiver.answer_with(|_| Answer::Status(200));
    for n in 0..3 {
        receiver.until(|post| post.text() == n.to_string());
    }
    assert_has(&listed(&ops)[0], &json!({"dropped": 0}));
}

#[test]
fn nothing_grows_when_the_setting_is_removed() {
    let receiver = Receiver::start();
    receiver.answer_with(|_| Answer::Status(500));
    let folder = Arc::new(Folder::new());
    let mut ops = start_in(&folder, &receiver.url(), &["--webhook-allow-private"]);
    let mut ada = Client::fresh(&ops.server, "ada");
    for n in 0..20 {
        ada.send(&to("bo", &n.to_string()));
        ada.until("ack");
    }
    receiver.next();
    let rows = |folder: &Folder| {
        let path = folder.0.join("dmwire.db");
        let database = Connection::open(path).expect("the store can be opened");
        let count = |table: &str| {
            let sql = format!("SELECT count(*) FROM {table}");
            database
                .query_row(&sql, (), |row| row.get::<_, u32>(0))
                .expect("a number")
        };
        (count("receivers"), count("events"))
    };
    eventually("all are kept", || rows(&folder).1 == 20);
    ops.server.kill();
    // The sweep that removes them rests for no longer than entries are kept.
    let server = Server::start_in(&folder, &["--inbox-days", "0.00002"]);
    let mut ada = Client::connect(&server, "ada", "");
    ada.send(&to("bo", "more"));
    ada.until("ack");
    eventually("nothing is kept", || rows(&folder) == (0, 0));
    assert_eq!(json!(rows(&folder)), json!([0, 0]));
}

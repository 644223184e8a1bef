//! Sessions: lists, and closing those of a user.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use serde_json::json;

use crate::helpers::{Ops, new_key};
use crate::support::{Client, Folder, eventually};

#[test]
fn sessions_are_listed_in_parts() {
    let ops = Ops::start(&[]);
    let mut clients = Vec::new();
    let mut ids = HashSet::new();
    for user in ["8888", "6666", "8888"] {
        let mut client = Client::connect(&ops.server, user, "?device=phone");
        let id = client.welcome["session_id"].as_str().expect("an id");
        ids.insert(id.to_owned());
        client.until("synced");
        clients.push(client);
    }
    for sort in ["", "sort=since&", "sort=rate&"] {
        let mut found = HashSet::new();
        let mut cursor = String::new();
        for _ in 0..3 {
            let page = ops.get(&format!("/v1/sessions?{sort}limit=1{cursor}"));
            let page = page.assert_ok();
            assert_eq!(page["total"], 3);
            let session = &page["sessions"][0];
            found.insert(session["session_id"].as_str().expect("an id").to_owned());
            assert_eq!(session["device"], "phone");
            assert_eq!(session["client_ip"], "127.0.0.1");
            assert!(session["since"].is_string() && session["user"].is_string());
            cursor = page["cursor"]
                .as_str()
                .map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        }
        assert_eq!(found, ids, "{sort}");
        assert!(cursor.is_empty(), "the last part has a cursor");
    }
    // The busiest session is first.
    for _ in 0..20 {
        clients[1].send(&json!({"type": "ping"}));
        clients[1].until("pong");
    }
    let busiest = ops.get("/v1/sessions?sort=rate").assert_ok();
    assert_eq!(busiest["sessions"][0]["user"], "6666", "{busiest}");
    assert!(busiest["sessions"][0]["frames_per_second"].as_f64() > Some(0.5));
    let of_user = ops.get("/v1/users/8888/sessions").assert_ok();
    let sessions = of_user["sessions"].as_array().expect("a list");
    assert_eq!(sessions.len(), 2, "{of_user}");
    for session in sessions {
        let members: Vec<_> = session.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["session_id", "device", "since", "client_ip"]);
    }
    assert_eq!(
        ops.get("/v1/users/nobody/sessions").assert_ok(),
        json!({"sessions": []})
    );
    ops.get("/v1/sessions?sort=user")
        .assert_error(400, "invalid_request", Some("/sort"));
    ops.get("/v1/sessions?cursor=x")
        .assert_error(404, "unknown_message", Some("/cursor"));
}

#[test]
fn the_sessions_of_a_user_are_closed() {
    let (reader, reader_line) = new_key("reader");
    let (admin, admin_line) = new_key("admin");
    let folder = Arc::new(Folder::new());
    let lines = format!("{reader_line} read,write\n{admin_line} admin\n");
    fs::write(folder.0.join("keys"), lines).expect("a writable folder");
    let ops = Ops::start_in(&folder, &["--api-key-file", "keys"]);
    let mut closed = [(); 2].map(|()| Client::fresh(&ops.server, "8888"));
    let mut other = Client::fresh(&ops.server, "6666");
    let delete = |key: &str| {
        let key = format!("Authorization: Bearer {key}");
        ops.request("DELETE /v1/users/8888/sessions", &[&key], b"")
    };
    delete(&reader).assert_error(403, "forbidden", None);
    assert_eq!(delete(&admin).assert_ok(), json!({"closed": 2}));
    for client in &mut closed {
        let goodbye = client.until("goodbye");
        assert_eq!(goodbye["code"], 4403, "{goodbye}");
        assert_eq!(goodbye["reason"], "disconnected", "{goodbye}");
        assert_eq!(goodbye["reconnect"], false, "{goodbye}");
    }
    eventually("the sessions have ended", || {
        delete(&admin).assert_ok() == json!({"closed": 0})
    });
    other.send(&json!({"type": "ping"}));
    other.until("pong");
}

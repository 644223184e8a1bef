//! `GET /v1/users/{user}`.

use serde_json::json;

use crate::helpers::Ops;
use crate::support::{Client, eventually};

#[test]
fn a_user_is_described() {
    let ops = Ops::start(&["--presence-grace-seconds", "0"]);
    ops.get("/v1/users/ada")
        .assert_error(404, "unknown_user", Some("/user"));
    let mut first_seen = None;
    for (target, text) in [("ada", "one"), ("ada", "two"), ("bo", "three")] {
        let body = json!({"from_user": "cy", "target_user": target, "message": text});
        let ack = ops.post("/v1/messages", &body).assert_ok();
        first_seen.get_or_insert(ack["sent_at"].clone());
    }
    for room in ["b", "a"] {
        ops.request(&format!("PUT /v1/rooms/{room}/members/ada"), &[], b"")
            .assert_ok();
    }
    ops.request("PUT /v1/rooms/a/members/cy", &[], b"")
        .assert_ok();
    let body = json!({"from_user": "cy", "target_room": "a", "message": "four"});
    ops.post("/v1/messages", &body).assert_ok();
    let user = ops.get("/v1/users/ada").assert_ok();
    assert_eq!(
        user,
        json!({
            "user": "ada", "status": "offline", "first_seen": first_seen, "sessions": 0, "unread": 3,
            "rooms": ["a", "b"]
        })
    );
    let [mut ada, mut phone] =
        ["", "?device=phone"].map(|query| Client::connect(&ops.server, "ada", query));
    ada.until("synced");
    phone.until("synced");
    for status in ["invisible", "busy", "away", "online"] {
        ada.ask(&json!({"type": "status", "status": status}));
        let user = ops.get("/v1/users/ada").assert_ok();
        assert_eq!(user["status"], status);
        assert_eq!(
            (&user["sessions"], &user["last_seen"]),
            (&json!(2), &json!(null))
        );
        assert_eq!(Some(&user["first_seen"]), first_seen.as_ref());
    }
    ada.close();
    phone.close();
    eventually("the user is offline, and when that began is known", || {
        let user = ops.get("/v1/users/ada").assert_ok();
        user["status"] == "offline" && user["last_seen"].is_string()
    });
    ops.get("/v1/users/ada?x=1")
        .assert_error(400, "invalid_request", Some("/x"));
}

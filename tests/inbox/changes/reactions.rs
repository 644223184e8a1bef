//! Reactions.

use serde_json::json;

use super::{
    assert_duplicate, assert_stored, conversation, messages, react, second_session, unreact,
};
use crate::support::{Server, assert_has, to, with};

#[test]
fn both_users_can_react_and_remove_their_reactions() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let (mut a2, mut b2) = (second_session(&server, "a"), second_session(&server, "b"));
    let id = &first["id"];
    // b's reaction is entry 3 of b and entry 2 of a; its target is that of b's frame.
    let liked = b.ask(&with(react("a", id, "👍"), &json!({"ref": "r"})));
    assert_stored(&liked);
    assert_has(&liked, &json!({"id": id, "seq": 3, "ref": "r"}));
    for (client, seq) in [(&mut a, 2), (&mut a2, 2), (&mut b2, 3)] {
        assert_eq!(
            client.expect("reacted"),
            json!({
                "type": "reacted", "id": id, "seq": seq, "from_user": "b", "target_user": "a", "emoji": "👍",
            })
        );
    }
    // The author reacts with the same emoji: a separate reaction.
    let own = a.ask(&react("b", id, "👍"));
    assert_stored(&own);
    assert_eq!(own["seq"], 3);
    for (client, seq) in [(&mut a2, 3), (&mut b, 4), (&mut b2, 4)] {
        assert_has(
            &client.expect("reacted"),
            &json!({"seq": seq, "from_user": "a", "target_user": "b", "emoji": "👍", "removed": null}),
        );
    }
    assert_stored(&b.ask(&with(react("a", id, "🎉"), &json!({"remove": false}))));
    a.expect("reacted");
    let reactions = json!([{"emoji": "👍", "users": ["b", "a"]}, {"emoji": "🎉", "users": ["b"]}]);
    assert_eq!(messages(&mut a, "b")[0]["reactions"], reactions);
    assert_eq!(messages(&mut b, "a")[0]["reactions"], reactions);
    // One user's removal leaves the other user's reaction.
    let back = b.ask(&unreact("a", id, "👍"));
    assert_stored(&back);
    assert_eq!(back["seq"], 6);
    assert_eq!(
        a.expect("reacted"),
        json!({
            "type": "reacted", "id": id, "seq": 5, "from_user": "b", "target_user": "a", "emoji": "👍",
            "removed": true,
        })
    );
    let reactions = json!([{"emoji": "👍", "users": ["a"]}, {"emoji": "🎉", "users": ["b"]}]);
    assert_eq!(messages(&mut a, "b")[0]["reactions"], reactions);
    assert_stored(&a.ask(&unreact("b", id, "👍")));
    b.expect("reacted");
    assert_stored(&b.ask(&unreact("a", id, "🎉")));
    a.expect("reacted");
    assert_eq!(messages(&mut b, "a")[0].get("reactions"), None);
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn a_repeated_reaction_is_a_duplicate() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let id = &first["id"];
    // The removal of a reaction that never existed has no entry.
    for emoji in ["+", "-"] {
        let never = b.ask(&with(unreact("a", id, emoji), &json!({"ref": "n"})));
        assert_has(
            &never,
            &json!({
                "type": "ack", "id": id, "status": "stored", "duplicate": true, "seq": null, "ref": "n",
            }),
        );
    }
    let liked = b.ask(&react("a", id, "+"));
    assert_stored(&liked);
    b.ask(&to("a", "between"));
    assert_duplicate(&b.ask(&react("a", id, "+")), &liked);
    // The other user's reaction is a separate one.
    let own = a.until("message");
    assert_eq!(own["message"], "between");
    let never = a.ask(&unreact("b", id, "+"));
    assert_has(&never, &json!({"duplicate": true, "seq": null}));
    let back = b.ask(&unreact("a", id, "+"));
    assert_stored(&back);
    b.ask(&to("a", "between"));
    for _ in 0..2 {
        assert_duplicate(&b.ask(&unreact("a", id, "+")), &back);
    }
    let anew = b.ask(&react("a", id, "+"));
    assert_stored(&anew);
    assert_eq!(anew["seq"], 7);
    assert_duplicate(&b.ask(&react("a", id, "+")), &anew);
    assert_duplicate(
        &second_session(&server, "b").ask(&react("a", id, "+")),
        &anew,
    );
    for tag in ["reacted", "message", "reacted"] {
        a.expect(tag);
    }
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn emojis_are_compared_by_code_points() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = conversation(&server);
    let id = first["id"].as_str().expect("an id");
    // With and without a variation selector, a skin tone, a letter in two normalization forms, sixteen characters, a NUL.
    let long = "😀".repeat(16);
    let emojis = [
        "❤",
        "❤\u{fe0f}",
        "👍",
        "👍🏽",
        "é",
        "e\u{301}",
        &long,
        "\0",
        "\"",
    ];
    for emoji in emojis {
        assert_stored(&b.ask(&react("a", &json!(id), emoji)));
        assert_eq!(a.expect("reacted")["emoji"], emoji);
    }
    let reactions = messages(&mut a, "b")[0]["reactions"].clone();
    let found: Vec<_> = reactions
        .as_array()
        .expect("reactions")
        .iter()
        .map(|reaction| reaction["emoji"].as_str().expect("an emoji"))
        .collect();
    assert_eq!(found, emojis);
    // A JSON escape is only another spelling.
    b.send_text(&format!(
        r#"{{"type":"react","target_user":"a","id":"{id}","emoji":"\ud83d\udc4d"}}"#
    ));
    assert_eq!(b.expect("ack")["duplicate"], true);
}

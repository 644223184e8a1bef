//! Reactions.

use super::{assert_duplicate, history, react, stored, talk, twin, unreact};
use crate::support::{Server, assert_has, to, with};
use serde_json::json;

#[test]
fn either_side_reacts_and_takes_it_back() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let (mut a2, mut b2) = (twin(&server, "a"), twin(&server, "b"));
    let id = &first["id"];
    // b's reaction is entry 3 of b and entry 2 of a; its target is that of the frame that made it.
    let liked = b.ask(&with(react("a", id, "👍"), &json!({"ref": "r"})));
    stored(&liked);
    assert_has(&liked, &json!({"id": id, "seq": 3, "ref": "r"}));
    for (client, seq) in [(&mut a, 2), (&mut a2, 2), (&mut b2, 3)] {
        assert_eq!(
            client.expect("reacted"),
            json!({
                "type": "reacted", "id": id, "seq": seq, "from_user": "b", "target_user": "a", "emoji": "👍",
            })
        );
    }
    // The author too, with the same emoji: it is another reaction.
    let own = a.ask(&react("b", id, "👍"));
    stored(&own);
    assert_eq!(own["seq"], 3);
    for (client, seq) in [(&mut a2, 3), (&mut b, 4), (&mut b2, 4)] {
        assert_has(
            &client.expect("reacted"),
            &json!({"seq": seq, "from_user": "a", "target_user": "b", "emoji": "👍", "removed": null}),
        );
    }
    stored(&b.ask(&with(react("a", id, "🎉"), &json!({"remove": false}))));
    a.expect("reacted");
    let reactions = json!([{"emoji": "👍", "users": ["b", "a"]}, {"emoji": "🎉", "users": ["b"]}]);
    assert_eq!(history(&mut a, "b")[0]["reactions"], reactions);
    assert_eq!(history(&mut b, "a")[0]["reactions"], reactions);
    // Taken back by one, it is still the other's.
    let back = b.ask(&unreact("a", id, "👍"));
    stored(&back);
    assert_eq!(back["seq"], 6);
    assert_eq!(
        a.expect("reacted"),
        json!({
            "type": "reacted", "id": id, "seq": 5, "from_user": "b", "target_user": "a", "emoji": "👍",
            "removed": true,
        })
    );
    let reactions = json!([{"emoji": "👍", "users": ["a"]}, {"emoji": "🎉", "users": ["b"]}]);
    assert_eq!(history(&mut a, "b")[0]["reactions"], reactions);
    stored(&a.ask(&unreact("b", id, "👍")));
    b.expect("reacted");
    stored(&b.ask(&unreact("a", id, "🎉")));
    a.expect("reacted");
    assert_eq!(history(&mut b, "a")[0].get("reactions"), None);
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn a_repeated_reaction_changes_nothing() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = &first["id"];
    // Nothing ever removed what never was.
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
    stored(&liked);
    b.ask(&to("a", "between"));
    assert_duplicate(&b.ask(&react("a", id, "+")), &liked);
    // The other's reaction is another one.
    let own = a.until("message");
    assert_eq!(own["message"], "between");
    let never = a.ask(&unreact("b", id, "+"));
    assert_has(&never, &json!({"duplicate": true, "seq": null}));
    let back = b.ask(&unreact("a", id, "+"));
    stored(&back);
    b.ask(&to("a", "between"));
    for _ in 0..2 {
        assert_duplicate(&b.ask(&unreact("a", id, "+")), &back);
    }
    let anew = b.ask(&react("a", id, "+"));
    stored(&anew);
    assert_eq!(anew["seq"], 7);
    assert_duplicate(&b.ask(&react("a", id, "+")), &anew);
    assert_duplicate(&twin(&server, "b").ask(&react("a", id, "+")), &anew);
    for tag in ["reacted", "message", "reacted"] {
        a.expect(tag);
    }
    a.assert_quiet();
    b.assert_quiet();
}

#[test]
fn emojis_are_compared_by_their_code_points() {
    let server = Server::start(&[]);
    let (mut a, mut b, first) = talk(&server);
    let id = first["id"].as_str().expect("an id");
    // With and without a variation selector, a skin tone, a letter in two normal forms, sixteen of one, a NUL.
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
        stored(&b.ask(&react("a", &json!(id), emoji)));
        assert_eq!(a.expect("reacted")["emoji"], emoji);
    }
    let reactions = history(&mut a, "b")[0]["reactions"].clone();
    let found: Vec<_> = reactions
        .as_array()
        .expect("reactions")
        .iter()
        .map(|reaction| reaction["emoji"].as_str().expect("an emoji"))
        .collect();
    assert_eq!(found, emojis);
    // An escape is only another spelling.
    b.send_text(&format!(
        r#"{{"type":"react","target_user":"a","id":"{id}","emoji":"\ud83d\udc4d"}}"#
    ));
    assert_eq!(b.expect("ack")["duplicate"], true);
}

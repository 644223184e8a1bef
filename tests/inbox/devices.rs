//! Devices: which of them have a stored position, and how `welcome` tells it (PROTOCOL section 2).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Server, eventually, to};

fn connect(server: &Server, device: &str, more: &str) -> Client {
    Client::connect(server, "b", &format!("?ack=manual&device={device}{more}"))
}

/// How the position of a device is found.
fn resumed(server: &Server, device: &str) -> Value {
    let client = connect(server, device, "");
    let resumed = client.welcome["resumed"].clone();
    client.close();
    resumed
}

fn acknowledge(server: &Server, device: &str, seq: u64) {
    let mut client = connect(server, device, "&since=0");
    client.send(&json!({"type": "received", "seq": seq}));
    client.close();
}

/// Sends messages to user b.
fn send(server: &Server, count: usize) -> Client {
    let mut a = Client::connect(server, "a", "?ack=manual&since=0");
    a.until("synced");
    for n in 0..count {
        a.ask(&to("b", &n.to_string()));
    }
    a
}

#[test]
fn tabs_that_acknowledge_nothing_take_no_place_from_a_bot() {
    let mut server = Server::start(&[]);
    send(&server, 6);
    acknowledge(&server, "default", 1);
    for tab in 0..40 {
        // They are sent the rest of the messages.
        let mut tab = connect(&server, &format!("tab{tab}"), "");
        assert_eq!(tab.welcome["resumed"], "new");
        assert_eq!(tab.expect("message")["seq"], 2);
        tab.close();
    }
    server.kill();
    server.restart();
    let mut bot = connect(&server, "default", "");
    assert_eq!(bot.welcome["resumed"], "device");
    for seq in 2..=6 {
        assert_eq!(bot.expect("message")["seq"], seq);
    }
    bot.expect("synced");
}

#[test]
fn tabs_that_acknowledge_everything_take_no_place_from_a_bot_either() {
    let server = Server::start(&[]);
    send(&server, 6);
    acknowledge(&server, "default", 1);
    for tab in 0..40 {
        acknowledge(&server, &format!("tab{tab}"), 6);
    }
    assert_eq!(resumed(&server, "tab0"), "device");
    assert_eq!(resumed(&server, "tab39"), "new");
    let mut bot = connect(&server, "default", "");
    assert_eq!(bot.welcome["resumed"], "device");
    for seq in 2..=6 {
        assert_eq!(bot.expect("message")["seq"], seq);
    }
}

#[test]
fn welcome_tells_how_the_position_was_found() {
    let server = Server::start(&[]);
    let mut a = send(&server, 3);
    assert_eq!(resumed(&server, "phone"), "new");
    assert_eq!(resumed(&server, "phone"), "new", "nothing was acknowledged");
    acknowledge(&server, "phone", 2);
    let mut phone = connect(&server, "phone", "");
    assert_eq!(phone.welcome["resumed"], "device");
    assert_eq!(phone.expect("message")["seq"], 3);
    for since in ["0", "2", "3", "99"] {
        let client = connect(&server, "phone", &format!("&since={since}"));
        assert_eq!(client.welcome["resumed"], "cursor", "{since}");
    }
    let client = connect(&server, "other", "&since=2");
    assert_eq!(client.welcome["resumed"], "cursor");
    // An entry before the start of the replay may be the first that a device acknowledges.
    let mut new = connect(&server, "new", "");
    assert_eq!(new.welcome["resumed"], "new");
    assert_eq!(new.expect("message")["seq"], 3);
    new.send(&json!({"type": "received", "seq": 1}));
    new.close();
    let mut new = connect(&server, "new", "");
    assert_eq!(new.welcome["resumed"], "device");
    assert_eq!(new.expect("message")["seq"], 2);
    // `received` with 0, or in an empty inbox, acknowledges nothing.
    for (user, seq) in [("b", 0), ("empty", 5)] {
        for _ in 0..2 {
            let mut client = Client::connect(&server, user, "?ack=manual&device=zero");
            assert_eq!(client.welcome["resumed"], "new");
            client.send(&json!({"type": "received", "seq": seq}));
            client.close();
        }
    }
    a.ask(&to("b", "one more"));
}

#[test]
fn pongs_of_an_idle_device_acknowledge_nothing() {
    let server = Server::start(&["--ping-seconds", "1"]);
    send(&server, 3);
    acknowledge(&server, "phone", 3);
    let ponged = |client: &mut Client| {
        while !matches!(client.next_message(), Ok(message) if message.is_ping()) {}
        // The pong is written before the next frame.
        client.assert_quiet();
    };
    for user in ["b", "empty"] {
        for _ in 0..2 {
            let mut idle = Client::connect(&server, user, "?device=idle");
            assert_eq!(idle.welcome["resumed"], "new");
            idle.expect("synced");
            ponged(&mut idle);
            idle.close();
        }
    }
    // From the first entry on, it has a position.
    let mut a = send(&server, 0);
    let mut idle = Client::connect(&server, "b", "?device=idle");
    idle.expect("synced");
    a.ask(&to("b", "x"));
    assert_eq!(idle.expect("message")["seq"], 4);
    ponged(&mut idle);
    idle.close();
    assert_eq!(resumed(&server, "idle"), "device");
}

#[test]
fn of_devices_that_acknowledge_at_once_sixteen_are_stored() {
    let server = Server::start(&["--sessions-per-user", "40"]);
    let mut a = send(&server, 0);
    let names: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
    let mut sessions: Vec<Client> = names
        .iter()
        .map(|name| connect(&server, name, ""))
        .collect();
    a.ask(&to("b", "x"));
    for session in &mut sessions {
        session.until("message");
        session.send(&json!({"type": "received", "seq": 1}));
    }
    sessions.into_iter().for_each(Client::close);
    let found: Vec<Value> = names.iter().map(|name| resumed(&server, name)).collect();
    assert_eq!(found.iter().filter(|how| *how == "device").count(), 16);
    let new: Vec<usize> = (0..20).filter(|n| found[*n] == "new").collect();
    assert_eq!(new.len(), 4);
    // A device without a place makes receipts all the same, and starts where the others are.
    let mut other = connect(&server, "other", "");
    let id = a.ask(&to("b", "y"))["id"].clone();
    other.until("message");
    let mut session = connect(&server, &names[new[0]], "");
    assert_eq!(session.expect("message")["seq"], 2);
    session.send(&json!({"type": "received", "seq": 2}));
    while other.receipt()["id"] != id {}
    session.close();
    assert_eq!(resumed(&server, &names[new[0]]), "new");
}

#[test]
fn a_device_that_was_not_used_for_long_gives_its_place_to_another() {
    // 1.7 s.
    let server = Server::start(&["--device-days", "0.00002"]);
    send(&server, 2);
    let mut live = connect(&server, "live", "");
    live.send(&json!({"type": "received", "seq": 1}));
    for n in 0..15 {
        acknowledge(&server, &format!("d{n}"), 1);
    }
    for n in 0..30 {
        let name = format!("next{n}");
        eventually("the device gets a place", || {
            acknowledge(&server, &name, 2);
            resumed(&server, &name) == "device"
        });
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(resumed(&server, "d0"), "new");
    // The session has sent nothing for all that time.
    live.close();
    let mut live = connect(&server, "live", "");
    assert_eq!(live.welcome["resumed"], "device");
    assert_eq!(live.expect("message")["seq"], 2);
}

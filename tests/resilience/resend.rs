//! Resends with the same id after a broken connection: before and after the ack was read, within a frame, and within a burst of
//! frames. The message is stored once, and the first ack is repeated (PROTOCOL section 5, "Idempotent send").
//!
//! `DMWIRE_RESEND_ROUNDS` sets the number of rounds, `DMWIRE_RESEND_SEED` the seed of the random decisions.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::{Client, Random, Server, client_frame, env_number, random_seed};

/// A sender whose connection is broken repeatedly, and two sessions that receive its messages.
struct Scene {
    server: Server,
    random: Random,
    epoch: String,
    /// The number of messages so far, which is the head of both inboxes.
    head: u64,
    /// The first ack of each message, in order.
    first: Vec<Value>,
    /// The target, and another session of the sender.
    target: Client,
    twin: Client,
    /// Resends of messages that were stored, and of messages that were not.
    duplicates: usize,
    stored: usize,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let server = Server::start(&[
            "--messages-per-second=1000000",
            "--burst=1000000",
            "--inbox-limit=1000000",
        ]);
        let target = Client::fresh(&server, "b");
        let twin = Client::fresh(&server, "a");
        Self {
            random: Random::new(seed),
            epoch: twin.epoch().to_owned(),
            head: 0,
            first: Vec::new(),
            target,
            twin,
            duplicates: 0,
            stored: 0,
            server,
        }
    }

    /// The sender, resumed after all acknowledged messages. It receives no pings: the pongs would be sent within frames that the
    /// test writes in parts.
    fn sender(&self) -> Client {
        let query = format!("?since={}&epoch={}&ack=manual", self.head, self.epoch);
        Client::connect(&self.server, "a", &query)
    }

    fn messages(&mut self, count: usize) -> Vec<Value> {
        let number = self.head as usize;
        let make = |n| {
            let text = format!("{n} {}", "x".repeat(self.random.below(400)));
            json!({"message": text, "target_user": "b", "id": self.random.uuid()})
        };
        (number..number + count).map(make).collect()
    }

    /// Sends all messages again on a new connection, twice, and compares the answers with the acks that were read before.
    fn resend_twice(&mut self, messages: &[Value], seen: &[Value]) {
        let mut client = self.sender();
        for message in messages {
            client.send(message);
        }
        // Stored messages arrive as entries of the replay, or behind it if the previous session had not ended yet.
        let acks = Self::acks(&mut client, messages);
        for (n, ack) in acks.iter().enumerate() {
            let seq = self.head + 1 + n as u64;
            assert_eq!(
                (&ack["id"], &ack["seq"]),
                (&messages[n]["id"], &json!(seq)),
                "{ack}"
            );
            assert_eq!(ack["status"], "stored");
            if ack["duplicate"] == true {
                self.duplicates += 1;
            } else {
                self.stored += 1;
            }
            if let Some(first) = seen.get(n) {
                assert_eq!(first.get("duplicate"), None);
                assert_eq!(
                    ack["duplicate"], true,
                    "it was acknowledged before: {first}"
                );
                assert_same(ack, first);
            }
        }
        for message in messages {
            client.send(message);
        }
        let repeated = Self::acks(&mut client, messages);
        for (ack, before) in repeated.iter().zip(&acks) {
            assert_eq!(ack["duplicate"], true, "{ack}");
            assert_same(ack, before);
        }
        client.cut(self.random.percent(50));
        self.check_receivers(messages, &acks);
    }

    /// Reads until each message is acknowledged. Other entries may arrive between the acks, in order.
    fn acks(client: &mut Client, messages: &[Value]) -> Vec<Value> {
        let mut acks = vec![Value::Null; messages.len()];
        let mut open = messages.len();
        while open > 0 {
            let frame = client.recv();
            match frame["type"].as_str() {
                Some("synced") => {}
                Some("message") => assert_eq!(frame["from_user"], "a"),
                Some("ack") => {
                    let n = messages
                        .iter()
                        .position(|message| message["id"] == frame["id"]);
                    let n = n.unwrap_or_else(|| panic!("unexpected frame {frame}"));
                    assert_eq!(acks[n], Value::Null, "acknowledged twice");
                    acks[n] = frame;
                    open -= 1;
                }
                _ => panic!("{frame}"),
            }
        }
        client.receipts();
        acks
    }

    /// Asserts that both receiving sessions get each message once, in order.
    fn check_receivers(&mut self, messages: &[Value], acks: &[Value]) {
        for (message, ack) in messages.iter().zip(acks) {
            for client in [&mut self.target, &mut self.twin] {
                let frame = client.expect("message");
                assert_eq!(
                    (&frame["id"], &frame["seq"], &frame["sent_at"]),
                    (&message["id"], &ack["seq"], &ack["sent_at"])
                );
                assert_eq!(frame["message"], message["message"]);
                client.receipts();
            }
            self.first.push(ack.clone());
        }
        self.head += messages.len() as u64;
    }

    /// The connection breaks directly after the message was sent.
    fn before_the_ack(&mut self) {
        let messages = self.messages(1);
        let mut client = self.sender();
        client.send(&messages[0]);
        client.cut(self.random.percent(50));
        self.resend_twice(&messages, &[]);
    }

    /// The ack was read, but the client has lost it.
    fn after_the_ack(&mut self) {
        let messages = self.messages(1);
        let mut client = self.sender();
        client.send(&messages[0]);
        let ack = client.until("ack");
        client.cut(self.random.percent(50));
        self.resend_twice(&messages, &[ack]);
    }

    /// The connection breaks within a frame, which has no effect.
    fn half_a_frame(&mut self) {
        let messages = self.messages(1);
        let frame = client_frame(0x81, messages[0].to_string().as_bytes());
        let mut client = self.sender();
        client.expect("synced");
        let cut = self.random.below(frame.len());
        client
            .stream()
            .write_all(&frame[..cut])
            .expect("the server reads it");
        client.cut(self.random.percent(50));
        let mut client = self.sender();
        assert_eq!(client.expect("synced")["seq"], self.head);
        client.send(&messages[0]);
        let ack = client.expect("ack");
        assert_eq!(
            (&ack["seq"], ack.get("duplicate")),
            (&json!(self.head + 1), None)
        );
        client.cut(false);
        self.resend_twice(&messages, &[ack]);
    }

    /// The connection breaks within a burst, after some of its acks were read.
    fn in_a_burst(&mut self) {
        let count = 1 + self.random.below(40);
        let messages = self.messages(count);
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for message in &messages {
            bytes.extend(client_frame(0x81, message.to_string().as_bytes()));
            ends.push(bytes.len());
        }
        let cut = self.random.below(bytes.len() + 1);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let mut client = self.sender();
        client.expect("synced");
        client
            .stream()
            .write_all(&bytes[..cut])
            .expect("the server reads it");
        let seen: Vec<Value> = (0..self.random.below(whole + 1))
            .map(|_| client.expect("ack"))
            .collect();
        client.cut(self.random.percent(50));
        self.resend_twice(&messages, &seen);
    }
}

/// Asserts that the first ack is repeated.
fn assert_same(ack: &Value, first: &Value) {
    for field in ["id", "seq", "sent_at", "status"] {
        assert_eq!(ack[field], first[field], "{field}");
    }
}

#[test]
fn a_message_resent_after_a_broken_connection_is_stored_once() {
    let rounds = env_number("DMWIRE_RESEND_ROUNDS", || 160);
    let mut scene = Scene::new(env_number("DMWIRE_RESEND_SEED", random_seed));
    for round in 0..rounds {
        match round % 4 {
            0 => scene.before_the_ack(),
            1 => scene.after_the_ack(),
            2 => scene.half_a_frame(),
            _ => scene.in_a_burst(),
        }
    }
    scene.target.assert_quiet();
    scene.twin.assert_quiet();
    // Read from the beginning, each inbox contains the acknowledged messages, and the oldest acks are still repeated.
    for user in ["a", "b"] {
        let mut client = Client::connect(&scene.server, user, "?since=0");
        for first in &scene.first {
            let frame = client.expect("message");
            assert_eq!((&frame["id"], &frame["seq"]), (&first["id"], &first["seq"]));
        }
        assert_eq!(client.expect("synced")["seq"], scene.head);
        client.assert_quiet();
    }
    eprintln!(
        "{rounds} rounds, {} messages; resent: {} were stored before, {} were not",
        scene.head, scene.duplicates, scene.stored
    );
}

//! Clients that send and receive while the server is killed, and remember every entry that they have received.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::support::{Client, Random, Server};

pub const SENDERS: usize = 4;

pub const RECEIVERS: usize = 3;

/// The maximum number of unacknowledged messages of a sender.
pub const WINDOW: usize = 48;

/// An inbox entry. All messages are made by [`text`], so sender and number determine the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: String,
    pub from: String,
    pub number: u64,
    pub sent_at: String,
}

/// The entries that a client has received in all its sessions: entry `n` has the index `n - 1`.
#[derive(Default)]
pub struct Held {
    pub items: Vec<Item>,
    pub epoch: Option<String>,
}

impl Held {
    pub fn cursor(&self) -> u64 {
        self.items.len() as u64
    }

    pub fn since(&self) -> String {
        match &self.epoch {
            Some(epoch) => format!("?since={}&epoch={epoch}", self.cursor()),
            None => "?since=0".to_owned(),
        }
    }

    /// Resumes. `None`: the server has stopped.
    pub fn connect(&mut self, server: &Server, user: &str) -> Option<Client> {
        let client = Client::try_connect(server, user, &self.since())?;
        let epoch = client.epoch().to_owned();
        let known = self.epoch.get_or_insert_with(|| epoch.clone());
        assert_eq!(*known, epoch, "{user}: the epoch has changed");
        let head = client.welcome["seq"].as_u64();
        assert!(
            head >= Some(self.cursor()),
            "{user} has more entries than the inbox: {} of {head:?}",
            self.cursor()
        );
        Some(client)
    }

    /// Adds an entry, which must be the next one.
    pub fn take(&mut self, user: &str, seq: &Value, item: Item) {
        assert_eq!(
            *seq,
            self.cursor() + 1,
            "{user} expected entry {}: {item:?}",
            self.cursor() + 1
        );
        self.items.push(item);
    }
}

pub fn text(from: &str, number: u64) -> String {
    let length = (number as usize * 7919) % 1500;
    format!("{from} {number} {}", "x".repeat(length))
}

/// The entry in a `message` frame, whose text must be the sent one.
pub fn item(frame: &Value) -> Item {
    assert_eq!(frame["type"], "message", "{frame}");
    let string = |field: &str| frame[field].as_str().expect("a string").to_owned();
    let (from, received) = (string("from_user"), string("message"));
    let number = received.split(' ').nth(1).and_then(|n| n.parse().ok());
    let number = number.expect("a number");
    assert_eq!(received, text(&from, number));
    Item {
        id: string("id"),
        from,
        number,
        sent_at: string("sent_at"),
    }
}

/// A message that must be acknowledged.
#[derive(Clone)]
pub struct Sent {
    pub id: String,
    pub to: String,
    pub number: u64,
}

/// The contents of an ack.
pub struct Promise {
    pub sent: Sent,
    pub seq: u64,
    pub sent_at: String,
}

pub struct Sender {
    pub name: String,
    pub random: Random,
    pub held: Held,
    pub next: u64,
    /// Sent and not acknowledged, in order.
    pub open: VecDeque<Sent>,
    pub promises: Vec<Promise>,
    /// The number of acks that have been checked.
    pub checked: usize,
    pub duplicates: u64,
}

impl Sender {
    /// Sends until the server stops, or, with `last`, until all open messages are acknowledged. False: the server has stopped.
    pub fn run(&mut self, server: &Server, last: bool) -> bool {
        loop {
            let Some(mut client) = self.held.connect(server, &self.name) else {
                return false;
            };
            // Messages without an ack are sent again with the same ids.
            let again: Vec<Sent> = self.open.iter().cloned().collect();
            let mut sent = again.iter().all(|sent| self.send(&mut client, sent));
            let mut echo = None;
            loop {
                let leave = if last {
                    0
                } else {
                    self.random.below(WINDOW / 2)
                };
                while !sent || self.open.len() > leave {
                    let Ok(frame) = client.next() else {
                        return false;
                    };
                    self.receive(&frame, &mut echo);
                }
                client.receipts();
                if last {
                    return true;
                }
                if self.random.percent(2) {
                    // Sometimes only the connection breaks.
                    client.cut(self.random.percent(50));
                    break;
                }
                for _ in 0..=self.random.below(WINDOW - self.open.len()) {
                    let message = self.new_message();
                    self.open.push_back(message.clone());
                    sent = sent && self.send(&mut client, &message);
                }
            }
        }
    }

    pub fn new_message(&mut self) -> Sent {
        let to = match self.random.below(20) {
            0 => self.name.clone(),
            1..=3 => format!("s{}", self.random.below(SENDERS)),
            _ => format!("r{}", self.random.below(RECEIVERS)),
        };
        self.next += 1;
        Sent {
            id: self.random.uuid(),
            to,
            number: self.next - 1,
        }
    }

    pub fn send(&self, client: &mut Client, sent: &Sent) -> bool {
        let frame = json!({
            "message": text(&self.name, sent.number), "target_user": sent.to, "id": sent.id, "ref": sent.number.to_string()
        });
        client.try_send_text(&frame.to_string())
    }

    pub fn receive(&mut self, frame: &Value, echo: &mut Option<String>) {
        if let Some(id) = echo.take() {
            // A message to oneself: the ack is followed by the message, with the same `seq`.
            assert_eq!(
                (&frame["type"], &frame["id"]),
                (&json!("message"), &json!(id)),
                "{frame}"
            );
            assert_eq!(frame["seq"], self.held.cursor());
            return;
        }
        match frame["type"].as_str() {
            Some("synced") => {}
            Some("message") => {
                let item = item(frame);
                self.held.take(&self.name, &frame["seq"], item);
            }
            Some("ack") => {
                let at = self.open.iter().position(|sent| frame["id"] == sent.id);
                let sent = at.and_then(|at| self.open.remove(at));
                let sent = sent.unwrap_or_else(|| panic!("{}: unexpected ack {frame}", self.name));
                assert_eq!(frame["ref"], sent.number.to_string());
                assert_eq!(frame["status"], "stored");
                let sent_at = frame["sent_at"].as_str().expect("a time").to_owned();
                if frame["duplicate"] == true {
                    self.duplicates += 1;
                } else {
                    assert_eq!(
                        at,
                        Some(0),
                        "{}: acks must have the order of the messages",
                        self.name
                    );
                    let item = Item {
                        id: sent.id.clone(),
                        from: self.name.clone(),
                        number: sent.number,
                        sent_at: sent_at.clone(),
                    };
                    self.held.take(&self.name, &frame["seq"], item);
                    *echo = (sent.to == self.name).then(|| sent.id.clone());
                }
                let seq = frame["seq"].as_u64().expect("a seq");
                self.promises.push(Promise { sent, seq, sent_at });
            }
            _ => panic!("{}: {frame}", self.name),
        }
    }
}

pub struct Receiver {
    pub name: String,
    /// A receiver with a device name does not send `since`, but resumes from its watermark.
    pub device: Option<&'static str>,
    pub held: Held,
    /// Entries that were sent again to a device that had them. Only a watermark may cause that.
    pub repeated: u64,
}

impl Receiver {
    /// Reads until the server stops, or, with `last`, up to `synced`.
    pub fn run(&mut self, server: &Server, last: bool) -> bool {
        let client = match self.device {
            None => self.held.connect(server, &self.name),
            Some(device) => Client::try_connect(server, &self.name, &format!("?device={device}")),
        };
        let Some(mut client) = client else {
            return false;
        };
        let mut newest = None;
        loop {
            let Ok(frame) = client.next() else {
                return false;
            };
            client.receipts();
            if frame["type"] == "synced" {
                if last {
                    return true;
                }
                continue;
            }
            let seq = frame["seq"].as_u64();
            assert!(
                newest.is_none_or(|newest| seq == Some(newest + 1)),
                "{frame}"
            );
            newest = seq;
            let item = item(&frame);
            let held = frame["seq"]
                .as_u64()
                .and_then(|seq| self.held.items.get(seq as usize - 1));
            match held {
                Some(held) if self.device.is_some() => {
                    assert_eq!(*held, item);
                    self.repeated += 1;
                }
                _ => self.held.take(&self.name, &frame["seq"], item),
            }
        }
    }
}

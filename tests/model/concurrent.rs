//! Devices that send at the same time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::Value;

use crate::inbox_model::{Expected, Request};
use crate::run::Run;

/// A request that was sent while other devices were sending.
pub struct ConcurrentRequest {
    device: usize,
    request: Request,
    reference: String,
    /// The ack, if it was read before the connection was cut.
    acked: Option<Value>,
}

impl Run<'_> {
    /// Several devices send at once, and some of the connections are cut meanwhile. The inboxes determine the order of the
    /// requests, if they agree on one.
    pub fn send_concurrently(&mut self) {
        while self.devices.len() < 2 {
            self.connect_device();
        }
        let mut devices: Vec<usize> = (0..self.devices.len()).collect();
        while devices.len() > 3 {
            devices.swap_remove(self.random.below(devices.len()));
        }
        let heads: Vec<u64> = (0..self.model.names.len())
            .map(|user| self.model.head(user))
            .collect();
        let mut touched = BTreeSet::new();
        let mut concurrent: Vec<ConcurrentRequest> = Vec::new();
        for _ in 0..self.random.below(8) + 2 {
            for &device in &devices {
                let request = self.concurrent_request(self.devices[device].user, &mut touched);
                let reference = self.send(device, &request, true);
                concurrent.push(ConcurrentRequest {
                    device,
                    request,
                    reference,
                    acked: None,
                });
            }
        }
        for &at in &devices {
            if self.random.percent(30) {
                let leave = self.random.below(self.devices[at].waiting() + 1);
                self.devices[at].read_while(|device| device.waiting() > leave);
                let mut seen = self.cut_and_resume(at);
                for sent in concurrent.iter_mut().filter(|sent| sent.device == at) {
                    sent.acked = seen.remove(&sent.reference);
                    sent.reference = self.send(at, &sent.request, true);
                }
            }
        }
        for &at in &devices {
            self.devices[at].read_replies();
        }
        // The server may process frames from a closed connection late, after frames from the new one. An edit among them would
        // overwrite a later edit, so wait until all closed connections have ended.
        for words in std::mem::take(&mut self.cut) {
            self.server.wait_for_log(&words);
        }
        let order = self.order(&concurrent, &heads);
        let mut actions = vec![0; concurrent.len()];
        for n in order {
            let user = self.devices[concurrent[n].device].user;
            let Expected::Entry(action) = self.model.apply(user, &concurrent[n].request) else {
                panic!("{:?} is an entry", concurrent[n].request);
            };
            actions[n] = action;
        }
        for (sent, action) in concurrent.iter().zip(actions) {
            let ack = self.devices[sent.device]
                .replies
                .remove(&sent.reference)
                .expect("an ack");
            let duplicate = ack["duplicate"] == true;
            if let Some(before) = &sent.acked {
                assert!(duplicate, "it was acknowledged before: {before}");
                self.model.check_ack(before, action, false);
            }
            self.model.check_ack(&ack, action, duplicate);
        }
    }

    /// A request that becomes an entry whatever the other devices send, and that is stored once if it is sent twice.
    pub fn concurrent_request(&mut self, user: usize, touched: &mut BTreeSet<usize>) -> Request {
        let kind = self.random.below(10);
        if kind >= 6
            && let Some(n) = self.any_message(user)
        {
            let message = &self.model.messages[n];
            let (to, id) = (message.other(user), message.id.clone());
            if message.content().is_some() {
                if kind >= 8 && message.reactions_of(user) < 12 && touched.insert(n) {
                    let emoji = format!("{:x}", self.random.next());
                    let emoji = emoji.chars().take(16).collect();
                    let remove = false;
                    return Request::React {
                        to,
                        id,
                        emoji,
                        remove,
                    };
                }
                if kind < 8 && message.from == user && touched.insert(n) {
                    let content = self.content();
                    return Request::Edit { to, id, content };
                }
            }
        }
        self.new_message(user)
    }

    /// The order in which the requests were committed, by the inboxes.
    pub fn order(&mut self, concurrent: &[ConcurrentRequest], heads: &[u64]) -> Vec<usize> {
        let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); concurrent.len()];
        for (user, head) in heads.iter().enumerate() {
            let query = format!("&since={head}&epoch={}", self.epoch);
            let reader = self.connect_as(user, ("reader", true), &query, *head);
            let frames = reader.replay();
            let mut waiting: BTreeMap<[&str; 5], usize> = BTreeMap::new();
            for (n, sent) in concurrent.iter().enumerate() {
                let (from, to) = (self.devices[sent.device].user, sent.request.to());
                if [from, to].contains(&user) {
                    let names = &self.model.names;
                    let same = waiting.insert(sent.key(&names[from], &names[to]), n);
                    assert_eq!(same, None, "two frames have the key of {:?}", sent.request);
                }
            }
            let mut places = Vec::new();
            for frame in &frames {
                let key = ["type", "from_user", "target_user", "id", "emoji"];
                let key = key.map(|field| frame[field].as_str().unwrap_or_default());
                let n = waiting.remove(&key);
                places.push(n.unwrap_or_else(|| panic!("unexpected or repeated entry: {frame}")));
            }
            assert!(
                waiting.is_empty(),
                "{} lacks {waiting:?}",
                self.model.names[user]
            );
            for pair in places.windows(2) {
                before[pair[1]].insert(pair[0]);
            }
            // Requests of one device have their order.
            let mut newest = HashMap::new();
            for n in places {
                let newest = newest.insert(concurrent[n].device, n);
                assert!(
                    newest < Some(n),
                    "{newest:?} before {n} in {}",
                    self.model.names[user]
                );
            }
        }
        let mut order = Vec::new();
        let mut left: VecDeque<usize> = (0..concurrent.len()).collect();
        let mut stuck = 0;
        while let Some(n) = left.pop_front() {
            if before[n].iter().all(|n| order.contains(n)) {
                order.push(n);
                stuck = 0;
            } else {
                left.push_back(n);
                stuck += 1;
                assert!(
                    stuck <= left.len(),
                    "the inboxes have contradictory orders: {before:?}"
                );
            }
        }
        order
    }
}

impl ConcurrentRequest {
    /// The fields that identify its frame in an inbox: type, users, id and emoji. The id alone does not identify the message, as two
    /// conversations can have messages with the same id.
    fn key<'a>(&'a self, from: &'a str, to: &'a str) -> [&'a str; 5] {
        let (tag, id, emoji) = match &self.request {
            Request::Send { id, .. } => ("message", id, ""),
            Request::Edit { id, .. } => ("edited", id, ""),
            Request::React { id, emoji, .. } => ("reacted", id, &**emoji),
            other => panic!("{other:?} is not sent concurrently"),
        };
        [tag, from, to, id, emoji]
    }
}

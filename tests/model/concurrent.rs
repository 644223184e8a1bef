//! Devices that send at the same time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use crate::inbox_model::{Expected, Model, Place, Request, Target};
use crate::rooms::{Membership, Rooms};
use crate::run::Run;

/// A request that was sent while other devices were sending.
pub struct ConcurrentRequest {
    device: usize,
    user: usize,
    request: Request,
    reference: String,
    /// The ack, if it was read before the connection was cut.
    acked: Option<Value>,
}

/// What a device may do while others are sending.
#[derive(Clone, Copy, Default)]
struct Role {
    /// It joins and leaves rooms. Its connection is not cut, because a join that is sent again may follow the leave after it.
    moves: bool,
    /// Another device of the user joins and leaves rooms, so it sends nothing to rooms: that device alone determines when the user
    /// is a member.
    avoids_rooms: bool,
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
        let roles = self.roles(&devices);
        let heads: Vec<u64> = (0..self.model.names.len())
            .map(|user| self.model.head(user))
            .collect();
        let mut touched = BTreeSet::new();
        let mut concurrent: Vec<ConcurrentRequest> = Vec::new();
        for _ in 0..self.random.below(8) + 2 {
            for &device in &devices {
                let user = self.devices[device].user;
                let request = self.concurrent_request(user, roles[&device], &mut touched);
                let reference = self.send(device, &request, true);
                concurrent.push(ConcurrentRequest {
                    device,
                    user,
                    request,
                    reference,
                    acked: None,
                });
            }
        }
        for &at in &devices {
            if !roles[&at].moves && self.random.percent(30) {
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
        let replies: Vec<Value> = concurrent
            .iter()
            .map(|sent| {
                let replies = &mut self.devices[sent.device].replies;
                replies.remove(&sent.reference).expect("a reply")
            })
            .collect();
        let order = self.order(&concurrent, &replies, &heads);
        let mut answers = vec![Expected::NoReply; concurrent.len()];
        for n in order {
            let sent = &concurrent[n];
            answers[n] = self.model.apply(sent.user, &sent.request);
        }
        for ((sent, reply), answer) in concurrent.iter().zip(replies).zip(answers) {
            let Expected::Entry(action) = answer else {
                self.check_reply(sent.user, Some(reply), &answer);
                if let Some(before) = &sent.acked {
                    self.check_reply(sent.user, Some(before.clone()), &answer);
                }
                continue;
            };
            let duplicate = reply["duplicate"] == true;
            if let Some(before) = &sent.acked {
                assert!(duplicate, "it was acknowledged before: {before}");
                self.model.check_ack(before, action, false);
            }
            self.model.check_ack(&reply, action, duplicate);
        }
    }

    /// For some users, one of the devices joins and leaves rooms.
    fn roles(&mut self, devices: &[usize]) -> HashMap<usize, Role> {
        let mut roles: HashMap<usize, Role> = HashMap::new();
        let mut moving = HashMap::new();
        for &at in devices {
            let user = self.devices[at].user;
            let known = moving.get(&user).copied();
            let moves = known.is_none() && self.has_rooms() && self.random.percent(50);
            moving.entry(user).or_insert(moves);
            let avoids_rooms = known == Some(true);
            roles.insert(
                at,
                Role {
                    moves,
                    avoids_rooms,
                },
            );
        }
        roles
    }

    /// A request that is stored once if it is sent twice, and whose outcome does not depend on what other devices send, except on
    /// the members of a room.
    fn concurrent_request(
        &mut self,
        user: usize,
        role: Role,
        touched: &mut BTreeSet<usize>,
    ) -> Request {
        if role.moves && self.random.percent(35) {
            return self.membership(user);
        }
        loop {
            let request = self.storing_request(user, touched);
            if !(role.avoids_rooms && request.is_in_room()) {
                return request;
            }
        }
    }

    fn storing_request(&mut self, user: usize, touched: &mut BTreeSet<usize>) -> Request {
        let kind = self.random.below(10);
        if kind >= 6
            && let Some(n) = self.any_message(user)
        {
            let message = &self.model.messages[n];
            let (to, id) = (message.target_for(user), message.id.clone());
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

    /// An order in which the requests may have been committed, by the inboxes and the replies.
    fn order(
        &mut self,
        concurrent: &[ConcurrentRequest],
        replies: &[Value],
        heads: &[u64],
    ) -> Vec<usize> {
        let mut keys = Vec::new();
        let mut devices: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (n, (sent, reply)) in concurrent.iter().zip(replies).enumerate() {
            devices.entry(sent.device).or_default().push(n);
            let repeats = sent.request.is_membership() && reply["duplicate"] == true;
            let is_entry = reply["type"] == "ack" && !repeats;
            keys.push(is_entry.then(|| sent.key(&self.model)));
        }
        let mut inboxes = Vec::new();
        for (user, head) in heads.iter().enumerate() {
            let query = format!("&since={head}&epoch={}", self.epoch);
            let reader = self.connect_as(user, ("reader", true), &query, *head);
            inboxes.push(reader.replay().iter().map(Key::of).collect());
        }
        let search = Search {
            model: &self.model,
            concurrent,
            keys,
            devices: devices.into_values().collect(),
            inboxes,
        };
        search.find()
    }
}

impl Request {
    fn is_in_room(&self) -> bool {
        matches!(self.to(), Target::Room(_))
    }
}

/// The fields that identify a frame in an inbox. The id alone does not identify the message, as two conversations can have
/// messages with the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key([String; 7]);

impl Key {
    fn of(frame: &Value) -> Self {
        let field = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        let user = if frame["type"] == "room" {
            "user"
        } else {
            "from_user"
        };
        Self([
            field("type"),
            field(user),
            field("target_user"),
            field("target_room") + &field("room"),
            field("id"),
            field("emoji"),
            field("event"),
        ])
    }
}

impl ConcurrentRequest {
    fn key(&self, model: &Model) -> Key {
        let (tag, id, emoji, event) = match &self.request {
            Request::Send { id, .. } => ("message", &**id, "", ""),
            Request::Edit { id, .. } => ("edited", &**id, "", ""),
            Request::React { id, emoji, .. } => ("reacted", &**id, &**emoji, ""),
            Request::Member { joins: true, .. } => ("room", "", "", "joined"),
            Request::Member { joins: false, .. } => ("room", "", "", "left"),
            other => panic!("{other:?} is not sent concurrently"),
        };
        let (field, name) = model.address(self.request.to());
        let (user, room) = match field {
            "target_user" => (name, ""),
            _ => ("", name),
        };
        let from = &*model.names[self.user];
        Key([tag, from, user, room, id, emoji, event].map(str::to_owned))
    }
}

/// Looks for an order of all requests in which each device has its own order, and in which the inboxes have exactly the entries
/// that the model says. Who is a member of a room depends only on how many of each device's requests are done, so a combination
/// of these numbers that leads nowhere is not tried again.
struct Search<'a> {
    model: &'a Model,
    concurrent: &'a [ConcurrentRequest],
    /// By request: the key of its entries, if it has been answered as one.
    keys: Vec<Option<Key>>,
    /// By device: its requests.
    devices: Vec<Vec<usize>>,
    /// By user: the new entries.
    inboxes: Vec<Vec<Key>>,
}

/// The requests that are done.
#[derive(Clone)]
struct Done {
    order: Vec<usize>,
    rooms: Rooms,
    by_device: Vec<usize>,
    by_inbox: Vec<usize>,
}

impl Search<'_> {
    fn find(&self) -> Vec<usize> {
        let mut tried = HashSet::new();
        let mut left = vec![Done {
            order: Vec::new(),
            rooms: self.model.rooms.clone(),
            by_device: vec![0; self.devices.len()],
            by_inbox: vec![0; self.inboxes.len()],
        }];
        let mut longest = Vec::new();
        while let Some(done) = left.pop() {
            let mut inboxes = done.by_inbox.iter().zip(&self.inboxes);
            if done.order.len() == self.concurrent.len()
                && inboxes.all(|(read, inbox)| *read == inbox.len())
            {
                return done.order;
            }
            for device in 0..self.devices.len() {
                if let Some(next) = self.next(&done, device)
                    && tried.insert((next.by_device.clone(), next.by_inbox.clone()))
                {
                    left.push(next);
                }
            }
            if done.order.len() >= longest.len() {
                longest = done.order;
            }
        }
        let requests: Vec<_> = self
            .concurrent
            .iter()
            .map(|sent| (&self.model.names[sent.user], &sent.request))
            .collect();
        panic!(
            "no order explains the inboxes {:#?}; the longest is {longest:?} of {requests:#?}",
            self.inboxes
        );
    }

    /// The state after one more request of a device, if the inboxes may have it at this place.
    fn next(&self, done: &Done, device: usize) -> Option<Done> {
        let n = *self.devices[device].get(done.by_device[device])?;
        let sent = &self.concurrent[n];
        let (user, request) = (sent.user, &sent.request);
        let recipients = self
            .model
            .expected_recipients(&done.rooms, user, request)
            .unwrap_or_default();
        if recipients.is_empty() != self.keys[n].is_none() {
            return None;
        }
        let mut next = done.clone();
        for (owner, inbox) in self.inboxes.iter().enumerate() {
            let is_next = inbox.get(done.by_inbox[owner]) == self.keys[n].as_ref();
            if recipients.contains(&owner) {
                if !is_next {
                    return None;
                }
                next.by_inbox[owner] += 1;
            }
        }
        if let Request::Member { room, joins } = *request
            && !recipients.is_empty()
        {
            // All messages that are changed meanwhile are from before.
            let place = Place::Room(room);
            let membership = joins.then(|| Membership {
                action: 0,
                joined: self.model.conversation(place).len(),
            });
            next.rooms.change(user, room, membership);
        }
        next.by_device[device] += 1;
        next.order.push(n);
        Some(next)
    }
}

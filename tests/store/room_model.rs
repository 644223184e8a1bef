//! Rooms under random operations, compared with a simple model: outcomes, inboxes, histories and lists.

use std::collections::BTreeMap;

use dmwire::store::{
    Conversation, HistoryAnswer, InboxItem, MessageRef, Outcome, Recipients, RoomHistory,
    RoomRules, Write,
};

use crate::fixture::TestStore;
use crate::rooms::{RULES, delete, edit, entry_text, join, leave, read, say};
use crate::support::{Random, env_number};
use crate::writes::{conversations_query, history_query, id, message, number, receive};

const USERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const ROOMS: [&str; 3] = ["one", "two", "three"];
const MODEL_RULES: RoomRules = RoomRules {
    members: 4,
    per_user: 2,
    ..RULES
};
/// All users can be members of the same rooms, and each gets the entries about the others.
const LARGER: RoomRules = RoomRules {
    members: 5,
    per_user: 3,
    small: 5,
    ..RULES
};
const BATCHES: usize = 150;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Join,
    Leave,
    Say(u32),
    Edit(u32),
    Delete(u32),
    React(u32, bool),
    Read(u32),
    /// A message to another user.
    Direct(u32),
    /// All of the user's inbox.
    Receive,
}

/// An operation of a user, in a room.
#[derive(Clone, Copy, Debug)]
struct Step {
    user: &'static str,
    room: &'static str,
    operation: Operation,
}

#[derive(Default)]
struct Room {
    members: BTreeMap<&'static str, Membership>,
    messages: Vec<Message>,
}

#[derive(Clone, Copy)]
struct Membership {
    joined: usize,
    /// The place of the newest message that is read; 0: none.
    read: usize,
    /// The entry of the join.
    seq: usize,
}

struct Message {
    n: u32,
    place: usize,
    author: &'static str,
    /// The author's entries of the message and of the deletion.
    seq: usize,
    deleted: Option<usize>,
    /// By user: whether the reaction was removed, and the entry of that.
    reactions: BTreeMap<&'static str, (bool, usize)>,
}

struct Item {
    text: String,
    /// By what a later change supersedes it: the room, the message, the user, and whether it is a reaction.
    key: Option<(&'static str, u32, &'static str, bool)>,
}

struct Model {
    rules: RoomRules,
    place: usize,
    rooms: BTreeMap<&'static str, Room>,
    inboxes: BTreeMap<&'static str, Vec<Item>>,
    edits: usize,
}

fn stored(seq: usize, others: &[(&str, usize)]) -> String {
    let mut others: Vec<_> = others
        .iter()
        .map(|(user, seq)| format!("{user} {seq}"))
        .collect();
    others.sort_unstable();
    format!("stored {seq} [{}]", others.join(", "))
}

fn repeated(seq: Option<usize>) -> String {
    format!("duplicate {seq:?}")
}

/// An outcome as the model describes it.
fn describe(outcome: &Outcome) -> String {
    let entry = |seq: Option<u64>, recipients: &Recipients, duplicate: bool| {
        let others = recipients
            .iter()
            .map(|other| (&*other.user, other.seq as usize));
        let seq = seq.map(|seq| seq as usize);
        match (seq, duplicate) {
            (Some(seq), false) => stored(seq, &others.collect::<Vec<_>>()),
            _ => repeated(seq),
        }
    };
    match outcome {
        Outcome::Stored {
            seq,
            recipients,
            duplicate,
            ..
        } => entry(*seq, recipients, *duplicate),
        Outcome::Membership {
            seq,
            recipients,
            members,
            duplicate,
            ..
        } => format!("{} of {members}", entry(*seq, recipients, *duplicate)),
        Outcome::ReadMark { moved, members, .. } => {
            let members = members.as_ref().map(|members| members.users.len());
            format!("read {moved} {members:?}")
        }
        Outcome::Received(_) => "received".to_owned(),
        other => format!("{other:?}"),
    }
}

impl Model {
    fn new(rules: RoomRules) -> Self {
        Self {
            rules,
            place: 0,
            rooms: ROOMS.map(|room| (room, Room::default())).into(),
            inboxes: USERS.map(|user| (user, Vec::new())).into(),
            edits: 0,
        }
    }

    fn is_small(&self, members: usize) -> bool {
        members as u64 <= self.rules.small
    }

    /// Appends an item to the inboxes of users. Returns the entries, that of `actor` first.
    fn append(
        &mut self,
        (actor, others): (&'static str, &[&'static str]),
        text: &str,
        key: Option<(&'static str, u32, &'static str, bool)>,
    ) -> String {
        let mut seqs = Vec::new();
        for user in std::iter::once(&actor).chain(others) {
            let inbox = self.inboxes.get_mut(user).expect("a user");
            if key.is_some() {
                for item in inbox.iter_mut().filter(|item| item.key == key) {
                    item.key = None;
                    "superseded".clone_into(&mut item.text);
                }
            }
            inbox.push(Item {
                text: text.to_owned(),
                key,
            });
            seqs.push((*user, inbox.len()));
        }
        stored(seqs[0].1, &seqs[1..])
    }

    fn others(&self, room: &str, user: &str) -> Vec<&'static str> {
        let members = self.rooms[room].members.keys();
        members.copied().filter(|member| *member != user).collect()
    }

    fn head(&self, user: &str) -> usize {
        self.inboxes[user].len()
    }

    fn apply(&mut self, step: Step) -> String {
        let Step {
            user,
            room,
            operation,
        } = step;
        match operation {
            Operation::Join => self.join(user, room),
            Operation::Leave => self.leave(user, room),
            Operation::Say(n) => self.say(user, room, n),
            Operation::Direct(n) => {
                self.place += 1;
                let peer = peer(user, n);
                self.append((user, &[peer]), &format!("message {n}"), None)
            }
            Operation::Receive => "received".to_owned(),
            Operation::Edit(n)
            | Operation::Delete(n)
            | Operation::React(n, _)
            | Operation::Read(n) => self.change(step, n),
        }
    }

    fn join(&mut self, user: &'static str, room: &'static str) -> String {
        let count = self.rooms[room].members.len();
        if let Some(membership) = self.rooms[room].members.get(user) {
            return format!("{} of {count}", repeated(Some(membership.seq)));
        }
        let of_user = self
            .rooms
            .values()
            .filter(|room| room.members.contains_key(user));
        if of_user.count() as u64 >= self.rules.per_user {
            return format!("{:?}", Outcome::TooManyRooms);
        }
        if count as u64 >= self.rules.members {
            return format!("{:?}", Outcome::RoomFull);
        }
        self.place += 1;
        let membership = Membership {
            joined: self.place,
            read: 0,
            seq: self.head(user) + 1,
        };
        let others = self.others(room, user);
        self.rooms
            .get_mut(room)
            .expect("a room")
            .members
            .insert(user, membership);
        self.announce(user, &others, ("joined", count + 1), count + 1)
    }

    fn leave(&mut self, user: &'static str, room: &'static str) -> String {
        let count = self.rooms[room].members.len();
        let members = &mut self.rooms.get_mut(room).expect("a room").members;
        if members.remove(user).is_none() {
            return format!("{} of {count}", repeated(None));
        }
        self.place += 1;
        let others = self.others(room, user);
        self.announce(user, &others, ("left", count - 1), count)
    }

    fn announce(
        &mut self,
        user: &'static str,
        others: &[&'static str],
        (event, members): (&str, usize),
        counted: usize,
    ) -> String {
        let others = if self.is_small(counted) { others } else { &[] };
        let text = format!("{event} {user} {members}");
        format!("{} of {members}", self.append((user, others), &text, None))
    }

    fn say(&mut self, user: &'static str, room: &'static str, n: u32) -> String {
        let is_member = self.rooms[room].members.contains_key(user);
        let known = self.rooms[room]
            .messages
            .iter()
            .find(|message| message.n == n);
        match known {
            Some(known) if known.author == user => return repeated(Some(known.seq)),
            Some(_) if is_member => return format!("{:?}", Outcome::IdConflict),
            _ if !is_member => return format!("{:?}", Outcome::NotMember),
            _ => {}
        }
        self.place += 1;
        let new = Message {
            n,
            place: self.place,
            author: user,
            seq: self.head(user) + 1,
            deleted: None,
            reactions: BTreeMap::new(),
        };
        self.rooms.get_mut(room).expect("a room").messages.push(new);
        let others = self.others(room, user);
        self.append((user, &others), &format!("message {n}"), None)
    }

    /// True if a message exists for a member.
    fn sees(&self, membership: Membership, message: &Message) -> bool {
        self.rules.history == RoomHistory::All || message.place > membership.joined
    }

    fn change(&mut self, step: Step, n: u32) -> String {
        let Step { user, room, .. } = step;
        let Some(membership) = self.rooms[room].members.get(user).copied() else {
            return format!("{:?}", Outcome::NotMember);
        };
        let unknown = format!("{:?}", Outcome::UnknownMessage);
        let messages = &self.rooms[room].messages;
        let Some(index) = messages.iter().position(|message| message.n == n) else {
            return unknown;
        };
        let message = &messages[index];
        if !self.sees(membership, message) {
            return unknown;
        }
        let (place, is_own, deleted) = (message.place, message.author == user, message.deleted);
        let others: Vec<_> = self.rooms[room]
            .members
            .iter()
            .filter(|(other, theirs)| **other != user && self.sees(**theirs, message))
            .map(|(other, _)| *other)
            .collect();
        let reaction = message.reactions.get(user).copied();
        let seq = self.head(user) + 1;
        let room_mut = self.rooms.get_mut(room).expect("a room");
        let message = &mut room_mut.messages[index];
        let not_author = format!("{:?}", Outcome::NotAuthor);
        match step.operation {
            Operation::Read(_) => {
                let count = room_mut.members.len();
                let mark = room_mut.members.get_mut(user).expect("a member");
                let moved = place > mark.read;
                mark.read = mark.read.max(place);
                format!("read {moved} {:?}", self.is_small(count).then_some(count))
            }
            Operation::React(..) if deleted.is_some() => unknown,
            Operation::React(_, remove) => {
                match reaction {
                    Some((removed, seq)) if removed == remove => return repeated(Some(seq)),
                    None if remove => return repeated(None),
                    _ => {}
                }
                message.reactions.insert(user, (remove, seq));
                let key = Some((room, n, user, true));
                self.append((user, &others), &format!("reacted {n}"), key)
            }
            Operation::Delete(_) => {
                match deleted {
                    Some(seq) if is_own => return repeated(Some(seq)),
                    Some(_) => return unknown,
                    None if !is_own => return not_author,
                    None => {}
                }
                message.deleted = Some(seq);
                let key = Some((room, n, user, false));
                self.append((user, &others), &format!("deleted {n}"), key)
            }
            _ if deleted.is_some() => unknown,
            _ if !is_own => not_author,
            _ => {
                let key = Some((room, n, user, false));
                self.append((user, &others), &format!("edited {n}"), key)
            }
        }
    }

    /// The messages that a member reads. `None`: not a member.
    fn history(&self, user: &str, room: &str) -> Option<Vec<u32>> {
        let membership = *self.rooms[room].members.get(user)?;
        let messages = self.rooms[room].messages.iter();
        let seen = messages.filter(|message| self.sees(membership, message));
        Some(seen.map(|message| message.n).collect())
    }

    /// The list of a user's rooms.
    fn list(&self, user: &str) -> Vec<String> {
        let mut items = Vec::new();
        for (name, room) in &self.rooms {
            let Some(membership) = room.members.get(user) else {
                continue;
            };
            let newest = room.messages.last();
            let last = newest.filter(|message| self.sees(*membership, message));
            let is_unread = |message: &&Message| {
                message.place > membership.read.max(membership.joined)
                    && message.author != user
                    && message.deleted.is_none()
            };
            let read = room
                .messages
                .iter()
                .find(|message| message.place == membership.read);
            let item = format!(
                "{name} {} {:?} {} {:?}",
                room.members.len(),
                last.map(|message| message.n),
                room.messages.iter().filter(is_unread).count(),
                read.map(|message| message.n)
            );
            let place = newest.map_or(0, |message| message.place);
            items.push((place.max(membership.joined), item));
        }
        items.sort_unstable_by(|a, b| b.cmp(a));
        items.into_iter().map(|(_, item)| item).collect()
    }
}

/// The recipient of a direct message.
fn peer(user: &'static str, n: u32) -> &'static str {
    let others: Vec<_> = USERS.into_iter().filter(|other| *other != user).collect();
    others[n as usize % others.len()]
}

fn write(step: Step, edits: usize, head: usize) -> Write {
    let Step {
        user,
        room,
        operation,
    } = step;
    match operation {
        Operation::Join => join(user, room),
        Operation::Leave => leave(user, room),
        // Every seventh is long.
        Operation::Say(n) if n % 7 == 0 => say(user, room, n, &"x".repeat(3000)),
        Operation::Say(n) => say(user, room, n, &n.to_string()),
        Operation::Edit(n) => edit(user, room, n, &format!("edit {edits}")),
        Operation::Delete(n) => delete(user, room, n),
        Operation::React(n, remove) => Write::React {
            message: MessageRef {
                actor: user.into(),
                conversation: Conversation::Room(room.into()),
                id: id(n),
            },
            emoji: "+".into(),
            remove,
        },
        Operation::Read(n) => read(user, room, n),
        Operation::Direct(n) => message(user, peer(user, n), n, "x"),
        Operation::Receive => receive(user, "phone", head as u64),
    }
}

fn random_step(random: &mut Random, model: &Model, next: &mut u32) -> Step {
    let (user, room) = (*random.pick(&USERS), *random.pick(&ROOMS));
    let messages = &model.rooms[room].messages;
    let recent = messages.len().saturating_sub(12);
    let known = match messages.len() {
        0 => 0,
        count => messages[recent + random.below(count - recent)].n,
    };
    let mut new = || {
        *next += 1;
        *next
    };
    let operation = match random.below(100) {
        0..14 => Operation::Join,
        14..22 => Operation::Leave,
        22..60 => Operation::Say(new()),
        60..64 => Operation::Say(known),
        64..71 => Operation::Edit(known),
        71..75 => Operation::Delete(known),
        75..83 => Operation::React(known, random.percent(30)),
        83..90 => Operation::Read(known),
        90..96 => Operation::Direct(new()),
        _ => Operation::Receive,
    };
    Step {
        user,
        room,
        operation,
    }
}

fn compare(store: &mut TestStore, model: &Model) {
    for user in USERS {
        let items = store.items(user, (1, u64::MAX >> 1), usize::MAX);
        let expected = &model.inboxes[user];
        assert_eq!(
            items.last().map_or(0, InboxItem::seq),
            expected.len() as u64,
            "{user}"
        );
        for item in &items {
            let expected = &expected[item.seq() as usize - 1];
            assert_eq!(entry_text(item), expected.text, "{user} {}", item.seq());
        }
        for room in ROOMS {
            let mut query = history_query(user, "", None, 1000);
            query.conversation = Conversation::Room(room.into());
            let answer = store.reader().history(&query).expect("it is read");
            let found = match answer {
                HistoryAnswer::Page(page) => Some(page.messages.iter().map(number).collect()),
                HistoryAnswer::NotMember => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(found, model.history(user, room), "{user} in {room}");
        }
        let page = store.conversations(&conversations_query(user, None, 100));
        let mut list = Vec::new();
        for item in page.items {
            if let Conversation::Room(name) = &item.conversation {
                list.push(format!(
                    "{name} {} {:?} {} {:?}",
                    item.members.expect("a number"),
                    item.last.as_ref().map(number),
                    item.unread,
                    item.my_read.map(|id| id.as_u128())
                ));
            }
        }
        assert_eq!(list, model.list(user), "the list of {user}");
    }
}

fn run(store: &mut TestStore, rules: RoomRules) {
    let seed = env_number("DMWIRE_TEST_SEED", || 1);
    let mut random = Random::new(seed);
    store.set_rooms(rules);
    let mut model = Model::new(rules);
    let mut next = 0;
    for batch in 0..BATCHES {
        let (mut writes, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(8) {
            let step = random_step(&mut random, &model, &mut next);
            model.edits += 1;
            writes.push(write(step, model.edits, model.head(step.user)));
            expected.push((step, model.apply(step)));
        }
        let outcomes = store.commit(&writes);
        for ((step, expected), outcome) in expected.iter().zip(&outcomes) {
            assert_eq!(&describe(outcome), expected, "batch {batch}: {step:?}");
        }
        if random.percent(5) {
            // With the entries that are still in the log.
            store.verify();
        }
        if random.percent(5) {
            store.crash();
        }
        if random.percent(15) {
            compare(store, &model);
        }
        if batch % 50 == 49 {
            store.verify();
            store.reopen();
        }
    }
    compare(store, &model);
    store.verify();
}

pub fn rooms_are_as_the_model_says(store: &mut TestStore) {
    run(store, MODEL_RULES);
}

pub fn rooms_that_hide_what_was_before_a_join_are_as_the_model_says(store: &mut TestStore) {
    let history = RoomHistory::Joined;
    run(
        store,
        RoomRules {
            history,
            ..MODEL_RULES
        },
    );
}

pub fn rooms_in_which_all_get_all_entries_are_as_the_model_says(store: &mut TestStore) {
    run(store, LARGER);
}

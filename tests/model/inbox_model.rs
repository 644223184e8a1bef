//! The model: the rules of PROTOCOL sections 5 and 11 about inboxes, on a few vectors, without any networking.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::rooms::{Membership, Rooms};

/// A committed change, in the order of commits. It is an entry in the inboxes of all users whom it concerns.
pub struct Action {
    /// `None`: a user has joined or left a room.
    pub message: Option<usize>,
    pub by: usize,
    pub change: Change,
    /// The time in the first frame about it; all others must have the same time.
    pub time: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Message,
    Edited,
    Deleted,
    Reacted {
        emoji: String,
        removed: bool,
    },
    /// A membership, with the number of members afterwards.
    Member {
        room: usize,
        joins: bool,
        members: usize,
    },
}

/// Whom a request is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    User(usize),
    Room(usize),
}

/// A conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Of two users, the lower number first.
    Direct(usize, usize),
    Room(usize),
}

impl Place {
    pub fn of(user: usize, target: Target) -> Self {
        match target {
            Target::User(other) => Self::Direct(user.min(other), user.max(other)),
            Target::Room(room) => Self::Room(room),
        }
    }
}

pub struct Message {
    pub id: String,
    pub from: usize,
    pub to: Target,
    /// The number of messages before it in its conversation.
    pub place: usize,
    pub reply_to: Option<String>,
    pub versions: Vec<Version>,
    /// By user and emoji: whether the reaction was removed, and the action that changed it last.
    pub reactions: BTreeMap<(usize, String), (bool, usize)>,
}

pub struct Version {
    /// The action that made this version.
    pub action: usize,
    /// `None`: deleted.
    pub content: Option<Value>,
}

/// A request of a client.
#[derive(Clone, Debug)]
pub enum Request {
    Send {
        to: Target,
        id: String,
        content: Value,
        reply_to: Option<String>,
    },
    Edit {
        to: Target,
        id: String,
        content: Value,
    },
    Delete {
        to: Target,
        id: String,
    },
    React {
        to: Target,
        id: String,
        emoji: String,
        remove: bool,
    },
    Read {
        to: Target,
        id: String,
    },
    /// A user joins or leaves a room.
    Member {
        room: usize,
        joins: bool,
    },
}

/// The expected reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An ack with this action's entry.
    Entry(usize),
    /// A duplicate ack with the entry of the action that it repeats, if there is one.
    Duplicate(Option<usize>),
    /// An error with this code.
    Error(&'static str),
    /// No reply.
    NoReply,
}

pub struct Model {
    pub names: Vec<String>,
    pub rooms: Rooms,
    /// By user: the actions; entry `n` has the index `n - 1`.
    pub inboxes: Vec<Vec<usize>>,
    pub messages: Vec<Message>,
    pub actions: Vec<Action>,
    /// The messages in order.
    conversations: BTreeMap<Place, Vec<usize>>,
    ids: HashMap<(Place, String), usize>,
    /// By user and conversation: the number of read messages.
    pub read: HashMap<(usize, Place), usize>,
}

impl Message {
    /// Where another frame of a user about it is addressed to.
    pub fn target_for(&self, user: usize) -> Target {
        match self.to {
            Target::User(to) if user == to => Target::User(self.from),
            to => to,
        }
    }

    pub fn conversation(&self) -> Place {
        Place::of(self.from, self.to)
    }

    /// The present content; `None` if it was deleted.
    pub fn content(&self) -> Option<&Value> {
        self.versions
            .last()
            .and_then(|version| version.content.as_ref())
    }

    pub fn first(&self) -> Value {
        self.versions[0]
            .content
            .clone()
            .expect("a sent message has content")
    }

    pub fn reactions_of(&self, user: usize) -> usize {
        self.reactions.keys().filter(|(by, _)| *by == user).count()
    }

    pub fn last_change(&self) -> usize {
        self.versions.last().map_or(0, |version| version.action)
    }
}

impl Request {
    pub fn to(&self) -> Target {
        match self {
            Self::Send { to, .. }
            | Self::Edit { to, .. }
            | Self::Delete { to, .. }
            | Self::React { to, .. }
            | Self::Read { to, .. } => *to,
            Self::Member { room, .. } => Target::Room(*room),
        }
    }

    pub fn is_membership(&self) -> bool {
        matches!(self, Self::Member { .. })
    }

    pub fn frame(&self, model: &Model, reference: &str) -> Value {
        let mut frame = match self {
            Self::Send {
                id,
                content,
                reply_to,
                ..
            } => {
                let mut frame = json!({"message": content, "id": id});
                if let Some(reply_to) = reply_to {
                    frame["reply_to"] = json!(reply_to);
                }
                frame
            }
            Self::Edit { id, content, .. } => json!({"type": "edit", "id": id, "message": content}),
            Self::Delete { id, .. } => json!({"type": "delete", "id": id}),
            Self::React {
                id, emoji, remove, ..
            } => json!({"type": "react", "id": id, "emoji": emoji, "remove": remove}),
            Self::Read { id, .. } => json!({"type": "read", "id": id}),
            Self::Member { joins, .. } => json!({"type": if *joins { "join" } else { "leave" }}),
        };
        let (field, name) = model.address(self.to());
        let field = if self.is_membership() { "room" } else { field };
        frame[field] = json!(name);
        frame["ref"] = json!(reference);
        frame
    }
}

impl Model {
    pub fn new(names: Vec<String>, rooms: Rooms) -> Self {
        Self {
            inboxes: vec![Vec::new(); names.len()],
            names,
            rooms,
            messages: Vec::new(),
            actions: Vec::new(),
            conversations: BTreeMap::new(),
            ids: HashMap::new(),
            read: HashMap::new(),
        }
    }

    /// The field and the name by which a frame is addressed.
    pub fn address(&self, target: Target) -> (&'static str, &str) {
        match target {
            Target::User(user) => ("target_user", &self.names[user]),
            Target::Room(room) => ("target_room", &self.rooms.all[room].name),
        }
    }

    /// Advances by one with each action.
    pub fn clock(&self) -> usize {
        self.actions.len()
    }

    pub fn head(&self, user: usize) -> u64 {
        self.inboxes[user].len() as u64
    }

    /// The sequence number of an action in a user's inbox.
    pub fn seq(&self, user: usize, action: usize) -> u64 {
        let place = self.inboxes[user].binary_search(&action);
        place.expect("the action is an entry of this inbox") as u64 + 1
    }

    /// The action that supersedes this one in the inbox of a user.
    pub fn superseded_by(&self, user: usize, action: usize) -> Option<usize> {
        let own = &self.actions[action];
        let place = self.seq(user, action) as usize;
        let mut later = self.inboxes[user][place..]
            .iter()
            .map(|n| (*n, &self.actions[*n]))
            .filter(|(_, other)| other.message.is_some() && other.message == own.message);
        let by = later.find(|(_, other)| match (&own.change, &other.change) {
            (Change::Edited, Change::Edited | Change::Deleted) => true,
            (
                Change::Reacted { emoji, .. },
                Change::Reacted {
                    emoji: other_emoji, ..
                },
            ) => emoji == other_emoji && own.by == other.by,
            _ => false,
        });
        by.map(|(n, _)| n)
    }

    /// True if an action is an entry of a user's inbox.
    pub fn has(&self, user: usize, action: usize) -> bool {
        self.inboxes[user].binary_search(&action).is_ok()
    }

    fn find(&self, by: usize, to: Target, id: &str) -> Option<usize> {
        self.ids.get(&(Place::of(by, to), id.to_owned())).copied()
    }

    /// The users whose inboxes an action about a message is appended to.
    fn recipients(&self, rooms: &Rooms, n: usize) -> Vec<usize> {
        let message = &self.messages[n];
        match message.to {
            Target::User(to) if to == message.from => vec![to],
            Target::User(to) => vec![message.from, to],
            Target::Room(room) => rooms.members_who_see(room, message.place),
        }
    }

    /// The users who get an entry by a request, if the memberships are these. `None`: it is refused. It is no repetition, and
    /// the message that it changes is not deleted.
    pub fn expected_recipients(
        &self,
        rooms: &Rooms,
        by: usize,
        request: &Request,
    ) -> Option<Vec<usize>> {
        if let Request::Member { room, joins } = *request {
            let refusal = rooms.refusal(by, room, joins);
            let recipients = || rooms.event_recipients(by, room, joins);
            return refusal.is_none().then(recipients);
        }
        let recipients = match request {
            Request::Send { to, .. } => match *to {
                Target::User(to) if to == by => vec![by],
                Target::User(to) => vec![by, to],
                Target::Room(room) => rooms.members_who_see(room, usize::MAX),
            },
            Request::Edit { to, id, .. } | Request::React { to, id, .. } => {
                self.recipients(rooms, self.find(by, *to, id)?)
            }
            other => panic!("{other:?} is not sent concurrently"),
        };
        Some(recipients).filter(|users| users.contains(&by))
    }

    /// Applies a request of a user.
    pub fn apply(&mut self, by: usize, request: &Request) -> Expected {
        let (to, id) = match request {
            Request::Member { room, joins } => return self.change_member(by, *room, *joins),
            Request::Send {
                to,
                id,
                content,
                reply_to,
            } => return self.send(by, *to, id, content, reply_to.clone()),
            Request::Edit { to, id, .. }
            | Request::Delete { to, id }
            | Request::React { to, id, .. }
            | Request::Read { to, id } => (*to, id),
        };
        let mut found = self.find(by, to, id);
        if let Target::Room(room) = to {
            let Some(membership) = self.rooms.membership(room, by) else {
                return Expected::Error("not_member");
            };
            found = found.filter(|n| self.rooms.sees(membership, self.messages[*n].place));
        }
        let Some(n) = found else {
            return Expected::Error("unknown_message");
        };
        let message = &self.messages[n];
        let (own, gone) = (message.from == by, message.content().is_none());
        let last = message.last_change();
        match request {
            Request::Delete { .. } if gone && own => return Expected::Duplicate(Some(last)),
            Request::Edit { .. } | Request::Delete { .. } | Request::React { .. } if gone => {
                return Expected::Error("unknown_message");
            }
            Request::Edit { .. } | Request::Delete { .. } if !own => {
                return Expected::Error("not_author");
            }
            _ => {}
        }
        let (change, version) = match request {
            Request::Edit { content, .. } if message.content() == Some(content) => {
                return Expected::Duplicate(Some(last));
            }
            Request::Edit { content, .. } => (Change::Edited, Some(Some(content.clone()))),
            Request::Delete { .. } => (Change::Deleted, Some(None)),
            Request::React { emoji, remove, .. } => {
                let removed = *remove;
                match message.reactions.get(&(by, emoji.clone())) {
                    Some((now, action)) if *now == removed => {
                        return Expected::Duplicate(Some(*action));
                    }
                    None if removed => return Expected::Duplicate(None),
                    _ => {}
                }
                let emoji = emoji.clone();
                (Change::Reacted { emoji, removed }, None)
            }
            Request::Read { .. } | Request::Send { .. } | Request::Member { .. } => {
                self.mark(by, n);
                return Expected::NoReply;
            }
        };
        let action = self.append(by, n, change.clone());
        let message = &mut self.messages[n];
        if let Change::Reacted { emoji, removed } = change {
            message.reactions.insert((by, emoji), (removed, action));
        }
        if let Some(content) = version {
            message.versions.push(Version { action, content });
        }
        if message.content().is_none() {
            message.reactions.clear();
        }
        Expected::Entry(action)
    }

    fn send(
        &mut self,
        by: usize,
        to: Target,
        id: &str,
        content: &Value,
        reply_to: Option<String>,
    ) -> Expected {
        let is_allowed = match to {
            Target::User(_) => true,
            Target::Room(room) => self.rooms.membership(room, by).is_some(),
        };
        if let Some(n) = self.find(by, to, id) {
            let message = &self.messages[n];
            let same = message.from == by && message.first() == *content;
            return match (same, is_allowed) {
                (true, _) => Expected::Duplicate(Some(message.versions[0].action)),
                (false, true) => Expected::Error("id_conflict"),
                (false, false) => Expected::Error("not_member"),
            };
        }
        if !is_allowed {
            return Expected::Error("not_member");
        }
        let n = self.messages.len();
        let action = self.actions.len();
        let conversation = self.conversations.entry(Place::of(by, to)).or_default();
        self.messages.push(Message {
            id: id.to_owned(),
            from: by,
            to,
            place: conversation.len(),
            reply_to,
            versions: vec![Version {
                action,
                content: Some(content.clone()),
            }],
            reactions: BTreeMap::new(),
        });
        conversation.push(n);
        self.ids.insert((Place::of(by, to), id.to_owned()), n);
        Expected::Entry(self.append(by, n, Change::Message))
    }

    fn change_member(&mut self, by: usize, room: usize, joins: bool) -> Expected {
        if let Some(refusal) = self.rooms.refusal(by, room, joins) {
            return refusal;
        }
        let recipients = self.rooms.event_recipients(by, room, joins);
        let membership = joins.then(|| Membership {
            action: self.actions.len(),
            joined: self.conversation(Place::Room(room)).len(),
        });
        let members = self.rooms.change(by, room, membership);
        self.read.remove(&(by, Place::Room(room)));
        let change = Change::Member {
            room,
            joins,
            members,
        };
        Expected::Entry(self.append_to(&recipients, by, None, change))
    }

    fn append(&mut self, by: usize, message: usize, change: Change) -> usize {
        let recipients = self.recipients(&self.rooms, message);
        self.append_to(&recipients, by, Some(message), change)
    }

    fn append_to(
        &mut self,
        users: &[usize],
        by: usize,
        message: Option<usize>,
        change: Change,
    ) -> usize {
        let action = self.actions.len();
        self.actions.push(Action {
            message,
            by,
            change,
            time: None,
        });
        for user in users {
            self.inboxes[*user].push(action);
        }
        action
    }

    fn mark(&mut self, by: usize, n: usize) {
        let message = &self.messages[n];
        let mark = self.read.entry((by, message.conversation())).or_default();
        *mark = (*mark).max(message.place + 1);
    }

    /// The users with whom a user has exchanged messages, and the rooms of which the user is a member.
    pub fn conversations_of(&self, user: usize) -> Vec<Target> {
        let keys = self.conversations.keys();
        let others = keys.filter_map(|place| match *place {
            Place::Direct(a, b) if user == a => Some(Target::User(b)),
            Place::Direct(a, b) if user == b => Some(Target::User(a)),
            _ => None,
        });
        others
            .chain(self.rooms.of(user).map(Target::Room))
            .collect()
    }

    /// The messages of a conversation.
    pub fn conversation(&self, place: Place) -> &[usize] {
        self.conversations
            .get(&place)
            .map_or(&[], |messages| messages)
    }

    /// The messages of a conversation that exist for a user. `None`: the user is not a member of the room.
    pub fn history(&self, user: usize, target: Target) -> Option<&[usize]> {
        let messages = self.conversation(Place::of(user, target));
        let Target::Room(room) = target else {
            return Some(messages);
        };
        let membership = self.rooms.membership(room, user)?;
        let hidden = (0..messages.len()).filter(|place| !self.rooms.sees(membership, *place));
        Some(&messages[hidden.count()..])
    }
}

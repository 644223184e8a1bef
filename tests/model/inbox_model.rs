//! The model: the rules of PROTOCOL section 5 about inboxes, on a few vectors, without any networking.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

/// A committed change, in the order of commits. It is an entry in the inboxes of both users.
pub struct Action {
    pub message: usize,
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
    Reacted { emoji: String, removed: bool },
}

pub struct Message {
    pub id: String,
    pub from: usize,
    pub to: usize,
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
        to: usize,
        id: String,
        content: Value,
        reply_to: Option<String>,
    },
    Edit {
        to: usize,
        id: String,
        content: Value,
    },
    Delete {
        to: usize,
        id: String,
    },
    React {
        to: usize,
        id: String,
        emoji: String,
        remove: bool,
    },
    Read {
        to: usize,
        id: String,
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

#[derive(Default)]
pub struct Model {
    pub names: Vec<String>,
    /// By user: the actions; entry `n` has the index `n - 1`.
    pub inboxes: Vec<Vec<usize>>,
    pub messages: Vec<Message>,
    pub actions: Vec<Action>,
    /// By both users, the lower number first: the messages in order.
    conversations: BTreeMap<(usize, usize), Vec<usize>>,
    ids: HashMap<((usize, usize), String), usize>,
    /// By user and conversation: the number of read messages.
    pub read: HashMap<(usize, (usize, usize)), usize>,
}

pub fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Message {
    pub fn other(&self, user: usize) -> usize {
        if user == self.from {
            self.to
        } else {
            self.from
        }
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
    pub fn to(&self) -> usize {
        match self {
            Self::Send { to, .. }
            | Self::Edit { to, .. }
            | Self::Delete { to, .. }
            | Self::React { to, .. }
            | Self::Read { to, .. } => *to,
        }
    }

    pub fn frame(&self, names: &[String], reference: &str) -> Value {
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
        };
        frame["target_user"] = json!(names[self.to()]);
        frame["ref"] = json!(reference);
        frame
    }
}

impl Model {
    pub fn new(names: Vec<String>) -> Self {
        Self {
            inboxes: vec![Vec::new(); names.len()],
            names,
            ..Self::default()
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

    /// The action that supersedes this one.
    pub fn superseded_by(&self, action: usize) -> Option<usize> {
        let own = &self.actions[action];
        let later = self.actions.iter().enumerate().skip(action + 1);
        let mut later = later.filter(|(_, other)| other.message == own.message);
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

    fn find(&self, by: usize, to: usize, id: &str) -> Option<usize> {
        self.ids.get(&(pair(by, to), id.to_owned())).copied()
    }

    /// Applies a request of a user.
    pub fn apply(&mut self, by: usize, request: &Request) -> Expected {
        let found = match request {
            Request::Send {
                to,
                id,
                content,
                reply_to,
            } => return self.send(by, *to, id, content, reply_to.clone()),
            Request::Edit { to, id, .. }
            | Request::Delete { to, id }
            | Request::React { to, id, .. }
            | Request::Read { to, id } => self.find(by, *to, id),
        };
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
            Request::Read { .. } | Request::Send { .. } => {
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
        to: usize,
        id: &str,
        content: &Value,
        reply_to: Option<String>,
    ) -> Expected {
        if let Some(n) = self.find(by, to, id) {
            let message = &self.messages[n];
            let same = message.from == by && message.first() == *content;
            return if same {
                Expected::Duplicate(Some(message.versions[0].action))
            } else {
                Expected::Error("id_conflict")
            };
        }
        let n = self.messages.len();
        let action = self.actions.len();
        self.messages.push(Message {
            id: id.to_owned(),
            from: by,
            to,
            reply_to,
            versions: vec![Version {
                action,
                content: Some(content.clone()),
            }],
            reactions: BTreeMap::new(),
        });
        self.conversations.entry(pair(by, to)).or_default().push(n);
        self.ids.insert((pair(by, to), id.to_owned()), n);
        Expected::Entry(self.append(by, n, Change::Message))
    }

    fn append(&mut self, by: usize, message: usize, change: Change) -> usize {
        let action = self.actions.len();
        self.actions.push(Action {
            message,
            by,
            change,
            time: None,
        });
        let (low, high) = pair(self.messages[message].from, self.messages[message].to);
        self.inboxes[low].push(action);
        if low != high {
            self.inboxes[high].push(action);
        }
        action
    }

    fn mark(&mut self, by: usize, n: usize) {
        let key = pair(self.messages[n].from, self.messages[n].to);
        let place = self.conversations[&key].iter().position(|m| *m == n);
        let mark = self.read.entry((by, key)).or_default();
        *mark = (*mark).max(place.map_or(0, |place| place + 1));
    }

    /// The peers with whom a user has exchanged messages.
    pub fn conversations_of(&self, user: usize) -> Vec<usize> {
        let keys = self.conversations.keys();
        let others = keys.filter_map(|&(a, b)| match user {
            u if u == a => Some(b),
            u if u == b => Some(a),
            _ => None,
        });
        others.collect()
    }

    pub fn conversation(&self, user: usize, with: usize) -> &[usize] {
        self.conversations
            .get(&pair(user, with))
            .map_or(&[], |messages| messages)
    }
}

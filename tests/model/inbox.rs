//! The model: what PROTOCOL section 5 says of inboxes, in a few vectors. It knows nothing of sockets.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

/// One thing that happened, in the order of commit. It is an entry in the inboxes of both sides.
pub struct Action {
    pub message: usize,
    pub by: usize,
    pub change: Change,
    /// When, as the first who was told was told: all others must be told the same.
    time: Option<String>,
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
    reply_to: Option<String>,
    versions: Vec<Version>,
    /// By user and emoji: whether it was removed, and the action that made it so.
    reactions: BTreeMap<(usize, String), (bool, usize)>,
}

struct Version {
    /// What made it so.
    action: usize,
    /// `None`: deleted.
    content: Option<Value>,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Wish {
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

/// What a client is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An ack, as this action's entry.
    Entry(usize),
    /// A duplicate ack, with the entry of what made it so, if anything did.
    Duplicate(Option<usize>),
    /// An error with this code.
    Refused(&'static str),
    /// Nothing.
    Silence,
}

#[derive(Default)]
pub struct Model {
    pub names: Vec<String>,
    /// By user: actions, entry `n` at `n - 1`.
    pub inboxes: Vec<Vec<usize>>,
    pub messages: Vec<Message>,
    pub actions: Vec<Action>,
    /// By the two users, the lower first: messages in order.
    conversations: BTreeMap<(usize, usize), Vec<usize>>,
    ids: HashMap<((usize, usize), String), usize>,
    /// By user and conversation: how many messages are read.
    read: HashMap<(usize, (usize, usize)), usize>,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
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

    /// The present content; `None` once it was deleted.
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

    fn last_change(&self) -> usize {
        self.versions.last().map_or(0, |version| version.action)
    }
}

impl Wish {
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

    /// Moves on with each action.
    pub fn clock(&self) -> usize {
        self.actions.len()
    }

    pub fn head(&self, user: usize) -> u64 {
        self.inboxes[user].len() as u64
    }

    /// The place of an action in a user's inbox.
    pub fn seq(&self, user: usize, action: usize) -> u64 {
        let place = self.inboxes[user].binary_search(&action);
        place.expect("the action is an entry of this inbox") as u64 + 1
    }

    fn find(&self, by: usize, to: usize, id: &str) -> Option<usize> {
        self.ids.get(&(pair(by, to), id.to_owned())).copied()
    }

    /// Does what a user wishes.
    pub fn apply(&mut self, by: usize, wish: &Wish) -> Answer {
        let found = match wish {
            Wish::Send {
                to,
                id,
                content,
                reply_to,
            } => return self.send(by, *to, id, content, reply_to.clone()),
            Wish::Edit { to, id, .. }
            | Wish::Delete { to, id }
            | Wish::React { to, id, .. }
            | Wish::Read { to, id } => self.find(by, *to, id),
        };
        let Some(n) = found else {
            return Answer::Refused("unknown_message");
        };
        let message = &self.messages[n];
        let (own, gone) = (message.from == by, message.content().is_none());
        let last = message.last_change();
        match wish {
            Wish::Delete { .. } if gone && own => return Answer::Duplicate(Some(last)),
            Wish::Edit { .. } | Wish::Delete { .. } | Wish::React { .. } if gone => {
                return Answer::Refused("unknown_message");
            }
            Wish::Edit { .. } | Wish::Delete { .. } if !own => {
                return Answer::Refused("not_author");
            }
            _ => {}
        }
        let (change, version) = match wish {
            Wish::Edit { content, .. } if message.content() == Some(content) => {
                return Answer::Duplicate(Some(last));
            }
            Wish::Edit { content, .. } => (Change::Edited, Some(Some(content.clone()))),
            Wish::Delete { .. } => (Change::Deleted, Some(None)),
            Wish::React { emoji, remove, .. } => {
                let removed = *remove;
                match message.reactions.get(&(by, emoji.clone())) {
                    Some((now, action)) if *now == removed => {
                        return Answer::Duplicate(Some(*action));
                    }
                    None if removed => return Answer::Duplicate(None),
                    _ => {}
                }
                let emoji = emoji.clone();
                (Change::Reacted { emoji, removed }, None)
            }
            Wish::Read { .. } | Wish::Send { .. } => {
                self.mark(by, n);
                return Answer::Silence;
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
        Answer::Entry(action)
    }

    fn send(
        &mut self,
        by: usize,
        to: usize,
        id: &str,
        content: &Value,
        reply_to: Option<String>,
    ) -> Answer {
        if let Some(n) = self.find(by, to, id) {
            let message = &self.messages[n];
            let same = message.from == by && message.first() == *content;
            return if same {
                Answer::Duplicate(Some(message.versions[0].action))
            } else {
                Answer::Refused("id_conflict")
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
        Answer::Entry(self.append(by, n, Change::Message))
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

    fn same_time(&mut self, action: usize, told: &Value) {
        let told = told
            .as_str()
            .unwrap_or_else(|| panic!("a time was due, found {told}"));
        let known = self.actions[action]
            .time
            .get_or_insert_with(|| told.to_owned());
        assert_eq!(known, told, "everybody is told the same time");
    }

    /// Judges an ack that is no entry, or that is one.
    pub fn judge_ack(&mut self, ack: &Value, action: usize, duplicate: bool) {
        let by = self.actions[action].by;
        let id = &self.messages[self.actions[action].message].id;
        assert_eq!(
            (&ack["id"], &ack["seq"], &ack["status"]),
            (&json!(id), &json!(self.seq(by, action)), &json!("stored")),
            "{ack}"
        );
        assert_eq!(ack["duplicate"] == true, duplicate, "{ack}");
        self.same_time(action, &ack["sent_at"]);
    }

    /// Judges what a session was sent as an entry. The present that it shows may be that of any moment since `clock`.
    pub fn judge(&mut self, user: usize, frame: &Value, clock: usize) {
        let seq = frame["seq"].as_u64().expect("entries have a seq");
        let action = self.inboxes[user].get(seq as usize - 1);
        let action =
            *action.unwrap_or_else(|| panic!("{} has no such entry: {frame}", self.names[user]));
        if frame["type"] == "ack" {
            assert_eq!(self.actions[action].by, user, "{frame}");
            return self.judge_ack(frame, action, false);
        }
        let Action {
            message: n,
            by,
            ref change,
            ..
        } = self.actions[action];
        let change = change.clone();
        let message = &self.messages[n];
        assert_eq!(frame["id"], message.id, "{frame}");
        // The version that was the present at that moment, and those that came since.
        let clock = clock.max(action + 1);
        let since = message
            .versions
            .iter()
            .rposition(|version| version.action < clock);
        let since = since.expect("the message was there");
        let shown = frame["type"].as_str().expect("a type").to_owned();
        let (from, to) = match &*shown {
            "deleted" => (message.from, message.to),
            _ => (by, message.other(by)),
        };
        assert_eq!(
            (&frame["from_user"], &frame["target_user"]),
            (&json!(self.names[from]), &json!(self.names[to])),
            "{frame}"
        );
        if shown == "deleted" {
            let last = message.last_change();
            assert!(message.content().is_none(), "nobody deleted this: {frame}");
            return self.same_time(last, &frame["deleted_at"]);
        }
        assert!(
            message.versions[since].content.is_some(),
            "this was deleted before: {frame}"
        );
        match change {
            Change::Reacted { emoji, removed } => {
                assert_eq!(shown, "reacted", "{frame}");
                assert_eq!(
                    (&frame["emoji"], frame["removed"] == true),
                    (&json!(emoji), removed),
                    "{frame}"
                );
            }
            Change::Deleted => panic!("a `deleted` was due: {frame}"),
            Change::Message | Change::Edited => {
                assert_eq!(
                    shown,
                    if change == Change::Message {
                        "message"
                    } else {
                        "edited"
                    },
                    "{frame}"
                );
                let version = self.version(n, since, frame);
                let made = self.messages[n].versions[version].action;
                let first = self.messages[n].versions[0].action;
                if change == Change::Message {
                    self.same_time(first, &frame["sent_at"]);
                    let reply_to = &self.messages[n].reply_to;
                    assert_eq!(
                        frame.get("reply_to"),
                        reply_to.as_ref().map(|id| json!(id)).as_ref()
                    );
                }
                if version > 0 {
                    self.same_time(made, &frame["edited_at"]);
                }
            }
        }
    }

    /// Which version a frame shows, from `since` on.
    fn version(&self, n: usize, since: usize, frame: &Value) -> usize {
        let versions = self.messages[n].versions.iter().enumerate().skip(since);
        let mut fits = versions.filter(|(v, version)| {
            version.content.as_ref() == Some(&frame["message"])
                && (*v > 0) == frame.get("edited_at").is_some()
        });
        // The same content can come back: the time, when it is known already, tells which it is.
        let known = |v: usize| {
            self.actions[self.messages[n].versions[v].action]
                .time
                .as_deref()
        };
        let all: Vec<usize> = fits.by_ref().map(|(v, _)| v).collect();
        let exact = all
            .iter()
            .find(|v| known(**v) == frame["edited_at"].as_str());
        let unknown = all.iter().find(|v| known(**v).is_none());
        *exact.or(unknown).or(all.first()).unwrap_or_else(|| {
            panic!(
                "not what the message is, or was since {since}: {frame}, but {:?}",
                self.messages[n]
                    .versions
                    .iter()
                    .map(|v| &v.content)
                    .collect::<Vec<_>>()
            )
        })
    }

    /// Conversations of a user that have messages.
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

    /// Judges a message as `history` and `conversations` show it.
    fn judge_past(&mut self, shown: &Value, n: usize) {
        let message = &self.messages[n];
        assert_eq!(
            (&shown["id"], &shown["from_user"], &shown["target_user"]),
            (
                &json!(message.id),
                &json!(self.names[message.from]),
                &json!(self.names[message.to])
            )
        );
        assert_eq!(shown.get("message"), message.content(), "{shown}");
        assert_eq!(shown.get("seq"), None);
        let mut reactions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for ((user, emoji), (removed, _)) in &message.reactions {
            if !removed {
                reactions.entry(emoji).or_default().push(&self.names[*user]);
            }
        }
        let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for reaction in shown["reactions"].as_array().into_iter().flatten() {
            let users = reaction["users"].as_array().expect("users");
            let mut users: Vec<&str> = users.iter().filter_map(Value::as_str).collect();
            users.sort_unstable();
            let before = told.insert(reaction["emoji"].as_str().expect("an emoji"), users);
            assert_eq!(before, None, "{shown}");
        }
        for users in reactions.values_mut() {
            users.sort_unstable();
        }
        assert_eq!(told, reactions, "{shown}");
        let (first, last) = (message.versions[0].action, message.last_change());
        let (gone, edited) = (message.content().is_none(), message.versions.len() > 1);
        self.same_time(first, &shown["sent_at"]);
        if gone {
            self.same_time(last, &shown["deleted_at"]);
        } else if edited {
            self.same_time(last, &shown["edited_at"]);
        } else {
            assert_eq!(
                (shown.get("edited_at"), shown.get("deleted_at")),
                (None, None)
            );
        }
    }

    /// Judges a `history` that was to show these messages.
    pub fn judge_history(&mut self, history: &Value, with: usize, due: &[usize], more: bool) {
        assert_eq!(history["type"], "history", "{history}");
        assert_eq!(history["target_user"], self.names[with]);
        let shown = history["messages"].as_array().expect("messages");
        let ids: Vec<&Value> = shown.iter().map(|message| &message["id"]).collect();
        let due_ids: Vec<&str> = due.iter().map(|n| &*self.messages[*n].id).collect();
        assert_eq!(ids, due_ids);
        assert_eq!(history["more"], more, "{history}");
        for (shown, n) in shown.iter().zip(due) {
            self.judge_past(shown, *n);
        }
    }

    /// Judges all pages of `conversations` of a user, put together.
    pub fn judge_conversations(&mut self, user: usize, items: &[Value]) {
        let mut due: Vec<(usize, usize)> = self
            .conversations_of(user)
            .into_iter()
            .filter_map(|with| Some((*self.conversation(user, with).last()?, with)))
            .collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        let with: Vec<&Value> = items.iter().map(|item| &item["target_user"]).collect();
        let due_with: Vec<&str> = due.iter().map(|(_, with)| &*self.names[*with]).collect();
        assert_eq!(with, due_with, "conversations of {}", self.names[user]);
        for (item, (last, with)) in items.iter().zip(due) {
            self.judge_past(&item["last"], last);
            let messages = self.conversation(user, with);
            let mark = |by: usize| self.read.get(&(by, pair(user, with))).copied().unwrap_or(0);
            let id = |mark: usize| {
                mark.checked_sub(1)
                    .map(|place| json!(self.messages[messages[place]].id))
            };
            let unread = messages[mark(user)..]
                .iter()
                .map(|n| &self.messages[*n])
                .filter(|message| message.from != user && message.content().is_some());
            assert_eq!(item["unread"], unread.count(), "{item}");
            assert_eq!(item.get("my_read").cloned(), id(mark(user)), "{item}");
            let theirs = if with == user { 0 } else { mark(with) };
            assert_eq!(item.get("their_read").cloned(), id(theirs), "{item}");
            let received = item.get("their_received").map(|id| {
                let place = messages.iter().position(|n| *id == self.messages[*n].id);
                place.expect("a message of this conversation") + 1
            });
            assert!(
                received.unwrap_or(0) >= theirs,
                "read is at most received: {item}"
            );
        }
    }
}

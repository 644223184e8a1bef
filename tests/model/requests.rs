//! Random requests.

use serde_json::{Value, json};

use crate::inbox_model::{Place, Request, Target};
use crate::run::Run;

const EMOJI: &[&str] = &["👍", "❤️", "x", "🏳️‍🌈"];

impl Run<'_> {
    pub fn content(&mut self) -> Value {
        let tag = self.random.next();
        match self.random.below(8) {
            0 => json!({"type": "markdown", "text": format!("*{tag:x}*")}),
            1 => {
                json!({"type": "data", "name": "n", "data": {"tag": format!("{tag:x}"), "é": [1, null, "\u{1F600}"]}})
            }
            2 => json!(format!("{tag:x} {}", "ü\n".repeat(self.random.below(300)))),
            _ => json!(format!("{tag:x}")),
        }
    }

    pub fn has_rooms(&self) -> bool {
        !self.model.rooms.all.is_empty()
    }

    /// A user or a room.
    pub fn any_target(&mut self) -> Target {
        if self.has_rooms() && self.random.percent(50) {
            Target::Room(self.random.below(self.model.rooms.all.len()))
        } else {
            Target::User(self.random.below(self.model.names.len()))
        }
    }

    /// Where a new message is sent: mostly to users and to rooms of which the user is a member.
    fn new_target(&mut self, user: usize) -> Target {
        let target = self.any_target();
        let is_allowed = match target {
            Target::User(_) => true,
            Target::Room(room) => self.model.rooms.membership(room, user).is_some(),
        };
        if is_allowed || self.random.percent(10) {
            target
        } else {
            Target::User(self.random.below(self.model.names.len()))
        }
    }

    /// A message of the user's conversations, deleted or not; preferably a recent one. Rarely one of a room of which the user is
    /// not a member.
    pub fn any_message(&mut self, user: usize) -> Option<usize> {
        let with = self.model.conversations_of(user);
        let mut with = *with.get(self.random.below(with.len()))?;
        if self.has_rooms() && self.random.percent(10) {
            with = self.any_target();
        }
        let messages = self.model.conversation(Place::of(user, with));
        if messages.is_empty() {
            return None;
        }
        let back = self.random.below(messages.len().min(12));
        Some(messages[messages.len() - 1 - back])
    }

    /// A user joins or leaves a room.
    pub fn membership(&mut self, user: usize) -> Request {
        let room = self.random.below(self.model.rooms.all.len());
        // Mostly something that changes.
        let joins = self.model.rooms.membership(room, user).is_none() ^ self.random.percent(15);
        Request::Member { room, joins }
    }

    pub fn request(&mut self, user: usize) -> Request {
        if self.has_rooms() && self.random.percent(12) {
            return self.membership(user);
        }
        let found = match self.random.below(100) {
            0..=39 => None,
            _ => self.any_message(user),
        };
        let Some(n) = found else {
            return self.new_message(user);
        };
        let message = &self.model.messages[n];
        let (to, mut id) = (message.target_for(user), message.id.clone());
        let (first, present) = (message.first(), message.content().cloned());
        if self.random.percent(4) {
            // An unknown message, or one of another conversation.
            id = match self.any_message(user) {
                Some(other) if self.random.percent(50) => self.model.messages[other].id.clone(),
                _ => self.random.uuid(),
            };
        }
        match self.random.below(12) {
            0 => {
                let content = if self.random.percent(70) {
                    first
                } else {
                    self.content()
                };
                let reply_to = None;
                Request::Send {
                    to,
                    id,
                    content,
                    reply_to,
                }
            }
            1..=4 => {
                let content = match self.random.below(10) {
                    0 => first,
                    1 => present.unwrap_or(first),
                    _ => self.content(),
                };
                Request::Edit { to, id, content }
            }
            5..=6 => Request::Delete { to, id },
            7..=8 => Request::Read { to, id },
            _ => Request::React {
                to,
                id,
                emoji: (*self.random.pick(EMOJI)).to_owned(),
                remove: self.random.percent(30),
            },
        }
    }

    pub fn new_message(&mut self, user: usize) -> Request {
        let answers = self.random.percent(20);
        let reply_to = self
            .any_message(user)
            .filter(|_| answers)
            .map(|n| self.model.messages[n].id.clone());
        Request::Send {
            to: self.new_target(user),
            id: self.random.uuid(),
            content: self.content(),
            reply_to,
        }
    }
}

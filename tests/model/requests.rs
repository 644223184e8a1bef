//! Random requests.

use serde_json::{Value, json};

use crate::inbox_model::Request;
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

    /// A message of the user's conversations, deleted or not; preferably a recent one.
    pub fn any_message(&mut self, user: usize) -> Option<usize> {
        let with = self.model.conversations_of(user);
        let with = *with.get(self.random.below(with.len()))?;
        let messages = self.model.conversation(user, with);
        let back = self.random.below(messages.len().min(12));
        Some(messages[messages.len() - 1 - back])
    }

    pub fn request(&mut self, user: usize) -> Request {
        let found = match self.random.below(100) {
            0..=39 => None,
            _ => self.any_message(user),
        };
        let Some(n) = found else {
            return self.new_message(user);
        };
        let message = &self.model.messages[n];
        let (to, mut id) = (message.other(user), message.id.clone());
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
            to: self.random.below(self.model.names.len()),
            id: self.random.uuid(),
            content: self.content(),
            reply_to,
        }
    }
}

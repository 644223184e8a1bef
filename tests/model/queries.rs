//! Queries, and the comparison of their answers with the model.

use serde_json::{Value, json};

use crate::run::Run;

impl Run<'_> {
    pub fn ask(&mut self, at: usize, mut frame: Value) -> Value {
        let reference = self.reference();
        frame["ref"] = json!(reference);
        self.devices[at].send(&frame, false, true);
        self.devices[at].read_replies();
        self.devices[at]
            .replies
            .remove(&reference)
            .expect("a reply")
    }

    pub fn ask_history(&mut self) {
        let at = self.any_device();
        let with = self.random.below(self.model.names.len());
        self.history(at, with);
    }

    pub fn history(&mut self, at: usize, with: usize) {
        let user = self.devices[at].user;
        let messages = self.model.conversation(user, with).to_vec();
        let limit = 1 + self.random.below(60);
        let mut frame =
            json!({"type": "history", "target_user": self.model.names[with], "limit": limit});
        let anchor = self.random.below(messages.len().max(1));
        let (from, to, more) = match (self.random.below(3), messages.get(anchor)) {
            (0, Some(n)) => {
                frame["after"] = json!(self.model.messages[*n].id);
                let to = (anchor + 1 + limit).min(messages.len());
                (anchor + 1, to, to < messages.len())
            }
            (1, Some(n)) => {
                frame["before"] = json!(self.model.messages[*n].id);
                let from = anchor.saturating_sub(limit);
                (from, anchor, from > 0)
            }
            _ => {
                let from = messages.len().saturating_sub(limit);
                (from, messages.len(), from > 0)
            }
        };
        let reply = self.ask(at, frame);
        self.model
            .check_history(&reply, with, &messages[from..to], more);
    }

    pub fn ask_conversations(&mut self) {
        let at = self.any_device();
        self.conversations(at);
    }

    pub fn conversations(&mut self, at: usize) {
        let limit = 1 + self.random.below(5);
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let mut frame = json!({"type": "conversations", "limit": limit});
            if let Some(cursor) = &cursor {
                frame["cursor"] = json!(cursor);
            }
            let reply = self.ask(at, frame);
            assert_eq!(reply["type"], "conversations", "{reply}");
            let page = reply["items"].as_array().expect("items");
            assert!(page.len() <= limit);
            items.extend(page.iter().cloned());
            cursor = reply["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        let user = self.devices[at].user;
        self.model.check_conversations(user, &items);
    }
}

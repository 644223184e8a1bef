//! Queries, and the comparison of their answers with the model.

use serde_json::{Value, json};

use crate::inbox_model::Target;
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
        let with = self.any_target();
        self.history(at, with);
    }

    pub fn history(&mut self, at: usize, with: Target) {
        let user = self.devices[at].user;
        let (field, name) = self.model.address(with);
        let name = name.to_owned();
        let Some(messages) = self.model.history(user, with) else {
            let reply = self.ask(at, json!({"type": "history", field: name}));
            let error = (&reply["type"], &reply["code"], &reply["path"]);
            assert_eq!(
                error,
                (
                    &json!("error"),
                    &json!("not_member"),
                    &json!("/target_room")
                )
            );
            return;
        };
        let messages = messages.to_vec();
        let limit = 1 + self.random.below(60);
        let mut frame = json!({"type": "history", field: name, "limit": limit});
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
        let items = self.ask_pages(at, &json!({"type": "conversations"}), "items");
        let user = self.devices[at].user;
        self.model.check_conversations(user, &items);
    }

    pub fn ask_members(&mut self) {
        let at = self.any_device();
        let room = self.random.below(self.model.rooms.all.len());
        let user = self.devices[at].user;
        let frame = json!({"type": "members", "room": self.model.rooms.all[room].name});
        if self.model.rooms.membership(room, user).is_none() {
            let reply = self.ask(at, frame);
            assert_eq!(
                (&reply["code"], &reply["path"]),
                (&json!("not_member"), &json!("/room")),
                "{reply}"
            );
            return;
        }
        let users = self.ask_pages(at, &frame, "users");
        self.model.check_members(room, &users);
    }

    /// Asks for all pages of a list.
    fn ask_pages(&mut self, at: usize, frame: &Value, list: &str) -> Vec<Value> {
        let limit = 1 + self.random.below(5);
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let mut frame = frame.clone();
            frame["limit"] = json!(limit);
            if let Some(cursor) = &cursor {
                frame["cursor"] = json!(cursor);
            }
            let reply = self.ask(at, frame.clone());
            assert_eq!(reply["type"], frame["type"], "{reply}");
            let page = reply[list].as_array().expect("a list");
            assert!(page.len() <= limit);
            items.extend(page.iter().cloned());
            cursor = reply["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return items;
            }
        }
    }
}

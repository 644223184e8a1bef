//! Comparison of received frames with the model.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::inbox_model::{Action, Change, Model, pair};

impl Model {
    fn check_time(&mut self, action: usize, time: &Value) {
        let time = time
            .as_str()
            .unwrap_or_else(|| panic!("expected a time, found {time}"));
        let known = self.actions[action]
            .time
            .get_or_insert_with(|| time.to_owned());
        assert_eq!(known, time, "all frames about an action have the same time");
    }

    /// Checks the ack of an action, as a new entry or as a duplicate.
    pub fn check_ack(&mut self, ack: &Value, action: usize, duplicate: bool) {
        let by = self.actions[action].by;
        let id = &self.messages[self.actions[action].message].id;
        assert_eq!(
            (&ack["id"], &ack["seq"], &ack["status"]),
            (&json!(id), &json!(self.seq(by, action)), &json!("stored")),
            "{ack}"
        );
        assert_eq!(ack["duplicate"] == true, duplicate, "{ack}");
        self.check_time(action, &ack["sent_at"]);
    }

    /// Checks an entry that a session received. It shows the state of the message at any moment since `clock`.
    pub fn check(&mut self, user: usize, frame: &Value, clock: usize) {
        let seq = frame["seq"].as_u64().expect("entries have a seq");
        let action = self.inboxes[user].get(seq as usize - 1);
        let action = *action
            .unwrap_or_else(|| panic!("{} does not have this entry: {frame}", self.names[user]));
        if frame["type"] == "ack" {
            assert_eq!(self.actions[action].by, user, "{frame}");
            return self.check_ack(frame, action, false);
        }
        let Action {
            message: n,
            by,
            ref change,
            ..
        } = self.actions[action];
        let change = change.clone();
        let superseded = self.superseded_by(action);
        if frame["type"] == "skipped" {
            assert!(superseded.is_some(), "not superseded: {change:?} {frame}");
            assert_eq!(frame.as_object().map(serde_json::Map::len), Some(2));
            return;
        }
        assert!(
            superseded.is_none_or(|later| later >= clock),
            "superseded by {superseded:?}: {frame}"
        );
        let message = &self.messages[n];
        assert_eq!(frame["id"], message.id, "{frame}");
        // The version at that moment; later versions are possible too.
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
            assert!(
                message.content().is_none(),
                "the message is not deleted: {frame}"
            );
            assert_ne!(change, Change::Edited, "an edit is superseded: {frame}");
            return self.check_time(last, &frame["deleted_at"]);
        }
        assert!(
            message.versions[since].content.is_some(),
            "the message was deleted before: {frame}"
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
            Change::Deleted => panic!("expected `deleted`, found {frame}"),
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
                    self.check_time(first, &frame["sent_at"]);
                    let reply_to = &self.messages[n].reply_to;
                    assert_eq!(
                        frame.get("reply_to"),
                        reply_to.as_ref().map(|id| json!(id)).as_ref()
                    );
                }
                if version > 0 {
                    self.check_time(made, &frame["edited_at"]);
                }
            }
        }
    }

    /// The version that a frame shows, `since` or later.
    fn version(&self, n: usize, since: usize, frame: &Value) -> usize {
        let versions = self.messages[n].versions.iter().enumerate().skip(since);
        let mut fits = versions.filter(|(v, version)| {
            version.content.as_ref() == Some(&frame["message"])
                && (*v > 0) == frame.get("edited_at").is_some()
        });
        // Two versions can have the same content; the time, if it is known, distinguishes them.
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
                "the frame shows none of the versions since {since}: {frame}; they are {:?}",
                self.messages[n]
                    .versions
                    .iter()
                    .map(|v| &v.content)
                    .collect::<Vec<_>>()
            )
        })
    }

    /// Checks a message as `history` and `conversations` show it.
    fn check_stored_message(&mut self, shown: &Value, n: usize) {
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
        let mut actual: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for reaction in shown["reactions"].as_array().into_iter().flatten() {
            let users = reaction["users"].as_array().expect("users");
            let mut users: Vec<&str> = users.iter().filter_map(Value::as_str).collect();
            users.sort_unstable();
            let before = actual.insert(reaction["emoji"].as_str().expect("an emoji"), users);
            assert_eq!(before, None, "{shown}");
        }
        for users in reactions.values_mut() {
            users.sort_unstable();
        }
        assert_eq!(actual, reactions, "{shown}");
        let (first, last) = (message.versions[0].action, message.last_change());
        let (gone, edited) = (message.content().is_none(), message.versions.len() > 1);
        self.check_time(first, &shown["sent_at"]);
        if gone {
            self.check_time(last, &shown["deleted_at"]);
        } else if edited {
            self.check_time(last, &shown["edited_at"]);
        } else {
            assert_eq!(
                (shown.get("edited_at"), shown.get("deleted_at")),
                (None, None)
            );
        }
    }

    /// Checks that a `history` contains these messages.
    pub fn check_history(&mut self, history: &Value, with: usize, due: &[usize], more: bool) {
        assert_eq!(history["type"], "history", "{history}");
        assert_eq!(history["target_user"], self.names[with]);
        let shown = history["messages"].as_array().expect("messages");
        let ids: Vec<&Value> = shown.iter().map(|message| &message["id"]).collect();
        let due_ids: Vec<&str> = due.iter().map(|n| &*self.messages[*n].id).collect();
        assert_eq!(ids, due_ids);
        assert_eq!(history["more"], more, "{history}");
        for (shown, n) in shown.iter().zip(due) {
            self.check_stored_message(shown, *n);
        }
    }

    /// Checks the items of all pages of a user's `conversations`.
    pub fn check_conversations(&mut self, user: usize, items: &[Value]) {
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
            self.check_stored_message(&item["last"], last);
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
                "the read mark is beyond the received mark: {item}"
            );
        }
    }
}

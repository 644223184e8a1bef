//! Comparison of received frames with the model.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::inbox_model::{Action, Change, Model, Place, Target};

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
        let message = self.actions[action].message;
        let id = message.map(|message| json!(self.messages[message].id));
        let room = match self.actions[action].change {
            Change::Member { room, .. } => Some(json!(self.rooms.all[room].name)),
            _ => None,
        };
        assert_eq!(
            (ack.get("id"), ack.get("room")),
            (id.as_ref(), room.as_ref())
        );
        assert_eq!(
            (&ack["seq"], &ack["status"]),
            (&json!(self.seq(by, action)), &json!("stored")),
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
            message,
            by,
            ref change,
            ..
        } = self.actions[action];
        let change = change.clone();
        let Some(n) = message else {
            return self.check_member(frame, action, &change);
        };
        let superseded = self.superseded_by(user, action);
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
        let from = if shown == "deleted" { message.from } else { by };
        self.check_parties(frame, from, message.target_for(from));
        if shown == "deleted" {
            let last = message.last_change();
            assert!(
                message.content().is_none(),
                "the message is not deleted: {frame}"
            );
            let is_edit = change == Change::Edited;
            assert!(
                !(is_edit && self.has(user, last)),
                "an edit is superseded: {frame}"
            );
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
            Change::Deleted | Change::Member { .. } => {
                panic!("expected `deleted`, found {frame}")
            }
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

    /// Checks the entry about a membership.
    fn check_member(&mut self, frame: &Value, action: usize, change: &Change) {
        let Change::Member {
            room,
            joins,
            members,
        } = *change
        else {
            panic!("{change:?} is about a message");
        };
        let expected = json!({
            "type": "room",
            "room": self.rooms.all[room].name,
            "event": if joins { "joined" } else { "left" },
            "user": self.names[self.actions[action].by],
            "members": members,
            "seq": frame["seq"],
            "at": frame["at"],
        });
        assert_eq!(*frame, expected);
        self.check_time(action, &frame["at"]);
    }

    /// Checks who has sent a message, and to whom.
    fn check_parties(&self, frame: &Value, from: usize, to: Target) {
        assert_eq!(frame["from_user"], self.names[from], "{frame}");
        self.check_target(frame, to);
    }

    fn check_target(&self, frame: &Value, target: Target) {
        let (field, name) = self.address(target);
        for each in ["target_user", "target_room"] {
            let expected = (each == field).then(|| json!(name));
            assert_eq!(frame.get(each), expected.as_ref(), "{each} of {frame}");
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
        assert_eq!(shown["id"], message.id);
        self.check_parties(shown, message.from, message.to);
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
    pub fn check_history(&mut self, history: &Value, with: Target, due: &[usize], more: bool) {
        assert_eq!(history["type"], "history", "{history}");
        self.check_target(history, with);
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
        let mut due: Vec<(usize, Option<usize>, Target)> = self
            .conversations_of(user)
            .into_iter()
            .map(|target| {
                let last = self.history(user, target).and_then(<[usize]>::last);
                // A room has the position of its last message or of the join.
                let newest = last.map_or(0, |n| self.messages[*n].versions[0].action);
                let joined = match target {
                    Target::User(_) => 0,
                    Target::Room(room) => self.rooms.membership(room, user).map_or(0, |m| m.action),
                };
                (newest.max(joined), last.copied(), target)
            })
            .collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(
            items.len(),
            due.len(),
            "conversations of {}",
            self.names[user]
        );
        for (item, (_, last, target)) in items.iter().zip(due) {
            self.check_target(item, target);
            assert_eq!(item.get("last").is_some(), last.is_some(), "{item}");
            if let Some(last) = last {
                self.check_stored_message(&item["last"], last);
            }
            match target {
                Target::User(with) => self.check_direct_item(user, item, with),
                Target::Room(room) => self.check_room_item(user, item, room),
            }
        }
    }

    /// The number of messages in a conversation that a user has read.
    fn read_up_to(&self, user: usize, place: Place) -> usize {
        self.read.get(&(user, place)).copied().unwrap_or(0)
    }

    /// The id of the message with a read mark.
    fn marked(&self, place: Place, mark: usize) -> Option<Value> {
        let read = mark.checked_sub(1)?;
        Some(json!(self.messages[self.conversation(place)[read]].id))
    }

    /// The number of messages of others in a conversation, from this place on.
    fn unread(&self, user: usize, place: Place, from: usize) -> usize {
        let messages = self.conversation(place)[from..].iter();
        let messages = messages.map(|n| &self.messages[*n]);
        messages
            .filter(|message| message.from != user && message.content().is_some())
            .count()
    }

    fn check_direct_item(&self, user: usize, item: &Value, with: usize) {
        let place = Place::of(user, Target::User(with));
        let own = self.read_up_to(user, place);
        assert_eq!(item["unread"], self.unread(user, place, own), "{item}");
        assert_eq!(item.get("members"), None, "{item}");
        assert_eq!(
            item.get("my_read").cloned(),
            self.marked(place, own),
            "{item}"
        );
        let theirs = if with == user {
            0
        } else {
            self.read_up_to(with, place)
        };
        assert_eq!(
            item.get("their_read").cloned(),
            self.marked(place, theirs),
            "{item}"
        );
        let messages = self.conversation(place);
        let received = item.get("their_received").map(|id| {
            let place = messages.iter().position(|n| *id == self.messages[*n].id);
            place.expect("a message of this conversation") + 1
        });
        assert!(
            received.unwrap_or(0) >= theirs,
            "the read mark is beyond the received mark: {item}"
        );
    }

    fn check_room_item(&self, user: usize, item: &Value, room: usize) {
        let place = Place::Room(room);
        let members = &self.rooms.all[room].members;
        let (joined, mark) = (members[&user].joined, self.read_up_to(user, place));
        assert_eq!(item["members"], members.len(), "{item}");
        assert_eq!(
            item["unread"],
            self.unread(user, place, joined.max(mark)),
            "{item}"
        );
        assert_eq!(
            item.get("my_read").cloned(),
            self.marked(place, mark),
            "{item}"
        );
        for absent in ["their_read", "their_received"] {
            assert_eq!(item.get(absent), None, "{item}");
        }
    }

    /// Checks the users of all pages of a room's `members`.
    pub fn check_members(&mut self, room: usize, users: &[Value]) {
        let members = self.rooms.all[room].members.clone();
        let mut due: Vec<_> = members.iter().collect();
        due.sort_unstable_by_key(|(user, _)| &self.names[**user]);
        let due: Vec<(usize, usize)> = due.iter().map(|(user, m)| (**user, m.action)).collect();
        assert_eq!(users.len(), due.len(), "members {users:?}");
        for (item, (user, action)) in users.iter().zip(due) {
            assert_eq!(item["user"], self.names[user], "{item}");
            self.check_time(action, &item["joined_at"]);
            let mark = self.read_up_to(user, Place::Room(room));
            let read = self.marked(Place::Room(room), mark);
            let read = read.filter(|_| self.rooms.is_small(members.len()));
            assert_eq!(item.get("read").cloned(), read, "{item}");
        }
    }
}

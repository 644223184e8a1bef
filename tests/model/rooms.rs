//! Rooms in the model: who is a member, and whose inboxes an entry is appended to.

use std::collections::BTreeMap;

use crate::inbox_model::Expected;

/// The settings of a server that the model follows.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The largest number of members of a small room.
    pub small: usize,
    /// The largest number of members.
    pub limit: usize,
    /// The largest number of rooms of a user.
    pub per_user: usize,
    /// Messages from before the last join do not exist for a member.
    pub hides_earlier: bool,
    /// The number of entries that an inbox keeps.
    pub inbox_limit: usize,
}

impl Rules {
    pub fn arguments(&self) -> Vec<String> {
        let history = if self.hides_earlier { "joined" } else { "all" };
        let numbers = [
            ("--small-room", self.small),
            ("--room-limit", self.limit),
            ("--rooms-per-user", self.per_user),
            ("--inbox-limit", self.inbox_limit),
        ];
        let numbers = numbers.map(|(name, number)| [name.to_owned(), number.to_string()]);
        let history = ["--room-history".to_owned(), history.to_owned()];
        numbers.into_iter().chain([history]).flatten().collect()
    }
}

#[derive(Clone, Copy)]
pub struct Membership {
    /// The action of the join.
    pub action: usize,
    /// The number of messages in the room before the join.
    pub joined: usize,
}

#[derive(Clone)]
pub struct Room {
    pub name: String,
    pub members: BTreeMap<usize, Membership>,
}

/// All rooms with their members.
#[derive(Clone)]
pub struct Rooms {
    pub rules: Rules,
    pub all: Vec<Room>,
}

impl Rooms {
    pub fn new(rules: Rules, names: Vec<String>) -> Self {
        let room = |name| Room {
            name,
            members: BTreeMap::new(),
        };
        Self {
            rules,
            all: names.into_iter().map(room).collect(),
        }
    }

    pub fn membership(&self, room: usize, user: usize) -> Option<&Membership> {
        self.all[room].members.get(&user)
    }

    pub fn is_small(&self, members: usize) -> bool {
        members <= self.rules.small
    }

    /// The rooms of which a user is a member.
    pub fn of(&self, user: usize) -> impl Iterator<Item = usize> {
        (0..self.all.len()).filter(move |room| self.membership(*room, user).is_some())
    }

    /// Why a user does not become or cease to be a member.
    pub fn refusal(&self, user: usize, room: usize, joins: bool) -> Option<Expected> {
        let known = self.membership(room, user);
        match (joins, known) {
            (true, Some(known)) => Some(Expected::Duplicate(Some(known.action))),
            (true, None) if self.of(user).count() >= self.rules.per_user => {
                Some(Expected::Error("forbidden"))
            }
            (true, None) if self.all[room].members.len() >= self.rules.limit => {
                Some(Expected::Error("room_full"))
            }
            (false, None) => Some(Expected::Duplicate(None)),
            _ => None,
        }
    }

    /// The users whose inboxes a join or leave is appended to.
    pub fn event_recipients(&self, user: usize, room: usize, joins: bool) -> Vec<usize> {
        let members = &self.all[room].members;
        if !self.is_small(members.len() + usize::from(joins)) {
            return vec![user];
        }
        let others = members.keys().copied().filter(|member| *member != user);
        others.chain([user]).collect()
    }

    /// Adds or removes a member. Returns how many there are then.
    pub fn change(&mut self, user: usize, room: usize, joined: Option<Membership>) -> usize {
        let members = &mut self.all[room].members;
        match joined {
            Some(membership) => members.insert(user, membership),
            None => members.remove(&user),
        };
        members.len()
    }

    /// True if the message at this place of a room exists for a member.
    pub fn sees(&self, membership: &Membership, place: usize) -> bool {
        !self.rules.hides_earlier || place >= membership.joined
    }

    /// The members for whom the message at this place of a room exists.
    pub fn members_who_see(&self, room: usize, place: usize) -> Vec<usize> {
        let members = self.all[room].members.iter();
        let seeing = members.filter(|(_, membership)| self.sees(membership, place));
        seeing.map(|(user, _)| *user).collect()
    }
}

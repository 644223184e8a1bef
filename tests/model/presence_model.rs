//! The model of presence: the rules of PROTOCOL sections 8 and 12, without any networking.

use std::collections::{BTreeSet, HashMap};

/// The users of a run. One more, the observer, sees all of them and watches all the time. The last one never exists.
pub const USERS: usize = 4;
pub const OBSERVER: usize = USERS;
pub const NOBODY: usize = USERS + 1;

pub const ROOMS: usize = 2;
/// A room with more members is not small.
pub const SMALL: usize = 2;

/// The settings of a server that matter here.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Users stay online after their last session for longer than a run lasts; otherwise not at all.
    pub has_grace: bool,
    /// All users see each other.
    pub for_everyone: bool,
}

impl Rules {
    pub fn arguments(self) -> Vec<String> {
        let grace = if self.has_grace { "300" } else { "0" };
        let mode = if self.for_everyone {
            "everyone"
        } else {
            "contacts"
        };
        let all = [
            ("--presence-grace-seconds", grace),
            ("--presence", mode),
            ("--rooms", "open"),
            ("--small-room", "2"),
        ];
        let all = all.into_iter().flat_map(|(name, value)| [name, value]);
        all.map(str::to_owned).collect()
    }
}

/// What a user sees of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Online(&'static str),
    /// With the number of the time at which the user was last seen, if any.
    Offline(Option<usize>),
}

/// What a session was told.
pub type Told = (String, Option<String>);

/// A time at which a user was last seen.
#[derive(Debug)]
pub struct LastSeen {
    /// It is not earlier.
    pub from: String,
    pub exact: Option<String>,
}

pub struct User {
    pub name: String,
    pub status: &'static str,
    /// Others who see the user see that there is a session.
    pub is_online: bool,
    /// The status that they have seen last, while it is kept after the last session.
    pub kept: Option<&'static str>,
    pub last_seen: Option<usize>,
}

/// The rules of section 8 and 12, without any networking.
pub struct Model {
    pub rules: Rules,
    pub users: Vec<User>,
    pub last_seen: Vec<LastSeen>,
    /// Who has written to whom, and who blocks whom.
    pub written: BTreeSet<(usize, usize)>,
    pub blocks: BTreeSet<(usize, usize)>,
    pub rooms: Vec<BTreeSet<usize>>,
    /// What a user may have been told of another one since all were told the present state.
    pub possible: HashMap<(usize, usize), Vec<Seen>>,
}

impl Model {
    pub fn new(rules: Rules, names: impl Iterator<Item = String>) -> Self {
        let user = |name| User {
            name,
            status: "online",
            is_online: false,
            kept: None,
            last_seen: None,
        };
        Self {
            rules,
            users: names.map(user).collect(),
            last_seen: Vec::new(),
            written: BTreeSet::new(),
            blocks: BTreeSet::new(),
            rooms: vec![BTreeSet::new(); ROOMS],
            possible: HashMap::new(),
        }
    }

    pub fn sees(&self, viewer: usize, user: usize) -> bool {
        let has_block = |a, b| self.blocks.contains(&(a, b));
        if viewer == user {
            return true;
        }
        if has_block(viewer, user) || has_block(user, viewer) {
            return false;
        }
        let wrote = |a, b| self.written.contains(&(a, b));
        let is_common = |room: &BTreeSet<usize>| {
            room.len() <= SMALL && room.contains(&viewer) && room.contains(&user)
        };
        self.rules.for_everyone
            || wrote(viewer, user) && wrote(user, viewer)
            || self.rooms.iter().any(is_common)
    }

    pub fn seen(&self, viewer: usize, user: usize) -> Seen {
        let of = &self.users[user];
        match of.kept {
            _ if !self.sees(viewer, user) => Seen::Offline(None),
            _ if of.is_online => Seen::Online(of.status),
            Some(kept) => Seen::Online(kept),
            None => Seen::Offline(of.last_seen),
        }
    }

    /// The status of a user or the number of sessions has changed, not before `from`.
    pub fn update(&mut self, user: usize, sessions: usize, from: &str) {
        let (next, rules) = (self.last_seen.len(), self.rules);
        let user = &mut self.users[user];
        let was_online = user.is_online;
        user.is_online = sessions > 0 && user.status != "invisible";
        if user.is_online {
            user.kept = rules.has_grace.then_some(user.status);
        } else if was_online {
            user.last_seen = Some(next);
            self.last_seen.push(LastSeen {
                from: from.to_owned(),
                exact: None,
            });
        }
    }

    /// The server was killed, not before `from`: it knows who was online.
    pub fn crashed(&mut self, from: &str) {
        for user in 0..self.users.len() {
            self.update(user, 0, from);
            self.users[user].kept = None;
        }
    }

    /// To be called after each action.
    pub fn note_possible(&mut self) {
        for viewer in 0..=OBSERVER {
            for user in 0..self.users.len() {
                let seen = self.seen(viewer, user);
                let possible = self.possible.entry((viewer, user)).or_default();
                if !possible.contains(&seen) {
                    possible.push(seen);
                }
            }
        }
    }

    pub fn fits(&self, (status, last_seen): &Told, seen: Seen) -> bool {
        match seen {
            Seen::Online(expected) => status == expected && last_seen.is_none(),
            Seen::Offline(n) => status == "offline" && self.is_last_seen(last_seen.as_deref(), n),
        }
    }

    /// Whether a time, if any, is the one at which a user was last seen.
    pub fn is_last_seen(&self, found: Option<&str>, n: Option<usize>) -> bool {
        let (Some(found), Some(n)) = (found, n) else {
            return found.is_none() && n.is_none();
        };
        let LastSeen { from, exact } = &self.last_seen[n];
        exact
            .as_ref()
            .map_or(found >= &**from, |exact| found == exact)
    }
}

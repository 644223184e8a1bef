//! Memberships in rooms that last as long as the sessions that ask for them (`membership=session`, PROTOCOL section 2).
//!
//! A session holds its memberships with [`SessionMemberships::hold`] before it joins. Some time after the last session of a user
//! that holds a membership has ended (`--presence-grace-seconds`), the user leaves the room; a lasting membership stays. The store
//! keeps which memberships are of this kind, so that those of a server that was stopped or killed end after the next start.
//!
//! A leave is queued under the lock under which sessions hold: a session that holds later also joins later, so a leave never ends
//! the membership of a new session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::delivery::PartOutcome;
use crate::router::Router;
use crate::store::MembershipKind;

/// When a leave was not stored, it is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// The time between two looks at the memberships if none is to end.
const IDLE: Duration = Duration::from_secs(3600);

/// A user and a room.
type Membership = (Arc<str>, Arc<str>);

/// The memberships that sessions hold. Its lock is held for one change, or for queueing the leaves that are due.
#[derive(Debug)]
pub struct SessionMemberships {
    router: Router,
    /// The time between the end of the last session and the leave.
    grace: Duration,
    states: Mutex<HashMap<Membership, State>>,
    /// Notified when a membership may have to end earlier than those before.
    changed: Notify,
}

/// The state of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The number of sessions that hold it; not 0.
    Held(usize),
    /// No session holds it: the user leaves at this time.
    Ends(Instant),
}

/// The memberships of a session. They may end when it is dropped.
#[derive(Debug)]
pub struct HeldMemberships {
    memberships: Arc<SessionMemberships>,
    user: Arc<str>,
    rooms: Vec<Arc<str>>,
}

impl SessionMemberships {
    /// Memberships of former sessions end after `grace` if no session holds them by then.
    pub fn new(router: Router, grace: Duration, former: Vec<Membership>) -> Arc<Self> {
        let ends = State::Ends(Instant::now() + grace);
        let states = former.into_iter().map(|membership| (membership, ends));
        Arc::new(Self {
            router,
            grace,
            states: Mutex::new(states.collect()),
            changed: Notify::new(),
        })
    }

    /// The router through which memberships end.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Keeps memberships of a user until the returned guard is dropped.
    pub fn hold(self: &Arc<Self>, user: &Arc<str>, rooms: &[Arc<str>]) -> HeldMemberships {
        let mut states = self.lock();
        for room in rooms {
            let state = states.entry((user.clone(), room.clone()));
            let state = state.or_insert(State::Held(0));
            *state = match *state {
                State::Held(sessions) => State::Held(sessions + 1),
                State::Ends(_) => State::Held(1),
            };
        }
        HeldMemberships {
            memberships: self.clone(),
            user: user.clone(),
            rooms: rooms.to_vec(),
        }
    }

    /// Ends memberships when they are due, for as long as the server runs.
    pub async fn run(self: Arc<Self>) {
        let (sender, mut outcomes) = unbounded_channel();
        let mut leaving = HashMap::new();
        let mut number = 0;
        loop {
            let next = self.leave_due(&mut number, &mut leaving, &sender);
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
                Some((number, outcome)) = outcomes.recv() => {
                    if let Some(membership) = leaving.remove(&number) {
                        self.left(membership, outcome);
                    }
                }
            }
        }
    }

    /// Queues the leaves that are due, and returns when the next one is.
    fn leave_due(
        &self,
        number: &mut usize,
        leaving: &mut HashMap<usize, Membership>,
        sender: &UnboundedSender<(usize, PartOutcome)>,
    ) -> Instant {
        let now = Instant::now();
        let mut next = now + IDLE;
        self.lock().retain(|membership, state| {
            let State::Ends(at) = state else {
                return true;
            };
            if *at <= now {
                *number += 1;
                let (user, room) = membership;
                let reply = (sender, *number);
                let leave = self
                    .router
                    .leave(user, room, MembershipKind::Session, reply);
                if leave.is_ok() {
                    leaving.insert(*number, membership.clone());
                    return false;
                }
                *at = now + RETRY;
            }
            next = next.min(*at);
            true
        });
        next
    }

    /// A leave was stored, or must be tried again.
    fn left(&self, membership: Membership, outcome: PartOutcome) {
        let Err(rejected) = outcome else {
            return;
        };
        let (user, room) = &membership;
        log::warn!(user = &**user, room = &**room; "a membership of an ended session could not be ended and is tried again: {}", rejected.error);
        let ends = State::Ends(Instant::now() + RETRY);
        self.lock().entry(membership).or_insert(ends);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Membership, State>> {
        // Every change leaves the map consistent, so a panic elsewhere has not damaged it.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldMemberships {
    fn drop(&mut self) {
        let ends = Instant::now() + self.memberships.grace;
        let mut states = self.memberships.lock();
        for room in &self.rooms {
            if let Some(state) = states.get_mut(&(self.user.clone(), room.clone())) {
                *state = match *state {
                    State::Held(sessions) if sessions > 1 => State::Held(sessions - 1),
                    _ => State::Ends(ends),
                };
            }
        }
        drop(states);
        self.memberships.changed.notify_one();
    }
}

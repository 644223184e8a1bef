//! The parts of which a session is made.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::rate_limit::FrameLimits;
use crate::auth::Identity;
use crate::config::KeepaliveConfig;
use crate::content_types::SessionContract;
use crate::limits::read_rate::SharedReadRate;
use crate::limits::{Limits, UserKey};
use crate::memberships::HeldMemberships;
use crate::outbox::Outbox;
use crate::presence::PresentSession;
use crate::protocol::Timestamp;
use crate::registry::Registered;
use crate::router::Router;
use crate::store::{KnownEntry, MembershipKind, RecipientQuota};

/// What confirms entries as received by a device (PROTOCOL section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// The client's pong to a ping that was sent after the entries.
    Auto,
    /// Only `received` frames.
    Manual,
}

/// The query parameters of a session (PROTOCOL section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionQuery {
    /// The device of the user.
    pub device: Arc<str>,
    /// The `seq` after which the replay starts; `None`: after the device's `received` mark.
    pub since: Option<u64>,
    /// The epoch that `since` belongs to.
    pub epoch: Option<Uuid>,
    /// The message that the entry at `since` is about, as far as the client knows.
    pub since_id: Option<Uuid>,
    /// The time of the entry at `since`, as far as the client knows.
    pub since_at: Option<Timestamp>,
    /// What confirms entries as received.
    pub ack: AckMode,
    /// Rooms that the user joins before the replay.
    pub rooms: Vec<Arc<str>>,
    /// How long these memberships last.
    pub membership: MembershipKind,
}

impl SessionQuery {
    /// What the client knows of the entry at its cursor.
    pub fn known_entry(&self) -> Option<KnownEntry> {
        let seq = self.since.filter(|seq| *seq > 0)?;
        let id = self.since_id;
        let at = self.since_at.filter(|at| at.is_exact()).map(|at| at.0);
        let epoch = self.epoch;
        (id.is_some() || at.is_some()).then_some(KnownEntry { seq, id, at, epoch })
    }
}

/// The parts of a session, made by [`open`](super::open).
#[derive(Debug)]
pub struct SessionParams {
    /// When the server probes the client and closes the session.
    pub keepalive: KeepaliveConfig,
    /// Limits of the client's frames.
    pub limits: FrameLimits,
    /// What is read from all connections of the user or the address; `None`: no limit.
    pub read_rate: Option<Arc<SharedReadRate>>,
    /// The sending side.
    pub outbox: Arc<Outbox>,
    /// The user's part of a session; `None`: an echo connection, or a rejected one.
    pub user: Option<UserSession>,
    /// `None`: the connection was rejected, and its outbox holds a `goodbye` with the reason. Last: see `SessionState`.
    pub auth: Option<Auth>,
}

/// Proof that the client was authenticated and its session registered.
#[derive(Debug)]
pub struct Auth {
    /// The user, and until when the token is valid.
    pub identity: Identity,
    /// The entry in the registry. Dropping it removes the session.
    pub registered: Registered,
}

/// The part of a session that belongs to its user.
#[derive(Debug)]
pub struct UserSession {
    /// Decides which frames are valid.
    pub contract: SessionContract,
    /// Executes the client's frames.
    pub router: Router,
    /// Limits that all sessions of the user share.
    pub limits: Arc<Limits>,
    /// The user's key in `limits`.
    pub key: UserKey,
    /// Limits messages to users who have never connected; `None`: no limit.
    pub quota: Option<Arc<dyn RecipientQuota>>,
    /// The user's device.
    pub device: Arc<str>,
    /// What confirms entries as received.
    pub ack: AckMode,
    /// The newest entry that the device has acknowledged; `None`: it has no stored position and has acknowledged nothing.
    pub received: Option<u64>,
    /// A device that has acknowledged something is reported to be in use at this interval.
    pub use_interval: Duration,
    /// The first entry that this session sends. Pongs confirm no entry before it.
    pub replay_start: u64,
    /// Memberships that may end with this session.
    pub memberships: Option<HeldMemberships>,
    /// The user is online while it exists.
    pub present: PresentSession,
}

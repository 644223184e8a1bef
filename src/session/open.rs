//! Opens a session after the HTTP upgrade: registers it, reads the state of the user's inbox, and starts the replay.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use uuid::Uuid;

use super::replay::Start;
use super::{Auth, FrameLimits, SessionParams, SessionQuery, UserSession};
use crate::auth::Identity;
use crate::config::Days;
use crate::content_types::SessionContract;
use crate::context::Context;
use crate::delivery::{PartOutcome, send_error};
use crate::limits::Limits;
use crate::metrics::SESSIONS_OPENED;
use crate::outbox::disconnect::TOO_MANY_SESSIONS;
use crate::outbox::{Disconnect, Outbox, SessionInfo};
use crate::protocol::server::{self, Truncated, Welcome};
use crate::protocol::types::{Id, Integer};
use crate::protocol::{FrameError, PROTOCOL, ServerFrame, Timestamp};
use crate::revocations::RevocationError;
use crate::router::CommandError;
use crate::store::{DeviceRef, InboxQuery, InboxState, MembershipKind, RecipientQuota};
use crate::writer::WriteError;

/// How long a client may wait until its inbox is opened.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A session of a device with a stored position reports this many times within `--device-days` that the device is in use.
const USE_REPORTS: u64 = 32;

/// Why a session could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The server shuts down.
    #[error("the server is shutting down")]
    Draining,
    /// The store did not open the inbox.
    #[error("the inbox could not be opened")]
    Unavailable,
    /// The user is being erased.
    #[error("the user is being erased")]
    Erasing,
    /// The token was issued before the tokens of the user were revoked.
    #[error("the token is revoked")]
    Revoked {
        /// In this time, in milliseconds, new tokens are accepted. `None`: they are already.
        retry_after_ms: Option<u64>,
    },
}

impl From<RevocationError> for OpenError {
    fn from(error: RevocationError) -> Self {
        match error {
            RevocationError::Revoked { retry_after_ms } => Self::Revoked { retry_after_ms },
            RevocationError::Unavailable => Self::Unavailable,
        }
    }
}

/// Opens a session of an authenticated user. `quota` limits the messages from the client's address to users who have never
/// connected; operators see `client_ip`.
///
/// # Errors
/// [`OpenError`]
pub async fn open_session(
    context: &Context,
    identity: Identity,
    query: SessionQuery,
    quota: Option<Arc<dyn RecipientQuota>>,
    client_ip: Option<IpAddr>,
) -> Result<SessionParams, OpenError> {
    let config = &context.config;
    let user = identity.user().clone();
    let session = Uuid::new_v4();
    let outbox = Outbox::new(
        session,
        user.clone(),
        config.limits.outbox_bytes,
        &context.limits.memory,
    );
    let since = Timestamp(context.router.clock().now());
    outbox.set_info(SessionInfo::new(query.device.clone(), client_ip, since));
    // Registered before the inbox is read: a message that is delivered in the meantime raises the outbox's head.
    let auth = register(context, identity, &outbox).await?;
    let session_only = query.membership == MembershipKind::Session && !query.rooms.is_empty();
    let memberships = session_only.then(|| context.memberships.hold(&user, &query.rooms));
    // Accepted before the inbox is opened, whose state therefore includes the joins.
    let joins = Joins::start(context, &user, &query);
    // Before the stored status is read, so that no later change of it is missed.
    let mut present = context.router.presence().register(&user);
    let inbox = open_inbox(context, &user, &query).await?;
    if inbox.is_known || !inbox.has_connected {
        // The user connects for the first time, or a device with a stored position is used. A new device is not stored: so a client that
        // connects and acknowledges nothing costs no commit. It is queued while the session is registered, so that it is not stored
        // after the user was erased.
        let device = DeviceRef {
            user: user.clone(),
            device: query.device.clone(),
        };
        context.router.received(device, session, 0);
    }
    let start = Start::of(&query, &inbox);
    let mut contract = SessionContract::new(context.contract.clone());
    outbox.send(&ServerFrame::Welcome(Welcome {
        protocol: PROTOCOL,
        session_id: Id(session),
        user_id: &user,
        device: &query.device,
        resumed: start.resumed,
        epoch: Id(inbox.epoch),
        seq: Integer(inbox.head),
        server_time: Timestamp(context.router.clock().now()),
        schema: contract.current().hash(),
        heartbeat_seconds: Integer(config.keepalive.heartbeat_seconds),
        limits: server::Limits {
            max_frame_bytes: Integer(config.limits.max_frame_bytes as u64),
            messages_per_second: Integer(u64::from(config.limits.messages_per_second)),
        },
    }));
    if let Some(reason) = start.truncated {
        outbox.send(&ServerFrame::Truncated(Truncated {
            reason,
            oldest_seq: Integer(start.first),
        }));
    }
    for (number, rejected) in joins.rejected().await {
        let error = FrameError {
            path: Some(format!("/room/{number}")),
            ..rejected.error
        };
        send_error(&outbox, &error, None, rejected.retry_after_ms);
    }
    // Before the session is open: nothing that is pushed to it may reveal an invisible user.
    present.open(inbox.status, inbox.last_seen);
    let limit = config.limits.sessions_per_user;
    // Not before: no session is closed in favour of one that cannot be opened.
    for oldest in auth.registered.open(start.first, inbox.head, limit) {
        oldest.disconnect(TOO_MANY_SESSIONS);
    }
    SESSIONS_OPENED.add(1);
    let key = context.limits.users.key(&user);
    let read_rate = context.limits.read_rates.of_user(key);
    let user = UserSession {
        contract,
        router: context.router.clone(),
        key,
        limits: context.limits.clone(),
        quota,
        device: query.device,
        ack: query.ack,
        received: inbox.is_known.then_some(inbox.received),
        use_interval: use_interval(config.storage.device_days),
        replay_start: start.first,
        memberships,
        present,
    };
    Ok(SessionParams {
        read_rate: Some(read_rate),
        ..params(context, outbox, Some(auth), Some(user))
    })
}

/// Joins that were requested in the handshake.
struct Joins {
    outcomes: UnboundedReceiver<(usize, PartOutcome)>,
    rejected: Vec<(usize, CommandError)>,
}

impl Joins {
    /// Queues the joins.
    fn start(context: &Context, user: &Arc<str>, query: &SessionQuery) -> Self {
        let (sender, outcomes) = unbounded_channel();
        let mut rejected = Vec::new();
        for (number, room) in query.rooms.iter().enumerate() {
            let reply = (&sender, number);
            if let Err(error) = context.router.join(user, room, query.membership, reply) {
                rejected.push((number, error));
            }
        }
        Self { outcomes, rejected }
    }

    /// The joins that were rejected, in the order of the parameters. To be called when they have been committed.
    async fn rejected(self) -> Vec<(usize, CommandError)> {
        let Self {
            mut outcomes,
            mut rejected,
        } = self;
        while let Some((number, outcome)) = outcomes.recv().await {
            rejected.extend(outcome.err().map(|error| (number, error)));
        }
        rejected.sort_by_key(|(number, _)| *number);
        rejected
    }
}

/// The interval at which a device that is kept for `days` is reported to be in use.
fn use_interval(days: Days) -> Duration {
    const MIN: u64 = 100;
    Duration::from_millis((days.0.unsigned_abs() / USE_REPORTS).max(MIN))
}

/// Opens a connection that returns every message (`/echo`) to the client at `ip`.
///
/// # Errors
/// [`OpenError`]
pub async fn open_echo(
    context: &Context,
    identity: Identity,
    ip: Option<IpAddr>,
) -> Result<SessionParams, OpenError> {
    let outbox = anonymous_outbox(context);
    let Limits {
        users, read_rates, ..
    } = &*context.limits;
    // Without authentication there is no user.
    let read_rate = match &**identity.user() {
        "" => ip.map(|ip| read_rates.of_address(ip)),
        user => Some(read_rates.of_user(users.key(user))),
    };
    let auth = register(context, identity, &outbox).await?;
    Ok(SessionParams {
        read_rate,
        ..params(context, outbox, Some(auth), None)
    })
}

/// A connection that was upgraded only to send `goodbye` with the reason of `disconnect` and this detail.
pub fn goodbye_only(context: &Context, disconnect: &Disconnect, detail: &str) -> SessionParams {
    let outbox = anonymous_outbox(context);
    outbox.send_goodbye_with(disconnect, detail);
    params(context, outbox, None, None)
}

fn params(
    context: &Context,
    outbox: Arc<Outbox>,
    auth: Option<Auth>,
    user: Option<UserSession>,
) -> SessionParams {
    SessionParams {
        keepalive: context.config.keepalive,
        limits: FrameLimits::new(&context.config.limits),
        read_rate: None,
        outbox,
        auth,
        user,
    }
}

/// The outbox of a connection without a user. It is registered under the empty user id, which no user has, so that a
/// shutdown closes it.
fn anonymous_outbox(context: &Context) -> Arc<Outbox> {
    Outbox::new(
        Uuid::new_v4(),
        "".into(),
        context.config.limits.outbox_bytes,
        &context.limits.memory,
    )
}

/// Registers a session, and then checks whether the token is revoked: see [`crate::revocations`].
async fn register(
    context: &Context,
    identity: Identity,
    outbox: &Arc<Outbox>,
) -> Result<Auth, OpenError> {
    let registered = context.registry.register(outbox);
    if context.draining.load(Ordering::SeqCst) {
        // The shutdown may have listed the sessions before this one was registered.
        return Err(OpenError::Draining);
    }
    if context.registry.is_closed(identity.user()) {
        return Err(OpenError::Erasing);
    }
    let now = context.router.clock().now();
    context.revocations.check(&identity, now).await?;
    Ok(Auth {
        identity,
        registered,
    })
}

async fn open_inbox(
    context: &Context,
    user: &Arc<str>,
    query: &SessionQuery,
) -> Result<InboxState, OpenError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let reply = move |inbox| {
        // The receiver is gone if the client has disconnected in the meantime.
        let _ = sender.send(inbox);
    };
    let query = InboxQuery {
        device: DeviceRef {
            user: user.clone(),
            device: query.device.clone(),
        },
        known: query.known_entry(),
    };
    context.router.open_inbox(query, reply);
    match tokio::time::timeout(OPEN_TIMEOUT, receiver).await {
        Ok(Ok(Ok(inbox))) => Ok(inbox),
        Ok(Ok(Err(WriteError::Overloaded | WriteError::Internal)) | Err(_)) | Err(_) => {
            Err(OpenError::Unavailable)
        }
    }
}

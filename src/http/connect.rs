//! From an [`Upgrade`] to a running session: limits, authentication, opening the inbox, and the session itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use actix_http::Request;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use uuid::Uuid;

use super::HANDSHAKE_TIMEOUT;
use super::client_addr::ClientAddr;
use super::credentials::Token;
use super::rejection::Rejection;
use super::upgrade::{Endpoint, RejectedUpgrade, SessionQuery, Upgrade, UpgradeRules, upgrade};
use crate::auth::{AuthError, Identity};
use crate::context::Context;
use crate::limits::ConnectionPermit;
use crate::limits::ip_quota::IpQuota;
use crate::outbox::{Disconnect, Outbox, disconnect};
use crate::protocol::server::{Limits, Truncated, TruncatedReason, Welcome};
use crate::protocol::types::{Id, Integer};
use crate::protocol::{PROTOCOL, ServerFrame, Timestamp, schema};
use crate::session::{self, Auth, SessionParams, UserSession};
use crate::store::InboxState;
use crate::websocket;
use crate::websocket::socket_writer::Transport;
use crate::websocket::stream::MessageStream;
use crate::writer::WriteError;

/// The state of a connection when it leaves the HTTP dispatcher.
#[derive(Debug)]
pub struct Handover {
    /// Counts the connection.
    pub permit: ConnectionPermit,
    /// Bytes that arrived after the head of the request.
    pub received: Vec<u8>,
    /// Bytes to send first: responses to requests that came earlier on the same connection.
    pub unsent: Vec<u8>,
}

/// Answers a WebSocket request and runs its session, until the connection ends.
pub async fn connect<T>(context: Arc<Context>, request: Request, mut io: T, handover: Handover)
where
    T: Transport + AsyncWrite + Unpin,
{
    // Counted before `draining` is read: a shutdown waits for this connection, or this connection sees the shutdown.
    let _count = context.count_session();
    let Handover {
        permit: _permit,
        received,
        unsent,
    } = handover;
    let config = &context.config;
    let client = ClientAddr::of(
        request.head().headers(),
        request.peer_addr(),
        &config.network.trusted_proxy,
        config.tls.is_enabled(),
    );
    let rules = UpgradeRules::new(config.access(), &config.network, &config.auth);
    let decision = upgrade(request.head(), &client, &rules);
    drop(request);
    let handshake = match &decision {
        Ok(upgrade) => upgrade.handshake.clone(),
        Err(RejectedUpgrade {
            handshake: Some(handshake),
            ..
        }) => handshake.clone(),
        Err(rejected) => return reject(&mut io, unsent, &rejected.rejection).await,
    };
    // Held until the connection ends.
    let permit = if context.draining.load(Ordering::SeqCst) {
        Err(Rejection::draining())
    } else {
        let permit = context.limits.admit(client.ip);
        permit.map_err(Rejection::too_many_connections)
    };
    let params = match (&permit, decision) {
        (Err(rejection), _) => Err(rejection.clone()),
        (Ok(_), Ok(upgrade)) => open(&context, upgrade, &client).await,
        (Ok(_), Err(rejected)) => {
            if let Some(why) = rejected.log {
                log::info!(why = why, ip:% = client.name(); "handshake rejected");
            }
            Err(rejected.rejection)
        }
    };
    let params = match params {
        Ok(params) => params,
        Err(rejection)
            if handshake.offers_dmwire
                && rejection.close.is_some()
                && context.may_send_goodbye() =>
        {
            goodbye_only(&context, &rejection)
        }
        Err(rejection) => return reject(&mut io, unsent, &rejection).await,
    };
    let mut reply = unsent;
    reply.extend_from_slice(&handshake.response);
    // The first frames are sent in one write with the response.
    params.outbox.take_into(&mut reply);
    let started = Instant::now();
    let outbox = params.outbox.clone();
    let device = params.messaging.as_ref().map(|m| m.device.clone());
    let device = device.as_deref().unwrap_or("-");
    log::info!(user = &**outbox.user(), session:% = outbox.session(), device = device, ip:% = client.name(); "connection opened");
    let (io, socket_writer) = io.split();
    outbox.set_socket(socket_writer);
    let stream = MessageStream::new(io, context.config.limits.max_frame_bytes, received, reply);
    let end = session::run(stream, params).await;
    let seconds = started.elapsed().as_secs();
    log::info!(user = &**outbox.user(), session:% = outbox.session(), seconds = seconds, why = end.how, reason = end.reason; "connection closed");
}

/// Writes a rejection as an HTTP response and closes the connection.
async fn reject<T: AsyncWrite + Unpin>(io: &mut T, unsent: Vec<u8>, rejection: &Rejection) {
    let writing = async {
        io.write_all(&unsent).await?;
        io.write_all(&rejection.response()).await?;
        io.shutdown().await
    };
    // Errors and the timeout are ignored: the connection is closed in any case.
    drop(tokio::time::timeout(HANDSHAKE_TIMEOUT, writing).await);
}

/// Authenticates the client and creates what its connection needs.
async fn open(
    context: &Arc<Context>,
    upgrade: Upgrade,
    client: &ClientAddr,
) -> Result<SessionParams, Rejection> {
    let Upgrade {
        token, endpoint, ..
    } = upgrade;
    let identity = authenticate(context, &token, &endpoint, client).await?;
    let requested = endpoint.user().map(str::to_owned);
    match endpoint.authorize(identity.user()) {
        Ok(Some(query)) => {
            let ip_quota = context.limits.ip_quota(client.ip);
            open_session(context, identity, query, ip_quota).await
        }
        Ok(None) => open_echo(context, identity),
        Err(rejection) => {
            if rejection.status == 403 {
                log::info!(user = &**identity.user(), requested = requested, ip:% = client.name(); "handshake rejected: the token belongs to another user");
            }
            Err(rejection)
        }
    }
}

async fn authenticate(
    context: &Context,
    token: &Token,
    endpoint: &Endpoint,
    client: &ClientAddr,
) -> Result<Identity, Rejection> {
    let error = match context.auth.identify(endpoint.user(), token.get()).await {
        Ok(identity) => return Ok(identity),
        Err(error) => error,
    };
    log::info!(why:% = error, ip:% = client.name(); "handshake rejected: not authenticated");
    Err(match error {
        AuthError::Missing if *token == Token::InUrlOnly => Rejection::unauthorized(
            "this server accepts no token in the URL (`query_token`): send it as `Authorization: Bearer TOKEN`, or as \
             `Sec-WebSocket-Protocol: dmwire.v1, bearer.TOKEN`",
        ),
        AuthError::Missing => Rejection::unauthorized(
            "a token is required: as `Authorization: Bearer TOKEN`, or as `Sec-WebSocket-Protocol: dmwire.v1, bearer.TOKEN`",
        ),
        AuthError::Expired => {
            Rejection::unauthorized("the token has expired; connect again with a new one")
        }
        AuthError::Invalid(_) => {
            Rejection::unauthorized("the token is not accepted; the server's log has the reason")
        }
        AuthError::NotReady => Rejection::not_ready(),
    })
}

/// Registers a session of the authenticated user and opens the user's inbox. The session is registered first, so that it misses no
/// message that is delivered while the inbox is read.
async fn open_session(
    context: &Arc<Context>,
    identity: Identity,
    query: SessionQuery,
    ip_quota: Option<Arc<IpQuota>>,
) -> Result<SessionParams, Rejection> {
    let config = &context.config;
    let user = identity.user().clone();
    let session = Uuid::new_v4();
    let outbox = Outbox::with_ip_quota(
        session,
        user.clone(),
        config.limits.outbox_bytes,
        context.limits.buffers(),
        ip_quota,
    );
    let (registered, oldest) = context
        .router
        .register(&outbox, config.limits.sessions_per_user);
    if let Some(oldest) = oldest {
        oldest.disconnect(disconnect::TOO_MANY_SESSIONS);
    }
    if context.draining.load(Ordering::SeqCst) {
        // The shutdown may have listed the sessions before this one was registered.
        return Err(Rejection::draining());
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    context
        .router
        .open(user.clone(), query.device.clone(), session, move |opened| {
            // The receiver is gone if the client disconnected in the meantime.
            let _ = sender.send(opened);
        });
    let opened = match tokio::time::timeout(HANDSHAKE_TIMEOUT, receiver).await {
        Ok(Ok(Ok(opened))) => opened,
        Ok(Ok(Err(WriteError::Overloaded | WriteError::Internal)) | Err(_)) | Err(_) => {
            return Err(Rejection::overloaded());
        }
    };
    let (first, truncated) = replay_from(&query, context.epoch, &opened);
    outbox.send(&ServerFrame::Welcome(Welcome {
        protocol: PROTOCOL,
        session_id: Id(session),
        user_id: &user,
        device: &query.device,
        epoch: Id(context.epoch),
        seq: Integer(opened.head),
        server_time: Timestamp::now(),
        schema: &schema::HASH,
        heartbeat_seconds: Integer(config.keepalive.heartbeat_seconds),
        limits: Limits {
            max_frame_bytes: Integer(config.limits.max_frame_bytes as u64),
            messages_per_second: Integer(u64::from(config.limits.messages_per_second)),
        },
    }));
    if let Some(reason) = truncated {
        outbox.send(&ServerFrame::Truncated(Truncated {
            reason,
            oldest_seq: Integer(first),
        }));
    }
    outbox.open(first, opened.head);
    Ok(SessionParams {
        keepalive: config.keepalive,
        rate: config.limits.session_rate(),
        bad_frames_per_minute: config.limits.bad_frames_per_minute,
        outbox,
        admitted: Some(Auth {
            identity,
            registered,
        }),
        messaging: Some(UserSession {
            router: context.router.clone(),
            key: context.limits.key(&user),
            limits: context.limits.clone(),
            device: query.device,
            ack: query.ack,
            received: opened.received,
            replayed_from: first,
        }),
    })
}

/// The first entry of the replay, and the reason if it is not the requested one (PROTOCOL section 5, "Two lifetimes").
fn replay_from(
    query: &SessionQuery,
    epoch: Uuid,
    opened: &InboxState,
) -> (u64, Option<TruncatedReason>) {
    let other_epoch = query.since.is_some() && query.epoch.is_some_and(|known| known != epoch);
    let since = query.since.unwrap_or(opened.received);
    if other_epoch || since > opened.head {
        (opened.oldest, Some(TruncatedReason::Reset))
    } else if since + 1 < opened.oldest {
        (opened.oldest, Some(TruncatedReason::Retention))
    } else {
        (since + 1, None)
    }
}

/// The outbox of a connection without a user.
fn anonymous_outbox(context: &Context) -> Arc<Outbox> {
    Outbox::new(
        Uuid::new_v4(),
        "".into(),
        context.config.limits.outbox_bytes,
        context.limits.buffers(),
    )
}

/// A connection that only echoes. It is registered under the empty user id, which no user has, so that a shutdown closes it.
fn open_echo(context: &Arc<Context>, identity: Identity) -> Result<SessionParams, Rejection> {
    let config = &context.config;
    let outbox = anonymous_outbox(context);
    let (registered, _) = context.router.register(&outbox, usize::MAX);
    if context.draining.load(Ordering::SeqCst) {
        // The shutdown may have listed the sessions before this one was registered.
        return Err(Rejection::draining());
    }
    Ok(SessionParams {
        keepalive: config.keepalive,
        rate: config.limits.session_rate(),
        bad_frames_per_minute: config.limits.bad_frames_per_minute,
        outbox,
        admitted: Some(Auth {
            identity,
            registered,
        }),
        messaging: None,
    })
}

/// A rejected connection that is upgraded only to send a `goodbye` with the reason.
fn goodbye_only(context: &Context, rejection: &Rejection) -> SessionParams {
    let config = &context.config;
    let outbox = anonymous_outbox(context);
    outbox.send_goodbye_with(
        &Disconnect {
            code: rejection
                .close
                .unwrap_or(websocket::close_codes::POLICY_VIOLATION),
            reason: rejection.code,
            detail: "",
            reconnect: rejection.retry_after_ms,
        },
        &rejection.detail,
    );
    SessionParams {
        keepalive: config.keepalive,
        rate: config.limits.session_rate(),
        bad_frames_per_minute: config.limits.bad_frames_per_minute,
        outbox,
        admitted: None,
        messaging: None,
    }
}

//! From an [`Upgrade`] to a running session: limits, authentication, opening the inbox, and the session itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use actix_http::Request;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::HANDSHAKE_TIMEOUT;
use super::client_addr::ClientAddr;
use super::credentials::Token;
use super::rejection::Rejection;
use super::upgrade::{Endpoint, Handshake, RejectedUpgrade, Upgrade, UpgradeRules, upgrade};
use crate::auth::{AuthError, Identity};
use crate::config::RoomMode;
use crate::context::Context;
use crate::limits::{ConnectionPermit, WebSocketPermit};
use crate::metrics::Refusal;
use crate::outbox::Disconnect;
use crate::protocol::types::is_erased_name;
use crate::session::open::{OpenError, goodbye_only, open_echo, open_session};
use crate::session::{self, SessionParams};
use crate::websocket::socket_writer::Transport;
use crate::websocket::stream::MessageStream;

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

/// A connection whose handshake is complete.
struct Accepted {
    /// Boxed, because the futures between here and the session would each reserve memory for it until the connection ends.
    params: Box<SessionParams>,
    /// Counts the WebSocket connection; `None` if the limit is reached and the client only gets a `goodbye`.
    permit: Option<WebSocketPermit>,
    /// The first bytes to send: the response to the handshake and the first frames.
    reply: Vec<u8>,
    /// The client's address for the log.
    ip: String,
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
    // In a box, so that the connection does not reserve memory for the handshake until it ends.
    let answered = Box::pin(answer(&context, request, unsent)).await;
    match answered {
        Ok(accepted) => run(&context, io, received, accepted).await,
        Err(response) => close_with(&mut io, &response).await,
    }
}

/// Decides about a request and opens its session. The error is the response to send before the connection is closed.
async fn answer(
    context: &Arc<Context>,
    request: Request,
    unsent: Vec<u8>,
) -> Result<Accepted, Vec<u8>> {
    let config = &context.config;
    let client = ClientAddr::of(
        request.head().headers(),
        request.peer_addr(),
        &config.network,
        config.tls.is_enabled(),
    );
    let rules = UpgradeRules::new(config.access(), &config.network, &config.auth);
    let decision = upgrade(request.head(), &client, &rules);
    drop(request);
    let http_response = |unsent: Vec<u8>, rejection: &Rejection| {
        Refusal::of(rejection.code).count(1);
        let mut response = unsent;
        response.extend(rejection.response(config.tls.is_enabled()));
        response
    };
    let handshake = match &decision {
        Ok(upgrade) => upgrade.handshake.clone(),
        Err(rejected) => match &rejected.handshake {
            Some(handshake) => handshake.clone(),
            None => return Err(http_response(unsent, &rejected.rejection)),
        },
    };
    let (permit, params) = admit(context, decision, &client).await;
    let params = match params {
        Ok(params) => params,
        Err(rejection) => match goodbye(context, &handshake, &rejection) {
            Some(params) => params,
            None => return Err(http_response(unsent, &rejection)),
        },
    };
    let mut reply = unsent;
    reply.extend_from_slice(&handshake.response);
    // The first frames are sent in one write with the response.
    params.outbox.take_into(&mut reply);
    Ok(Accepted {
        params: Box::new(params),
        permit,
        reply,
        ip: client.name(),
    })
}

/// Counts the WebSocket connection and opens the session. A limit is checked before other reasons for a rejection, so that rejected
/// handshakes count as well.
async fn admit(
    context: &Arc<Context>,
    decision: Result<Upgrade, RejectedUpgrade>,
    client: &ClientAddr,
) -> (Option<WebSocketPermit>, Result<SessionParams, Rejection>) {
    if context.draining.load(Ordering::SeqCst) {
        return (None, Err(Rejection::draining()));
    }
    let permit = match context
        .limits
        .connections
        .open_websocket(client.ip, client.proxied)
    {
        Ok(permit) => permit,
        Err(error) => return (None, Err(Rejection::too_many_connections(error))),
    };
    let params = match decision {
        Ok(upgrade) => open(context, upgrade, client).await,
        Err(rejected) => {
            if let Some(why) = rejected.log {
                log::info!(why = why, ip:% = client.name(); "handshake rejected");
            }
            Err(rejected.rejection)
        }
    };
    (Some(permit), params)
}

/// A connection that is upgraded only to send a `goodbye` with the reason of the rejection; `None` if the client gets an HTTP response.
fn goodbye(
    context: &Context,
    handshake: &Handshake,
    rejection: &Rejection,
) -> Option<SessionParams> {
    if !handshake.offers_dmwire || !context.may_send_goodbye() {
        return None;
    }
    let disconnect = Disconnect {
        code: rejection.close?,
        reason: rejection.code,
        detail: "",
        reconnect: rejection.retry_after_ms,
    };
    Refusal::of(rejection.code).count(1);
    Some(goodbye_only(context, &disconnect, &rejection.detail))
}

/// Runs the session until the connection ends.
async fn run<T: Transport>(context: &Context, io: T, received: Vec<u8>, accepted: Accepted) {
    let Accepted {
        params,
        permit: _permit,
        reply,
        ip,
    } = accepted;
    let started = Instant::now();
    let outbox = params.outbox.clone();
    let device = params.user.as_ref().map_or("-", |user| &user.device);
    log::info!(user = &**outbox.user(), session:% = outbox.session(), device = device, ip = ip; "connection opened");
    drop(ip);
    let (io, socket_writer) = io.split();
    outbox.set_socket(socket_writer);
    let stream = MessageStream::new(io, context.config.limits.max_frame_bytes, received, reply);
    let end = session::run(stream, params).await;
    let seconds = started.elapsed().as_secs();
    log::info!(user = &**outbox.user(), session:% = outbox.session(), seconds = seconds, why = end.how, reason = end.reason; "connection closed");
}

/// Sends a response and closes the connection.
async fn close_with<T: AsyncWrite + Unpin>(io: &mut T, response: &[u8]) {
    let writing = async {
        io.write_all(response).await?;
        io.shutdown().await
    };
    // Errors and the timeout are ignored: the connection is closed in any case.
    drop(tokio::time::timeout(HANDSHAKE_TIMEOUT, writing).await);
}

/// Authenticates the client and opens the requested endpoint.
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
    if context.config.notify.reserves(identity.user()) {
        log::info!(user = &**identity.user(), ip:% = client.name(); "handshake rejected: the user is the sender of notifications");
        return Err(Rejection::forbidden(
            "this user is the sender of notifications; nobody can connect as this user",
        ));
    }
    match endpoint.authorize(identity.user()) {
        Ok(Some(query)) => {
            if !query.rooms.is_empty() && context.config.rooms.rooms == RoomMode::Off {
                return Err(Rejection::invalid_request(
                    "`room` asks to join a room, and rooms are off on this server",
                ));
            }
            let quota = context.limits.ip_quotas.get(client.ip, client.proxied);
            let quota = quota.map(|quota| quota as _);
            let opened = open_session(context, identity, query, quota, client.ip).await;
            opened.map_err(Rejection::from)
        }
        Ok(None) => {
            // Programs on this machine are not limited by their address.
            let ip = client.ip.filter(|ip| client.proxied || !ip.is_loopback());
            let opened = open_echo(context, identity, ip).await;
            opened.map_err(Rejection::from)
        }
        Err(rejection) => {
            if rejection.status == 403 {
                let why = if is_erased_name(identity.user()) {
                    "the name is reserved for an erased user"
                } else {
                    "the token belongs to another user"
                };
                log::info!(user = &**identity.user(), requested = requested, ip:% = client.name(); "handshake rejected: {why}");
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
    let authenticated = tokio::select! {
        biased;
        authenticated = context.auth.authenticate(endpoint.user(), token.get()) => authenticated,
        // It may have to wait for a download of keys, which would delay the shutdown.
        () = context.wait_until_draining() => return Err(Rejection::draining()),
    };
    let error = match authenticated {
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
        AuthError::Undecided { retry_after_ms } => Rejection::undecided_token(retry_after_ms),
    })
}

impl From<OpenError> for Rejection {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Draining => Self::draining(),
            OpenError::Unavailable => Self::overloaded(),
            OpenError::Erasing => Self::erasing(),
            OpenError::Revoked { retry_after_ms } => Self::revoked_token(retry_after_ms),
        }
    }
}

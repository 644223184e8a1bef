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
use super::upgrade::{Endpoint, RejectedUpgrade, Upgrade, UpgradeRules, upgrade};
use crate::auth::{AuthError, Identity};
use crate::context::Context;
use crate::limits::ConnectionPermit;
use crate::outbox::Disconnect;
use crate::session::open::{OpenError, goodbye_only, open_echo, open_session};
use crate::session::{self, SessionParams};
use crate::websocket;
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
        let permit = context.limits.connections.open_websocket(client.ip);
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
            let disconnect = Disconnect {
                code: rejection
                    .close
                    .unwrap_or(websocket::close_codes::POLICY_VIOLATION),
                reason: rejection.code,
                detail: "",
                reconnect: rejection.retry_after_ms,
            };
            goodbye_only(&context, &disconnect, &rejection.detail)
        }
        Err(rejection) => return reject(&mut io, unsent, &rejection).await,
    };
    let mut reply = unsent;
    reply.extend_from_slice(&handshake.response);
    // The first frames are sent in one write with the response.
    params.outbox.take_into(&mut reply);
    let started = Instant::now();
    let outbox = params.outbox.clone();
    let device = params.user.as_ref().map(|user| user.device.clone());
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
            let quota = context.limits.ip_quotas.get(client.ip);
            let quota = quota.map(|quota| quota as _);
            let opened = open_session(context, identity, query, quota).await;
            opened.map_err(Rejection::from)
        }
        Ok(None) => open_echo(context, identity).map_err(Rejection::from),
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
    let error = match context
        .auth
        .authenticate(endpoint.user(), token.get())
        .await
    {
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

impl From<OpenError> for Rejection {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Draining => Self::draining(),
            OpenError::Unavailable => Self::overloaded(),
        }
    }
}

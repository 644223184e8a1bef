//! The handshake (PROTOCOL section 2): from a WebSocket request to a session, or to a refusal in the form that its client
//! can see.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use actix_http::{HttpMessage as _, Request};
use actix_web::http::{Method, Version, header};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use uuid::Uuid;

use super::client_addr::{self, ClientAddr};
use super::rejection::Rejection;
use super::{HANDSHAKE, Node, origin};
use crate::auth::{AuthError, Identity, Verifier};
use crate::config::{Access, Config};
use crate::limits::ConnectionPermit;
use crate::limits::ip_quota::IpQuota;
use crate::outbox::{Disconnect, Outbox, disconnect};
use crate::protocol::server::{Limits, Truncated, TruncatedReason, Welcome};
use crate::protocol::types::{Id, Integer, is_name, parse_uuid};
use crate::protocol::{PROTOCOL, ServerFrame, Timestamp, schema};
use crate::session::{self, AckMode, Auth, SessionParams, UserSession};
use crate::store::InboxState;
use crate::websocket;
use crate::websocket::stream::{MessageStream, Transport};
use crate::writer::WriteError;

/// What a request asks for, and as whom.
#[derive(Debug)]
enum Wanted {
    Session(Identity, Query),
    Echo(Identity),
}

/// Whose session it asks for.
#[derive(Clone, Copy, Debug)]
enum Whose<'a> {
    /// That of whoever the token names: `/ws`.
    Bearer,
    /// That of the user in the address, as it is written there.
    Named(&'a str),
    /// Nobody's: `/echo`.
    Nobodys,
}

/// A checked request for a session.
#[derive(Debug)]
struct Query {
    device: Arc<str>,
    since: Option<u64>,
    epoch: Option<Uuid>,
    ack: AckMode,
}

/// What was under way on a connection when its WebSocket request came.
#[derive(Debug)]
pub struct Early {
    /// Its place among all connections.
    pub arrival: ConnectionPermit,
    /// Bytes that had arrived behind the request.
    pub read: Vec<u8>,
    /// Bytes that go before the answer to it.
    pub unsent: Vec<u8>,
}

/// Takes in the connection of a WebSocket request, and stays with it to its end.
pub async fn enter<T>(node: Arc<Node>, request: Request, mut io: T, early: Early)
where
    T: Transport + AsyncWrite + Unpin,
{
    // Counted from here on, so that a drain waits for it, or it sees the drain.
    let _live = node.enter();
    let Early {
        arrival: _arrival,
        read,
        unsent,
    } = early;
    let peer = ClientAddr::of(request.headers(), request.peer_addr(), &node.config);
    let accepted = match handshake(&request) {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(&mut io, unsent, &refusal).await,
    };
    // A server that goes down tells everybody so.
    let admission = if node.draining.load(Ordering::SeqCst) {
        Ok(None)
    } else {
        node.limits.admit(peer.ip).map(Some)
    };
    let wanted = match &admission {
        Ok(_) => wanted(&node, &request, &peer).await,
        Err(too_many) => Err(Rejection::too_many_connections(*too_many)),
    };
    drop(request);
    let admitted = match wanted {
        Ok(Wanted::Echo(identity)) => echo(&node, identity),
        Ok(Wanted::Session(identity, query)) => {
            let ip_quota = node.limits.ip_quota(peer.ip);
            open(&node, identity, query, ip_quota).await
        }
        Err(refusal) => Err(refusal),
    };
    let parts = match admitted {
        Ok(parts) => parts,
        Err(refusal) if accepted.speaks_dmwire && refusal.close.is_some() && node.may_linger() => {
            dismissed(&node, &refusal)
        }
        Err(refusal) => return refuse(&mut io, unsent, &refusal).await,
    };
    let mut reply = unsent;
    reply.extend_from_slice(&accepted.response);
    // What there is to say already leaves in one write with the handshake's answer.
    parts.outbox.take_into(&mut reply);
    let began = Instant::now();
    let outbox = parts.outbox.clone();
    let device = parts.messaging.as_ref().map(|m| m.device.clone());
    let device = device.as_deref().unwrap_or("-");
    log::info!(user = &**outbox.user(), session:% = outbox.session(), device = device, ip:% = peer.name(); "connection opened");
    let (io, wire) = io.split();
    outbox.attach(wire);
    let link = MessageStream::new(io, node.config.max_frame_bytes, read, reply);
    let end = session::run(link, parts).await;
    let seconds = began.elapsed().as_secs();
    log::info!(user = &**outbox.user(), session:% = outbox.session(), seconds = seconds, why = end.how, reason = end.reason; "connection closed");
}

/// Writes a refusal as an HTTP response and closes.
async fn refuse<T: AsyncWrite + Unpin>(io: &mut T, unsent: Vec<u8>, refusal: &Rejection) {
    // A peer that does not wait for its refusal misses nothing else.
    let said = async {
        io.write_all(&unsent).await?;
        io.write_all(&refusal.response()).await?;
        io.shutdown().await
    };
    drop(tokio::time::timeout(HANDSHAKE, said).await);
}

/// A handshake that RFC 6455 section 4.2 is content with.
struct Accepted {
    /// The whole `101` response.
    response: Vec<u8>,
    /// The client offered `dmwire.v1`, and so understands `goodbye`.
    speaks_dmwire: bool,
}

fn handshake(request: &Request) -> Result<Accepted, Rejection> {
    let one = |name| {
        let mut values = request.headers().get_all(name);
        values.next().filter(|_| values.next().is_none())
    };
    if *request.method() != Method::GET {
        return Err(Rejection::wrong_method());
    }
    if one(&header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13") {
        return Err(Rejection::upgrade_required(
            "this server speaks version 13 of the WebSocket protocol (RFC 6455); `Sec-WebSocket-Version: 13` is missing",
        ));
    }
    if request.version() < Version::HTTP_11 {
        return Err(Rejection::invalid_request(
            "a WebSocket begins with HTTP/1.1 (RFC 6455 section 4.1)",
        ));
    }
    if !request.head().upgrade() {
        return Err(Rejection::invalid_request(
            "`Upgrade: websocket` came without `Connection: Upgrade`; a proxy in between may have removed it",
        ));
    }
    // What follows the head is taken for frames. A proxy that takes it for a body would let somebody speak for somebody else.
    let length = request.headers().get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length.as_bytes() != b"0")
        || request.headers().contains_key(header::TRANSFER_ENCODING)
    {
        return Err(Rejection::invalid_request("a handshake has no body"));
    }
    let Some(key) =
        one(&header::SEC_WEBSOCKET_KEY).and_then(|key| websocket::accept_key(key.as_bytes()))
    else {
        return Err(Rejection::invalid_request(
            "`Sec-WebSocket-Key` is missing or not 16 bytes in base64",
        ));
    };
    let speaks_dmwire = protocols(request).any(|offered| offered == PROTOCOL);
    let selected = if speaks_dmwire {
        format!("sec-websocket-protocol: {PROTOCOL}\r\n")
    } else {
        String::new()
    };
    Ok(Accepted {
        response: format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {key}\r\n{selected}\r\n"
        )
        .into_bytes(),
        speaks_dmwire,
    })
}

/// The subprotocols that the client offers.
fn protocols(request: &Request) -> impl Iterator<Item = &str> {
    request
        .headers()
        .get_all(&header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

async fn wanted(node: &Node, request: &Request, peer: &ClientAddr) -> Result<Wanted, Rejection> {
    let whose = whose(node, request)?;
    if node.draining.load(Ordering::SeqCst) {
        return Err(Rejection::draining());
    }
    check_host(node, peer)?;
    check_origin(node, request, peer)?;
    if bearers(request).next().is_some() && !protocols(request).any(|offered| offered == PROTOCOL) {
        return Err(Rejection::invalid_request(
            "a `bearer.` subprotocol comes with `dmwire.v1`: `Sec-WebSocket-Protocol: dmwire.v1, bearer.TOKEN`",
        ));
    }
    let named = match whose {
        Whose::Named(user) => Some(decoded(user)),
        _ => None,
    };
    let identity = identify(node, request, peer, named.as_deref()).await?;
    if let Some(user) = named {
        if !is_name(&user) {
            return Err(Rejection::invalid_request(
                "the user id in the address must be 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -",
            ));
        }
        if **identity.user() != *user {
            log::info!(user = &**identity.user(), asked = &*user, ip:% = peer.name(); "refused: the token is of another user");
            return Err(Rejection::forbidden(
                "the token is of another user than the one in the address",
            ));
        }
    } else if let (Whose::Bearer, Verifier::Open) = (whose, &node.auth) {
        return Err(Rejection::invalid_request(
            "the address has no user id: without authentication it is /ws/{user_id}, such as /ws/8888",
        ));
    }
    if let Whose::Nobodys = whose {
        return Ok(Wanted::Echo(identity));
    }
    query(request.uri().query().unwrap_or("")).map(|query| Wanted::Session(identity, query))
}

fn whose<'a>(node: &Node, request: &'a Request) -> Result<Whose<'a>, Rejection> {
    let nowhere = || {
        Rejection::not_found("there is no WebSocket at this address; sessions are at /ws/{user_id}")
    };
    let path = request.path().strip_prefix(node.config.base_path.as_str());
    match path.ok_or_else(nowhere)? {
        "/echo" => Ok(Whose::Nobodys),
        "/ws" => Ok(Whose::Bearer),
        path => path
            .strip_prefix("/ws/")
            .map(Whose::Named)
            .ok_or_else(nowhere),
    }
}

/// Who is there, by what the door asks for.
async fn identify(
    node: &Node,
    request: &Request,
    peer: &ClientAddr,
    user: Option<&str>,
) -> Result<Identity, Rejection> {
    let token = match node.auth {
        Verifier::Open => None,
        Verifier::Tokens(_) => token(node, request)?,
    };
    let denied = match node.auth.identify(user, token.as_deref()).await {
        Ok(identity) => return Ok(identity),
        Err(denied) => denied,
    };
    log::info!(why:% = denied, ip:% = peer.name(); "refused: not authenticated");
    Err(match denied {
        AuthError::Missing if tokens(request).next().is_some() => Rejection::unauthorized(
            "this server takes no token from the address (`query_token`): send it as `Authorization: Bearer TOKEN`, or as \
             `Sec-WebSocket-Protocol: dmwire.v1, bearer.TOKEN`",
        ),
        AuthError::Missing => Rejection::unauthorized(
            "a token is needed: as `Authorization: Bearer TOKEN`, or as `Sec-WebSocket-Protocol: dmwire.v1, bearer.TOKEN`",
        ),
        AuthError::Expired => {
            Rejection::unauthorized("the token has expired; connect again with a new one")
        }
        AuthError::Invalid(_) => {
            Rejection::unauthorized("the token is not accepted; the server's log says why")
        }
        AuthError::NotReady => Rejection::not_ready(),
    })
}

/// The token that a request shows: in its header, else among its subprotocols, else in its address.
fn token<'a>(node: &Node, request: &'a Request) -> Result<Option<Cow<'a, str>>, Rejection> {
    let twice = |what: &str| {
        Rejection::invalid_request(format!(
            "{what} stands twice in the request; which one counts?"
        ))
    };
    let mut headers = request.headers().get_all(&header::AUTHORIZATION);
    if let Some(value) = headers.next() {
        if headers.next().is_some() {
            return Err(twice("`Authorization`"));
        }
        // What is no text is no token, either.
        let value = value.to_str().unwrap_or("Bearer ?").trim();
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        // Another scheme is somebody else's business, such as a proxy's.
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Some(Cow::Borrowed(rest.trim())));
        }
    }
    let mut bearers = bearers(request);
    if let Some(token) = bearers.next() {
        return match bearers.next() {
            Some(_) => Err(twice("a `bearer.` subprotocol")),
            None => Ok(Some(Cow::Borrowed(token))),
        };
    }
    if !node.config.query_token {
        return Ok(None);
    }
    let mut tokens = tokens(request);
    match (tokens.next(), tokens.next()) {
        (Some(_), Some(_)) => Err(twice("`token`")),
        (found, _) => Ok(found.map(decoded)),
    }
}

/// The tokens in the address, as they are written there.
fn tokens(request: &Request) -> impl Iterator<Item = &str> {
    let pairs = request.uri().query().unwrap_or("").split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| decoded(name) == "token")
        .map(|(_, token)| token)
}

/// The tokens among the subprotocols that the client offers.
fn bearers(request: &Request) -> impl Iterator<Item = &str> {
    protocols(request).filter_map(|offered| offered.strip_prefix("bearer."))
}

/// As much of a peer's word as the log takes.
fn cut(word: Option<&str>) -> &str {
    const ENOUGH: usize = 200;
    let word = word.unwrap_or("?");
    // What is no ASCII is no name of a host either.
    word.get(..ENOUGH.min(word.len())).unwrap_or("?")
}

fn check_host(node: &Node, peer: &ClientAddr) -> Result<(), Rejection> {
    let config = &node.config;
    if config.open || config.access() != Access::Open {
        return Ok(());
    }
    let called =
        |host: &str| origin::may_be_called(host, &config.allowed_host, &config.allowed_origin);
    // Only a client that is no browser names no host.
    if peer.host.as_deref().is_none_or(called) {
        return Ok(());
    }
    let host = cut(peer.host.as_deref());
    log::info!(host = host, ip:% = peer.name(); "refused: called by a name that is not this machine's");
    Err(Rejection::forbidden(
        "without authentication this server is called localhost; its --allowed-host names what else it may be called",
    ))
}

fn check_origin(node: &Node, request: &Request, peer: &ClientAddr) -> Result<(), Rejection> {
    if !request.headers().contains_key(&header::ORIGIN) {
        return Ok(());
    }
    // Browsers send one; of two, which is true?
    let origin = client_addr::only(request.headers(), &header::ORIGIN);
    let admits = |origin: &String| origin::admits(origin, peer, super::origins(node));
    if origin.as_ref().is_some_and(admits) {
        return Ok(());
    }
    let origin = cut(origin.as_deref());
    log::info!(origin = origin, ip:% = peer.name(); "refused: a page of another origin");
    Err(Rejection::forbidden(
        "pages of this origin may not connect; the server's --allowed-origin names those that may",
    ))
}

fn query(query: &str) -> Result<Query, Rejection> {
    let mut found: [Option<Cow<'_, str>>; 4] = Default::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match &*decoded(name) {
            "device" => &mut found[0],
            "since" => &mut found[1],
            "epoch" => &mut found[2],
            "ack" => &mut found[3],
            "room" => {
                return Err(Rejection::invalid_request(
                    "`room` asks to join a room, and this version of the server has none",
                ));
            }
            // Unknown parameters are ignored (PROTOCOL section 10).
            _ => continue,
        };
        if slot.replace(decoded(value)).is_some() {
            return Err(Rejection::invalid_request(format!(
                "`{}` stands twice in the address",
                decoded(name)
            )));
        }
    }
    let [device, since, epoch, ack] = found;
    let device = device.unwrap_or(Cow::Borrowed("default"));
    if !is_name(&device) {
        return Err(Rejection::invalid_request(
            "`device` must be 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -",
        ));
    }
    let since = since
        .map(|since| {
            let digits = !since.is_empty() && since.bytes().all(|b| b.is_ascii_digit());
            since
                .parse()
                .ok()
                .filter(|n| digits && *n <= crate::protocol::json::MAX_INTEGER)
                .ok_or_else(|| {
                    Rejection::invalid_request("`since` must be a whole number, 0 or more")
                })
        })
        .transpose()?;
    let epoch = epoch
        .map(|epoch| {
            let wrong =
                || Rejection::invalid_request("`epoch` must be the UUID that `welcome` gave");
            parse_uuid(&epoch).ok_or_else(wrong)
        })
        .transpose()?;
    let ack = match ack.as_deref() {
        None | Some("auto") => AckMode::Auto,
        Some("manual") => AckMode::Manual,
        Some(_) => {
            return Err(Rejection::invalid_request(
                "`ack` must be `auto` or `manual`",
            ));
        }
    };
    Ok(Query {
        device: (*device).into(),
        since,
        epoch,
        ack,
    })
}

/// Percent-decoded once. `+` stays itself: it is a character of names, and a space is none. What is no UTF-8 becomes
/// U+FFFD, which no name has either.
fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Opens the user's inbox and puts the session in its place: registered first, so that no push is missed while it reads.
async fn open(
    node: &Arc<Node>,
    identity: Identity,
    query: Query,
    ip_quota: Option<Arc<IpQuota>>,
) -> Result<SessionParams, Rejection> {
    let config = &node.config;
    let user = identity.user().clone();
    let session = Uuid::new_v4();
    let outbox = Outbox::with_ip_quota(
        session,
        user.clone(),
        config.outbox_bytes,
        node.limits.buffers(),
        ip_quota,
    );
    let (registered, oldest) = node.router.register(&outbox, config.sessions_per_user);
    if let Some(oldest) = oldest {
        oldest.dismiss(disconnect::TOO_MANY_SESSIONS);
    }
    if node.draining.load(Ordering::SeqCst) {
        // The drain may have looked for sessions before this one was there.
        return Err(Rejection::draining());
    }
    let (tell, told) = tokio::sync::oneshot::channel();
    node.router
        .open(user.clone(), query.device.clone(), session, move |opened| {
            // The peer may have gone meanwhile.
            let _ = tell.send(opened);
        });
    let opened = match tokio::time::timeout(HANDSHAKE, told).await {
        Ok(Ok(Ok(opened))) => opened,
        Ok(Ok(Err(WriteError::Overloaded | WriteError::Internal)) | Err(_)) | Err(_) => {
            return Err(Rejection::overloaded());
        }
    };
    let (first, truncated) = replay_from(&query, node.epoch, &opened);
    outbox.say(&ServerFrame::Welcome(Welcome {
        protocol: PROTOCOL,
        session_id: Id(session),
        user_id: &user,
        device: &query.device,
        epoch: Id(node.epoch),
        seq: Integer(opened.head),
        server_time: Timestamp::now(),
        schema: &schema::HASH,
        heartbeat_seconds: Integer(config.heartbeat_seconds),
        limits: Limits {
            max_frame_bytes: Integer(config.max_frame_bytes as u64),
            messages_per_second: Integer(u64::from(config.messages_per_second)),
        },
    }));
    if let Some(reason) = truncated {
        outbox.say(&ServerFrame::Truncated(Truncated {
            reason,
            oldest_seq: Integer(first),
        }));
    }
    outbox.open(first, opened.head);
    Ok(SessionParams {
        config: config.clone(),
        outbox,
        admitted: Some(Auth {
            identity,
            registered,
        }),
        messaging: Some(UserSession {
            router: node.router.clone(),
            key: node.limits.key(&user),
            limits: node.limits.clone(),
            device: query.device,
            ack: query.ack,
            received: opened.received,
            replayed_from: first,
        }),
    })
}

/// The first entry owed, and why it is not the one that was asked for (PROTOCOL section 5, "Two lifetimes").
fn replay_from(query: &Query, epoch: Uuid, opened: &InboxState) -> (u64, Option<TruncatedReason>) {
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

/// The outbox of a connection that is nobody's.
fn nameless(node: &Node) -> Arc<Outbox> {
    Outbox::new(
        Uuid::new_v4(),
        "".into(),
        node.config.outbox_bytes,
        node.limits.buffers(),
    )
}

/// A connection that only echoes. It is registered under a name that no user can have, so that a drain reaches it.
fn echo(node: &Arc<Node>, identity: Identity) -> Result<SessionParams, Rejection> {
    let outbox = nameless(node);
    let (registered, _) = node.router.register(&outbox, usize::MAX);
    if node.draining.load(Ordering::SeqCst) {
        // The drain may have looked for sessions before this one was there.
        return Err(Rejection::draining());
    }
    Ok(SessionParams {
        config: node.config.clone(),
        outbox,
        admitted: Some(Auth {
            identity,
            registered,
        }),
        messaging: None,
    })
}

/// A connection that is let in only to be told why it is not.
fn dismissed(node: &Arc<Node>, refusal: &Rejection) -> SessionParams {
    let outbox = nameless(node);
    outbox.say_goodbye_with(
        &Disconnect {
            code: refusal.close.unwrap_or(websocket::close::POLICY),
            reason: refusal.code,
            detail: "",
            reconnect: refusal.retry_after_ms,
        },
        &refusal.detail,
    );
    SessionParams {
        config: node.config.clone(),
        outbox,
        admitted: None,
        messaging: None,
    }
}

/// What a handshake in these bytes is answered with, by a server without authentication and up to where its inbox would be opened;
/// `None` if they are no request. For tests: the door itself is behind a socket.
#[doc(hidden)]
pub fn answer_to(config: &Config, bytes: &[u8]) -> Option<Vec<u8>> {
    use actix_codec::Decoder as _;
    use actix_http::h1::{Codec, Message};

    let request = Codec::default().decode(&mut bytes.into());
    let Ok(Some(Message::Item(request))) = request else {
        return None;
    };
    let from = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let peer = ClientAddr::of(request.headers(), Some(from), config);
    let judged = handshake(&request).and_then(|accepted| {
        let rules = origin::OriginRules {
            allowed: &config.allowed_origin,
            loopback: true,
        };
        let of_page = |origin: String| origin::admits(&origin, &peer, rules);
        let host = peer.host.as_deref().unwrap_or_default();
        let welcome = origin::may_be_called(host, &config.allowed_host, &config.allowed_origin)
            && client_addr::only(request.headers(), &header::ORIGIN).is_none_or(of_page);
        if !welcome {
            return Err(Rejection::forbidden(cut(Some(host))));
        }
        let tokens = bearers(&request).count();
        let user = request.path().strip_prefix("/ws/").map(decoded);
        let query = query(request.uri().query().unwrap_or(""))?;
        if tokens > 1 || !is_name(&query.device) || user.is_some_and(|user| !is_name(&user)) {
            return Err(Rejection::invalid_request("tokens, or a name"));
        }
        Ok(accepted.response)
    });
    Some(judged.unwrap_or_else(|refusal| refusal.response()))
}

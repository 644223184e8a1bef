//! Accepts connections on the public port and passes them to actix-http.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, h1};
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::Error;
use actix_web::dev::AppConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connect::{self, Handover};
use super::idle_timeout::TimeoutStream;
use super::plain_on_tls::{explain, is_plain_http};
use super::rejection::Rejection;
use super::{HANDSHAKE_TIMEOUT, KEEP_ALIVE_TIMEOUT, routes};
use crate::context::Context;
use crate::limits::{Limits, TooManyConnections};
use crate::tls::Tls;
use crate::websocket::socket_writer::Transport;

/// How long to wait until the peer of a closed connection has received its last bytes. actix compares this deadline with a clock
/// that it updates every 500 ms; with less than 600 ms a socket can stay open forever.
pub(crate) const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Length of the kernel's queue of connections that are not accepted yet.
const BACKLOG: u32 = 4096;

/// Starts to serve on `listeners`, with TLS if `tls` is given.
///
/// # Errors
/// If a listener cannot be used.
pub fn serve(
    context: &Arc<Context>,
    listeners: Vec<TcpListener>,
    tls: Option<&Tls>,
) -> io::Result<Server> {
    let mut builder = Server::build()
        .workers(context.config.network.workers)
        .backlog(BACKLOG)
        .disable_signals()
        .shutdown_timeout(1);
    // A macro, because the two uses differ in the type of the stream. A boxed stream would cost a virtual call per read and write.
    macro_rules! http_service {
        ($context:expr) => {{
            let (context, limits) = ($context.clone(), $context.limits.clone());
            HttpService::build()
                .client_request_timeout(HANDSHAKE_TIMEOUT)
                .client_disconnect_timeout(DISCONNECT_TIMEOUT)
                .keep_alive(KEEP_ALIVE_TIMEOUT)
                .on_connect_ext(|io: &TimeoutStream<_>, extensions| io.share_activity(extensions))
                .upgrade(fn_service(move |(request, framed)| {
                    hand_over(context.clone(), request, framed)
                }))
                .finish(map_config(routes::app(&$context), |()| {
                    AppConfig::default()
                }))
                .map_err(move |error| {
                    if let DispatchError::Parse(why) = &error {
                        log::debug!(why:% = why; "malformed request");
                        limits.connections.count_malformed();
                    }
                    error
                })
        }};
    }
    for listener in listeners {
        let context = context.clone();
        builder = match tls {
            None => builder.listen("dmwire", listener, move || {
                let limits = context.limits.clone();
                fn_service(move |io| ready(accept(&limits, io))).and_then(http_service!(context))
            })?,
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.config.clone());
                builder.listen("dmwire", listener, move || {
                    let (acceptor, limits) = (acceptor.clone(), context.limits.clone());
                    fn_service(move |io| accept_tls(limits.clone(), acceptor.clone(), io))
                        .and_then(http_service!(context))
                })?
            }
        };
    }
    Ok(builder.run())
}

/// A connection in the form that actix-http expects.
pub(crate) type Accepted<T> = (TimeoutStream<T>, Protocol, Option<SocketAddr>);

/// Accepts a connection.
///
/// # Errors
/// A limit is reached.
pub(crate) fn accept(
    limits: &Arc<Limits>,
    io: TcpStream,
) -> Result<Accepted<TcpStream>, DispatchError> {
    // If the option cannot be set, small frames are delayed a little; everything else works.
    let _ = io.set_nodelay(true);
    let peer = io.peer_addr().ok();
    match limits.connections.open(peer.map(|peer| peer.ip())) {
        Ok(permit) => Ok((
            TimeoutStream::new(io, permit, limits.memory.reservation(), false),
            Protocol::Http1,
            peer,
        )),
        Err(too_many) => {
            // Sent before any request was read, and only if the send buffer has room: a rejected connection costs nothing more.
            let rejection = Rejection::too_many_connections(too_many);
            let _ = socket2::SockRef::from(&io).send(&rejection.response(false));
            Err(rejected(too_many))
        }
    }
}

fn rejected(too_many: TooManyConnections) -> DispatchError {
    DispatchError::Io(io::Error::other(too_many.detail))
}

/// Accepts a connection and completes its TLS handshake, for which it has as long as for an HTTP request. Other connections do
/// not wait for it.
///
/// # Errors
/// A limit is reached, or the handshake fails.
pub(crate) async fn accept_tls(
    limits: Arc<Limits>,
    acceptor: TlsAcceptor,
    io: TcpStream,
) -> Result<Accepted<TlsStream<TcpStream>>, DispatchError> {
    // As in `accept`.
    let _ = io.set_nodelay(true);
    let peer = io.peer_addr().ok();
    let permit = limits.connections.open(peer.map(|peer| peer.ip()));
    let permit = permit.map_err(rejected)?;
    let handshake = async {
        if is_plain_http(&io).await? {
            explain(io).await;
            return Err(io::Error::other("plain HTTP on a port with TLS"));
        }
        acceptor.accept(io).await
    };
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
    let stream = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match stream {
        Ok(stream) => Ok((
            TimeoutStream::new(stream, permit, limits.memory.reservation(), true),
            Protocol::Http1,
            peer,
        )),
        Err(error) => {
            log::debug!(why:% = error, ip:? = peer.map(|peer| peer.ip()); "TLS handshake failed");
            Err(DispatchError::Io(error))
        }
    }
}

/// Takes the connection of a WebSocket request from the HTTP dispatcher and continues in a task of its own, so that the memory of
/// the dispatcher is freed.
fn hand_over<T>(
    context: Arc<Context>,
    request: Request,
    framed: Framed<TimeoutStream<T>, h1::Codec>,
) -> Ready<Result<(), Error>>
where
    T: Transport + AsyncRead + AsyncWrite + Unpin + 'static,
{
    let parts = framed.into_parts();
    let (io, permit) = parts.io.into_inner();
    let handover = Handover {
        permit,
        received: parts.read_buf.to_vec(),
        unsent: parts.write_buf.to_vec(),
    };
    actix_rt::spawn(connect::connect(context, request, io, handover));
    ready(Ok(()))
}

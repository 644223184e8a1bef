//! HTTP: the handshake, pages, schemas, health. With `session`, the only room that knows actix.
//!
//! WebSocket requests do not go through actix-web: actix-http hands over the connection itself (`door`), so that a session
//! owns its bytes and an idle one holds none of the HTTP dispatcher's buffers.

mod client_addr;
mod idle_timeout;
mod origin;
mod page;
mod rejection;
mod upgrade;

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_codec::Framed;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, h1};
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{Service as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, Error, HttpRequest, HttpResponse, web};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use self::client_addr::ClientAddr;
use self::idle_timeout::{LastRequest, TimeoutStream};
use self::rejection::Rejection;
#[doc(hidden)]
pub use self::upgrade::answer_to;
use crate::auth::Verifier;
use crate::context::Context as Node;
use crate::limits::{Limits, TooMany};
use crate::protocol::schema;
use crate::tls::Tls;
use crate::websocket::stream::Transport;

/// How long a handshake may take (PROTOCOL section 10, "Handshake").
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long an idle HTTP connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a closed connection's bytes are waited for. Below 600 ms sockets can stay open for ever, as actix rounds the
/// deadline to a cached clock.
const DISCONNECT: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Starts serving on `listeners`, by TLS if there is any.
///
/// # Errors
/// When a listener cannot be used.
pub fn serve(
    node: &Arc<Node>,
    listeners: Vec<TcpListener>,
    tls: Option<&Tls>,
) -> io::Result<Server> {
    let mut builder = Server::build()
        .workers(node.config.workers)
        .backlog(BACKLOG)
        .disable_signals()
        .shutdown_timeout(1);
    // The same twice, over two kinds of stream: what kind it is has no cost where it is plain.
    macro_rules! service {
        ($node:expr) => {{
            let upgraded = $node.clone();
            HttpService::build()
                .client_request_timeout(HANDSHAKE)
                .client_disconnect_timeout(DISCONNECT)
                .keep_alive(KEEP_ALIVE)
                .on_connect_ext(|io: &TimeoutStream<_>, extensions| io.introduce(extensions))
                .upgrade(fn_service(move |(request, framed)| {
                    enter(upgraded.clone(), request, framed)
                }))
                .finish(map_config(app(&$node), |()| AppConfig::default()))
        }};
    }
    for listener in listeners {
        let node = node.clone();
        builder = match tls {
            None => builder.listen("dmwire", listener, move || {
                let limits = node.limits.clone();
                fn_service(move |io| ready(begin(&limits, io))).and_then(service!(node))
            })?,
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.config.clone());
                builder.listen("dmwire", listener, move || {
                    let (acceptor, limits) = (acceptor.clone(), node.limits.clone());
                    fn_service(move |io| shake_hands(limits.clone(), acceptor.clone(), io))
                        .and_then(service!(node))
                })?
            }
        };
    }
    Ok(builder.run())
}

/// What actix-http takes as a connection.
type Begun<T> = (TimeoutStream<T>, Protocol, Option<SocketAddr>);

fn begin(limits: &Arc<Limits>, io: TcpStream) -> Result<Begun<TcpStream>, DispatchError> {
    // Where it cannot be had, small frames wait a little.
    let _ = io.set_nodelay(true);
    let peer = io.peer_addr().ok();
    match limits.arrive(peer.map(|peer| peer.ip())) {
        Ok(arrival) => Ok((TimeoutStream::new(io, arrival), Protocol::Http1, peer)),
        Err(too_many) => {
            // Before it has said anything, and only if there is room: nothing is spent on it.
            let refusal = Rejection::too_many_connections(too_many);
            let _ = socket2::SockRef::from(&io).send(&refusal.response());
            Err(turned_away(too_many))
        }
    }
}

fn turned_away(too_many: TooMany) -> DispatchError {
    DispatchError::Io(io::Error::other(too_many.detail))
}

/// A connection behind its TLS handshake, which holds up nobody else's and may take as long as an HTTP one.
async fn shake_hands(
    limits: Arc<Limits>,
    acceptor: TlsAcceptor,
    io: TcpStream,
) -> Result<Begun<tokio_rustls::server::TlsStream<TcpStream>>, DispatchError> {
    // As above.
    let _ = io.set_nodelay(true);
    let peer = io.peer_addr().ok();
    let arrival = limits.arrive(peer.map(|peer| peer.ip()));
    let arrival = arrival.map_err(turned_away)?;
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(io)).await;
    let stream = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match stream {
        Ok(stream) => Ok((TimeoutStream::new(stream, arrival), Protocol::Http1, peer)),
        Err(error) => {
            log::debug!(why:% = error, ip:? = peer.map(|peer| peer.ip()); "no TLS handshake");
            Err(DispatchError::Io(error))
        }
    }
}

/// Gives the connection of a WebSocket request a task of its own, and the dispatcher's memory back.
fn enter<T>(
    node: Arc<Node>,
    request: Request,
    framed: Framed<TimeoutStream<T>, h1::Codec>,
) -> Ready<Result<(), Error>>
where
    T: Transport + AsyncRead + AsyncWrite + Unpin + 'static,
{
    let parts = framed.into_parts();
    let (io, arrival) = parts.io.into_inner();
    let early = upgrade::Early {
        arrival,
        // The rest of a write that had more in it than the request.
        read: parts.read_buf.to_vec(),
        // Answers to requests that were sent ahead of this one on the same connection.
        unsent: parts.write_buf.to_vec(),
    };
    actix_rt::spawn(upgrade::enter(node, request, io, early));
    ready(Ok(()))
}

fn app(
    node: &Arc<Node>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let get = |path: &str, handler: fn(HttpRequest) -> HttpResponse| {
        let handle = move |request: HttpRequest| ready(handler(request));
        web::resource(path)
            .route(web::route().method(Method::GET).to(handle))
            .route(web::route().method(Method::HEAD).to(handle))
            .default_service(web::to(wrong_method))
    };
    let base = node.config.base_path.clone();
    App::new()
        .app_data(web::Data::from(node.clone()))
        .service(
            web::scope(&base)
                .service(get("", page::get))
                .service(get("/", page::get))
                .service(get("/schema", schemas))
                .service(get("/schema/", schemas))
                .service(get("/schema/{name}", one_schema))
                .service(get("/healthz", health))
                .service(get("/readyz", readiness))
                .service(get("/ws", not_upgraded))
                .service(get("/ws/{user_id:.*}", not_upgraded))
                .service(get("/echo", not_upgraded)),
        )
        .default_service(web::to(not_found))
        .wrap_fn(|request, service| {
            if let Some(heard) = request.request().conn_data::<LastRequest>() {
                heard.renew();
            }
            service.call(request)
        })
}

fn schemas(request: HttpRequest) -> HttpResponse {
    let node: Option<&web::Data<Node>> = request.app_data();
    let base = node.map_or("", |node| &node.config.base_path);
    let list: Vec<_> = schema::ALL
        .iter()
        .map(|schema| json!({"name": schema.name, "url": format!("{base}/schema/{}", schema.name)}))
        .collect();
    let response = HttpResponse::Ok().json(
        json!({"protocol": crate::protocol::PROTOCOL, "hash": *schema::HASH, "schemas": list}),
    );
    shared(&request, response)
}

fn one_schema(request: HttpRequest) -> HttpResponse {
    let name = request.match_info().query("name");
    let response = match schema::ALL.iter().find(|schema| schema.name == name) {
        Some(schema) => HttpResponse::Ok()
            .content_type("application/schema+json")
            .insert_header((header::ETAG, format!("\"{}\"", *schema::HASH)))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(schema.text.as_str()),
        None => Rejection::not_found("there is no such schema; GET /schema lists them").to_http(),
    };
    shared(&request, response)
}

/// Which pages of other origins may connect. With tokens, what runs on a visitor's machine is no better than the rest.
fn origins(node: &Node) -> origin::OriginRules<'_> {
    origin::OriginRules {
        allowed: &node.config.allowed_origin,
        loopback: matches!(node.auth, Verifier::Open),
    }
}

/// Lets pages read an answer that may connect as well (CORS).
fn shared(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::VARY, header::HeaderValue::from_static("origin"));
    let node: Option<&web::Data<Node>> = request.app_data();
    if let Some(node) = node
        && let Some(origin) = client_addr::only(request.headers(), &header::ORIGIN)
        && origin::admits(&origin, &of(request, node), origins(node))
        && let Ok(origin) = header::HeaderValue::from_str(&origin)
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn of(request: &HttpRequest, node: &Node) -> ClientAddr {
    ClientAddr::of(request.headers(), request.peer_addr(), &node.config)
}

fn health(_: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// Whether somebody who is sent here can be served: a load balancer's question.
fn readiness(request: HttpRequest) -> HttpResponse {
    let node: Option<&web::Data<Node>> = request.app_data();
    let refusal = node.and_then(|node| {
        if node.draining.load(Ordering::SeqCst) {
            Some(Rejection::draining())
        } else {
            node.router.trouble().map(Rejection::unable)
        }
    });
    let mut response = match refusal {
        None => HttpResponse::Ok().json(json!({"status": "ready"})),
        Some(refusal) => refusal.to_http(),
    };
    let now = header::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, now);
    response
}

fn not_upgraded(request: HttpRequest) -> HttpResponse {
    let path = request.path();
    let node: Option<&web::Data<Node>> = request.app_data();
    let peer = node.map(|node| of(&request, node));
    let secure = peer.as_ref().and_then(|peer| peer.secure) == Some(true);
    let scheme = if secure { "wss" } else { "ws" };
    let host = peer.and_then(|peer| peer.host);
    let host = host.as_deref().unwrap_or("localhost");
    let detail = format!(
        "this is a WebSocket address: connect to {scheme}://{host}{path} with a WebSocket client (Postman: New > \
         WebSocket), which sends `Connection: Upgrade` and `Upgrade: websocket`"
    );
    let mut response = Rejection::upgrade_required(detail).to_http();
    let headers = response.headers_mut();
    headers.insert(
        header::UPGRADE,
        header::HeaderValue::from_static("websocket"),
    );
    headers.insert(
        header::SEC_WEBSOCKET_VERSION,
        header::HeaderValue::from_static("13"),
    );
    response
}

async fn wrong_method() -> HttpResponse {
    let mut response = Rejection::wrong_method().to_http();
    let allow = header::HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

async fn not_found() -> HttpResponse {
    Rejection::not_found("there is nothing at this address").to_http()
}

impl Rejection {
    fn to_http(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        HttpResponse::build(status).json(self.body())
    }
}

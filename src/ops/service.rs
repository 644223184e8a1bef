//! Accepts connections on the operations port.

use std::future::ready;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_http::HttpService;
use actix_server::Server;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use tokio_rustls::TlsAcceptor;

use super::{Ops, routes};
use crate::http::{
    DISCONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, KEEP_ALIVE_TIMEOUT, TimeoutStream, accept, accept_tls,
};
use crate::tls::Tls;

/// Threads of the port. They are not those of the sessions, which an expensive call must not delay.
const WORKERS: usize = 2;

/// Starts to serve on `listeners`, with TLS if `tls` is given.
///
/// # Errors
/// If a listener cannot be used.
pub fn serve(ops: &Arc<Ops>, listeners: Vec<TcpListener>, tls: Option<&Tls>) -> io::Result<Server> {
    let mut builder = Server::build()
        .workers(WORKERS)
        .disable_signals()
        .shutdown_timeout(1);
    // A macro, because the two uses differ in the type of the stream.
    macro_rules! http_service {
        ($ops:expr) => {
            HttpService::build()
                .client_request_timeout(HANDSHAKE_TIMEOUT)
                .client_disconnect_timeout(DISCONNECT_TIMEOUT)
                .keep_alive(KEEP_ALIVE_TIMEOUT)
                .on_connect_ext(|io: &TimeoutStream<_>, extensions| io.share_activity(extensions))
                .finish(map_config(routes::app(&$ops), |()| AppConfig::default()))
        };
    }
    for listener in listeners {
        let ops = ops.clone();
        builder = match tls {
            None => builder.listen("operations", listener, move || {
                let limits = ops.limits.clone();
                fn_service(move |io| ready(accept(&limits, io))).and_then(http_service!(ops))
            })?,
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.config.clone());
                builder.listen("operations", listener, move || {
                    let (acceptor, limits) = (acceptor.clone(), ops.limits.clone());
                    fn_service(move |io| accept_tls(limits.clone(), acceptor.clone(), io))
                        .and_then(http_service!(ops))
                })?
            }
        };
    }
    Ok(builder.run())
}

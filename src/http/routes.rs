//! The requests that are answered over HTTP, without an upgrade: one module per resource.

mod health;
mod page;
mod schema;

use std::future::ready;
use std::sync::Arc;

use actix_service::{Service as _, ServiceFactory};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::{App, Error, HttpRequest, HttpResponse, web};

use super::client_addr::ClientAddr;
use super::idle_timeout::Activity;
use super::rejection::Rejection;
use super::security_headers;
use crate::context::Context;

/// All routes of the public port, below the base path.
pub fn app(
    context: &Arc<Context>,
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
            .default_service(web::to(method_not_allowed))
    };
    let base = context.config.network.base_path.clone();
    let tls = context.config.tls.is_enabled();
    App::new()
        .app_data(web::Data::from(context.clone()))
        .service(
            web::scope(&base)
                .service(get("", page::get))
                .service(get("/", page::get))
                .service(get("/schema", schema::list))
                .service(get("/schema/", schema::list))
                .service(get("/schema/{name}", schema::get))
                .service(get("/healthz", health::live))
                .service(get("/readyz", health::ready))
                .service(get("/ws", upgrade_required))
                .service(get("/ws/{user_id:.*}", upgrade_required))
                .service(get("/echo", upgrade_required)),
        )
        .default_service(web::to(not_found))
        .wrap_fn(move |request, service| {
            if let Some(activity) = request.request().conn_data::<Activity>() {
                activity.start_request();
            }
            let response = service.call(request);
            async move {
                let mut response = response.await?;
                security_headers::add(response.headers_mut(), tls);
                Ok(response)
            }
        })
}

/// The state shared by all connections; present in every request of [`app`].
fn context(request: &HttpRequest) -> Option<&Context> {
    let context: Option<&web::Data<Context>> = request.app_data();
    context.map(|context| &***context)
}

fn client_addr(request: &HttpRequest, context: &Context) -> ClientAddr {
    ClientAddr::of(
        request.headers(),
        request.peer_addr(),
        &context.config.network,
        context.config.tls.is_enabled(),
    )
}

/// The answer to a request without upgrade for a WebSocket path.
fn upgrade_required(request: HttpRequest) -> HttpResponse {
    let path = request.path();
    let client = context(&request).map(|context| client_addr(&request, context));
    let secure = client.as_ref().and_then(|client| client.secure) == Some(true);
    let scheme = if secure { "wss" } else { "ws" };
    let host = client.and_then(|client| client.host);
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

async fn method_not_allowed() -> HttpResponse {
    let mut response = Rejection::method_not_allowed().to_http();
    let allow = header::HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

async fn not_found() -> HttpResponse {
    Rejection::not_found("nothing exists at this path").to_http()
}

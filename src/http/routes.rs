//! The requests that are answered over HTTP, without an upgrade: one module per resource.

pub(crate) mod health;
pub(crate) mod page;
mod schema;
mod websocket;

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
                .service(get("/ws", websocket::upgrade_required))
                .service(get("/ws/{user_id:.*}", websocket::upgrade_required))
                .service(get("/echo", websocket::upgrade_required)),
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

async fn method_not_allowed() -> HttpResponse {
    let mut response = Rejection::method_not_allowed().to_http();
    let allow = header::HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    let base = context(&request).map_or("", |context| &context.config.network.base_path);
    Rejection::no_resource(request.path(), base).to_http()
}

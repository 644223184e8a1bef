//! The resources of the operations port, and what all of them have in common.

use std::future::ready;
use std::sync::Arc;

use actix_service::{Service as _, ServiceFactory};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::from_fn;
use actix_web::{
    App, Error, FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Resource,
    Responder, ResponseError as _, Route, guard, web,
};

use super::authorize::authorize;
use super::error::ApiError;
use super::keys::{Caller, Scope};
use super::{
    Ops, conversations, dashboard, erasure, export, members, messages, metrics, monitor,
    revocation, rooms, sessions, users, webhooks,
};
use crate::http::{Activity, health, security_headers};
use crate::metrics::{RequestInProgress, count_response};

/// A method of a resource.
pub struct Call {
    methods: &'static str,
    route: Route,
    /// The scope that a key needs; `None`: no key is needed.
    scope: Option<Scope>,
    /// The handler reads the body. Others would ignore it, so it is an error.
    takes_body: bool,
}

impl Call {
    /// A call without a body, for keys with `scope`.
    pub fn new<F, Args>(method: Method, scope: Scope, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self {
            methods: name_of(&method),
            route: web::method(method).to(handler),
            scope: Some(scope),
            takes_body: false,
        }
    }

    /// A call with a JSON body.
    pub fn with_body<F, Args>(method: Method, scope: Scope, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self {
            takes_body: true,
            ..Self::new(method, scope, handler)
        }
    }

    /// GET with a handler that checks the key itself.
    fn unchecked<F, Args>(handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self {
            methods: "GET",
            route: web::get().to(handler),
            scope: None,
            takes_body: false,
        }
    }

    /// GET and HEAD without a key.
    fn public(handler: fn(HttpRequest) -> HttpResponse) -> Self {
        let guard = guard::Any(guard::Get()).or(guard::Head());
        let handle = move |request: HttpRequest| ready(handler(request));
        Self {
            methods: "GET, HEAD",
            route: web::route().guard(guard).to(handle),
            scope: None,
            takes_body: false,
        }
    }
}

fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "GET",
    }
}

/// A resource with these calls; other methods are answered with 405.
pub fn resource(path: &str, calls: impl IntoIterator<Item = Call>) -> Resource {
    let mut resource = web::resource(path);
    let mut allow = Vec::new();
    for Call {
        methods,
        route,
        scope,
        takes_body,
    } in calls
    {
        allow.push(methods);
        resource = resource.route(match scope {
            Some(scope) => route.wrap(from_fn(move |request, next| {
                authorize((scope, takes_body), request, next)
            })),
            None => route,
        });
    }
    let allow = allow.join(", ");
    resource.default_service(web::to(move || {
        let mut response = ApiError::method_not_allowed(&allow).error_response();
        if let Ok(allow) = header::HeaderValue::from_str(&allow) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        ready(response)
    }))
}

/// All routes of the operations port.
pub fn app(
    ops: &Arc<Ops>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let tls = ops.is_tls();
    App::new()
        .app_data(web::Data::from(ops.clone()))
        .app_data(web::Data::from(ops.context.clone()))
        .service(resource("/healthz", [Call::public(health::live)]))
        .service(resource("/readyz", [Call::public(health::ready)]))
        .service(resource(
            "/metrics",
            [Call::new(Method::GET, Scope::Read, metrics::get)],
        ))
        .service(resource("/monitor", [Call::unchecked(monitor::get)]))
        .service(resource("/admin", [Call::public(dashboard::get)]))
        .service(resource(
            "/v1/sessions",
            [Call::new(Method::GET, Scope::Read, sessions::list)],
        ))
        .service(resource(
            "/v1/users/{user}",
            [
                Call::new(Method::GET, Scope::Read, users::get),
                Call::new(Method::DELETE, Scope::Admin, erasure::erase),
            ],
        ))
        .service(resource(
            "/v1/users/{user}/sessions",
            [
                Call::new(Method::GET, Scope::Read, sessions::of_user),
                Call::new(Method::DELETE, Scope::Admin, sessions::close),
            ],
        ))
        .service(resource(
            "/v1/users/{user}/revocation",
            [Call::new(Method::DELETE, Scope::Admin, revocation::lift)],
        ))
        .service(resource(
            "/v1/users/{user}/conversations",
            [Call::new(Method::GET, Scope::Read, conversations::list)],
        ))
        .service(resource(
            "/v1/users/{user}/history",
            [Call::new(Method::GET, Scope::Read, conversations::history)],
        ))
        .service(resource(
            "/v1/users/{user}/export",
            [Call::new(Method::GET, Scope::Admin, export::get)],
        ))
        .service(resource(
            "/v1/messages",
            [Call::with_body(Method::POST, Scope::Write, messages::send)],
        ))
        .service(resource(
            "/v1/messages/{id}",
            [Call::new(Method::DELETE, Scope::Admin, messages::delete)],
        ))
        .service(resource(
            "/v1/rooms",
            [Call::new(Method::GET, Scope::Read, rooms::list)],
        ))
        .service(resource(
            "/v1/rooms/{room}",
            [
                Call::new(Method::GET, Scope::Read, rooms::get),
                Call::new(Method::DELETE, Scope::Admin, rooms::delete),
            ],
        ))
        .service(resource(
            "/v1/rooms/{room}/history",
            [Call::new(Method::GET, Scope::Read, rooms::history)],
        ))
        .service(resource(
            "/v1/rooms/{room}/members/{user}",
            [
                Call::new(Method::PUT, Scope::Write, members::add),
                Call::new(Method::DELETE, Scope::Write, members::remove),
            ],
        ))
        .service(resource(
            "/v1/webhooks",
            [Call::new(Method::GET, Scope::Read, webhooks::list)],
        ))
        .default_service(web::to(|| ready(ApiError::not_found().error_response())))
        .wrap_fn(move |request, service| {
            if let Some(activity) = request.request().conn_data::<Activity>() {
                activity.start_request();
            }
            let in_progress = RequestInProgress::start();
            let response = service.call(request);
            async move {
                let _in_progress = in_progress;
                let mut response = response.await?;
                log_call(&response);
                count_response(response.status().as_u16());
                security_headers::add(response.headers_mut(), tls);
                Ok(response)
            }
        })
}

/// Logs a call of the API by the name of its key. The key itself is never logged.
fn log_call(response: &ServiceResponse) {
    let request = response.request();
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return;
    };
    log::debug!(key:% = caller.name, method:% = request.method(), path:% = request.path(), status = response.status().as_u16(); "API call");
}

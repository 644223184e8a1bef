//! `/schema`: the JSON Schemas of the protocol, and the AsyncAPI description (PROTOCOL section 9).

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::{client_addr, context};
use crate::http::Rejection;
use crate::http::client_addr::single_header;
use crate::http::origin::{self, OriginRules};
use crate::protocol::PROTOCOL;
use crate::protocol::asyncapi::{self, ASYNCAPI};

/// `GET /schema`: the names and URLs of all documents.
pub fn list(request: HttpRequest) -> HttpResponse {
    let Some(context) = context(&request) else {
        return no_schema();
    };
    let (base, contract) = (
        &context.config.network.base_path,
        context.contract.current(),
    );
    let list: Vec<_> = contract
        .documents()
        .map(|document| json!({"name": document.name, "url": format!("{base}/schema/{}", document.name)}))
        .collect();
    let response = HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .json(json!({"protocol": PROTOCOL, "hash": contract.hash(), "schemas": list}));
    allow_origin(&request, response)
}

/// `GET /schema/{name}`: one document.
pub fn get(request: HttpRequest) -> HttpResponse {
    let name = request.match_info().query("name");
    let Some(context) = context(&request) else {
        return no_schema();
    };
    let contract = context.contract.current();
    let response = match contract.document(name) {
        Some(document) => {
            let text = match document.name {
                ASYNCAPI => asyncapi::at(&document.text, &context.config.network.base_path),
                _ => document.text.clone(),
            };
            HttpResponse::Ok()
                .content_type(document.media_type)
                .insert_header((header::ETAG, format!("\"{}\"", contract.hash())))
                .insert_header((header::CACHE_CONTROL, "no-cache"))
                .body(text)
        }
        None => no_schema(),
    };
    allow_origin(&request, response)
}

fn no_schema() -> HttpResponse {
    Rejection::not_found("there is no schema of this name; GET /schema lists them").to_http()
}

/// Adds the CORS headers that let a page read the response if a page of that origin may connect.
fn allow_origin(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::VARY, header::HeaderValue::from_static("origin"));
    if let Some(context) = context(request)
        && let Some(origin) = single_header(request.headers(), &header::ORIGIN)
        && origin::is_allowed(
            &origin,
            &client_addr(request, context),
            OriginRules::new(context.config.access(), &context.config.network),
        )
        && let Ok(origin) = header::HeaderValue::from_str(&origin)
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

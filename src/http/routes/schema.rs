//! `/schema`: the JSON Schemas of the protocol (PROTOCOL section 9).

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::{client_addr, context};
use crate::http::Rejection;
use crate::http::client_addr::single_header;
use crate::http::origin::{self, OriginRules};
use crate::protocol::{PROTOCOL, schema};

/// `GET /schema`: the names and URLs of all schemas.
pub fn list(request: HttpRequest) -> HttpResponse {
    let base = context(&request).map_or("", |context| &context.config.network.base_path);
    let list: Vec<_> = schema::ALL
        .iter()
        .map(|schema| json!({"name": schema.name, "url": format!("{base}/schema/{}", schema.name)}))
        .collect();
    let response = HttpResponse::Ok()
        .json(json!({"protocol": PROTOCOL, "hash": *schema::HASH, "schemas": list}));
    allow_origin(&request, response)
}

/// `GET /schema/{name}`: one schema.
pub fn get(request: HttpRequest) -> HttpResponse {
    let name = request.match_info().query("name");
    let response = match schema::ALL.iter().find(|schema| schema.name == name) {
        Some(schema) => HttpResponse::Ok()
            .content_type("application/schema+json")
            .insert_header((header::ETAG, format!("\"{}\"", *schema::HASH)))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(schema.text.as_str()),
        None => Rejection::not_found("there is no schema of this name; GET /schema lists them")
            .to_http(),
    };
    allow_origin(&request, response)
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

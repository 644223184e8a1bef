//! `/`: the chat page, and the headers of a page.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::context;
use crate::http::Rejection;
use crate::page::Page;

/// Features of the browser that the pages do not use.
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), \
                           microphone=(), midi=(), payment=(), usb=()";

/// `GET /`
pub fn get(request: HttpRequest) -> HttpResponse {
    let Some(context) = context(&request) else {
        return Rejection::not_found("there is no page").to_http();
    };
    respond(&request, &context.page.current())
}

/// A page, or 304 if the browser has it.
pub(crate) fn respond(request: &HttpRequest, page: &Page) -> HttpResponse {
    let known = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == page.etag);
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, page.etag.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, page.policy.as_str()))
        .insert_header((header::PERMISSIONS_POLICY, PERMISSIONS))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"));
    if known {
        return response.finish();
    }
    response
        .insert_header(header::ContentType::html())
        .body(page.html.clone())
}

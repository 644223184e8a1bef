//! `GET /admin`: the dashboard. The page is static and contains nothing secret, so it needs no key; it asks for one.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};

use crate::http::page;
use crate::page::Page;

static PAGE: LazyLock<Page> = LazyLock::new(Page::dashboard);

/// `GET /admin`
pub fn get(request: HttpRequest) -> HttpResponse {
    page::respond(&request, &PAGE)
}

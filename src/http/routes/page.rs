//! `/`: the chat page, one file with its script and style, built from `client/page` and embedded in the program.
//!
//! The content security policy allows this script and this style by their hashes. No other script or style is applied, even if a message
//! could inject HTML into the page. The page may open connections to its own origin only. It may load images and recordings over https,
//! which it does on the user's request.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const HTML: &str = include_str!("../../../assets/page.html");

/// Features of the browser that the page does not use.
const PERMISSIONS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), \
                           microphone=(), midi=(), payment=(), usb=()";

/// Headers of the page, computed for the first request.
struct Page {
    policy: String,
    /// The hash of the page, quoted as in the header.
    etag: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
    policy: policy(),
    etag: format!("\"{}\"", hash(HTML)),
});

/// `GET /`: the page, or 304 if the browser has it.
pub fn get(request: HttpRequest) -> HttpResponse {
    let known = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == PAGE.etag);
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((header::ETAG, PAGE.etag.as_str()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE.policy.as_str()))
        .insert_header((header::PERMISSIONS_POLICY, PERMISSIONS))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"));
    if known {
        return response.finish();
    }
    response
        .insert_header(header::ContentType::html())
        .body(HTML)
}

fn policy() -> String {
    let script = hash(between("<script type=\"module\">", "</script>"));
    let style = hash(between("<style>", "</style>"));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         img-src https: data:; media-src https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

/// The text of the only element with these tags.
fn between(start: &str, end: &str) -> &'static str {
    let after = HTML.split_once(start).map_or("", |(_, after)| after);
    after.split_once(end).map_or("", |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_loads_nothing() {
        let script = between("<script type=\"module\">", "</script>");
        let style = between("<style>", "</style>");
        assert!(script.len() > 1000 && style.len() > 1000);
        // The rest is markup. Browsers normalise line ends before they compute the hash, so the file must not have carriage returns.
        let markup = HTML.replace(script, "").replace(style, "");
        assert_eq!(markup.matches("<script").count(), 1);
        assert_eq!(markup.matches("<style").count(), 1);
        assert!(!HTML.contains('\r'), "page.html has carriage returns");
        for loading in [
            " src=",
            " style=",
            "@import",
            "<base",
            " onload=",
            "stylesheet",
        ] {
            assert!(!markup.contains(loading), "{loading}");
        }
        for loading in ["@import", "url("] {
            assert!(!style.contains(loading), "{loading}");
        }
    }
}

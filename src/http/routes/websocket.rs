//! The answer to a request without upgrade for a WebSocket path.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use super::{client_addr, context};
use crate::http::Rejection;
use crate::http::client_addr::ClientAddr;
use crate::http::credentials::decoded;
use crate::http::origin::is_allowed_host;
use crate::http::upgrade::UpgradeRules;
use crate::protocol::types::{is_erased_name, is_name};

/// Explains how to connect. The named address is one that the server accepts.
pub fn upgrade_required(request: HttpRequest) -> HttpResponse {
    let address = context(&request).map_or_else(String::new, |context| {
        let config = &context.config;
        let rules = UpgradeRules::new(config.access(), &config.network, &config.auth);
        let client = client_addr(&request, context);
        address(request.path(), &client, &rules)
    });
    let detail = format!(
        "this is a WebSocket address: connect to {address} with a WebSocket client (Postman: New > \
         WebSocket), which sends `Connection: Upgrade` and `Upgrade: websocket`"
    );
    let mut response = Rejection::upgrade_required(detail).to_http();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        header::SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static("13"),
    );
    response
}

/// The requested address; for a host or a user id that the server rejects, an address of the same form that it accepts.
fn address(path: &str, client: &ClientAddr, rules: &UpgradeRules<'_>) -> String {
    let scheme = if client.secure == Some(true) {
        "wss"
    } else {
        "ws"
    };
    let requested = client.host.as_deref().filter(|host| !host.is_empty());
    let is_allowed = |host: &&str| {
        let names = rules.allowed_hosts;
        names.is_none_or(|names| is_allowed_host(host, names, rules.origins.allowed))
    };
    let port = || {
        let (_, port) = requested?.rsplit_once(':')?;
        port.parse::<u16>().ok()
    };
    let host = match requested.filter(is_allowed) {
        Some(host) => host.to_owned(),
        None => port().map_or_else(
            || "localhost".to_owned(),
            |port| format!("localhost:{port}"),
        ),
    };
    let base = rules.base_path;
    let is_valid = match path.strip_prefix(base).unwrap_or_default() {
        "/echo" => true,
        "/ws" => rules.token_required,
        path => path.strip_prefix("/ws/").is_some_and(|user| {
            let user = decoded(user);
            is_name(&user) && !is_erased_name(&user)
        }),
    };
    if is_valid {
        return format!("{scheme}://{host}{path}");
    }
    format!(
        "{scheme}://{host}{base}/ws/8888, with the user id in place of 8888 (1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -),"
    )
}

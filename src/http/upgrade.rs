//! The decision about a WebSocket request (RFC 6455 section 4.2, PROTOCOL section 2): which endpoint the client asks for and with
//! which token, or why the request is rejected.
//!
//! [`upgrade()`] is a pure function of the request's head, the client's address and the settings. It does no I/O and reads no
//! clock, so the fuzz target and the tests call it directly. `connect` then checks the limits, authenticates the client, calls
//! `Upgrade::authorize`, and opens the session.

use actix_http::RequestHead;
use actix_web::http::{Method, Version, header};

use super::client_addr::{ClientAddr, single_header};
use super::credentials::{self, Token, decoded};
use super::origin::{self, OriginRules};
use super::rejection::Rejection;
use super::session_query::session_query;
use crate::config::{Access, AuthConfig, NetworkConfig};
use crate::protocol::PROTOCOL;
use crate::protocol::types::{is_erased_name, is_name};
use crate::session::SessionQuery;
use crate::websocket;

/// The settings that decide about a request.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRules<'a> {
    /// The prefix of every path, without a slash at the end.
    pub base_path: &'a str,
    /// Clients must authenticate with a token.
    pub token_required: bool,
    /// A token may be part of the URL (`?token=`).
    pub query_token: bool,
    /// Names by which clients may address the server, if only loopback protects it; `None`: any.
    pub allowed_hosts: Option<&'a [String]>,
    /// Web pages that may connect.
    pub origins: OriginRules<'a>,
}

impl<'a> UpgradeRules<'a> {
    /// The rules that the settings define.
    pub fn new(access: Access, network: &'a NetworkConfig, auth: &AuthConfig) -> Self {
        let token_required = access != Access::Open;
        let any_host = token_required || auth.open;
        Self {
            base_path: &network.base_path,
            token_required,
            query_token: auth.query_token,
            allowed_hosts: (!any_host).then_some(&network.allowed_host),
            origins: OriginRules::new(access, network),
        }
    }
}

/// An accepted request. The client is not authenticated yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The response that completes the handshake.
    pub handshake: Handshake,
    /// The token of the client; always `Token::Missing` if the server requires none.
    pub token: Token,
    /// The requested endpoint.
    pub endpoint: Endpoint,
}

/// The requested endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/ws`, `/ws/{user_id}`: a session.
    Session {
        /// The user id in the path, percent-decoded and not validated; `None` for `/ws`.
        user: Option<String>,
        /// The parameters of the session. If they are invalid, the client learns it after it has been authenticated.
        query: Result<SessionQuery, Rejection>,
    },
    /// `/echo`: a connection that returns every message.
    Echo,
}

/// A handshake that is valid by RFC 6455 section 4.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The complete `101` response.
    pub response: Vec<u8>,
    /// The client offered `dmwire.v1`, so it understands `goodbye`.
    pub offers_dmwire: bool,
}

/// A rejected request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedUpgrade {
    /// The reason for the client.
    pub rejection: Rejection,
    /// Present if the request is a valid handshake: the connection can be upgraded so that the client gets a `goodbye`.
    pub handshake: Option<Handshake>,
    /// The reason for the server's log, if the operator can do something about it.
    pub log: Option<String>,
}

/// A rejection with the text for the server's log.
struct Refused(Rejection, Option<String>);

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self(rejection, None)
    }
}

/// Decides about the request of `client` with this head.
///
/// # Errors
/// [`RejectedUpgrade`]
pub fn upgrade(
    head: &RequestHead,
    client: &ClientAddr,
    rules: &UpgradeRules<'_>,
) -> Result<Upgrade, RejectedUpgrade> {
    let handshake = handshake(head).map_err(|rejection| RejectedUpgrade {
        rejection,
        handshake: None,
        log: None,
    })?;
    match requested(head, client, rules) {
        Ok((token, endpoint)) => Ok(Upgrade {
            handshake,
            token,
            endpoint,
        }),
        Err(Refused(rejection, log)) => Err(RejectedUpgrade {
            rejection,
            handshake: Some(handshake),
            log,
        }),
    }
}

impl Endpoint {
    /// The user id in the path.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Session { user, .. } => user.as_deref(),
            Self::Echo => None,
        }
    }

    /// The checks that follow the authentication of the client as `user`. Gives the parameters of a session, or `None` for
    /// `/echo`.
    ///
    /// # Errors
    /// [`Rejection`] for an invalid user id, the name of an erased user, the session of another user, or invalid parameters.
    pub fn authorize(self, user: &str) -> Result<Option<SessionQuery>, Rejection> {
        if is_erased_name(user) {
            return Err(Rejection::forbidden(
                "this user was erased; the server reserves names of this form",
            ));
        }
        let Self::Session { user: named, query } = self else {
            return Ok(None);
        };
        match named {
            Some(named) if !is_name(&named) => Err(Rejection::invalid_request(
                "the user id in the path must be 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -",
            )),
            Some(named) if named != user => Err(Rejection::forbidden(
                "the token belongs to another user than the one in the path",
            )),
            // Only a token names the user.
            None if user.is_empty() => Err(Rejection::invalid_request(
                "the path has no user id: without authentication it is /ws/{user_id}, such as /ws/8888",
            )),
            _ => query.map(Some),
        }
    }
}

/// The checks of RFC 6455 section 4.2.1.
fn handshake(head: &RequestHead) -> Result<Handshake, Rejection> {
    let headers = head.headers();
    let single = |name| {
        let mut values = headers.get_all(name);
        values.next().filter(|_| values.next().is_none())
    };
    if head.method != Method::GET {
        return Err(Rejection::method_not_allowed());
    }
    if single(&header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13") {
        return Err(Rejection::upgrade_required(
            "this server supports version 13 of the WebSocket protocol (RFC 6455); `Sec-WebSocket-Version: 13` is missing",
        ));
    }
    if head.version < Version::HTTP_11 {
        return Err(Rejection::invalid_request(
            "a WebSocket handshake needs HTTP/1.1 (RFC 6455 section 4.1)",
        ));
    }
    if !head.upgrade() {
        return Err(Rejection::invalid_request(
            "`Upgrade: websocket` came without `Connection: Upgrade`; a proxy in between may have removed it",
        ));
    }
    // The bytes after the head are read as WebSocket frames. A proxy that reads them as a body instead would allow request
    // smuggling.
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length.as_bytes() != b"0")
        || headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Err(Rejection::invalid_request("a handshake has no body"));
    }
    let Some(key) =
        single(&header::SEC_WEBSOCKET_KEY).and_then(|key| websocket::accept_key(key.as_bytes()))
    else {
        return Err(Rejection::invalid_request(
            "`Sec-WebSocket-Key` is missing or not 16 bytes in base64",
        ));
    };
    let offers_dmwire = offers_dmwire(head);
    let selected = if offers_dmwire {
        format!("sec-websocket-protocol: {PROTOCOL}\r\n")
    } else {
        String::new()
    };
    Ok(Handshake {
        response: format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {key}\r\n{selected}\r\n"
        )
        .into_bytes(),
        offers_dmwire,
    })
}

fn offers_dmwire(head: &RequestHead) -> bool {
    credentials::subprotocols(head).any(|offered| offered == PROTOCOL)
}

/// The token and the endpoint of a request with a valid handshake.
fn requested(
    head: &RequestHead,
    client: &ClientAddr,
    rules: &UpgradeRules<'_>,
) -> Result<(Token, Endpoint), Refused> {
    let endpoint = endpoint(head, rules.base_path)?;
    check_host(client, rules)?;
    check_origin(head, client, rules.origins)?;
    if credentials::has_bearer_subprotocol(head) && !offers_dmwire(head) {
        return Err(Rejection::invalid_request(
            "a `bearer.` subprotocol needs `dmwire.v1` as well: `Sec-WebSocket-Protocol: dmwire.v1, bearer.TOKEN`",
        )
        .into());
    }
    let token = if rules.token_required {
        credentials::token(head, rules.query_token)?
    } else {
        Token::Missing
    };
    Ok((token, endpoint))
}

fn endpoint(head: &RequestHead, base_path: &str) -> Result<Endpoint, Rejection> {
    let not_found = || Rejection::no_websocket(head.uri.path(), base_path);
    let path = head.uri.path().strip_prefix(base_path);
    let user = match path.ok_or_else(not_found)? {
        "/echo" => return Ok(Endpoint::Echo),
        "/ws" => None,
        path => {
            let user = path.strip_prefix("/ws/").ok_or_else(not_found)?;
            Some(decoded(user).into_owned())
        }
    };
    let query = session_query(head.uri.query().unwrap_or(""));
    Ok(Endpoint::Session { user, query })
}

fn check_host(client: &ClientAddr, rules: &UpgradeRules<'_>) -> Result<(), Refused> {
    let Some(hosts) = rules.allowed_hosts else {
        return Ok(());
    };
    let allowed = |host: &str| origin::is_allowed_host(host, hosts, rules.origins.allowed);
    // Every browser sends `Host`. Without one the request is not from a web page.
    if client.host.as_deref().is_none_or(allowed) {
        return Ok(());
    }
    let log = format!(
        "the host {:?} is not an allowed name of this server",
        truncated(client.host.as_deref())
    );
    Err(Refused(
        Rejection::forbidden(
            "without authentication the server accepts requests for localhost and for the names in its --allowed-host only",
        ),
        Some(log),
    ))
}

fn check_origin(
    head: &RequestHead,
    client: &ClientAddr,
    rules: OriginRules<'_>,
) -> Result<(), Refused> {
    if !head.headers().contains_key(&header::ORIGIN) {
        return Ok(());
    }
    // Browsers send one `Origin`. With two it is unclear which one counts.
    let origin = single_header(head.headers(), &header::ORIGIN);
    if origin
        .as_ref()
        .is_some_and(|origin| origin::is_allowed(origin, client, rules))
    {
        return Ok(());
    }
    let log = format!(
        "the origin {:?} is not allowed",
        truncated(origin.as_deref())
    );
    Err(Refused(
        Rejection::forbidden(
            "pages of this origin may not connect; the server's --allowed-origin lists the allowed origins",
        ),
        Some(log),
    ))
}

/// The first bytes of a value that the client sent, for the log.
fn truncated(value: Option<&str>) -> &str {
    const MAX: usize = 200;
    let value = value.unwrap_or("?");
    // `get` fails only in the middle of a character that is not ASCII; no valid host has one.
    value.get(..MAX.min(value.len())).unwrap_or("?")
}

#[cfg(test)]
mod tests;

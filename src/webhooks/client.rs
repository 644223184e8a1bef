//! Posts requests to a receiver. The name of the receiver is resolved for each connection, all of the addresses are checked, and the
//! connection goes to one of these: so a name that resolves to another address later is not connected to unchecked.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_native_certs::load_native_certs;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use crate::config::{WebhookUrl, is_global};

/// The time for a request, with the resolution of the name.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a response is read, so that the connection can be used again; and the maximum size of its head.
const MAX_BODY: u64 = 16 << 10;
const MAX_HEAD: usize = 32 << 10;

/// Posts to a receiver. A cheap handle.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: Arc<str>,
    /// The value of `Authorization`.
    authorization: Option<Arc<str>>,
}

/// A signed request.
#[derive(Debug)]
pub struct Request<'a> {
    /// Identifies the event.
    pub id: &'a str,
    /// The time of the attempt in seconds since 1970-01-01T00:00:00Z.
    pub timestamp: i64,
    /// The signatures.
    pub signatures: &'a str,
    /// The event.
    pub body: &'a [u8],
}

impl Client {
    /// A client for a receiver. `in_flight`: the number of connections that are kept for the next requests.
    pub fn new(url: &WebhookUrl, allow_private: bool, in_flight: usize) -> Self {
        let is_allowed: fn(IpAddr) -> bool = if allow_private { |_| true } else { is_global };
        let resolver = CheckedResolver {
            is_allowed,
            resolver: DefaultResolver::default(),
        };
        Self::with_resolver(url, !allow_private, in_flight, resolver)
    }

    fn with_resolver(
        url: &WebhookUrl,
        https_only: bool,
        in_flight: usize,
        resolver: impl Resolver,
    ) -> Self {
        // No redirects, and no proxy from the environment: only the configured receiver gets the request.
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .https_only(https_only)
            .max_idle_connections(in_flight)
            .max_idle_connections_per_host(in_flight)
            .max_response_header_size(MAX_HEAD)
            .user_agent(concat!("dmwire/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots()).build())
            .build();
        let authorization = url.credentials().map(|(user, password)| {
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {encoded}").into()
        });
        Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver),
            url: url.without_user().into(),
            authorization,
        }
    }

    /// Posts a request. Returns the status of the answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn post(&self, request: &Request<'_>) -> Result<u16, String> {
        let mut post = self
            .agent
            .post(&*self.url)
            .header("content-type", "application/json")
            .header("webhook-id", request.id)
            .header("webhook-timestamp", request.timestamp.to_string())
            .header("webhook-signature", request.signatures);
        if let Some(authorization) = &self.authorization {
            post = post.header("authorization", &**authorization);
        }
        let mut response = post.send(request.body).map_err(|error| reason(&error))?;
        // The status decides. Without the rest, the connection is not used again.
        let body = response.body_mut().with_config().limit(MAX_BODY);
        drop(body.read_to_vec());
        Ok(response.status().as_u16())
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        error => error.to_string(),
    }
}

/// The certificate authorities of the system; built-in ones if it has none.
fn roots() -> RootCerts {
    let found = load_native_certs().certs;
    if found.is_empty() {
        return RootCerts::WebPki;
    }
    let certificates: Vec<_> = found
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    RootCerts::new_with_certs(&certificates)
}

/// Rejects names that have an address which is not allowed.
#[derive(Debug)]
struct CheckedResolver<R> {
    is_allowed: fn(IpAddr) -> bool,
    resolver: R,
}

/// A name resolves to an address that requests must not go to.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to {0}, an address of this machine or of a private network")]
struct PrivateAddress(IpAddr);

impl<R: Resolver> Resolver for CheckedResolver<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.resolver.resolve(uri, config, timeout)?;
        let mut private = addresses
            .iter()
            .filter(|address| !(self.is_allowed)(address.ip()));
        match private.next() {
            Some(address) => Err(Error::Other(Box::new(PrivateAddress(address.ip())))),
            None => Ok(addresses),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Mutex;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers each lookup with the next addresses.
    #[derive(Debug)]
    struct Answers(Mutex<VecDeque<Vec<SocketAddr>>>);

    impl Resolver for Answers {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, Error> {
            let addresses = self.0.lock().expect("no test has failed").pop_front();
            let mut answer = self.empty();
            for address in addresses.ok_or(Error::HostNotFound)? {
                answer.push(address);
            }
            Ok(answer)
        }
    }

    /// A client to which 127.0.0.1 is the only address that is not private. The name that it connects to does not exist.
    fn client(answers: Vec<Vec<SocketAddr>>) -> Client {
        let url = "http://hook.invalid/".parse().expect("a URL");
        let resolver = CheckedResolver {
            is_allowed: |address| address == IpAddr::from([127, 0, 0, 1]),
            resolver: Answers(Mutex::new(answers.into())),
        };
        Client::with_resolver(&url, false, 1, resolver)
    }

    fn listen(address: [u8; 4]) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((IpAddr::from(address), 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// Answers one request, and closes the connection.
    fn answer_one(listener: TcpListener) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            let mut piece = [0; 1024];
            while !head.ends_with(b"{}") {
                let read = stream.read(&mut piece).expect("a request");
                head.extend_from_slice(&piece[..read]);
            }
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).expect("the client reads");
        })
    }

    fn post(client: &Client) -> Result<u16, String> {
        client.post(&Request {
            id: "evt_1",
            timestamp: 1,
            signatures: "v1,a",
            body: b"{}",
        })
    }

    #[test]
    fn a_name_that_resolves_to_another_address_later_is_checked_again() {
        let (public, public_address) = listen([127, 0, 0, 1]);
        let (private, private_address) = listen([127, 0, 0, 2]);
        private.set_nonblocking(true).expect("it can be set");
        let both = vec![public_address, private_address];
        let client = client(vec![vec![public_address], vec![private_address], both]);
        let answering = answer_one(public);
        assert_eq!(post(&client), Ok(204));
        answering.join().expect("it has answered");
        for _ in 0..2 {
            let error = post(&client).expect_err("the address is private");
            assert!(error.contains("resolves to 127.0.0.2"), "{error}");
        }
        let connected = private.accept().map_err(|error| error.kind());
        assert_eq!(connected.expect_err("no connection"), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_receiver_must_speak_tls_unless_private_ones_are_allowed() {
        let url = "http://127.0.0.1:1/".parse().expect("a URL");
        let error = post(&Client::new(&url, false, 1)).expect_err("it is not sent");
        assert!(error.contains("https"), "{error}");
        let url = "https://127.0.0.1:1/".parse().expect("a URL");
        let error = post(&Client::new(&url, false, 1)).expect_err("it is not sent");
        assert!(error.contains("resolves to 127.0.0.1"), "{error}");
    }
}

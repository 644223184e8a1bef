//! TLS (PROTOCOL section 2): the same routes and sessions, certificates that change while sessions are open, and connections that
//! do not speak TLS.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::{Value, json};
use tokio_rustls::rustls;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::support::{DEADLINE, Folder, Server, assert_server_frame, dmwire, to};

const SETTINGS: [&str; 4] = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Puts a new certificate for `localhost` into the folder. Each file is replaced atomically, as renewal tools do.
pub fn renew(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    put(folder, "key.pem", &made.signing_key.serialize_pem());
    put(folder, "cert.pem", &made.cert.pem());
}

fn put(folder: &Path, name: &str, text: &str) {
    let part = folder.join("part");
    fs::write(&part, text).expect("a file can be written");
    fs::rename(part, folder.join(name)).expect("a file can be replaced");
}

fn certificate(folder: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(folder.join("cert.pem")).expect("a certificate")
}

fn started(more: &[&str]) -> (Arc<Folder>, Server) {
    let folder = Arc::new(Folder::new());
    renew(&folder.0);
    let server = Server::start_in(&folder, &[&SETTINGS, more].concat());
    server.wait_for_log("listening on https://127.0.0.1:");
    (folder, server)
}

fn plain(server: &Server, narrow: bool) -> TcpStream {
    let domain = socket2::Domain::for_address(server.address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
    if narrow {
        socket
            .set_recv_buffer_size(8192)
            .expect("a buffer's size can be set");
    }
    socket
        .connect(&server.address.into())
        .expect("the server accepts");
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(DEADLINE))
        .and_then(|()| stream.set_write_timeout(Some(DEADLINE)))
        .expect("a timeout can be set");
    stream
}

/// A TLS client that trusts only this certificate.
fn over_tls(
    stream: TcpStream,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Stream {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that go with the provider")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // As browsers do.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(client, stream)
}

/// A WebSocket session over TLS.
struct Wss(WebSocket<Stream>);

impl Wss {
    fn connect(
        server: &Server,
        trusted: &CertificateDer<'static>,
        path: &str,
        narrow: bool,
    ) -> Self {
        let stream = over_tls(plain(server, narrow), trusted, rustls::ALL_VERSIONS);
        let mut request = format!("wss://localhost:{}{path}", server.address.port())
            .into_client_request()
            .expect("a request");
        let origin = format!("https://localhost:{}", server.address.port());
        request
            .headers_mut()
            .insert("origin", origin.parse().expect("a header"));
        let connected = tungstenite::client(request, stream);
        let (socket, _) = connected.expect("the handshake succeeds");
        Self(socket)
    }

    fn send(&mut self, frame: &Value) {
        self.0
            .send(Message::text(frame.to_string()))
            .expect("the server reads");
    }

    fn expect(&mut self, tag: &str) -> Value {
        loop {
            match self.0.read().expect("a message") {
                Message::Text(text) => {
                    let frame = serde_json::from_str(&text).expect("server frames are JSON");
                    assert_server_frame(&frame);
                    if frame["type"] == "receipt" {
                        continue;
                    }
                    assert_eq!(frame["type"], tag, "{frame}");
                    return frame;
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected {tag}, found {other:?}"),
            }
        }
    }
}

fn get(stream: &mut Stream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the answer ends as TLS wants it");
    answer
}

#[test]
fn page_schema_and_sessions_work_over_both_tls_versions() {
    let (folder, server) = started(&[]);
    let trusted = certificate(&folder.0);
    for version in rustls::ALL_VERSIONS {
        for (path, part) in [
            ("/", "<!doctype html>"),
            ("/schema/client-frame.schema.json", "$schema"),
            ("/healthz", "\"ok\""),
            ("/ws/8888", "connect to wss://localhost/ws/8888"),
        ] {
            let mut stream = over_tls(plain(&server, false), &trusted, &[version]);
            let answer = get(&mut stream, path);
            assert!(answer.contains(part), "{path}: {answer}");
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
        }
    }
    let mut a = Wss::connect(&server, &trusted, "/ws/a", false);
    let mut b = Wss::connect(&server, &trusted, "/ws/b", false);
    for client in [&mut a, &mut b] {
        client.expect("welcome");
        client.expect("synced");
    }
    for n in 0..20 {
        let text = "x".repeat(800 * n + 1);
        a.send(&to("b", &text));
        a.expect("ack");
        assert_eq!(b.expect("message")["message"], text);
    }
    // An address with another scheme is another origin.
    let request = "GET /ws/a HTTP/1.1\r\nHost: chat.localhost:1\r\nOrigin: http://chat.localhost:1\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let request = request.to_owned();
    for (request, status) in [
        (request.clone(), "403"),
        (request.replace("http:", "https:"), "101"),
    ] {
        let mut stream = over_tls(plain(&server, false), &trusted, rustls::ALL_VERSIONS);
        stream
            .write_all(request.as_bytes())
            .expect("the server reads");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&head), format!("HTTP/1.1 {status}"));
    }
}

#[test]
fn a_client_that_reads_in_small_pieces_gets_the_whole_response() {
    let (folder, server) = started(&["--messages-per-second", "100000", "--burst", "100000"]);
    let trusted = certificate(&folder.0);
    let mut a = Wss::connect(&server, &trusted, "/ws/a", false);
    a.expect("welcome");
    a.expect("synced");
    let text = "x".repeat(15_000);
    for _ in 0..200 {
        a.send(&to("b", &text));
        a.expect("ack");
    }
    let mut b = Wss::connect(&server, &trusted, "/ws/b?since=0", true);
    b.expect("welcome");
    for seq in 1..=200 {
        assert_eq!(b.expect("message")["seq"], seq);
    }
    b.expect("synced");
}

#[test]
fn connections_without_tls_delay_nobody_and_are_closed() {
    let (folder, server) = started(&["--workers", "1"]);
    let trusted = certificate(&folder.0);
    let mut silent: Vec<_> = (0..40).map(|_| plain(&server, false)).collect();
    let mut half = plain(&server, false);
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .expect("the server reads");
    silent.push(half);
    let answer = server.get("/healthz");
    assert!(
        !answer.contains("200") && !answer.contains("ok"),
        "{answer}"
    );
    let other =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let mut stranger = over_tls(
        plain(&server, false),
        other.cert.der(),
        rustls::ALL_VERSIONS,
    );
    assert!(
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").is_err(),
        "the certificate is not trusted"
    );
    let mut a = Wss::connect(&server, &trusted, "/ws/a", false);
    a.expect("welcome");
    for mut stream in silent {
        let ended = stream.read(&mut [0; 64]);
        assert!(
            !matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "the connection is still open: {ended:?}"
        );
    }
    a.expect("synced");
}

/// Sends a request to a server with the certificate in this folder and reads the whole answer.
pub fn request_over_tls(server: &Server, folder: &Path, request: &str) -> String {
    let mut stream = over_tls(
        plain(server, false),
        &certificate(folder),
        rustls::ALL_VERSIONS,
    );
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The certificate that the server presents now.
fn presented_certificate(server: &Server, trusted: &CertificateDer<'static>) -> bool {
    let mut stream = over_tls(plain(server, false), trusted, rustls::ALL_VERSIONS);
    let asked =
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    asked.and_then(|()| stream.read_to_end(&mut answer)).is_ok()
        && answer.starts_with(b"HTTP/1.1 200 ")
}

#[test]
fn a_new_certificate_is_loaded_on_sighup_and_sessions_stay_open() {
    let (folder, server) = started(&[]);
    let first = certificate(&folder.0);
    let mut a = Wss::connect(&server, &first, "/ws/a", false);
    a.expect("welcome");
    a.expect("synced");
    assert!(presented_certificate(&server, &first));
    renew(&folder.0);
    server.signal("HUP");
    server.wait_for_log(
        "SIGHUP: reloading: TLS certificate; a change of other settings needs a restart",
    );
    server.wait_for_log("reloaded the TLS certificate");
    let second = certificate(&folder.0);
    assert!(presented_certificate(&server, &second) && !presented_certificate(&server, &first));
    a.send(&json!({"type": "ping", "ref": "1"}));
    assert_eq!(a.expect("pong")["ref"], "1");

    // A key of another certificate and a missing certificate are ignored.
    let key = fs::read_to_string(folder.0.join("key.pem")).expect("a key");
    put(
        &folder.0,
        "key.pem",
        &rcgen::KeyPair::generate().expect("a key").serialize_pem(),
    );
    server.signal("HUP");
    server.wait_for_log("is not the key of the certificate in cert.pem");
    put(&folder.0, "key.pem", &key);
    put(&folder.0, "cert.pem", "nothing\n");
    server.signal("HUP");
    server.wait_for_log("cert.pem: contains no certificate");
    assert!(presented_certificate(&server, &second));
    a.send(&json!({"type": "ping", "ref": "2"}));
    assert_eq!(a.expect("pong")["ref"], "2");
    assert!(!server.log().contains("PRIVATE"), "{}", server.log());
}

#[test]
fn a_new_certificate_is_loaded_without_a_signal() {
    let (folder, server) = started(&[]);
    renew(&folder.0);
    let second = certificate(&folder.0);
    crate::support::eventually("the new certificate is presented", || {
        presented_certificate(&server, &second)
    });
}

#[test]
fn shutdown_and_health_check_work_over_tls() {
    let (folder, mut server) = started(&["--jwt-secret", crate::support::tokens::SECRET]);
    let address = server.address.to_string();
    let checked = |more: &[&str]| {
        dmwire(
            &folder.0,
            &[&["healthcheck", "--listen", &address], more].concat(),
        )
    };
    assert_eq!(checked(&SETTINGS).code, Some(0), "{:?}", checked(&SETTINGS));
    let without_tls = checked(&[]);
    assert_eq!(without_tls.code, Some(1), "{without_tls:?}");
    assert!(
        without_tls.err.contains("--tls-cert and --tls-key")
            && without_tls.err.lines().count() == 1,
        "{without_tls:?}"
    );
    let trusted = certificate(&folder.0);
    let path = format!("/ws?token={}", crate::support::tokens::valid_token("a"));
    let mut a = Wss::connect(&server, &trusted, &path, false);
    assert_eq!(a.expect("welcome")["user_id"], "a");
    a.expect("synced");
    server.signal("TERM");
    assert_eq!(a.expect("goodbye")["code"], 1012);
    let close = a.0.read().expect("a close frame");
    assert!(
        matches!(&close, Message::Close(Some(close)) if u16::from(close.code) == 1012),
        "{close:?}"
    );
    drop(a);
    assert!(server.wait(DEADLINE).success());
}

#[test]
fn a_key_of_another_certificate_is_reported_at_start() {
    let folder = Folder::new();
    renew(&folder.0);
    put(
        &folder.0,
        "key.pem",
        &rcgen::KeyPair::generate().expect("a key").serialize_pem(),
    );
    let output = dmwire(
        &folder.0,
        &[&["--listen", "127.0.0.1:0"][..], &SETTINGS].concat(),
    );
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(
        output
            .err
            .contains("key.pem: is not the key of the certificate in cert.pem"),
        "{output:?}"
    );
    assert!(!output.err.contains("PRIVATE"), "{output:?}");
}

#[test]
fn links_to_a_server_with_tls_are_https() {
    let folder = Arc::new(Folder::new());
    renew(&folder.0);
    let server = Server::start_in(
        &folder,
        &[&SETTINGS[..], &["--listen", "0.0.0.0:0"]].concat(),
    );
    server.wait_for_output(&format!(
        "https://localhost:{}/?user=8888&to=6666#token=",
        server.address.port()
    ));
}

//! The listeners of the operations port, and what they serve.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::Certificate;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_rustls::rustls;

use crate::helpers::{Ops, answer, send};
use crate::support::{DEADLINE, Folder, Raw, Server, dmwire};

#[test]
fn each_port_serves_its_own_resources_only() {
    let ops = Ops::start(&[]);
    for path in ["/healthz", "/readyz"] {
        ops.get(path).assert_ok();
        let head = ops.request(&format!("HEAD {path}"), &[], b"");
        assert_eq!((head.status, &*head.body), (200, ""));
        assert!(ops.server.get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    for path in ["/", "/schema", "/ws", "/ws/8888", "/echo", "/v1", "/v1/"] {
        ops.get(path).assert_error(404, "not_found", None);
    }
    for path in [
        "/v1/users/8888/conversations",
        "/metrics",
        "/monitor",
        "/admin",
    ] {
        let response = ops.server.get(path);
        assert!(response.starts_with("HTTP/1.1 404"), "{path}: {response}");
        assert!(response.contains("operations port"), "{path}: {response}");
    }
    let response = ops.request("DELETE /v1/users/8888/history", &[], b"");
    response.assert_error(405, "method_not_allowed", None);
    assert!(response.head.contains("allow: get"), "{response:?}");
    let response = ops.request("POST /healthz", &[], b"");
    response.assert_error(405, "method_not_allowed", None);
    assert!(response.head.contains("allow: get, head"), "{response:?}");
    for header in ["x-content-type-options: nosniff", "cache-control: no-store"] {
        assert!(response.head.contains(header), "{header}: {response:?}");
    }
}

#[test]
fn a_configured_address_in_use_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = Folder::new();
    let arguments = ["--listen", "127.0.0.1:0", "--ops-listen", &address];
    let output = dmwire(&folder.0, &arguments);
    assert_eq!(output.code, Some(1), "{output:?}");
    let named = output.err.contains(&format!("{address} (--ops-listen)"));
    assert!(named && output.err.contains("another"), "{output:?}");
    assert!(!folder.0.join("dmwire.db").exists());
}

#[test]
fn a_default_address_in_use_is_a_warning() {
    // One of the two may be in use already; then that is the case to be tested.
    let _taken = TcpListener::bind("127.0.0.1:8081");
    let folder = Arc::new(Folder::new());
    let file = folder.0.join("dmwire.toml");
    // The test harness sets the flag; an empty value there would be an error.
    std::fs::write(&file, "ops_listen = []\n").expect("a writable folder");
    let mut command = crate::support::program(&folder.0, &["--listen", "127.0.0.1:0"]);
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program starts");
    let stderr = child.stderr.take().expect("a pipe");
    let mut found = [false; 2];
    let mut log = String::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(stderr)) {
        let line = line.expect("UTF-8");
        found[0] |= line.contains("without an operations port");
        found[1] |= line.contains("listening on http");
        log.push_str(&line);
        if found[1] {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(found, [true, true], "{log}");
    assert!(!log.contains("operations port on"), "{log}");
}

#[test]
fn the_operations_port_can_be_off() {
    let server = Server::start(&["--ops-listen", "off"]);
    server.wait_for_log("listening on http");
    server.get("/healthz");
    assert!(
        !server.log().contains("operations port"),
        "{}",
        server.log()
    );
}

#[test]
fn the_port_is_not_ready_while_the_server_drains() {
    let mut ops = Ops::start(&[]);
    ops.get("/readyz").assert_ok();
    // A client that does not close delays the shutdown for a moment.
    let stays = Raw::upgrade(&ops.server, "/ws/a");
    // Connected before, and asked at once, because the moment is short.
    let mut asking = ["/readyz", "/v1/users/a/conversations", "/healthz"].map(|path| {
        let stream = TcpStream::connect(ops.address).expect("the port accepts");
        (path, stream)
    });
    ops.server.signal("TERM");
    ops.server.wait_for_log("shutting down");
    for (path, stream) in &mut asking {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            ops.address
        );
        stream
            .write_all(request.as_bytes())
            .expect("the port reads");
    }
    let [ready, call, alive] = asking.map(|(_, stream)| answer(stream));
    ready.assert_error(503, "draining", None);
    call.assert_error(503, "draining", None);
    alive.assert_ok();
    drop(stays);
    let status = ops.server.wait(DEADLINE);
    assert!(status.success());
    assert!(TcpStream::connect(ops.address).is_err());
}

/// `GET` over TLS, by a client that trusts only this certificate.
fn get_over_tls(ops: &Ops, certificate: &Certificate, path: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate.der().clone())
        .expect("a certificate of a server");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that go with the provider")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let stream = TcpStream::connect(ops.address).expect("the port accepts");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    let mut stream = StreamOwned::new(client, stream);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the port reads");
    let mut answer = Vec::new();
    // The connection may end without the notice of TLS.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("the answer is text")
}

#[test]
fn the_port_speaks_tls_only_if_it_is_asked_to() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = Arc::new(Folder::new());
    std::fs::write(folder.0.join("cert.pem"), made.cert.pem()).expect("a writable folder");
    std::fs::write(folder.0.join("key.pem"), made.signing_key.serialize_pem())
        .expect("a writable folder");
    let settings = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let plain = Ops::start_in(&folder, &settings);
    plain.get("/v1/users/a/conversations").assert_ok();
    drop(plain);
    let ops = Ops::start_in(&folder, &[&settings[..], &["--ops-tls"]].concat());
    ops.server.wait_for_log("operations port on https://");
    for path in ["/readyz", "/v1/users/a/conversations"] {
        let answer = get_over_tls(&ops, &made.cert, path);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

#[test]
fn a_request_that_is_not_http_gets_an_error() {
    let ops = Ops::start(&[]);
    let response = send(ops.address, b"GARBAGE\r\n\r\n");
    assert_eq!(response.status, 400, "{response:?}");
}

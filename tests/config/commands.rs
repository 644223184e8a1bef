//! The commands `serve`, `schema export` and `healthcheck`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::run::Run;
use crate::support::{Client, Server};

#[test]
fn the_schemas_cannot_be_exported_into_a_file() {
    // The export uses no setting, so an invalid one does not matter.
    let run = Run::new("schema export taken").variable("DMWIRE_WORKERS", "many");
    let outcome = run.file("taken", "").end();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .starts_with("dmwire: cannot write the schemas to taken: "),
        "{outcome:?}"
    );
}

#[test]
fn a_server_that_responds_with_200_is_healthy() {
    let (address, request) = respond_once("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let run = Run::new("healthcheck --base-path /demo");
    let outcome = run.variable("DMWIRE_LISTEN", &address.to_string()).end();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let request = request.join().expect("the server has responded");
    assert!(
        request.starts_with("GET /demo/healthz HTTP/1.1\r\nHost: 127.0.0.1:"),
        "{request}"
    );
}

#[test]
fn an_unspecified_address_is_reached_on_loopback_without_open() {
    let (address, _) = respond_once("HTTP/1.1 200 OK\r\n\r\n");
    let outcome = Run::new(&format!("healthcheck --listen 0.0.0.0:{}", address.port())).end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn any_other_response_is_unhealthy() {
    for (response, why) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
        ("SSH-2.0-x\r\n", "SSH"),
        ("", "not 200"),
    ] {
        let (address, _) = respond_once(response);
        let outcome = Run::new(&format!("healthcheck --listen {address}")).end();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains(why) && outcome.stderr.lines().count() == 1,
            "{outcome:?}"
        );
        assert!(!outcome.stderr.contains("TLS"), "{outcome:?}");
    }
}

#[test]
fn a_refused_connection_or_port_0_is_unhealthy() {
    // Bound without listening: no other process gets the port, and connections are refused.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    let free = held
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("a bound socket");
    for (address, why) in [
        (free.to_string(), "refused"),
        ("127.0.0.1:0".to_owned(), "port 0"),
    ] {
        let outcome = Run::new(&format!("healthcheck --listen {address}")).end();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains(why) && outcome.stderr.lines().count() == 1,
            "{outcome:?}"
        );
    }
}

#[test]
fn serve_is_the_default_command() {
    let invalid = ["--workers: \"0\"", "1 to 512"];
    Run::new("serve --workers 0").fails_with(&invalid);
    Run::new("--workers 0 serve").fails_with(&invalid);
    Run::new("--workers 0").fails_with(&invalid);
    let server = Server::start(&["serve"]);
    Client::fresh(&server, "a");
}

/// A server that responds to one connection. Returns its address and the request that it receives.
fn respond_once(response: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let request = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut buffer = [0; 512];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer).expect("a request") {
                0 => break,
                read => request.extend_from_slice(&buffer[..read]),
            }
        }
        stream
            .write_all(response.as_bytes())
            .expect("the client reads the response");
        String::from_utf8_lossy(&request).into_owned()
    });
    (address, request)
}

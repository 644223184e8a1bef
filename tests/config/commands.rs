//! The commands `schema` and `healthcheck`.

use crate::run::Run;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

#[test]
fn the_schema_cannot_be_exported_into_a_file() {
    // No setting matters to the export, so none can stand in its way.
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
fn a_server_that_answers_200_is_healthy() {
    let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let run = Run::new("healthcheck --base-path /demo");
    let outcome = run.variable("DMWIRE_LISTEN", &address.to_string()).end();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let asked = asked.join().expect("the server has answered");
    assert!(
        asked.starts_with("GET /demo/healthz HTTP/1.1\r\nHost: 127.0.0.1:"),
        "{asked}"
    );
}

#[test]
fn an_unspecified_address_is_reached_on_loopback_and_needs_no_open() {
    let (address, _) = answering("HTTP/1.1 200 OK\r\n\r\n");
    let outcome = Run::new(&format!("healthcheck --listen 0.0.0.0:{}", address.port())).end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn any_other_answer_is_unhealthy() {
    for (answer, why) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
        ("SSH-2.0-x\r\n", "SSH"),
        ("", "not 200"),
    ] {
        let (address, _) = answering(answer);
        let outcome = Run::new(&format!("healthcheck --listen {address}")).end();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains(why) && outcome.stderr.lines().count() == 1,
            "{outcome:?}"
        );
    }
}

#[test]
fn nobody_listening_or_port_0_is_unhealthy() {
    // Bound and never listening: nobody else gets the port, and whoever connects is refused.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    let free = held
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("it is bound");
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

/// A server that answers one connection and returns what it was asked.
fn answering(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the health check connects");
        let mut asked = Vec::new();
        let mut piece = [0; 512];
        while !asked.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece).expect("the health check asks") {
                0 => break,
                read => asked.extend_from_slice(&piece[..read]),
            }
        }
        stream
            .write_all(answer.as_bytes())
            .expect("the health check listens");
        String::from_utf8_lossy(&asked).into_owned()
    });
    (address, asked)
}

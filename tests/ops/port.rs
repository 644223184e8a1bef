//! The listeners of the operations port, and what they serve.

use std::net::TcpListener;
use std::sync::Arc;

use crate::helpers::{Ops, send};
use crate::support::{DEADLINE, Folder, Server, dmwire};

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
fn health_is_served_while_the_server_drains() {
    let mut ops = Ops::start(&[]);
    let mut raw = crate::support::Client::fresh(&ops.server, "8888");
    ops.server.signal("TERM");
    raw.until("goodbye");
    let status = ops.server.wait(DEADLINE);
    assert!(status.success());
    assert!(std::net::TcpStream::connect(ops.address).is_err());
}

#[test]
fn a_request_that_is_not_http_gets_an_error() {
    let ops = Ops::start(&[]);
    let response = send(ops.address, b"GARBAGE\r\n\r\n");
    assert_eq!(response.status, 400, "{response:?}");
}

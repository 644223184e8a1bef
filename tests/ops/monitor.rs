//! `GET /monitor`

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::helpers::{Ops, new_key};
use crate::support::{Client, DEADLINE, Folder, eventually};

/// Connects with these headers; an error is the status of the response.
fn connect(ops: &Ops, headers: &[(&'static str, &str)]) -> Result<WebSocket<TcpStream>, u16> {
    let stream = TcpStream::connect(ops.address).expect("the port accepts");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    let url = format!("ws://{}/monitor", ops.address);
    let mut request = url.into_client_request().expect("a valid request");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a valid header");
        request.headers_mut().insert(*name, value);
    }
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(error) => panic!("the handshake fails: {error}"),
    }
}

/// The next frame, which must be valid by the schema.
fn frame(socket: &mut WebSocket<TcpStream>) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/monitor-frame.schema.json");
    let schema = fs::read_to_string(path).expect("the schema is exported");
    let schema: Value = serde_json::from_str(&schema).expect("a schema is JSON");
    let text = loop {
        match socket.read().expect("a frame") {
            Message::Text(text) => break text,
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("expected a frame, found {other:?}"),
        }
    };
    let frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("the schema compiles");
    if let Err(error) = validator.validate(&frame) {
        panic!("{frame}: {error}");
    }
    frame
}

/// Reads until the connection is closed with this code. Returns the last text before.
fn last_text(socket: &mut WebSocket<TcpStream>, code: u16) -> Value {
    let mut last = Value::Null;
    loop {
        match socket.read().expect("a frame") {
            Message::Text(text) => last = serde_json::from_str(&text).expect("JSON"),
            Message::Close(Some(close)) => {
                assert_eq!(u16::from(close.code), code);
                return last;
            }
            _ => {}
        }
    }
}

/// The server has read its keys.
fn wait_until_accepted(ops: &Ops, authorization: &str) {
    eventually("the keys are loaded", || {
        connect(ops, &[("authorization", authorization)]).is_ok()
    });
}

#[test]
fn a_frame_is_sent_immediately_and_then_every_second() {
    let ops = Ops::start(&[]);
    let _client = Client::fresh(&ops.server, "8888");
    let mut socket = connect(&ops, &[]).expect("the monitor accepts");
    for _ in 0..3 {
        let frame = frame(&mut socket);
        assert_eq!(frame["type"], "metrics");
        assert_eq!(
            (&frame["sessions"], &frame["users"]),
            (&1.into(), &1.into())
        );
        assert!(frame["memory_bytes"].as_u64() > Some(4096), "{frame}");
        // Input is ignored.
        socket
            .send(Message::text("{\"type\":\"nonsense\"}"))
            .expect("it can be sent");
    }
}

#[test]
fn a_client_that_does_not_read_delays_nobody() {
    let mut ops = Ops::start(&[]);
    let silent: Vec<_> = (0..20)
        .map(|_| connect(&ops, &[]).expect("the monitor accepts"))
        .collect();
    let mut socket = connect(&ops, &[]).expect("the monitor accepts");
    for _ in 0..3 {
        frame(&mut socket);
    }
    Client::fresh(&ops.server, "8888");
    ops.server.signal("TERM");
    assert!(ops.server.wait(DEADLINE).success());
    drop(silent);
}

#[test]
fn the_monitor_ends_with_the_server() {
    let ops = Ops::start(&[]);
    let mut socket = connect(&ops, &[]).expect("the monitor accepts");
    frame(&mut socket);
    ops.server.signal("TERM");
    loop {
        match socket.read() {
            Ok(Message::Close(Some(close))) => {
                assert_eq!(u16::from(close.code), 1012);
                break;
            }
            Ok(_) => {}
            Err(error) => panic!("no close frame: {error}"),
        }
    }
}

#[test]
fn a_key_may_be_a_subprotocol_and_a_rejected_client_gets_a_goodbye() {
    let (reader, reader_line) = new_key("reader");
    let (writer, writer_line) = new_key("writer");
    let folder = Arc::new(Folder::new());
    let lines = format!("{reader_line} read\n{writer_line} write\n");
    fs::write(folder.0.join("keys"), lines).expect("a writable folder");
    let ops = Ops::start_in(&folder, &["--api-key-file", "keys"]);
    let name = "sec-websocket-protocol";
    let offer = |key: &str| format!("dmwire.v1, bearer.{key}");
    let mut socket = connect(&ops, &[(name, &offer(&reader))]).expect("accepted");
    frame(&mut socket);
    let authorization = format!("Bearer {reader}");
    let mut socket = connect(&ops, &[("authorization", &authorization)]).expect("accepted");
    frame(&mut socket);
    assert_eq!(connect(&ops, &[]).err(), Some(401));
    for (key, code, reason) in [("x", 4401, "unauthorized"), (&writer, 4403, "forbidden")] {
        let mut socket = connect(&ops, &[(name, &offer(key))]).expect("it is upgraded");
        let Ok(Message::Text(text)) = socket.read() else {
            panic!("no goodbye");
        };
        let goodbye: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(goodbye["type"], "goodbye", "{goodbye}");
        assert_eq!(goodbye["code"], code, "{goodbye}");
        assert_eq!(goodbye["reason"], reason, "{goodbye}");
        assert_eq!(goodbye["reconnect"], false, "{goodbye}");
        let Ok(Message::Close(Some(close))) = socket.read() else {
            panic!("no close frame");
        };
        assert_eq!(u16::from(close.code), code);
    }
    // So does a client whose key is removed, or loses the scope.
    let mut sockets = [
        connect(&ops, &[("authorization", &authorization)]),
        connect(&ops, &[(name, &offer(&reader))]),
    ]
    .map(|socket| socket.expect("accepted"));
    for socket in &mut sockets {
        frame(socket);
    }
    fs::write(folder.0.join("keys"), format!("{reader_line} write\n")).expect("a writable folder");
    ops.server.signal("HUP");
    let [plain, offered] = &mut sockets;
    assert_eq!(last_text(offered, 4403)["reason"], "forbidden");
    assert_ne!(last_text(plain, 4403)["type"], "goodbye");
    fs::write(folder.0.join("keys"), format!("{reader_line} read\n")).expect("a writable folder");
    ops.server.signal("HUP");
    wait_until_accepted(&ops, &authorization);
    let mut socket = connect(&ops, &[(name, &offer(&reader))]).expect("accepted");
    frame(&mut socket);
    fs::write(folder.0.join("keys"), "").expect("a writable folder");
    ops.server.signal("HUP");
    assert_eq!(last_text(&mut socket, 4401)["reason"], "unauthorized");
    fs::write(folder.0.join("keys"), format!("{reader_line} read\n")).expect("a writable folder");
    ops.server.signal("HUP");
    wait_until_accepted(&ops, &authorization);
    // With a key, pages of other origins are still rejected; without an upgrade, the answer says what is needed.
    let headers = [
        ("authorization", &*authorization),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(connect(&ops, &headers).err(), Some(403));
    ops.get_with("/monitor", &reader)
        .assert_error(426, "upgrade_required", None);
    ops.get("/monitor").assert_error(401, "unauthorized", None);
}

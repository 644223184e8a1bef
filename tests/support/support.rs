//! What black-box tests stand on: the real binary on a free port, and clients that speak WebSocket to it from outside.
//!
//! Every frame that a [`Client`] receives is validated against the committed schema of server frames.

#![allow(dead_code, missing_docs)] // each test binary uses its own part of it

pub mod pair;
pub mod tokens;

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::Response;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

/// How long a test waits for what must come. Far longer than it takes, so that a busy machine fails no test.
pub const DEADLINE: Duration = Duration::from_secs(20);

static SERVER_FRAMES: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/server-frame.schema.json");
    let text = fs::read_to_string(path).expect("the schema is there");
    let schema = serde_json::from_str(&text).expect("the schema is JSON");
    jsonschema::draft202012::new(&schema).expect("the schema compiles")
});

/// Fails unless `frame` is a server frame by the schema.
pub fn assert_server_frame(frame: &Value) {
    if let Err(error) = SERVER_FRAMES.validate(frame) {
        panic!("not a server frame by the schema: {frame}\n{error}");
    }
}

/// A folder of the test's own, removed when it is done.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dmwire-test-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Log>,
    out: Arc<Log>,
    arguments: Vec<String>,
    folder: Arc<Folder>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Server {
    /// Starts the server on a free loopback port, with a store on disk in a folder of its own.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self::launch(arguments, Arc::new(Folder::new()), 0)
    }

    fn launch(arguments: Vec<String>, folder: Arc<Folder>, port: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
            command.env_remove(name);
        }
        if !arguments.iter().any(|argument| argument == "--listen") {
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        }
        let mut child = command
            .args(&arguments)
            // A private database that a kill leaves behind goes with the folder.
            .env("TMPDIR", &folder.0)
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server can be started");
        let log = Log::of(child.stderr.take().expect("stderr is piped"));
        let out = Log::of(child.stdout.take().expect("stdout is piped"));
        let line = log.wait_for("listening on http");
        let address = line
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split(['/', ' ', '"']).next())
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Self {
            child,
            address,
            log,
            out,
            arguments,
            folder,
        }
    }

    /// Starts it again on the same folder and the same port, after [`Server::kill`] or [`Server::wait`].
    pub fn restart(&mut self) {
        let port = self.address.port();
        let again = Self::launch(self.arguments.clone(), self.folder.clone(), port);
        drop(std::mem::replace(self, again));
    }

    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would: SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {name} {pid}"
        );
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("the server can be waited for") {
                return status;
            }
            assert!(
                Instant::now() < until,
                "the server has not ended within {within:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a line of the log that has `text` in it.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Waits for a line on stdout that has `text` in it.
    pub fn wait_for_output(&self, text: &str) -> String {
        self.out.wait_for(text)
    }

    pub fn log(&self) -> String {
        self.log.lines.lock().expect("the log is whole").join("\n")
    }

    /// Resident memory in KiB, from /proc.
    pub fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server is running");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .expect("VmRSS is a number")
    }

    /// A plain HTTP request; gives status line, headers and body as one text.
    pub fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the server accepts");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        stream
            .write_all(request.as_bytes())
            .expect("the request can be sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// `GET path`, closing the connection afterwards.
    pub fn get(&self, path: &str) -> String {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Log {
    /// Fills with the lines of a stream.
    fn of(stream: impl std::io::Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                sink.lines.lock().expect("the log is whole").push(line);
                sink.grown.notify_all();
            }
        });
        log
    }

    fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut lines = self.lines.lock().expect("the log is whole");
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{text:?} is not in the log:\n{}",
                lines.join("\n")
            );
            lines = self
                .grown
                .wait_timeout(lines, left)
                .expect("the log is whole")
                .0;
        }
    }
}

/// A client of the server, one WebSocket.
pub struct Client {
    socket: WebSocket<TcpStream>,
    pub response: Response,
    /// The `welcome` that it began with.
    pub welcome: Value,
    /// Receipts that came between other frames: they come when they come, so that they are kept apart.
    receipts: VecDeque<Value>,
}

/// How a connection ended: the close code, if a close frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed(u16),
    ClosedWithoutCode,
    Lost,
}

impl Client {
    /// Connects as a user and reads `welcome`. `query` is what stands behind the user id, such as `?since=3`.
    pub fn connect(server: &Server, user: &str, query: &str) -> Self {
        let mut client =
            Self::dial(server, &format!("/ws/{user}{query}"), &[]).expect("the handshake succeeds");
        client.welcome = client.expect("welcome");
        client
    }

    /// Connects and reads up to `synced`, which must come with nothing before it.
    pub fn fresh(server: &Server, user: &str) -> Self {
        let mut client = Self::connect(server, user, "");
        client.expect("synced");
        client
    }

    /// Connects to any address, reading nothing.
    #[allow(clippy::result_large_err)]
    pub fn dial(server: &Server, path: &str, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let stream = TcpStream::connect(server.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{}{path}", server.address).into_client_request()?;
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header's name");
            let value = HeaderValue::from_str(value).expect("a header's value");
            request.headers_mut().append(name, value);
        }
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let (socket, response) =
            match tungstenite::client::client_with_config(request, stream, Some(config)) {
                Ok(both) => both,
                Err(tungstenite::HandshakeError::Failure(error)) => return Err(error),
                Err(tungstenite::HandshakeError::Interrupted(_)) => {
                    panic!("the handshake took too long")
                }
            };
        Ok(Self {
            socket,
            response,
            welcome: Value::Null,
            receipts: VecDeque::new(),
        })
    }

    pub fn session_id(&self) -> &str {
        self.welcome["session_id"].as_str().expect("a session id")
    }

    pub fn epoch(&self) -> &str {
        self.welcome["epoch"].as_str().expect("an epoch")
    }

    /// The underlying stream, to cut it or to write what no client would.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    pub fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    pub fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text));
    }

    pub fn send_message(&mut self, message: Message) {
        self.socket
            .send(message)
            .expect("the server takes what is sent");
    }

    /// Sends without looking whether it arrives.
    pub fn try_send_text(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    /// The next WebSocket message, pings and pongs included.
    #[allow(clippy::result_large_err)]
    pub fn next_message(&mut self) -> Result<Message, Error> {
        self.socket.read()
    }

    /// The next frame but for receipts, or how the connection ended. Answers pings by the way.
    pub fn next(&mut self) -> Result<Value, End> {
        loop {
            let frame = self.next_frame()?;
            if frame["type"] != "receipt" {
                return Ok(frame);
            }
            self.receipts.push_back(frame);
        }
    }

    /// The next receipt. Whatever else comes before it is an error.
    pub fn receipt(&mut self) -> Value {
        if let Some(receipt) = self.receipts.pop_front() {
            return receipt;
        }
        let frame = self.next_frame().expect("a receipt is due");
        assert_eq!(frame["type"], "receipt", "{frame}");
        frame
    }

    /// Receipts that have come between other frames and were not asked for.
    pub fn receipts(&mut self) -> Vec<Value> {
        self.receipts.drain(..).collect()
    }

    fn next_frame(&mut self) -> Result<Value, End> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame = serde_json::from_str(&text).expect("server frames are JSON");
                    assert_server_frame(&frame);
                    return Ok(frame);
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(Some(close))) => return Err(End::Closed(close.code.into())),
                Ok(Message::Close(None)) => return Err(End::ClosedWithoutCode),
                Ok(other) => panic!("the server sent {other:?}"),
                Err(Error::Io(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came within {DEADLINE:?}")
                }
                Err(_) => return Err(End::Lost),
            }
        }
    }

    pub fn recv(&mut self) -> Value {
        self.next()
            .unwrap_or_else(|end| panic!("a frame was due, but the connection ended: {end:?}"))
    }

    /// The next frame, which must be of this type.
    pub fn expect(&mut self, tag: &str) -> Value {
        let frame = self.recv();
        assert_eq!(frame["type"], tag, "{frame}");
        frame
    }

    /// Reads until a frame of this type comes.
    pub fn until(&mut self, tag: &str) -> Value {
        loop {
            let frame = self.recv();
            if frame["type"] == tag {
                return frame;
            }
        }
    }

    /// Sends a frame and reads its direct reply, which must be next.
    pub fn ask(&mut self, frame: &Value) -> Value {
        self.send(frame);
        self.recv()
    }

    /// Proves that nothing is under way: the next frame is the answer to a `ping`.
    pub fn assert_quiet(&mut self) {
        self.send_text(r#"{"type":"ping","ref":"quiet?"}"#);
        let frame = self.recv();
        assert_eq!(
            (&frame["type"], &frame["ref"]),
            (&"pong".into(), &"quiet?".into()),
            "{frame}"
        );
    }

    /// Reads `goodbye` (after whatever else) and the close frame behind it.
    pub fn goodbye(&mut self) -> (Value, End) {
        let goodbye = self.until("goodbye");
        let end = self.next().expect_err("nothing follows goodbye");
        (goodbye, end)
    }

    /// Closes and waits until the server has closed too.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        while self.socket.read().is_ok() {}
    }
}

/// A connection that writes raw bytes: for what no client library would send.
pub struct Raw {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// A frame as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?;
        Some(u16::from_be_bytes([code[0], code[1]]))
    }

    /// The JSON of a text frame, validated.
    pub fn json(&self) -> Value {
        let frame = serde_json::from_slice(&self.payload).expect("server frames are JSON");
        assert_server_frame(&frame);
        frame
    }
}

impl Raw {
    /// Does the handshake by hand.
    pub fn upgrade(server: &Server, path: &str) -> Self {
        let mut raw = Self::open(server);
        raw.write(
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Connects and writes nothing.
    pub fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).expect("the server accepts");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .expect("the server takes what is sent");
    }

    /// Reads an HTTP response's head.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(self.fill(), "the connection ended within the head");
        }
    }

    fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.read.extend_from_slice(&buffer[..n]);
                n > 0
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came within {DEADLINE:?}")
            }
            Err(_) => false,
        }
    }

    /// The next frame; `None` when the connection has ended. Receipts, which come when they come, are left out.
    pub fn frame(&mut self) -> Option<RawFrame> {
        loop {
            if let Some((frame, used)) = parse_frame(&self.read) {
                self.read.drain(..used);
                if frame.payload.starts_with(br#"{"type":"receipt""#) {
                    continue;
                }
                return Some(frame);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads on until a close frame comes; gives its code, and the `goodbye` before it if there was one. `None` when the
    /// connection ended without one.
    pub fn until_close(&mut self) -> Option<(u16, Option<Value>)> {
        let mut goodbye = None;
        while let Some(frame) = self.frame() {
            match frame.opcode {
                1 => {
                    let json = frame.json();
                    assert!(goodbye.is_none(), "{json} follows goodbye");
                    if json["type"] == "goodbye" {
                        goodbye = Some(json);
                    }
                }
                8 => return Some((frame.close_code().expect("a close code"), goodbye)),
                _ => {}
            }
        }
        None
    }
}

/// A server's frame at the start of `bytes`, and its length.
fn parse_frame(bytes: &[u8]) -> Option<(RawFrame, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    assert_eq!(
        first & 0xF0,
        0x80,
        "server frames are whole and use no extension"
    );
    assert_eq!(second & 0x80, 0, "server frames are not masked");
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (
                usize::try_from(u64::from_be_bytes(*length)).expect("a length"),
                rest,
            )
        }
        short => (usize::from(short), rest),
    };
    let payload = rest.get(..length)?.to_vec();
    let used = bytes.len() - rest.len() + length;
    let opcode = first & 0x0F;
    Some((RawFrame { opcode, payload }, used))
}

/// A client's frame, masked. `first` is its first byte: 0x81 is a whole text message.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x3A, 0x91, 0x07, 0xC4];
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        medium @ 126..=65535 => {
            out.push(0xFE);
            out.extend((medium as u16).to_be_bytes());
        }
        long => {
            out.push(0xFF);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out
}

/// A text message to a user.
pub fn to(user: &str, text: &str) -> Value {
    serde_json::json!({"message": text, "target_user": user})
}

/// Waits until `reached` says so.
pub fn eventually(what: &str, mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Server {
    /// The most memory that was ever resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server is running");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .expect("VmHWM is a number")
    }
}

impl Raw {
    /// As [`Raw::upgrade`], with a receive buffer so small that the server soon notices when nobody reads.
    pub fn narrow(server: &Server, path: &str) -> Self {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(server.address),
            socket2::Type::STREAM,
            None,
        )
        .expect("a socket is to be had");
        socket
            .set_recv_buffer_size(8192)
            .expect("a buffer's size can be set");
        socket
            .connect(&server.address.into())
            .expect("the server accepts");
        let mut raw = Self {
            stream: socket.into(),
            read: Vec::new(),
        };
        let stream = &raw.stream;
        stream
            .set_read_timeout(Some(DEADLINE))
            .and_then(|()| stream.set_write_timeout(Some(DEADLINE)))
            .expect("a timeout can be set");
        raw.write(
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// The JSON of the next text frame, not validated: for tests that read very many. `None` when the connection has ended.
    pub fn text(&mut self) -> Option<Value> {
        loop {
            let frame = self.frame()?;
            if frame.opcode == 1 {
                return Some(
                    serde_json::from_slice(&frame.payload).expect("server frames are JSON"),
                );
            }
        }
    }
}

/// A client's WebSocket handshake. `more` is further header lines, each with its line end.
pub fn handshake(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// Status and JSON body of an HTTP answer.
pub fn json_answer(answer: &str) -> (u16, Value) {
    let parts = answer.split_once("\r\n\r\n");
    let (head, body) = parts.unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    (status.expect("a status"), body)
}

impl Raw {
    /// Does the handshake with further header lines, and gives the head of the answer, which must be a 101.
    pub fn admitted(server: &Server, path: &str, more: &str) -> (Self, String) {
        let mut raw = Self::open(server);
        raw.write(handshake(path, more).as_bytes());
        let head = raw.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{path} {more}: {head}");
        (raw, head)
    }

    /// The next frame that is neither ping nor pong.
    pub fn next(&mut self) -> Option<RawFrame> {
        loop {
            let frame = self.frame()?;
            if !matches!(frame.opcode, 9 | 10) {
                return Some(frame);
            }
        }
    }

    /// The next text frame's JSON, which must be of this type.
    pub fn expect(&mut self, tag: &str) -> Value {
        let frame = self
            .next()
            .unwrap_or_else(|| panic!("`{tag}` was due, but the connection ended"));
        assert_eq!(frame.opcode, 1, "{tag} was due: {frame:?}");
        let json = frame.json();
        assert_eq!(json["type"], tag, "{json}");
        json
    }

    /// Proves that the server has closed the connection properly, and that nothing came before that.
    pub fn assert_end(&mut self) {
        let read = self.stream.read(&mut [0]);
        assert!(matches!(read, Ok(0)), "the end was due: {read:?}");
        assert_eq!(self.frame(), None);
    }
}

/// A frame about a message of one's conversation with a user: `read`, `delete`, or what becomes an `edit` or `react` with
/// the fields added by [`with`].
pub fn about(tag: &str, user: &str, id: &Value) -> Value {
    serde_json::json!({"type": tag, "target_user": user, "id": id})
}

/// The frame with these fields set.
pub fn with(mut frame: Value, fields: &Value) -> Value {
    for (name, field) in fields.as_object().expect("fields are an object") {
        frame[name] = field.clone();
    }
    frame
}

/// Fails unless the frame has these fields; `null` stands for one that it must not have.
#[track_caller]
pub fn assert_has(frame: &Value, fields: &Value) {
    for (name, field) in fields.as_object().expect("fields are an object") {
        let found = frame.get(name);
        let expected = Some(field).filter(|field| !field.is_null());
        assert_eq!(found, expected, "{name} of {frame}");
    }
}

/// Sends frames in as few TCP segments as possible, so that the server finds them all at once.
pub fn burst(client: &mut Client, frames: &[Value]) {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| client_frame(0x81, frame.to_string().as_bytes()))
        .collect();
    client
        .stream()
        .write_all(&bytes)
        .expect("the server takes what is sent");
}

/// Numbers that look random and are the same each time for the same seed (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end`, without it.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True `times` times of a hundred.
    pub fn percent(&mut self, times: usize) -> bool {
        self.below(100) < times
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A message id.
    pub fn uuid(&mut self) -> String {
        let bytes = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes())
            .into_uuid()
            .to_string()
    }
}

/// A number that the environment may set. It is printed, so that a failure can be run again.
pub fn setting(name: &str, otherwise: impl FnOnce() -> u64) -> u64 {
    let value = match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text}: expected a number")),
        Err(_) => otherwise(),
    };
    eprintln!("{name}={value}");
    value
}

/// A seed that nobody chose.
pub fn any_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 >> 16
}

impl Server {
    /// What `dmwire verify` says of its store, and whether that is well.
    pub fn verify(&self) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
            command.env_remove(name);
        }
        let output = command
            .arg("verify")
            .current_dir(&self.folder.0)
            .stdin(Stdio::null())
            .output()
            .expect("the program can be started");
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }
}

impl Client {
    /// Connects and reads `welcome`; `None` when the server goes away meanwhile.
    pub fn try_connect(server: &Server, user: &str, query: &str) -> Option<Self> {
        let mut client = Self::dial(server, &format!("/ws/{user}{query}"), &[]).ok()?;
        client.welcome = client.next().ok()?;
        assert_eq!(client.welcome["type"], "welcome");
        Some(client)
    }

    /// Ends the connection without a word. `reset`: by an RST, which also throws away what is under way.
    pub fn cut(mut self, reset: bool) {
        cut(self.stream(), reset);
    }
}

/// Ends a connection without a word; see [`Client::cut`].
pub fn cut(stream: &TcpStream, reset: bool) {
    if reset {
        // Linger zero: closing sends an RST (the caller drops the stream next).
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    } else {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Server {
    /// As [`Server::start`], in a folder that is there already.
    pub fn start_in(folder: &Arc<Folder>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self::launch(arguments, folder.clone(), 0)
    }

    /// The file of its store.
    pub fn store(&self) -> PathBuf {
        self.folder.0.join("dmwire.db")
    }
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The program, to be run in a folder with nothing of ours in its environment.
pub fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder);
    command
}

/// Runs the program in a folder to its end.
pub fn dmwire(folder: &Path, arguments: &[&str]) -> Said {
    run_to_end(program(folder, arguments))
}

/// Runs a command to its end, which must come in time.
pub fn run_to_end(mut command: Command) -> Said {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut out = child.stdout.take().expect("stdout is piped");
    let mut err = child.stderr.take().expect("stderr is piped");
    let out = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let until = Instant::now() + 3 * DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            break Some(status);
        }
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let said = Said {
        code: status.and_then(|status| status.code()),
        out: out.join().expect("stdout is read"),
        err: err.join().expect("stderr is read"),
    };
    assert!(status.is_some(), "it has not ended: {said:?}");
    said
}

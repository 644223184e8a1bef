//! A WebSocket client whose frames are checked against the schema.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::Response;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use super::{DEADLINE, Server, assert_server_frame, client_frame};

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

/// Ends a connection without a word; see [`Client::cut`].
pub fn cut(stream: &TcpStream, reset: bool) {
    if reset {
        // Linger zero: closing sends an RST (the caller drops the stream next).
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    } else {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

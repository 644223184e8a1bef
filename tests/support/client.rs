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

use super::uninterrupted::Uninterrupted;
use super::{DEADLINE, Server, assert_server_frame, client_frame};

/// One WebSocket connection to the server.
pub struct Client {
    socket: WebSocket<Uninterrupted>,
    pub response: Response,
    /// The `welcome` frame, the first of every session.
    pub welcome: Value,
    /// Receipts that arrived before other frames. They may arrive at any time, so they are kept apart from the frames that tests
    /// wait for.
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
    /// Connects as a user and reads `welcome`. `query` follows the user id in the path, such as `?since=3`.
    pub fn connect(server: &Server, user: &str, query: &str) -> Self {
        let mut client =
            Self::dial(server, &format!("/ws/{user}{query}"), &[]).expect("the handshake succeeds");
        client.welcome = client.expect("welcome");
        client
    }

    /// Connects and reads `synced`, which must be the first frame after `welcome`.
    pub fn fresh(server: &Server, user: &str) -> Self {
        let mut client = Self::connect(server, user, "");
        client.expect("synced");
        client
    }

    /// Connects to any path and reads nothing.
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
        let (socket, response) = match tungstenite::client::client_with_config(
            request,
            Uninterrupted(stream),
            Some(config),
        ) {
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

    /// The underlying stream, to close it or to write bytes that no client library sends.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.socket.get_mut().0
    }

    pub fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    pub fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text));
    }

    pub fn send_message(&mut self, message: Message) {
        self.socket.send(message).expect("the server reads");
    }

    /// Sends without checking that the server receives it.
    pub fn try_send_text(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    /// The next WebSocket message, including pings and pongs.
    #[allow(clippy::result_large_err)]
    pub fn next_message(&mut self) -> Result<Message, Error> {
        self.socket.read()
    }

    /// The next frame other than a receipt, or how the connection ended. Pings are answered.
    pub fn next(&mut self) -> Result<Value, End> {
        loop {
            let frame = self.next_frame()?;
            if frame["type"] != "receipt" {
                return Ok(frame);
            }
            self.receipts.push_back(frame);
        }
    }

    /// The next receipt. Any other frame before it is an error.
    pub fn receipt(&mut self) -> Value {
        if let Some(receipt) = self.receipts.pop_front() {
            return receipt;
        }
        let frame = self.next_frame().expect("expected a receipt");
        assert_eq!(frame["type"], "receipt", "{frame}");
        frame
    }

    /// Receipts that arrived before other frames and were not read yet.
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
            .unwrap_or_else(|end| panic!("expected a frame, but the connection ended: {end:?}"))
    }

    /// The next frame, which must have this type.
    pub fn expect(&mut self, tag: &str) -> Value {
        let frame = self.recv();
        assert_eq!(frame["type"], tag, "{frame}");
        frame
    }

    /// Reads until a frame of this type arrives.
    pub fn until(&mut self, tag: &str) -> Value {
        loop {
            let frame = self.recv();
            if frame["type"] == tag {
                return frame;
            }
        }
    }

    /// Sends a frame and reads its direct reply, which must be the next frame.
    pub fn ask(&mut self, frame: &Value) -> Value {
        self.send(frame);
        self.recv()
    }

    /// Asserts that no other frame is on its way: the next one is the answer to a `ping`.
    pub fn assert_quiet(&mut self) {
        self.send_text(r#"{"type":"ping","ref":"quiet?"}"#);
        let frame = self.recv();
        assert_eq!(
            (&frame["type"], &frame["ref"]),
            (&"pong".into(), &"quiet?".into()),
            "{frame}"
        );
    }

    /// Reads up to `goodbye`, and the close frame that must follow it.
    pub fn goodbye(&mut self) -> (Value, End) {
        let goodbye = self.until("goodbye");
        let end = self.next().expect_err("nothing follows goodbye");
        (goodbye, end)
    }

    /// Closes the connection and waits until the server has closed it too.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        while self.socket.read().is_ok() {}
    }

    /// Connects and reads `welcome`; `None` if the server stops meanwhile.
    pub fn try_connect(server: &Server, user: &str, query: &str) -> Option<Self> {
        let mut client = Self::dial(server, &format!("/ws/{user}{query}"), &[]).ok()?;
        client.welcome = client.next().ok()?;
        assert_eq!(client.welcome["type"], "welcome");
        Some(client)
    }

    /// Ends the connection without a close frame. With `reset` an RST is sent, which also discards data that is on its way.
    pub fn cut(mut self, reset: bool) {
        cut(self.stream(), reset);
    }
}

/// Sends frames in as few TCP segments as possible, so that the server reads them all at once.
pub fn burst(client: &mut Client, frames: &[Value]) {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| client_frame(0x81, frame.to_string().as_bytes()))
        .collect();
    client.stream().write_all(&bytes).expect("the server reads");
}

/// Ends a connection without a close frame; see [`Client::cut`].
pub fn cut(stream: &TcpStream, reset: bool) {
    if reset {
        // With a linger time of zero, closing sends an RST. The caller drops the stream next.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    } else {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

//! A server with an operations port, and requests to it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use crate::support::{DEADLINE, Folder, Server};

/// A server, and the address of its operations port.
pub struct Ops {
    pub server: Server,
    pub address: SocketAddr,
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Ops {
    /// Starts a server whose operations port has a free port.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(&Arc::new(Folder::new()), arguments)
    }

    pub fn start_in(folder: &Arc<Folder>, arguments: &[&str]) -> Self {
        let mut all = arguments.to_vec();
        if !all.contains(&"--ops-listen") {
            all.extend(["--ops-listen", "127.0.0.1:0"]);
        }
        Self::of(Server::start_in(folder, &all))
    }

    pub fn of(server: Server) -> Self {
        let line = server.wait_for_log("operations port on http");
        let address = line.split("://").nth(1).expect("an address");
        let address = address.split([' ', '"', '/']).next().expect("an address");
        let mut address: SocketAddr = address.parse().expect("an address with a port");
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Self { server, address }
    }

    /// Sends a request with these header lines, besides `Host` and `Connection`.
    pub fn request(&self, line: &str, headers: &[&str], body: &[u8]) -> Response {
        let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        let has = |name: &str| {
            let mut headers = headers.iter();
            headers.any(|header| header.to_lowercase().starts_with(name))
        };
        if !has("host:") {
            let _ = write!(request, "Host: {}\r\n", self.address);
        }
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() && !has("content-length:") && !has("transfer-encoding:") {
            let _ = write!(request, "Content-Length: {}\r\n", body.len());
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        send(self.address, &request)
    }

    /// `GET` without a key.
    pub fn get(&self, path: &str) -> Response {
        self.request(&format!("GET {path}"), &[], b"")
    }

    /// `POST` of a JSON body without a key.
    pub fn post(&self, path: &str, body: &Value) -> Response {
        let headers = ["Content-Type: application/json"];
        self.request(
            &format!("POST {path}"),
            &headers,
            body.to_string().as_bytes(),
        )
    }

    /// `GET` with a key.
    pub fn get_with(&self, path: &str, key: &str) -> Response {
        let key = format!("Authorization: Bearer {key}");
        self.request(&format!("GET {path}"), &[&key], b"")
    }
}

/// Sends a complete request on a new connection.
pub fn send(address: SocketAddr, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).expect("the port accepts");
    // A server that rejects a request early may close the connection before all of it is written.
    let _ = stream.write_all(request);
    answer(stream)
}

/// Reads the answer to a request, after which the server closes the connection.
pub fn answer(mut stream: TcpStream) -> Response {
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no response: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Response {
        status: status.expect("a status"),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The response must be an error of the API.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str, path: Option<&str>) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.head.contains("content-type: application/json"),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json["code"], code, "{self:?}");
        assert_eq!(json["path"].as_str(), path, "{self:?}");
        assert!(json["detail"].is_string(), "{self:?}");
        let known = ["code", "detail", "path", "schema", "retry_after_ms"];
        let members = json.as_object().expect("an object").keys();
        for member in members {
            assert!(known.contains(&member.as_str()), "{self:?}");
        }
    }

    #[track_caller]
    pub fn assert_ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}

/// A key that `dmwire api-key` has printed, and its line for the file.
pub fn new_key(name: &str) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dmwire"))
        .args(["api-key", name])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<_> = text.lines().collect();
    let [key, line] = lines[..] else {
        panic!("two lines: {text}");
    };
    (key.to_owned(), line.to_owned())
}

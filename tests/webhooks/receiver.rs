//! An HTTP server that receives events, and a server that posts to it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver as Channel, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tokio_rustls::rustls;

use crate::helpers::Ops;
use crate::support::{DEADLINE, Folder, Server};

/// The secret of most tests.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request with an event.
#[derive(Clone, Debug)]
pub struct Post {
    pub line: String,
    /// The names are in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    pub event: Value,
}

/// How the receiver answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    /// With these header lines and this body.
    Full(u16, String, Vec<u8>),
    /// The connection stays open, without an answer.
    Hang,
}

type Behaviour = Box<dyn Fn(&Post) -> Answer + Send>;

/// A receiver of events.
pub struct Receiver {
    pub address: SocketAddr,
    posts: Channel<Post>,
    behaviour: Arc<Mutex<Behaviour>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Answers each event with 204.
    pub fn start() -> Self {
        Self::over(|stream| stream)
    }

    /// Speaks TLS, with a certificate for this name or address, which is returned.
    pub fn over_tls(name: &str) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that go with the provider")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let receiver = Self::over(move |stream| {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            StreamOwned::new(connection, stream)
        });
        (receiver, made.cert.pem())
    }

    /// Wraps each connection.
    fn over<T: Read + Write>(wrap: impl Fn(TcpStream) -> T + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, posts) = channel();
        let behaviour: Arc<Mutex<Behaviour>> =
            Arc::new(Mutex::new(Box::new(|_| Answer::Status(204))));
        let connections = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (behaviour.clone(), connections.clone());
        let wrap = Arc::new(wrap);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (sender, answers, wrap) = (sender.clone(), answers.clone(), wrap.clone());
                std::thread::spawn(move || {
                    let mut stream = wrap(stream);
                    while let Some(post) = read_post(&mut stream) {
                        let answer = answers.lock().expect("no test has failed")(&post);
                        let _ = sender.send(post);
                        match answer {
                            Answer::Status(status) => respond(&mut stream, status, "", b""),
                            Answer::Full(status, head, body) => {
                                respond(&mut stream, status, &head, &body);
                            }
                            Answer::Hang => {
                                // Until the server gives up.
                                let _ = stream.read(&mut [0; 1024]);
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            posts,
            behaviour,
            connections,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Changes how events are answered.
    pub fn answer_with(&self, behaviour: impl Fn(&Post) -> Answer + Send + 'static) {
        *self.behaviour.lock().expect("no test has failed") = Box::new(behaviour);
    }

    /// The next event.
    #[track_caller]
    pub fn next(&self) -> Post {
        let post = self.posts.recv_timeout(DEADLINE);
        post.unwrap_or_else(|_| panic!("no event came within {DEADLINE:?}"))
    }

    /// The next event, which must be of this type.
    #[track_caller]
    pub fn expect(&self, kind: &str) -> Post {
        let post = self.next();
        assert_eq!(post.event["type"], kind, "{:?}", post.event);
        post
    }

    /// The next event for which `is_wanted` is true.
    #[track_caller]
    pub fn until(&self, is_wanted: impl Fn(&Post) -> bool) -> Post {
        loop {
            let post = self.next();
            if is_wanted(&post) {
                return post;
            }
        }
    }

    /// An event that has come already.
    pub fn try_next(&self) -> Option<Post> {
        match self.posts.recv_timeout(Duration::ZERO) {
            Ok(post) => Some(post),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the receiver has ended"),
        }
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn read_post(stream: &mut impl Read) -> Option<Post> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut piece) {
            Ok(read @ 1..) => bytes.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("the head is ASCII");
    let mut lines = head.split("\r\n");
    let line = lines.next().expect("a request line").to_owned();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().expect("a length");
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        match stream.read(&mut piece) {
            Ok(read @ 1..) => body.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
    let event = serde_json::from_slice(&body).expect("the body is JSON");
    Some(Post {
        line,
        headers,
        body,
        event,
    })
}

fn respond(stream: &mut impl Write, status: u16, head: &str, body: &[u8]) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\n{head}content-length: {length}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    let _ = stream.flush();
}

impl Post {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// The text of the message.
    pub fn text(&self) -> &str {
        self.event["data"]["message"].as_str().unwrap_or_default()
    }

    /// True if one of the signatures is that of this secret: HMAC-SHA256 of id, time and body.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let secret = secret.strip_prefix("whsec_").expect("a prefix");
        let key = STANDARD.decode(secret).expect("Base64");
        let mut signed = Vec::new();
        for part in [
            self.id().as_bytes(),
            self.headers["webhook-timestamp"].as_bytes(),
        ] {
            signed.extend_from_slice(part);
            signed.push(b'.');
        }
        signed.extend_from_slice(&self.body);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let mut signatures = self.headers["webhook-signature"].split(' ');
        signatures.any(|signature| {
            let (version, code) = signature.split_once(',').expect("a version");
            assert_eq!(version, "v1");
            let code = STANDARD.decode(code).expect("Base64");
            ring::hmac::verify(&key, &signed, &code).is_ok()
        })
    }

    /// Checks what all requests have in common.
    #[track_caller]
    pub fn assert_well_formed(&self) {
        assert_eq!(self.line, "POST /hook HTTP/1.1");
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(self.is_signed_with(SECRET), "{self:?}");
        let sent: u64 = self.headers["webhook-timestamp"].parse().expect("seconds");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("the clock is set").as_secs();
        assert!(now.abs_diff(sent) < 60, "{sent} is not {now}");
        let members: Vec<_> = self.event.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["type", "timestamp", "data"]);
        for member in ["type", "seq", "ref"] {
            assert!(self.event["data"].get(member).is_none(), "{}", self.event);
        }
    }
}

/// Writes the certificate of a receiver to a file for `SSL_CERT_FILE`.
pub fn authority(folder: &Folder, certificate: &str) -> PathBuf {
    let file = folder.0.join("authority.pem");
    std::fs::write(&file, certificate).expect("the file can be written");
    file
}

/// Writes a file with secrets.
pub fn write_secrets(path: &Path, secrets: &[&str]) {
    std::fs::write(path, secrets.join("\n")).expect("the file can be written");
}

/// Starts a server that posts to this URL, in a folder of its own.
pub fn start(url: &str, arguments: &[&str]) -> Ops {
    start_in(&Arc::new(Folder::new()), url, arguments)
}

/// The same in this folder.
pub fn start_in(folder: &Arc<Folder>, url: &str, arguments: &[&str]) -> Ops {
    start_with(folder, &[url], arguments, &[])
}

/// The same for several URLs, with variables in the environment.
pub fn start_with(
    folder: &Arc<Folder>,
    urls: &[&str],
    arguments: &[&str],
    environment: &[(&str, &Path)],
) -> Ops {
    let secrets = folder.0.join("secrets");
    if !secrets.exists() {
        write_secrets(&secrets, &[SECRET]);
    }
    let mut all = vec![
        "--webhook-secret-file",
        "secrets",
        "--ops-listen",
        "127.0.0.1:0",
    ];
    for url in urls {
        all.extend(["--webhook", url]);
    }
    all.extend(arguments);
    // Events about messages that wait would come in between.
    match all.iter().position(|argument| *argument == "default") {
        Some(index) => drop(all.drain(index - 1..=index)),
        None if all.contains(&"--webhook-events") => {}
        None => all.extend(["--webhook-events", "message.created"]),
    }
    Ops::of(Server::start_with(folder, &all, environment))
}

/// `GET /v1/webhooks`
pub fn listed(ops: &Ops) -> Vec<Value> {
    let answer = ops.get("/v1/webhooks").assert_ok();
    answer["webhooks"].as_array().expect("a list").clone()
}

/// The value of a metric.
pub fn metric(ops: &Ops, name: &str) -> f64 {
    let text = ops.get("/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.trim().parse().expect("a number")
}

/// The number of events with this outcome.
pub fn events(ops: &Ops, outcome: &str) -> f64 {
    metric(
        ops,
        &format!("dmwire_webhook_events_total{{outcome=\"{outcome}\"}}"),
    )
}

/// A frame to a room.
pub fn to_room(room: &str, text: &str) -> Value {
    json!({"message": text, "target_room": room})
}

//! An HTTP server with a key set, for `--jwks`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tokio_rustls::rustls;

use crate::support::tokens;

/// An HTTP server with a key set.
pub struct KeyServer {
    address: SocketAddr,
    /// The whole response; `None` closes the connection without one.
    answer: Arc<Mutex<Option<String>>>,
    request_count: Arc<AtomicUsize>,
}

impl KeyServer {
    pub fn start() -> Self {
        Self::over(|stream| stream)
    }

    /// Behind TLS. Returns its certificate as well.
    pub fn over_tls() -> (Self, String) {
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that go with the provider")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        let config = Arc::new(config);
        let server = Self::over(move |stream| {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            StreamOwned::new(connection, stream)
        });
        (server, made.cert.pem())
    }

    fn over<T: Read + Write>(wrap: impl Fn(TcpStream) -> T + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self {
            address: listener.local_addr().expect("it is bound"),
            answer: Arc::default(),
            request_count: Arc::default(),
        };
        let (answer, request_count) = (server.answer.clone(), server.request_count.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok).map(wrap) {
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(read @ 1..) => request.extend_from_slice(&piece[..read]),
                        _ => break,
                    }
                }
                let answer = answer.lock().expect("it is whole").clone();
                if let Some(answer) = answer {
                    let _ = stream.write_all(answer.as_bytes());
                    let _ = stream.flush();
                }
                request_count.fetch_add(1, Ordering::SeqCst);
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys?v=1", self.address)
    }

    pub fn serve(&self, keys: &[Value]) {
        self.respond_with(&answer_with(keys));
    }

    pub fn respond_with(&self, answer: &str) {
        *self.hold() = Some(answer.to_owned());
    }

    /// The response to the next requests. No request is answered until the guard is dropped.
    pub fn hold(&self) -> MutexGuard<'_, Option<String>> {
        self.answer.lock().expect("it is whole")
    }

    pub fn close_without_response(&self) {
        *self.answer.lock().expect("it is whole") = None;
    }

    pub fn request_count(&self) -> usize {
        self.request_count.load(Ordering::SeqCst)
    }
}

/// The response with this set.
pub fn answer_with(keys: &[Value]) -> String {
    let set = tokens::jwk_set(keys);
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{set}",
        set.len()
    )
}

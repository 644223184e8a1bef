//! Sessions through nginx with `deploy/nginx.conf`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tokio_rustls::rustls;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Error, Message, WebSocket};

use crate::support::tokens::{SECRET, valid_token};
use crate::support::{DEADLINE, Folder, Server, assert_server_frame, eventually, to};

/// An nginx process in a temporary folder. Dropping it stops the process by its id.
struct Nginx {
    child: Child,
    folder: Folder,
    plain: SocketAddr,
    tls: SocketAddr,
    certificate: CertificateDer<'static>,
}

impl Nginx {
    /// Starts nginx with `deploy/nginx.conf`, in which only ports and paths are replaced.
    fn start(upstream: SocketAddr) -> Self {
        // Another process may take the free port before nginx does, and nginx cannot choose one itself.
        for _ in 0..5 {
            if let Some(nginx) = Self::try_start(upstream) {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }

    fn try_start(upstream: SocketAddr) -> Option<Self> {
        let folder = Folder::new();
        let [plain, tls] = free_addresses();
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let at = folder.0.display();
        write(&folder, "cert.pem", &made.cert.pem());
        write(&folder, "key.pem", &made.signing_key.serialize_pem());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx.conf");
        let mut site = fs::read_to_string(path).expect("the file is there");
        let here = "/etc/letsencrypt/live/chat.example.org";
        for (theirs, ours) in [
            ("127.0.0.1:8080;", format!("{upstream};")),
            ("listen 80;", format!("listen {plain};")),
            ("listen 443 ssl;", format!("listen {tls} ssl;")),
            ("listen [::]:80;", String::new()),
            ("listen [::]:443 ssl;", String::new()),
            (&format!("{here}/fullchain.pem"), format!("{at}/cert.pem")),
            (&format!("{here}/privkey.pem"), format!("{at}/key.pem")),
            (
                "/var/log/nginx/dmwire.access.log",
                format!("{at}/access.log"),
            ),
            ("/var/log/nginx/dmwire.error.log", format!("{at}/error.log")),
        ] {
            assert_eq!(site.matches(theirs).count(), 1, "{theirs}");
            site = site.replace(theirs, &ours);
        }
        write(&folder, "dmwire.conf", &site);
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        // The worker runs as the current user, who may read the folder.
        let user = if fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            "user root;\n"
        } else {
            ""
        };
        let main = format!(
            "{user}worker_processes 1;\ndaemon off;\npid {at}/nginx.pid;\nerror_log {at}/main.log;\nevents {{}}\nhttp {{\n{temporary}\
             access_log off;\ninclude {at}/dmwire.conf;\n}}\n"
        );
        write(&folder, "nginx.conf", &main);
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .expect("nginx is installed: scripts/test does it");
        let mut child = Command::new(program)
            .args([
                "-p",
                &at.to_string(),
                "-e",
                &format!("{at}/main.log"),
                "-c",
                &format!("{at}/nginx.conf"),
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let until = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < until, "nginx does not listen");
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                let log = fs::read_to_string(folder.0.join("main.log")).unwrap_or_default();
                assert!(
                    log.contains("Address already in use"),
                    "nginx: {status}\n{log}"
                );
                return None;
            }
            if TcpStream::connect(tls).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let certificate = made.cert.der().clone();
        Some(Self {
            child,
            folder,
            plain,
            tls,
            certificate,
        })
    }

    /// A connection from this local address.
    fn connect(&self, from: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let from: IpAddr = from.parse().expect("an address");
        socket
            .bind(&SocketAddr::new(from, 0).into())
            .expect("an address of this machine");
        socket.connect(&self.tls.into()).expect("nginx accepts");
        let stream = TcpStream::from(socket);
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that go with the provider")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        StreamOwned::new(client, stream)
    }

    fn get(&self, path: &str) -> String {
        let mut stream = self.connect("127.0.0.1");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("nginx reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[allow(clippy::result_large_err)]
    fn dial(
        &self,
        from: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Session, Error> {
        let mut request =
            format!("wss://localhost:{}{path}", self.tls.port()).into_client_request()?;
        for (name, value) in headers {
            request
                .headers_mut()
                .append(*name, value.parse().expect("a header's value"));
        }
        match tungstenite::client(request, self.connect(from)) {
            Ok((socket, _)) => Ok(Session(socket)),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
            Err(tungstenite::HandshakeError::Interrupted(_)) => {
                panic!("the handshake took too long")
            }
        }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM instead of SIGKILL, so that nginx stops its worker first.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

struct Session(WebSocket<StreamOwned<ClientConnection, TcpStream>>);

impl Session {
    fn send(&mut self, frame: &Value) {
        self.0
            .send(Message::text(frame.to_string()))
            .expect("nginx reads");
    }

    fn expect(&mut self, tag: &str) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().expect("a message") {
                let frame: Value = serde_json::from_str(&text).expect("server frames are JSON");
                assert_server_frame(&frame);
                if frame["type"] != "receipt" {
                    assert_eq!(frame["type"], tag, "{frame}");
                    return frame;
                }
            }
        }
    }
}

fn write(folder: &Folder, name: &str, text: &str) {
    fs::write(folder.0.join(name), text).expect("a file can be written");
}

fn free_addresses() -> [SocketAddr; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("it is bound"))
}

#[test]
fn sessions_work_through_nginx_and_its_log_contains_no_token() {
    let mut server = Server::start(&["--trusted-proxy", "127.0.0.1", "--jwt-secret", SECRET]);
    let nginx = Nginx::start(server.address);
    assert!(nginx.get("/healthz").contains(r#""status":"ok""#));
    assert!(nginx.get("/").contains("<!doctype html>"));
    let redirected = TcpStream::connect(nginx.plain).and_then(|mut stream| {
        stream.write_all(
            b"GET /?user=8888 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    assert!(
        redirected
            .expect("an answer")
            .contains("Location: https://localhost/?user=8888")
    );

    // With each carrier of the token, with and without an origin.
    let (a, b) = (valid_token("a"), valid_token("b"));
    let origin = format!("https://localhost:{}", nginx.tls.port());
    let protocols = format!("dmwire.v1, bearer.{a}");
    let page = [
        ("sec-websocket-protocol", &*protocols),
        ("origin", &*origin),
    ];
    let mut one = nginx
        .dial("127.0.0.1", "/ws/a", &page)
        .expect("the handshake succeeds");
    let spoofed = [
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
    ];
    let mut two = nginx
        .dial("127.0.0.2", &format!("/ws/b?token={b}"), &spoofed)
        .expect("the handshake succeeds");
    for session in [&mut one, &mut two] {
        session.expect("welcome");
        session.expect("synced");
    }
    for length in [1, 100, 10_000, 15_999] {
        let text = "x".repeat(length);
        one.send(&to("b", &text));
        one.expect("ack");
        assert_eq!(two.expect("message")["message"], text);
    }
    // nginx appends the peer address, which is not a proxy's.
    let line = server.wait_for_log("connection opened user=b ");
    assert!(line.ends_with(" ip=127.0.0.2"), "{line}");

    // Foreign origins and missing tokens get the same response as without nginx.
    let evil = [
        ("sec-websocket-protocol", &*protocols),
        ("origin", "https://evil.example"),
    ];
    let mut refused = nginx
        .dial("127.0.0.1", "/ws/a", &evil)
        .expect("a browser is upgraded");
    assert_eq!(refused.expect("goodbye")["code"], 4403);
    match nginx.dial("127.0.0.1", "/ws/a", &[]) {
        Err(Error::Http(response)) => assert_eq!(response.status(), 401),
        other => panic!("expected 401, found {:?}", other.map(|_| ())),
    }

    // A shutdown is announced through nginx, and nginx reconnects to the restarted server.
    server.signal("TERM");
    assert_eq!(one.expect("goodbye")["code"], 1012);
    assert_eq!(two.expect("goodbye")["code"], 1012);
    assert!(server.wait(DEADLINE).success());
    assert!(
        nginx
            .dial("127.0.0.1", &format!("/ws/b?token={b}"), &[])
            .is_err()
    );
    server.restart();
    eventually("nginx reconnects", || {
        nginx
            .dial("127.0.0.1", &format!("/ws/b?token={b}"), &[])
            .is_ok()
    });

    drop((one, two, refused));
    eventually("the request is logged", || {
        nginx.log("access.log").matches("\"GET /ws/b\" 101").count() == 2
    });
    for name in ["access.log", "error.log", "main.log"] {
        let log = nginx.log(name);
        for secret in [&*a, &*b, &a[a.len() - 20..], &b[b.len() - 20..], "token="] {
            assert!(!log.contains(secret), "{secret} is in {name}:\n{log}");
        }
    }
    assert!(
        !server.log().contains(&b[b.len() - 20..]),
        "{}",
        server.log()
    );
}

//! Notifications through a real Redis server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::helpers::Ops;
use crate::metrics::samples;
use crate::support::{Client, DEADLINE, Folder, Raw, Server, assert_has, eventually, handshake};

/// A Redis server in a temporary folder. Dropping it ends the process.
struct Redis {
    child: Child,
    folder: Folder,
    port: u16,
}

impl Redis {
    /// Starts a server on a free port.
    fn start(arguments: &[&str]) -> Self {
        // Another process may take the free port before Redis does, and Redis cannot choose one itself.
        for _ in 0..5 {
            if let Some(redis) = Self::try_start(free_port(), arguments) {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    fn try_start(port: u16, arguments: &[&str]) -> Option<Self> {
        let folder = Folder::new();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(arguments)
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed: run scripts/setup");
        let mut redis = Self {
            child,
            folder,
            port,
        };
        let until = Instant::now() + DEADLINE;
        while TcpStream::connect(redis.address()).is_err() {
            let exited = redis
                .child
                .try_wait()
                .expect("the process can be waited for");
            if exited.is_some() || Instant::now() > until {
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Some(redis)
    }

    /// Sends a signal to the process.
    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill");
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Sends commands and returns the first line of each reply.
    fn commands(&self, commands: &[&[&[u8]]]) -> Vec<String> {
        let mut stream = TcpStream::connect(self.address()).expect("redis accepts");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout can be set");
        for arguments in commands {
            let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
            for argument in *arguments {
                request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
                request.extend_from_slice(argument);
                request.extend_from_slice(b"\r\n");
            }
            stream.write_all(&request).expect("redis reads");
        }
        let lines = BufReader::new(stream).lines().take(commands.len());
        lines.map(|line| line.expect("a reply")).collect()
    }

    /// Publishes to a subscriber.
    fn publish(&self, channel: &str, payload: &[u8]) {
        let command: &[&[u8]] = &[b"PUBLISH", channel.as_bytes(), payload];
        assert_eq!(self.commands(&[command]), [":1"]);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

const SUBSCRIBED: &str = "subscribed to notifications";

/// Starts a server that knows the content type `order.sent`.
fn start_with_types(redis: &Redis) -> Server {
    let folder = Arc::new(Folder::new());
    let types = folder.0.join("types");
    std::fs::create_dir(&types).expect("a folder can be created");
    let schema = json!({"required": ["n"], "properties": {"n": {"type": "integer"}}});
    std::fs::write(types.join("order.sent.schema.json"), schema.to_string()).expect("written");
    let types = types.to_str().expect("a path").to_owned();
    let (url, sender) = (redis.url(), ["--notify-sender", "bot"]);
    let arguments = ["--notify", &url, "--content-types", &types];
    let server = Server::start_in(&folder, &[&arguments[..], &sender].concat());
    server.wait_for_log(SUBSCRIBED);
    server
}

#[test]
fn publications_become_messages() {
    let redis = Redis::start(&[]);
    let server = start_with_types(&redis);
    let mut ada = Client::fresh(&server, "ada");
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    let envelope =
        json!({"message": {"type": "markdown", "text": "*x*"}, "from_user": "bo", "id": id})
            .to_string();
    let data = |data: Value| json!({"type": "data", "name": "notification", "data": data});
    let published: &[(&str, &str, Value)] = &[
        ("hello", "bot", json!("hello")),
        ("\"quoted\" 😀\n", "bot", json!("\"quoted\" 😀\n")),
        ("17", "bot", json!("17")),
        ("{broken", "bot", json!("{broken")),
        (
            r#"{"type":"order.sent","n":7}"#,
            "bot",
            json!({"type": "order.sent", "n": 7}),
        ),
        (
            r#"{"type":"markdown","text":"a"}"#,
            "bot",
            json!({"type": "markdown", "text": "a"}),
        ),
        (&envelope, "bo", json!({"type": "markdown", "text": "*x*"})),
        (r#"{"message":"plain"}"#, "bot", json!("plain")),
        (r#"{"order":[1,2]}"#, "bot", data(json!({"order": [1, 2]}))),
        (
            r#"{"type":"order.lost"}"#,
            "bot",
            data(json!({"type": "order.lost"})),
        ),
        (
            r#"{"type":"order.lost","message":"hi"}"#,
            "bot",
            data(json!({"type": "order.lost", "message": "hi"})),
        ),
    ];
    for (payload, from, content) in published {
        redis.publish("notifications:ada", payload.as_bytes());
        let message = ada.expect("message");
        let expected = json!({"from_user": from, "target_user": "ada", "message": content});
        assert_has(&message, &expected);
    }
    // Published again with the same id: nothing new.
    redis.publish("notifications:ada", envelope.as_bytes());
    ada.assert_quiet();
}

#[test]
fn invalid_publications_are_refused_and_stop_none_behind_them() {
    let redis = Redis::start(&[]);
    let server = start_with_types(&redis);
    let mut ada = Client::fresh(&server, "ada");
    let long = "x".repeat(16_001);
    let huge = "x".repeat(8 << 20);
    let refused: &[(&str, &[u8], &str)] = &[
        ("notifications:ada", b"", "invalid_frame at /message"),
        (
            "notifications:ada",
            long.as_bytes(),
            "invalid_frame at /message",
        ),
        (
            "notifications:ada",
            huge.as_bytes(),
            "more than 65536 bytes",
        ),
        ("notifications:ada", b"\xff\xfe", "not in UTF-8"),
        (
            "notifications:ada",
            br#"{"type":"order.sent"}"#,
            "invalid_content at /message/n",
        ),
        (
            "notifications:ada",
            br#"{"type":"markdown"}"#,
            "invalid_frame at /message/text",
        ),
        (
            "notifications:ada",
            br#"{"message":"secret","to":"x"}"#,
            "invalid_frame at /to",
        ),
        (
            "notifications:ada",
            br#"{"message":{"type":"mood"}}"#,
            "unknown_content_type at /message/type",
        ),
        ("notifications:", b"a", "names no user id"),
        ("notifications:a b", b"a", "names no user id"),
        ("notifications:ä", b"a", "names no user id"),
    ];
    for (channel, payload, reason) in refused {
        // At most one refusal a second is logged.
        eventually(reason, || {
            redis.publish(channel, payload);
            server.log().contains(reason)
        });
    }
    redis.publish("notifications:ada", b"the last one");
    assert_has(&ada.expect("message"), &json!({"message": "the last one"}));
    let logged = server.log();
    assert!(
        !logged.contains("secret") && !logged.contains("xxxxx"),
        "{logged}"
    );
}

#[test]
fn many_publications_are_stored_in_order() {
    const COUNT: usize = 3000;
    let redis = Redis::start(&[]);
    let server = Server::start(&["--notify", &redis.url()]);
    server.wait_for_log(SUBSCRIBED);
    let texts: Vec<String> = (0..COUNT).map(|n| n.to_string()).collect();
    let commands: Vec<Vec<&[u8]>> = texts
        .iter()
        .map(|text| vec![&b"PUBLISH"[..], b"notifications:ada", text.as_bytes()])
        .collect();
    let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
    let replies = redis.commands(&commands);
    assert!(replies.iter().all(|reply| reply == ":1"));
    eventually("all are stored", || {
        Client::connect(&server, "ada", "?since=0").welcome["seq"] == COUNT
    });
    let mut ada = Client::connect(&server, "ada", "?since=0");
    for text in &texts {
        assert_has(
            &ada.expect("message"),
            &json!({"from_user": "system", "message": text}),
        );
    }
}

#[test]
fn redis_may_be_down_and_come_back() {
    let port = free_port();
    let url = format!("redis://127.0.0.1:{port}/3");
    let server = Server::start(&["--notify", &url]);
    server.wait_for_log("cannot subscribe to notifications");
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    let mut ada = Client::fresh(&server, "ada");
    for round in 1..=2 {
        let redis = Redis::try_start(port, &[]).expect("redis-server starts");
        eventually("subscribed", || {
            server.log().matches(SUBSCRIBED).count() == round
        });
        redis.publish("notifications:ada", b"hi");
        assert_has(
            &ada.expect("message"),
            &json!({"from_user": "system", "message": "hi"}),
        );
        drop(redis);
        eventually("the end is noticed", || {
            server
                .log()
                .matches("the connection for notifications has ended")
                .count()
                == round
        });
        assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    }
    ada.assert_quiet();
}

#[test]
fn nobody_connects_as_the_sender_of_notifications() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let server = Server::start(&["--notify", &url]);
    let answer = server.http(&handshake("/ws/system", ""));
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("\"forbidden\""),
        "{answer}"
    );
    let protocol = "Sec-WebSocket-Protocol: dmwire.v1\r\n";
    let (mut raw, _) = Raw::upgrade_with(&server, "/ws/system", protocol);
    assert_has(
        &raw.expect("goodbye"),
        &json!({"code": 4403, "reason": "forbidden", "reconnect": false}),
    );
    // Users may write to it.
    let mut ada = Client::fresh(&server, "ada");
    ada.send(&json!({"message": "stop", "target_user": "system"}));
    ada.expect("ack");
    let server = Server::start(&[]);
    Client::fresh(&server, "system");
}

#[test]
fn a_password_is_used_and_not_shown() {
    let redis = Redis::start(&["--requirepass", "hunter2"]);
    let address = redis.address();
    for (url, is_valid) in [
        (format!("redis://:hunter2@{address}"), true),
        (format!("redis://default:hunter2@{address}"), true),
        (format!("redis://:hunter3@{address}"), false),
        (format!("redis://{address}"), false),
    ] {
        let server = Server::start(&["--notify", &url]);
        server.wait_for_log(if is_valid {
            SUBSCRIBED
        } else {
            "cannot subscribe to notifications"
        });
        assert!(!server.log().contains("hunter"), "{}", server.log());
    }
}

#[test]
fn redis_is_reached_over_tls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = Folder::new();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.0.join(name));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = free_port().to_string();
    let [cert_text, key_text] = [&certificate, &key].map(|path| path.to_str().expect("a path"));
    let redis = Redis::start(&[
        "--tls-port",
        &tls,
        "--tls-cert-file",
        cert_text,
        "--tls-key-file",
        key_text,
        "--tls-ca-cert-file",
        cert_text,
        "--tls-auth-clients",
        "no",
    ]);
    assert!(redis.folder.0.exists());
    let url = format!("rediss://localhost:{tls}");
    let server_folder = Arc::new(Folder::new());
    let trusted = Server::start_with(
        &server_folder,
        &["--notify", &url],
        &[("SSL_CERT_FILE", &certificate)],
    );
    trusted.wait_for_log(SUBSCRIBED);
    let mut ada = Client::fresh(&trusted, "ada");
    redis.publish("notifications:ada", b"hi");
    assert_has(&ada.expect("message"), &json!({"message": "hi"}));
    let server = Server::start(&["--notify", &url]);
    server.wait_for_log("cannot subscribe to notifications");
}

#[test]
fn notifications_and_the_api_share_their_ids() {
    let redis = Redis::start(&[]);
    let ops = Ops::start(&["--notify", &redis.url()]);
    ops.server.wait_for_log(SUBSCRIBED);
    let mut ada = Client::fresh(&ops.server, "ada");
    let id = "019a2f4e-7b1c-7d3e-9a55-0c1d2e3f4a5b";
    let envelope = json!({"message": "hi", "id": id}).to_string();
    redis.publish("notifications:ada", envelope.as_bytes());
    assert_has(&ada.expect("message"), &json!({"id": id}));
    let body = json!({"from_user": "system", "target_user": "ada", "message": "hi", "id": id});
    let ack = ops.post("/v1/messages", &body).assert_ok();
    assert_has(&ack, &json!({"duplicate": true}));
    ada.assert_quiet();
}

#[test]
fn notifications_are_counted() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let ops = Ops::start(&["--notify", &url]);
    ops.server.wait_for_log(SUBSCRIBED);
    redis.publish("notifications:ada", b"hello");
    redis.publish("notifications:ada", b"");
    redis.publish("notifications:not a user", b"hello");
    eventually("the notifications are counted", || {
        let samples = samples(&ops);
        let has = |name: &str, value: f64| (samples[name] - value).abs() < 0.1;
        has("dmwire_notify_connected", 1.0)
            && has("dmwire_notifications_total{outcome=\"stored\"}", 1.0)
            && has("dmwire_notifications_total{outcome=\"refused\"}", 2.0)
            && has("dmwire_messages_total{outcome=\"stored\"}", 1.0)
    });
    drop(redis);
    eventually("the connection has ended", || {
        samples(&ops)["dmwire_notify_connected"] < 0.1
    });
}

#[test]
fn a_redis_that_hangs_is_noticed() {
    let redis = Redis::start(&[]);
    let ops = Ops::start(&["--notify", &redis.url()]);
    ops.server.wait_for_log(SUBSCRIBED);
    let mut ada = Client::fresh(&ops.server, "ada");
    let is_connected = || samples(&ops)["dmwire_notify_connected"] > 0.9;
    redis.signal("STOP");
    eventually("the server notices it", || !is_connected());
    redis.signal("CONT");
    eventually("the server is connected again", is_connected);
    // Redis may still count connections that the server has given up.
    redis.commands(&[&[b"PUBLISH", b"notifications:ada", b"hi"]]);
    assert_has(&ada.expect("message"), &json!({"message": "hi"}));
}

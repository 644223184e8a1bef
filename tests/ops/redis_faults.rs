//! A Redis server that answers with errors or nonsense, or leaves in the middle.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::json;

use crate::helpers::Ops;
use crate::metrics::samples;
use crate::support::{Client, DEADLINE, assert_has, eventually};

const SUBSCRIBED: &[u8] = b"*3\r\n$10\r\npsubscribe\r\n$15\r\nnotifications:*\r\n:1\r\n";

/// Accepts the connections of the server, and answers what a test wants. Connections that only ask whether it answers get an answer.
struct FakeRedis(Receiver<TcpStream>);

impl FakeRedis {
    fn start() -> (Self, Ops) {
        Self::start_with("")
    }

    /// `credentials`: `USER:PASSWORD@`, or empty.
    fn start_with(credentials: &str) -> (Self, Ops) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url = format!("redis://{credentials}{address}");
        let (sender, connections) = channel();
        // It ends with the test, whose receiver is dropped then, or with the process.
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let request = command(&mut stream);
                if request.contains("PING") {
                    let _ = stream.write_all(b"+PONG\r\n");
                } else if !request.is_empty() && sender.send(stream).is_err() {
                    break;
                }
            }
        });
        let ops = Ops::start(&["--notify", &url]);
        (Self(connections), ops)
    }

    /// The next connection, whose first command has arrived.
    fn accept(&self) -> TcpStream {
        self.0.recv_timeout(DEADLINE).expect("the server connects")
    }

    /// The next connection, which subscribes.
    fn subscribe(&self, ops: &Ops) -> TcpStream {
        let mut stream = self.accept();
        send(&mut stream, SUBSCRIBED);
        eventually("the metric says so", || is_connected(ops));
        stream
    }
}

/// The next command, or an empty text if the connection has ended.
fn command(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    let mut request = [0; 256];
    let read = stream.read(&mut request).unwrap_or(0);
    String::from_utf8_lossy(&request[..read]).into_owned()
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the server reads");
}

fn is_connected(ops: &Ops) -> bool {
    samples(ops)["dmwire_notify_connected"] > 0.9
}

/// A publication as Redis sends it. `payload` is complete, with its length.
fn publication(channel: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "*4\r\n$8\r\npmessage\r\n$15\r\nnotifications:*\r\n${}\r\n{channel}\r\n",
        channel.len()
    );
    [head.as_bytes(), payload, b"\r\n"].concat()
}

#[test]
fn errors_and_nonsense_instead_of_a_subscription_are_failures() {
    for answers in [
        [
            &b"-MOVED 3999 127.0.0.1:6381\r\n"[..],
            b"-NOAUTH Authentication required.\r\n",
            b"-NOPERM this user has no permissions\r\n",
        ],
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"*3\r\n$10\r\npsubscr",
            b"",
        ],
        [
            b"-LOADING Redis is loading the dataset in memory\r\n",
            b"\xff\xfe\r\n",
            b"*99999999999999999999\r\n",
        ],
    ] {
        let (redis, ops) = FakeRedis::start();
        let mut ada = Client::fresh(&ops.server, "ada");
        for answer in answers {
            let mut stream = redis.accept();
            assert!(!is_connected(&ops));
            send(&mut stream, answer);
        }
        let mut stream = redis.subscribe(&ops);
        send(&mut stream, &publication("notifications:ada", b"$2\r\nhi"));
        assert_has(&ada.expect("message"), &json!({"message": "hi"}));
    }
}

#[test]
fn a_rejected_password_is_a_failure() {
    let (redis, ops) = FakeRedis::start_with("bot:hunter2@");
    for answer in ["-WRONGPASS invalid username-password pair\r\n", "-ERR\r\n"] {
        send(&mut redis.accept(), answer.as_bytes());
    }
    let mut stream = redis.accept();
    send(&mut stream, b"+OK\r\n");
    let request = command(&mut stream);
    assert!(request.contains("PSUBSCRIBE"), "{request}");
    send(&mut stream, SUBSCRIBED);
    eventually("the metric says so", || is_connected(&ops));
    assert!(!ops.server.log().contains("hunter2"));
}

#[test]
fn a_subscription_that_breaks_is_opened_again() {
    let nested = b"*1\r\n".repeat(100_000);
    for fault in [
        &b"$nonsense\r\n"[..],
        b"-MOVED 3999 127.0.0.1:6381\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"$-5\r\n",
        b"*99999999999999999999\r\n",
        b"\xff\xfe\r\n",
        &nested,
        // The end, in the middle of a publication and of its payload.
        b"",
        b"*4\r\n$8\r\npmess",
        b"*4\r\n$8\r\npmessage\r\n$15\r\nnotifications:*\r\n$17\r\nnotifications:ada\r\n$999999\r\nhi",
    ] {
        let (redis, ops) = FakeRedis::start();
        let mut ada = Client::fresh(&ops.server, "ada");
        let mut stream = redis.subscribe(&ops);
        send(&mut stream, &publication("notifications:ada", b"$3\r\none"));
        assert_has(&ada.expect("message"), &json!({"message": "one"}));
        // The server may close the connection before all of it is written.
        let _ = stream.write_all(fault);
        drop(stream);
        eventually("the end is noticed", || !is_connected(&ops));
        let mut stream = redis.subscribe(&ops);
        send(&mut stream, &publication("notifications:ada", b"$3\r\ntwo"));
        assert_has(&ada.expect("message"), &json!({"message": "two"}));
        ada.assert_quiet();
        let connections = samples(&ops)["dmwire_notify_connections_total"];
        assert!((connections - 2.0).abs() < 0.1, "{connections}");
    }
}

#[test]
fn what_is_no_publication_is_skipped() {
    let (redis, ops) = FakeRedis::start();
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut stream = redis.subscribe(&ops);
    for other in [
        &b"+PONG\r\n"[..],
        b":17\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        b"*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n",
        b"*3\r\n$10\r\npsubscribe\r\n$5\r\nother\r\n:2\r\n",
        b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$5\r\nother\r\n$2\r\nhi\r\n",
    ] {
        send(&mut stream, other);
    }
    // Payloads that are no text, and a channel that is none.
    for payload in [&b":7"[..], b"$-1", b"*1\r\n$2\r\nhi", b"$2\r\n\xff\xfe"] {
        send(&mut stream, &publication("notifications:ada", payload));
    }
    send(&mut stream, &publication("notifications:", b"$2\r\nhi"));
    send(&mut stream, &publication("notifications:ada", b"$3\r\nend"));
    assert_has(&ada.expect("message"), &json!({"message": "end", "seq": 1}));
    let counted = samples(&ops);
    assert!(counted["dmwire_notifications_total{outcome=\"refused\"}"] > 4.9);
    assert!(is_connected(&ops));
}

#[test]
fn a_publication_may_arrive_in_parts_with_a_long_pause() {
    let (redis, ops) = FakeRedis::start();
    let mut ada = Client::fresh(&ops.server, "ada");
    let mut stream = redis.subscribe(&ops);
    let [first, second] = ["one", "two"].map(|text| {
        let payload = format!("$3\r\n{text}");
        publication("notifications:ada", payload.as_bytes())
    });
    // Longer than the time after which the server asks whether Redis answers.
    for part in [&first[..30], &first[30..], &second[..70], &second[70..]] {
        send(&mut stream, part);
        std::thread::sleep(std::time::Duration::from_millis(5500));
    }
    for text in ["one", "two"] {
        assert_has(&ada.expect("message"), &json!({"message": text}));
    }
    let connections = samples(&ops)["dmwire_notify_connections_total"];
    assert!((connections - 1.0).abs() < 0.1, "{connections}");
}

//! How the server stops: on a signal with answers and a `goodbye` (PROTOCOL section 8, "server shutdown"), on SIGKILL without the
//! loss of acknowledged messages.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, End, Raw, Server, client_frame, eventually, to};

/// The maximum duration of a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

fn assert_shutdown((goodbye, end): (Value, End)) {
    assert_eq!(goodbye["reason"], "shutdown");
    assert_eq!(
        (&goodbye["code"], &goodbye["reconnect"]),
        (&json!(1012), &json!(true))
    );
    assert_eq!(end, End::Closed(1012));
}

fn assert_exits_in_time(server: &mut Server) {
    let status = server.wait(DRAIN);
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

/// A session that has sent so many messages to itself without reading that acks are waiting to be sent, and delays the shutdown.
fn unread_session(server: &Server) -> Raw {
    let mut raw = Raw::narrow(server, "/ws/never");
    let frame = to("never", &"x".repeat(2000)).to_string();
    let frames = client_frame(0x81, frame.as_bytes()).repeat(50);
    let quick = Some(Duration::from_secs(1));
    raw.stream
        .set_write_timeout(quick)
        .expect("a timeout can be set");
    for _ in 0..1000 {
        match raw.stream.write(&frames) {
            Ok(n) if n == frames.len() => {}
            Ok(_) => return raw,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return raw,
            Err(e) => panic!("{e}"),
        }
    }
    panic!("the sender is not throttled");
}

const ONE_THAT_NEVER_READS: [&str; 6] = [
    "--outbox-bytes",
    "65536",
    "--burst",
    "1000000",
    "--messages-per-second",
    "1000000",
];

#[test]
fn shutdown_is_announced_to_sessions_and_echo_connections() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        let mut sessions: Vec<_> = (0..5)
            .map(|n| Client::fresh(&server, &format!("u{n}")))
            .collect();
        let mut echo = Client::dial(&server, "/echo", &[]).expect("the handshake succeeds");
        server.signal(signal);
        for session in &mut sessions {
            assert_shutdown(session.goodbye());
        }
        assert_eq!(echo.next(), Err(End::Closed(1012)));
        assert_exits_in_time(&mut server);
        // The store was closed properly.
        server.restart();
        Client::fresh(&server, "u1").assert_quiet();
    }
}

#[test]
fn a_server_without_connections_stops_at_once() {
    let mut server = Server::start(&[]);
    Client::fresh(&server, "a").close();
    server.wait_for_log("connection closed");
    let began = Instant::now();
    server.signal("TERM");
    assert_exits_in_time(&mut server);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    server.wait_for_log("stopped");
}

#[test]
fn shutdown_is_announced_to_two_hundred_sessions() {
    let mut server = Server::start(&[]);
    let mut sessions: Vec<_> = (0..200)
        .map(|n| Client::fresh(&server, &format!("u{}", n / 4)))
        .collect();
    server.signal("TERM");
    for session in &mut sessions {
        assert_shutdown(session.goodbye());
    }
    assert_exits_in_time(&mut server);
}

#[test]
fn clients_that_neither_read_nor_close_do_not_delay_the_shutdown_for_long() {
    let mut server = Server::start(&ONE_THAT_NEVER_READS);
    let _never = unread_session(&server);
    let _silent: Vec<_> = (0..20)
        .map(|n| Raw::upgrade(&server, &format!("/ws/u{n}")))
        .collect();
    let _half_open = Raw::open(&server);
    let mut half_sent = Raw::open(&server);
    half_sent.write(b"GET /ws/a HTTP/1.1\r\nHost: ");
    let mut other = Client::connect(&server, "other", "");
    server.signal("TERM");
    assert_shutdown(other.goodbye());
    assert_exits_in_time(&mut server);
}

#[test]
fn frames_sent_before_the_shutdown_are_answered_before_goodbye_and_stored() {
    let mut server = Server::start(&["--burst", "10000"]);
    let mut a = Client::fresh(&server, "a");
    let frames: Vec<u8> = (1..=500)
        .flat_map(|n| {
            let frame = json!({"message": n.to_string(), "target_user": "b", "ref": n.to_string()});
            client_frame(0x81, frame.to_string().as_bytes())
        })
        .collect();
    a.stream().write_all(&frames).expect("sent");
    server.signal("TERM");
    for n in 1..=500 {
        let ack = a.expect("ack");
        assert_eq!(
            (&ack["seq"], &ack["ref"]),
            (&json!(n), &json!(n.to_string()))
        );
    }
    let goodbye = a.expect("goodbye");
    assert_shutdown((goodbye, a.next().expect_err("nothing follows goodbye")));
    assert_exits_in_time(&mut server);

    server.restart();
    let mut b = Client::connect(&server, "b", "");
    for n in 1..=500 {
        let message = b.expect("message");
        assert_eq!(
            (&message["seq"], &message["message"]),
            (&json!(n), &json!(n.to_string()))
        );
    }
    assert_eq!(b.expect("synced")["seq"], 500);
}

#[test]
fn errors_and_pongs_are_sent_before_goodbye_too() {
    let mut server = Server::start(&[]);
    let mut sessions: Vec<_> = (0..100)
        .map(|n| Client::fresh(&server, &format!("u{n}")))
        .collect();
    let mut bytes = client_frame(0x81, br#"{"type":"nonsense","ref":"1"}"#);
    bytes.extend(client_frame(0x81, br#"{"type":"ping","ref":"2"}"#));
    bytes.extend(client_frame(
        0x81,
        br#"{"message":"x","target_room":"r","ref":"3"}"#,
    ));
    for session in &mut sessions {
        session.stream().write_all(&bytes).expect("sent");
    }
    server.signal("TERM");
    for session in &mut sessions {
        for reference in ["1", "2", "3"] {
            let reply = session.recv();
            assert_eq!(reply["ref"], reference, "{reply}");
        }
        assert_shutdown(session.goodbye());
    }
    assert_exits_in_time(&mut server);
}

#[test]
fn no_new_sessions_are_accepted_during_shutdown() {
    let mut server = Server::start(&ONE_THAT_NEVER_READS);
    // It delays the shutdown for some seconds.
    let _never = unread_session(&server);
    let mut a = Client::fresh(&server, "a");
    server.signal("TERM");
    assert_shutdown(a.goodbye());
    for (path, browser) in [("/ws/new", false), ("/echo", false), ("/ws/new", true)] {
        let offered: &[_] = if browser {
            &[("sec-websocket-protocol", "dmwire.v1")]
        } else {
            &[]
        };
        match Client::dial(&server, path, offered) {
            Err(tungstenite::Error::Http(response)) if !browser => {
                assert_eq!(response.status(), 503);
                let body: Value =
                    serde_json::from_slice(response.body().as_deref().expect("a body"))
                        .expect("JSON");
                assert_eq!(body["code"], "draining");
                assert!(body["retry_after_ms"].is_u64(), "{body}");
            }
            Ok(mut client) if browser => {
                let (goodbye, end) = client.goodbye();
                assert_eq!(
                    (&goodbye["reason"], &goodbye["reconnect"]),
                    (&json!("draining"), &json!(true))
                );
                assert_eq!(end, End::Closed(1013));
            }
            // The server may have closed the listener already.
            Err(tungstenite::Error::Io(_)) => {}
            Err(other) => panic!("{path}: {other}"),
            Ok(_) => panic!("{path} was accepted"),
        }
    }
    assert_exits_in_time(&mut server);
}

#[test]
fn a_second_signal_stops_the_server_at_once() {
    for second in ["TERM", "INT"] {
        let mut server = Server::start(&ONE_THAT_NEVER_READS);
        let _never = unread_session(&server);
        server.signal("TERM");
        server.wait_for_log("shutting down");
        let began = Instant::now();
        server.signal(second);
        let status = server.wait(DRAIN);
        let took = began.elapsed();
        assert_ne!(status.code(), Some(0), "{}", server.log());
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[test]
fn sessions_opened_while_the_shutdown_starts_receive_goodbye() {
    let mut server = Server::start(&[]);
    let came = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let arriving = |name: usize| {
            let (server, came) = (&server, &came);
            scope.spawn(move || {
                let mut inside = Vec::new();
                for n in 0..200 {
                    let path = format!("/ws/u{name}.{n}");
                    match Client::dial(server, &path, &[]) {
                        Ok(client) => inside.push(client),
                        Err(tungstenite::Error::Http(response)) => {
                            assert_eq!(response.status(), 503);
                            break;
                        }
                        Err(_) => break,
                    }
                    came.fetch_add(1, Ordering::Relaxed);
                }
                for mut client in inside {
                    assert_eq!(client.recv()["type"], "welcome");
                    assert_shutdown(client.goodbye());
                }
            })
        };
        let threads: Vec<_> = (0..4).map(arriving).collect();
        eventually("the messages arrive", || came.load(Ordering::Relaxed) >= 40);
        server.signal("TERM");
        for thread in threads {
            thread.join().expect("everyone is notified");
        }
    });
    assert_exits_in_time(&mut server);
}

/// A user who sends numbered messages to `target` until the connection ends; the ids are made from the numbers.
struct Speaker {
    name: String,
    /// The number of messages sent.
    sent: u64,
    /// The number and `seq` of each acknowledged message.
    acked: Vec<(u64, u64)>,
}

impl Speaker {
    fn frame(&self, n: u64) -> Value {
        json!({
            "message": format!("{} {n}", self.name),
            "target_user": "target",
            "id": self.id(n),
            "ref": n.to_string(),
        })
    }

    fn id(&self, n: u64) -> String {
        let name = u64::from_str_radix(&self.name, 16).expect("a number for a name");
        format!("{name:08x}-0000-4000-8000-{n:012x}")
    }

    /// Sends twenty messages at a time. Returns the `goodbye` frame, if there was one.
    fn send_until_disconnected(
        &mut self,
        mut client: Client,
        acknowledged: &AtomicUsize,
    ) -> Option<Value> {
        let mut goodbye = None;
        loop {
            for _ in 0..20 {
                self.sent += 1;
                client.try_send_text(&self.frame(self.sent).to_string());
            }
            for _ in 0..20 {
                match client.next() {
                    Ok(frame) if frame["type"] == "ack" => {
                        let n = frame["ref"]
                            .as_str()
                            .expect("a ref")
                            .parse()
                            .expect("a number");
                        self.acked.push((n, frame["seq"].as_u64().expect("a seq")));
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(frame) if frame["type"] == "goodbye" => goodbye = Some(frame),
                    Ok(other) => panic!("expected an ack, found {other}"),
                    Err(_) => return goodbye,
                }
            }
        }
    }
}

/// Lets `count` users send to `target` until `end` has stopped the server, which starts when `enough` messages are acknowledged.
fn send_until_stopped(
    server: &mut Server,
    names: std::ops::Range<usize>,
    enough: usize,
    end: impl FnOnce(&mut Server),
) -> Vec<(Speaker, Option<Value>)> {
    let acknowledged = AtomicUsize::new(0);
    let clients: Vec<_> = names
        .map(|name| {
            let name = format!("{name:x}");
            let client = Client::fresh(server, &name);
            (
                Speaker {
                    name,
                    sent: 0,
                    acked: Vec::new(),
                },
                client,
            )
        })
        .collect();
    std::thread::scope(|scope| {
        let acknowledged = &acknowledged;
        let speaking: Vec<_> = clients
            .into_iter()
            .map(|(mut speaker, client)| {
                scope.spawn(move || {
                    let goodbye = speaker.send_until_disconnected(client, acknowledged);
                    (speaker, goodbye)
                })
            })
            .collect();
        eventually("enough messages are acknowledged", || {
            acknowledged.load(Ordering::Relaxed) >= enough
        });
        end(server);
        speaking
            .into_iter()
            .map(|thread| thread.join().expect("it speaks to the end"))
            .collect()
    })
}

/// A user's inbox, which must have no gap.
fn inbox(server: &Server, user: &str) -> Vec<Value> {
    let mut client = Client::connect(server, user, "?since=0");
    let mut entries = Vec::new();
    loop {
        let frame = client.recv();
        if frame["type"] == "synced" {
            return entries;
        }
        entries.push(frame);
        assert_eq!(entries[entries.len() - 1]["seq"], entries.len());
    }
}

/// Asserts that each acknowledged message is in both inboxes once: at the acknowledged `seq` for the sender, and in the order of
/// sending for the target.
fn assert_stored(server: &Server, speakers: &[&Speaker]) {
    let received = inbox(server, "target");
    for speaker in speakers {
        let of_speaker: Vec<_> = received
            .iter()
            .filter(|entry| entry["from_user"] == speaker.name)
            .collect();
        // No message is missing or duplicated, and all acknowledged ones are present.
        for (entry, n) in of_speaker.iter().zip(1..) {
            assert_eq!(entry["id"], speaker.id(n));
            assert_eq!(entry["message"], format!("{} {n}", speaker.name));
        }
        assert!(of_speaker.len() >= speaker.acked.len());
        assert!(of_speaker.len() as u64 <= speaker.sent);
        let own = inbox(server, &speaker.name);
        assert_eq!(own.len(), of_speaker.len());
        for ((n, seq), expected) in speaker.acked.iter().zip(1..) {
            assert_eq!(*n, expected, "acks have the order of the frames");
            assert_eq!(own[*seq as usize - 1]["id"], speaker.id(*n));
        }
    }
}

#[test]
fn a_shutdown_under_load_loses_no_acknowledged_message() {
    let mut server = Server::start(&["--burst", "1000000"]);
    let spoken = send_until_stopped(&mut server, 1..5, 300, |server| server.signal("TERM"));
    for (_, goodbye) in &spoken {
        assert_eq!(goodbye.as_ref().expect("goodbye")["reason"], "shutdown");
    }
    assert_exits_in_time(&mut server);
    server.restart();
    let speakers: Vec<_> = spoken.iter().map(|(speaker, _)| speaker).collect();
    assert_stored(&server, &speakers);
}

#[test]
fn sigkill_under_load_loses_no_acknowledged_message() {
    let mut server = Server::start(&["--burst", "1000000"]);
    let mut all = Vec::new();
    for (round, enough) in [150, 400, 777].into_iter().enumerate() {
        let names = round * 4 + 1..round * 4 + 5;
        let spoken = send_until_stopped(&mut server, names, enough, Server::kill);
        server.restart();
        all.extend(spoken.into_iter().map(|(speaker, _)| speaker));
        assert_stored(&server, &all.iter().collect::<Vec<_>>());
        // Messages without an ack are sent again; none is lost or duplicated.
        for speaker in &mut all[round * 4..] {
            let mut client = Client::connect(&server, &speaker.name, "");
            client.until("synced");
            for n in speaker.acked.len() as u64 + 1..=speaker.sent {
                let ack = client.ask(&speaker.frame(n));
                speaker.acked.push((n, ack["seq"].as_u64().expect("a seq")));
            }
        }
        assert_stored(&server, &all.iter().collect::<Vec<_>>());
    }
}

//! Quotas per user, per address and in total (PROTOCOL sections 2, 8 and 10).

use serde_json::{Value, json};

use crate::support::{
    Client, End, Raw, Server, assert_has, burst, eventually, handshake, json_answer, to,
};

/// Makes the server trust the address headers that the tests send.
const PROXY: [&str; 2] = ["--trusted-proxy", "127.0.0.1"];

fn start(arguments: &[&str]) -> Server {
    Server::start(&[&PROXY[..], arguments].concat())
}

/// Opens a session from address `ip`, or returns the status and body of the rejection.
fn connect_from(server: &Server, ip: &str, user: &str) -> Result<Client, (u16, Value)> {
    match Client::dial(server, &format!("/ws/{user}"), &[("X-Forwarded-For", ip)]) {
        Ok(mut client) => {
            client.until("synced");
            Ok(client)
        }
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = serde_json::from_slice(body).expect("a JSON body");
            Err((response.status().as_u16(), body))
        }
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn assert_too_many(refused: Result<Client, (u16, Value)>) {
    let Err((status, body)) = refused else {
        panic!("the handshake was accepted");
    };
    assert_eq!(
        (status, &body["code"]),
        (429, &json!("too_many_connections"))
    );
    assert!(body["retry_after_ms"].as_u64() > Some(0), "{body}");
}

/// Sends this number of messages at once. Returns how many were accepted, and the `retry_after_ms` of the last rejected one.
fn flood(client: &mut Client, frame: &Value, times: usize) -> (usize, Option<u64>) {
    burst(client, &vec![frame.clone(); times]);
    let mut passed = 0;
    let mut wait = None;
    for _ in 0..times {
        let answer = client.recv();
        if answer["type"] == "error" {
            assert_has(&answer, &json!({"code": "rate_limited", "retryable": true}));
            wait = answer["retry_after_ms"].as_u64();
            assert!(wait > Some(0), "{answer}");
        } else {
            passed += 1;
        }
    }
    (passed, wait)
}

#[test]
fn the_rate_of_a_user_counts_all_sessions() {
    let server = Server::start(&["--user-messages-per-second", "1", "--user-burst", "30"]);
    let hello = to("b", "hello");
    let mut one = Client::fresh(&server, "a");
    let mut two = Client::connect(&server, "a", "?device=two&ack=manual");
    two.until("synced");
    assert_eq!(flood(&mut one, &hello, 20), (20, None));
    for _ in 0..20 {
        two.expect("message");
    }
    let (passed, wait) = flood(&mut two, &hello, 20);
    // On a busy machine more messages may be accepted meanwhile.
    assert!((10..20).contains(&passed), "{passed}");
    assert!(
        (1..=1000).contains(&wait.expect("some are rejected")),
        "{wait:?}"
    );
    // A new session of the same user gets no new allowance; another user has a separate one.
    let mut three = Client::connect(&server, "a", "?device=three&ack=manual");
    three.until("synced");
    assert!(flood(&mut three, &hello, 20).0 < 20);
    let mut other = Client::fresh(&server, "c");
    assert_eq!(flood(&mut other, &hello, 20), (20, None));
    // Pings are not counted.
    for _ in 0..50 {
        other.assert_quiet();
    }
}

#[test]
fn the_default_rate_of_a_user_is_four_times_that_of_a_session() {
    let server = Server::start(&["--messages-per-second", "1", "--burst", "10"]);
    let mut passed = 0;
    for n in 0..6 {
        let mut session = Client::connect(&server, "a", &format!("?device=d{n}&ack=manual"));
        session.until("synced");
        burst(
            &mut session,
            &vec![json!({"type": "unblock", "user": "b"}); 10],
        );
        passed += (0..10).filter(|_| session.recv()["type"] == "ok").count();
    }
    // Ten for each session would be sixty; a second more or less makes no difference.
    assert!((40..56).contains(&passed), "{passed}");
}

#[test]
fn queries_have_a_separate_rate() {
    let server = Server::start(&["--queries-per-second", "1", "--query-burst", "6"]);
    let mut a = Client::fresh(&server, "a");
    let history = json!({"type": "history", "target_user": "b", "ref": "h"});
    let conversations = json!({"type": "conversations", "ref": "c"});
    assert_eq!(flood(&mut a, &history, 3), (3, None));
    let (passed, wait) = flood(&mut a, &conversations, 20);
    assert!((3..10).contains(&passed), "{passed}");
    assert!(
        (1..=1000).contains(&wait.expect("some are rejected")),
        "{wait:?}"
    );
    a.send(&history);
    let answer = a.recv();
    assert_eq!(answer["ref"], "h", "{answer}");
    // They do not count towards the message rate.
    assert_eq!(a.ask(&to("b", "hello"))["type"], "ack");
}

#[test]
fn connections_per_address_are_limited_and_released() {
    let server = start(&["--connections-per-ip", "3"]);
    let mut held: Vec<_> = (0..3)
        .map(|n| connect_from(&server, "203.0.113.5", &format!("u{n}")).expect("there is room"))
        .collect();
    assert_too_many(connect_from(&server, "203.0.113.5", "u3"));
    // Other addresses are not affected, and plain requests need no permit.
    connect_from(&server, "203.0.113.6", "v").expect("another address");
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200"));
    held.pop().expect("one of them").close();
    eventually("a connection is accepted again", || {
        connect_from(&server, "203.0.113.5", "u3")
            .map(|client| held.push(client))
            .is_ok()
    });
    assert_too_many(connect_from(&server, "203.0.113.5", "u4"));
}

#[test]
fn a_client_that_offers_dmwire_is_rejected_with_goodbye() {
    let server = start(&["--connections-per-ip", "1"]);
    let _held = connect_from(&server, "203.0.113.5", "a").expect("there is room");
    let headers = [
        ("X-Forwarded-For", "203.0.113.5"),
        ("Sec-WebSocket-Protocol", "dmwire.v1"),
    ];
    let mut refused = Client::dial(&server, "/ws/b", &headers).expect("the handshake succeeds");
    let (goodbye, end) = refused.goodbye();
    assert_has(
        &goodbye,
        &json!({"code": 4429, "reason": "too_many_connections", "reconnect": true}),
    );
    assert!(goodbye["retry_after_ms"].as_u64() > Some(0), "{goodbye}");
    assert_eq!(end, End::Closed(4429));
}

#[test]
fn an_ipv6_address_counts_as_its_64_bit_network() {
    let server = start(&["--connections-per-ip", "2"]);
    let _one = connect_from(&server, "2001:db8:1:1::1", "a").expect("there is room");
    let _two = connect_from(&server, "2001:db8:1:1:ffff::2", "b").expect("there is room");
    assert_too_many(connect_from(&server, "2001:db8:1:1::3", "c"));
    let _other = connect_from(&server, "2001:db8:1:2::1", "c").expect("another network");
    // An IPv4-mapped address counts as the IPv4 address.
    let _four = connect_from(&server, "203.0.113.5", "d").expect("there is room");
    let _four = connect_from(&server, "::ffff:203.0.113.5", "e").expect("there is room");
    let _four = connect_from(&server, "::ffff:203.0.113.6", "f").expect("another address");
    assert_too_many(connect_from(&server, "::ffff:203.0.113.5", "g"));
}

#[test]
fn the_total_of_connections_is_limited() {
    let server = Server::start(&["--connections", "4"]);
    let mut held: Vec<_> = (0..3)
        .map(|n| Client::fresh(&server, &format!("u{n}")))
        .collect();
    let echo = Client::dial(&server, "/echo", &[]).expect("there is room");
    let (status, body) = json_answer(&server.http(&handshake("/ws/x", "")));
    assert_eq!(
        (status, &body["code"]),
        (429, &json!("too_many_connections"))
    );
    assert!(held[0].ask(&to("b", "I am here"))["seq"].is_u64());
    echo.cut(false);
    eventually("a connection is accepted again", || {
        Client::try_connect(&server, "x", "")
            .map(|client| held.push(client))
            .is_some()
    });
}

#[test]
fn handshakes_per_address_are_limited() {
    let server = start(&["--handshakes-per-second", "1", "--handshake-burst", "5"]);
    let ip = "203.0.113.5";
    let mut refused = None;
    for n in 0..20 {
        if let Err(answer) = connect_from(&server, ip, "a") {
            assert!(n >= 5, "{n}");
            refused = Some(answer);
            break;
        }
    }
    let (status, body) = refused.expect("one of twenty is refused");
    assert_eq!(
        (status, &body["code"]),
        (429, &json!("too_many_connections"))
    );
    assert!((1..=1000).contains(&body["retry_after_ms"].as_u64().expect("a wait")));
    connect_from(&server, "203.0.113.6", "b").expect("another address");
    // Rejected handshakes count as well.
    let more = format!("X-Forwarded-For: {ip}\r\n");
    let again = server.http(&handshake("/ws/a?ack=never", &more));
    assert_eq!(json_answer(&again).0, 429);
    eventually("the allowance is refilled", || {
        connect_from(&server, ip, "a").is_ok()
    });
}

#[test]
fn by_default_loopback_addresses_are_not_limited() {
    let server = Server::start(&[]);
    let held: Vec<_> = (0..300)
        .map(|n| Raw::upgrade(&server, &format!("/ws/u{n}")))
        .collect();
    drop(held);
    // Other addresses are, and so is that of a trusted proxy.
    let server = start(&[]);
    let refused = (0..2000).find_map(|_| {
        let more = "X-Forwarded-For: 203.0.113.5\r\n";
        let answer = server.http(&handshake("/ws/a?ack=never", more));
        (json_answer(&answer).0 == 429).then_some(answer)
    });
    assert!(
        refused.is_some(),
        "one of two thousand handshakes is rejected"
    );
}

#[test]
fn shutdown_has_priority_over_the_limits() {
    let server = start(&["--connections", "1"]);
    let mut a = Client::fresh(&server, "a");
    // An open session delays the shutdown.
    let mut late = Raw::open(&server);
    server.signal("TERM");
    server.wait_for_log("shutting down");
    late.write(handshake("/ws/b", "").as_bytes());
    let head = late.head();
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(a.goodbye().1, End::Closed(1012));
}

#[test]
fn idle_connections_per_address_are_limited() {
    let server = Server::start(&[
        "--connections-per-ip",
        "4",
        "--handshakes-per-second",
        "1000",
    ]);
    let session = Client::fresh(&server, "a");
    // The limit on connections without a session also covers pages and handshakes.
    let held: Vec<_> = (0..300).map(|_| Raw::open(&server)).collect();
    eventually("the other connections are closed", || {
        let (status, body) = json_answer(&server.get("/healthz"));
        status == 429 && body["code"] == "too_many_connections"
    });
    drop(held);
    eventually("a connection is accepted again", || {
        server.get("/healthz").starts_with("HTTP/1.1 200 ")
    });
    session.close();
}

#[test]
fn new_connections_per_address_are_limited() {
    let server = Server::start(&["--handshakes-per-second", "1", "--handshake-burst", "2"]);
    let refused = (0..200).find_map(|_| {
        let answer = server.get("/healthz");
        (!answer.starts_with("HTTP/1.1 200 ")).then_some(answer)
    });
    let (status, body) = json_answer(&refused.expect("one of two hundred in a row is refused"));
    assert_eq!(
        (status, &body["code"]),
        (429, &json!("too_many_connections"))
    );
    assert!((1..=1000).contains(&body["retry_after_ms"].as_u64().expect("a wait")));
    eventually("the allowance is refilled", || {
        server.get("/healthz").starts_with("HTTP/1.1 200 ")
    });
}

//! Attacks from outside, while an honest pair goes on talking: each of its messages arrives, in order, with every frame valid. How
//! long they take is printed, quiet and under attack, and not judged: that is a matter of the machine.
//!
//! `DMWIRE_ATTACK_SESSIONS` says how many sessions come back at once after a crash, `DMWIRE_ATTACK_SECONDS` for how long each attack
//! goes on at least, and the quiet before it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::pair::{alone, beside, crew, crowd};
use crate::support::{Client, DEADLINE, Raw, Server, client_frame, cut, eventually, handshake, to};
use serde_json::{Value, json};

/// A connection, with nothing sent.
fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream
        .set_read_timeout(Some(DEADLINE))
        .and_then(|()| stream.set_write_timeout(Some(DEADLINE)))
        .expect("a timeout can be set");
    stream
}

/// As [`plain`], with little room for what nobody reads.
fn narrow_socket(address: SocketAddr) -> TcpStream {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket is to be had");
    socket
        .set_recv_buffer_size(8192)
        .and_then(|()| socket.connect(&address.into()))
        .expect("the server accepts");
    socket.into()
}

/// Descriptors that the server has open once it has served somebody.
fn descriptors_at_rest(server: &Server) -> usize {
    Client::fresh(server, "first").close();
    server.wait_for_log("connection closed user=first");
    descriptors(server)
}

/// Descriptors that the server has open.
fn descriptors(server: &Server) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    folder.expect("the server is running").count()
}

/// Waits until the server has no more descriptors open than it had.
fn assert_given_back(server: &Server, before: usize) {
    let until = Instant::now() + DEADLINE;
    loop {
        let now = descriptors(server);
        if now <= before {
            return;
        }
        assert!(Instant::now() < until, "{now} descriptors, from {before}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn handshakes_that_never_end_are_cut_and_hold_up_nobody() {
    const MANY: usize = 600;
    let _alone = alone();
    let server = Server::start(&["--workers", "1"]);
    let before = descriptors_at_rest(&server);
    beside(&server, "slow handshakes", || {
        let head = handshake("/ws/slow", &format!("X: {}\r\n", "x".repeat(10_000)));
        let head = head.as_bytes();
        let began = Instant::now();
        let mut slow: Vec<TcpStream> = (0..MANY).map(|_| plain(server.address)).collect();
        for stream in &slow {
            stream
                .set_nonblocking(true)
                .expect("a socket can be told not to wait");
        }
        let mut cuts = Vec::new();
        for at in 0.. {
            assert!(began.elapsed() < 2 * DEADLINE, "{} are kept", slow.len());
            let mut n = 0;
            slow.retain_mut(|stream| {
                n += 1;
                // A third says nothing at all, a third stops within a line, and a third goes on byte by byte.
                let says = match n % 3 {
                    0 => false,
                    1 => at < 20,
                    _ => true,
                };
                if says {
                    let _ = stream.write(&head[at..=at]);
                }
                let mut answer = [0; 512];
                match stream.read(&mut answer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                    Ok(0) | Err(_) => {
                        cuts.push(began.elapsed());
                        false
                    }
                    Ok(n) => {
                        let answer = String::from_utf8_lossy(&answer[..n]);
                        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
                        true
                    }
                }
            });
            if slow.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let (first, last) = (cuts[0], cuts[MANY - 1]);
        assert!(first > Duration::from_secs(7), "cut after {first:?}");
        eprintln!("{MANY} slow handshakes were cut after {first:.1?} to {last:.1?}");
    });
    assert_given_back(&server, before);
}

#[test]
fn later_requests_that_never_end_and_answers_that_nobody_reads_are_cut_too() {
    const EACH: usize = 20;
    // This one mostly waits, and the others need not.
    let server = Server::start(&["--workers", "1"]);
    let before = descriptors_at_rest(&server);
    let mut session = Client::fresh(&server, "a");
    let ask = b"GET /schema/server-frame.schema.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut well = plain(server.address);
    let began = Instant::now();
    let mut held: Vec<TcpStream> = (0..3 * EACH)
        .map(|n| {
            let unread = n < EACH;
            let mut stream = if unread {
                narrow_socket(server.address)
            } else {
                plain(server.address)
            };
            if !unread {
                stream.write_all(ask).expect("the server takes it");
                let mut answer = vec![0; 65_536];
                let mut read = 0;
                while !answer[..read].ends_with(b"}") && !answer[..read].ends_with(b"}\n") {
                    read += stream.read(&mut answer[read..]).expect("an answer");
                }
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHo")
                    .expect("the server takes it");
            }
            stream
                .set_nonblocking(true)
                .expect("a socket can be told not to wait");
            if unread {
                // As much of it as the server takes.
                let _ = stream.write(&ask.repeat(1000));
            }
            stream
        })
        .collect();
    let (few, all) = (before + 2, before + 2 + held.len());
    let mut first = None;
    for at in 0.. {
        let now = descriptors(&server);
        if now < all {
            first.get_or_insert_with(|| began.elapsed());
        }
        if now <= few {
            break;
        }
        assert!(began.elapsed() < 4 * DEADLINE, "{} are kept", now - few);
        // Half of those with two requests go on byte by byte.
        for stream in held.iter_mut().skip(2 * EACH) {
            let _ = stream.write(b"x");
        }
        // Who asks again and again is served for as long as they like.
        if at % 20 == 0 {
            well.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .expect("the server takes it");
            assert!(well.read(&mut [0; 4096]).is_ok_and(|n| n > 0));
            session.assert_quiet();
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    let (first, last) = (first.unwrap_or_default(), began.elapsed());
    eprintln!("{} were cut after {first:.1?} to {last:.1?}", held.len());
    assert!(first > Duration::from_secs(20), "cut after {first:?}");
    well.write_all(ask).expect("the server takes it");
    assert!(well.read(&mut [0; 4096]).is_ok_and(|n| n > 0));
    session.assert_quiet();
    drop((well, session, held));
    assert_given_back(&server, before);
}

#[test]
fn a_server_that_may_open_nothing_more_goes_on_with_those_it_has() {
    let _alone = alone();
    let server = Server::start(&[]);
    Client::fresh(&server, "first").close();
    let limit = |files| {
        let pid = i32::try_from(server.pid()).expect("a process id");
        let both = Some((files, files));
        rlimit::prlimit(pid, rlimit::Resource::NOFILE, both, None).expect("a limit can be set");
    };
    let room = descriptors(&server) as u64 + 40;
    beside(&server, "no descriptors left", || {
        limit(room);
        let mut waiting: Vec<_> = (0..100).map(|_| plain(server.address)).collect();
        eventually("none is left", || descriptors(&server) as u64 >= room);
        // Those that have found no room are heard when others have gone.
        drop(waiting.drain(..60));
        for stream in &mut waiting {
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .expect("it is open");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    });
    Client::fresh(&server, "last").close();
}

#[test]
fn connections_that_flood_in_and_break_off_leave_nothing_behind() {
    const CREW: usize = 8;
    const EACH: usize = 400;
    let _alone = alone();
    let server = Server::start(&[]);
    let before = (descriptors_at_rest(&server), server.memory_kib());
    let address = server.address;
    let (answered, times) = (AtomicUsize::new(0), AtomicUsize::new(0));
    beside(&server, "connections that break off", || {
        times.fetch_add(1, Ordering::Relaxed);
        crew(CREW, |member| {
            for n in 0..EACH {
                let mut stream = plain(address);
                let user = format!("/ws/flood-{}", (member * EACH + n) % 50);
                let reset = n % 2 == 0;
                match n % 5 {
                    0 => {}
                    1 => drop(stream.write_all(b"GET /ws/flo")),
                    2 => drop(stream.write_all(&[0, 0xFF, b'\r', b'\n', 0x16, 3, 1])),
                    3 => drop(stream.write_all(handshake(&user, "").as_bytes())),
                    _ => {
                        // To the end of the handshake, and then it goes in the middle of a frame.
                        let asked = stream.write_all(handshake(&user, "").as_bytes());
                        if asked.is_ok() && stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
                            answered.fetch_add(1, Ordering::Relaxed);
                            let frame = client_frame(0x81, to("sink", "x").to_string().as_bytes());
                            let _ = stream.write_all(&frame[..frame.len() - 3]);
                        }
                    }
                }
                cut(&stream, reset);
            }
        });
    });
    assert_eq!(answered.into_inner(), times.into_inner() * CREW * EACH / 5);
    // Where both ends have closed, actix waits a moment more.
    assert_given_back(&server, before.0);
    let grown = server.memory_kib().saturating_sub(before.1);
    eprintln!("{} connections: by {grown} KiB", CREW * EACH);
    assert!(grown < 32 * 1024, "{grown} KiB");
    Client::fresh(&server, "flood-0").assert_quiet();
}

#[test]
fn a_flood_of_bad_frames_ends_each_session_that_sends_it() {
    const CREW: usize = 6;
    const EACH: usize = 25;
    let _alone = alone();
    let server = Server::start(&[]);
    let times = AtomicUsize::new(0);
    beside(&server, "bad frames", || {
        // Each a user of its own: one user's rate is counted over all sessions.
        let time = times.fetch_add(1, Ordering::Relaxed);
        crew(CREW, |member| {
            for n in 0..EACH {
                let mut raw = Raw::upgrade(&server, &format!("/ws/bad-{time}-{member}-{n}"));
                let bad: &[(u8, &str)] = &[
                    (0x81, "no JSON"),
                    (0x82, "binary"),
                    (0x81, r#"{"type":"nope"}"#),
                    (0x81, r#"{"message":"","target_user":"honest"}"#),
                    (
                        0x81,
                        r#"{"message":{"type":"x.y"},"target_user":"honest","ref":"r"}"#,
                    ),
                    (0x81, "[[[[[[[["),
                    (0x81, r#"{"a":1,"a":1}"#),
                ];
                let all: Vec<u8> = (0..40)
                    .map(|n| bad[n % bad.len()])
                    .flat_map(|(first, text)| client_frame(first, text.as_bytes()))
                    .collect();
                raw.write(&all);
                let mut errors = 0;
                let code = loop {
                    let frame = raw.next().expect("a close frame");
                    if frame.opcode == 8 {
                        break frame.close_code();
                    }
                    errors += usize::from(frame.json()["type"] == "error");
                };
                assert_eq!((errors, code), (21, Some(1008)));
            }
        });
    });
}

/// A text message of exactly the largest size, as a frame.
fn largest(target: &str) -> Vec<u8> {
    const LIMIT: usize = 65_536;
    let frame = |data: &str| {
        format!(
            r#"{{"message":{{"type":"data","name":"n","data":"{data}"}},"target_user":"{target}"}}"#
        )
    };
    let text = frame(&"x".repeat(LIMIT - frame("").len()));
    client_frame(0x81, text.as_bytes())
}

#[test]
fn a_flood_of_the_largest_frames_is_taken_or_refused_and_nothing_else() {
    const CREW: usize = 6;
    const EACH: usize = 120;
    let _alone = alone();
    let server = Server::start(&[]);
    let (stored, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let times = AtomicUsize::new(0);
    let before = server.memory_kib();
    beside(&server, "largest frames", || {
        // Each a user of its own: one who comes back would be told of what they have sent.
        let time = times.fetch_add(1, Ordering::Relaxed);
        crew(CREW, |member| {
            let mut raw = Raw::upgrade(&server, &format!("/ws/large-{time}-{member}"));
            let frame = largest(&format!("sink-{member}"));
            for _ in 0..EACH {
                raw.write(&frame);
            }
            let mut left = EACH;
            while left > 0 {
                let answer = raw.text().expect("an answer to each");
                match answer["type"].as_str() {
                    Some("ack") => drop(stored.fetch_add(1, Ordering::Relaxed)),
                    Some("error") => {
                        assert!(
                            answer["code"] == "rate_limited" || answer["code"] == "overloaded",
                            "{answer}"
                        );
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Some("welcome" | "synced") => continue,
                    _ => panic!("{answer}"),
                }
                left -= 1;
            }
        });
    });
    let (stored, refused) = (stored.into_inner(), refused.into_inner());
    let peak = server.peak_kib().saturating_sub(before);
    eprintln!("{stored} of 64 KiB stored, {refused} refused; memory by {peak} KiB at the most");
    assert!(stored > 0 && stored + refused == times.into_inner() * CREW * EACH);
    assert!(peak < 128 * 1024, "{peak} KiB");
}

/// Texts of about 64 KiB that are costly for whoever reads JSON carelessly.
fn costly() -> Vec<(&'static str, String)> {
    let data = |raw: &str| {
        format!(r#"{{"message":{{"type":"data","name":"n","data":{raw}}},"target_user":"sink"}}"#)
    };
    let object = |members: usize, last: &str| {
        let members: Vec<_> = (0..members).map(|n| format!(r#""k{n:05}":0"#)).collect();
        format!("{{{}{last}}}", members.join(","))
    };
    vec![
        ("brackets without end", "[".repeat(65_000)),
        (
            "brackets with an end",
            data(&("[".repeat(32_000) + &"]".repeat(32_000))),
        ),
        (
            "objects in objects",
            r#"{"a":"#.repeat(10_000) + "0" + &"}".repeat(10_000),
        ),
        ("many members", data(&object(5800, ""))),
        (
            "many members, the last one twice",
            data(&object(5800, r#","k05799":0"#)),
        ),
        (
            "many unknown members",
            object(5800, r#","message":"x","target_user":"sink""#),
        ),
        (
            "many small arrays",
            data(&format!("[{}[]]", "[],".repeat(20_000))),
        ),
        (
            "many escapes",
            data(&format!("\"{}\"", "\\u0041".repeat(10_000))),
        ),
        (
            "many halves of surrogates",
            data(&format!("\"{}\"", "\\ud800".repeat(10_000))),
        ),
        ("many digits", data(&"9".repeat(65_000))),
        (
            "many digits behind the point",
            data(&format!("0.{}1", "0".repeat(65_000))),
        ),
        (
            "an exponent of many digits",
            data(&format!("1e-{}", "9".repeat(65_000))),
        ),
        (
            "a number where none belongs",
            format!(r#"{{"type":"received","seq":{}}}"#, "9".repeat(65_000)),
        ),
        ("a long name", format!(r#"{{"{}":1}}"#, "n".repeat(65_000))),
        (
            "a long tag",
            format!(r#"{{"type":"{}"}}"#, "\\n".repeat(32_000)),
        ),
        (
            "a long text",
            format!(
                r#"{{"message":"{}","target_user":"sink"}}"#,
                "\u{1F600}".repeat(16_000)
            ),
        ),
        ("nothing but space", " ".repeat(65_000)),
    ]
}

#[test]
fn json_that_is_costly_to_read_is_answered_like_any_other() {
    const CREW: usize = 4;
    const EACH: usize = 8;
    let _alone = alone();
    let server = Server::start(&[]);
    let texts = costly();
    let frames: Vec<_> = texts
        .iter()
        .map(|(_, text)| client_frame(0x81, text.as_bytes()))
        .collect();
    let worst = Mutex::new(vec![Duration::ZERO; texts.len()]);
    beside(&server, "costly JSON", || {
        crew(CREW, |member| {
            for n in 0..EACH {
                let mut raw = Raw::upgrade(&server, &format!("/ws/costly-{member}-{n}"));
                while raw.expect_any()["type"] != "synced" {}
                for (nth, frame) in frames.iter().enumerate() {
                    let began = Instant::now();
                    raw.write(frame);
                    let answer = raw.expect_any();
                    let took = began.elapsed();
                    let known = answer["type"] == "ack" || answer["type"] == "error";
                    assert!(known, "{}: {answer}", texts[nth].0);
                    // At the most the place is named, in which a `~` becomes two characters (RFC 6901 section 3).
                    assert!(answer.to_string().len() < 140_000, "{}", texts[nth].0);
                    let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
                    worst[nth] = worst[nth].max(took);
                }
            }
        });
    });
    let worst = worst.into_inner().unwrap_or_else(PoisonError::into_inner);
    let slowest = worst.iter().zip(&texts).max_by_key(|(took, _)| **took);
    let (took, (name, _)) = slowest.expect("there are some");
    eprintln!("the slowest answer was to {name}: {took:.1?}");
}

trait Answers {
    /// The next text frame that is no receipt, validated.
    fn expect_any(&mut self) -> Value;
}

impl Answers for Raw {
    fn expect_any(&mut self) -> Value {
        loop {
            let frame = self.next().expect("a frame");
            if frame.opcode == 1 {
                return frame.json();
            }
        }
    }
}

#[test]
fn who_asks_for_much_and_reads_nothing_costs_little_and_is_let_go() {
    const USERS: usize = 3;
    const GREEDY: usize = 24;
    const ASKED: usize = 300;
    let _alone = alone();
    let server = Server::start(&[
        "--stall-seconds",
        "2",
        "--burst",
        "100000",
        "--messages-per-second",
        "100000",
    ]);
    // Every page of these histories is as large as one may be.
    let mut writer = Client::fresh(&server, "writer");
    for n in 0..60 * USERS {
        let user = format!("greedy-{}", n % USERS);
        let ack = writer.ask(&to(&user, &format!("{n} {}", "x".repeat(15_000))));
        assert_eq!(ack["type"], "ack");
    }
    let before = server.memory_kib();
    let mut gone = 0;
    beside(&server, "greedy readers", || {
        gone += GREEDY;
        let greedy: Vec<_> = (0..GREEDY)
            .map(|n| {
                // Each has a log to read as well, and adds to it.
                let user = format!("greedy-{}", n % USERS);
                let mut raw = Raw::narrow(&server, &format!("/ws/{user}?since=0"));
                let ask = json!({"type": "history", "target_user": "writer", "limit": 200});
                let ask = client_frame(0x81, ask.to_string().as_bytes());
                let more = to(&user, &"y".repeat(10_000)).to_string();
                let more = client_frame(0x81, more.as_bytes());
                let all = [ask.repeat(ASKED), more.repeat(20)].concat();
                let stream = &mut raw.stream;
                stream
                    .set_nonblocking(true)
                    .expect("a socket can be told not to wait");
                // As much of it as the server takes.
                let _ = stream.write(&all);
                raw
            })
            .collect();
        eventually("they are let go", || {
            let log = server.log();
            log.matches("connection closed user=greedy-").count() >= gone
        });
        drop(greedy);
    });
    let peak = server.peak_kib().saturating_sub(before);
    eprintln!("{GREEDY} greedy readers: memory by {peak} KiB at the most");
    assert!(peak < 96 * 1024, "{peak} KiB");
}

/// What each of the crowd says to its partner.
const SAYS: usize = 3;

/// A message: its sender's number, and which of that one's messages it is.
type Said = (usize, usize);

/// One of the crowd: its connection, and what it knows.
struct Member {
    n: usize,
    raw: Option<Raw>,
    /// The last `seq` that it holds.
    cursor: u64,
    /// Its inbox up to there.
    inbox: Vec<Said>,
    /// `seq` of its own messages that were acknowledged.
    acked: BTreeMap<usize, u64>,
    /// Frames that are not answered yet.
    open: usize,
    /// The server was too busy for some of what it has said.
    refused: bool,
    synced: bool,
}

impl Member {
    fn new(n: usize) -> Self {
        Self {
            n,
            raw: None,
            cursor: 0,
            inbox: Vec::new(),
            acked: BTreeMap::new(),
            open: 0,
            refused: false,
            synced: false,
        }
    }

    /// Opens a connection and asks for its session, without waiting for an answer.
    fn knock(&mut self, server: &Server, epoch: &str) {
        let n = self.n;
        let path = format!("/ws/member-{n}?since={}&epoch={epoch}", self.cursor);
        let mut raw = Raw::open(server);
        raw.write(handshake(&path, "").as_bytes());
        self.raw = Some(raw);
        self.synced = false;
    }

    /// Waits for the session, and knocks again for as long as the server is too busy to open it. Reads up to `synced`.
    fn come_in(&mut self, server: &Server, epoch: &str, busy: &AtomicUsize) {
        loop {
            let raw = self.raw.as_mut().expect("it has knocked");
            let head = raw.head();
            if head.starts_with("HTTP/1.1 101 ") {
                break;
            }
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            busy.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(500));
            self.knock(server, epoch);
        }
        while !self.synced {
            assert!(self.read(), "{} is cut off", self.n);
        }
    }

    /// Says what has not been acknowledged. False: the connection is gone.
    fn speak(&mut self) -> bool {
        let n = self.n;
        let frames: Vec<_> = (0..SAYS).filter(|k| !self.acked.contains_key(k)).collect();
        self.open = frames.len();
        let frames: Vec<u8> = frames
            .into_iter()
            .flat_map(|k| {
                let id = format!("00000000-0000-4000-8000-{n:06x}{k:06x}");
                let target = format!("member-{}", n ^ 1);
                let frame = json!({"message": format!("{n} {k}"), "target_user": target, "id": id, "ref": k.to_string()});
                client_frame(0x81, frame.to_string().as_bytes())
            })
            .collect();
        let raw = self.raw.as_mut().expect("it is here");
        raw.stream.write_all(&frames).is_ok()
    }

    /// Reads one frame. False: the connection is gone.
    fn read(&mut self) -> bool {
        let Some(frame) = self.raw.as_mut().expect("it is here").text() else {
            return false;
        };
        let n = self.n;
        let seq = || frame["seq"].as_u64().expect("a seq");
        match frame["type"].as_str() {
            Some("welcome") => assert!(seq() >= self.cursor, "{n} has lost something: {frame}"),
            Some("synced") => self.synced = true,
            Some("ack") => {
                self.open -= 1;
                let k = frame["ref"].as_str().and_then(|k| k.parse().ok());
                let k: usize = k.expect("the ref");
                assert!(
                    self.acked
                        .insert(k, seq())
                        .is_none_or(|known| known == seq())
                );
                if frame.get("duplicate").is_none() {
                    self.take(seq(), (n, k));
                }
            }
            Some("message") => {
                let text = frame["message"].as_str().expect("a text");
                let (from, k) = text.split_once(' ').expect("two numbers");
                let said = (
                    from.parse().expect("a number"),
                    k.parse().expect("a number"),
                );
                assert_eq!(frame["from_user"], format!("member-{}", said.0));
                self.take(seq(), said);
            }
            Some("error") if frame["code"] == "overloaded" => {
                self.open -= 1;
                self.refused = true;
            }
            Some("heartbeat") => {}
            _ => panic!("{n}: {frame}"),
        }
        true
    }

    fn take(&mut self, seq: u64, said: Said) {
        assert_eq!(seq, self.cursor + 1, "{}: {said:?}", self.n);
        self.cursor = seq;
        self.inbox.push(said);
    }

    /// Nothing is lost, and nothing is doubled, or out of the order in which its sender has said it or the server taken it.
    fn check(&self, partner: &Self) {
        let n = self.n;
        let of = |inbox: &[Said]| -> Vec<_> {
            let own = inbox.iter().filter(|said| said.0 == n);
            own.map(|said| said.1).collect()
        };
        let mut own = of(&self.inbox);
        assert_eq!(
            own,
            of(&partner.inbox),
            "{n}: the two are told different orders"
        );
        if self.refused {
            own.sort_unstable();
        }
        assert!(own.into_iter().eq(0..SAYS), "{n}: {:?}", self.inbox);
        for (k, seq) in &self.acked {
            let at = usize::try_from(*seq).expect("a small number") - 1;
            assert_eq!(self.inbox[at], (n, *k), "{n}: an ack told another place");
        }
    }
}

/// Has the crowd do something, by several hands, each of which has its part of it.
fn each_part(crowd: &mut [Member], work: impl Fn(&mut [Member]) + Sync) {
    const HANDS: usize = 32;
    let part = crowd.len().div_ceil(HANDS);
    std::thread::scope(|scope| {
        for part in crowd.chunks_mut(part) {
            let work = &work;
            scope.spawn(move || work(part));
        }
    });
}

/// Reads until all that they have said is acknowledged. What the server was too busy for they say again, when that is due.
fn all_acknowledged(part: &mut [Member]) {
    loop {
        for member in part.iter_mut() {
            while member.open > 0 {
                assert!(member.read(), "{} is cut off", member.n);
            }
        }
        let left = part.iter_mut().filter(|member| member.acked.len() < SAYS);
        let mut left: Vec<_> = left.collect();
        if left.is_empty() {
            return;
        }
        // As `retry_after_ms` has it.
        std::thread::sleep(Duration::from_millis(500));
        for member in &mut left {
            assert!(member.speak(), "{} is cut off", member.n);
        }
    }
}

#[test]
fn thousands_come_back_at_once_after_a_crash_and_have_lost_nothing() {
    let _alone = alone();
    let mut server = Server::start(&["--heartbeat-seconds", "3600", "--ping-seconds", "3600"]);
    let epoch = Client::fresh(&server, "nobody").epoch().to_owned();
    let number = crowd();
    let mut crowd: Vec<_> = (0..number).map(Member::new).collect();
    let busy = AtomicUsize::new(0);
    let come = |server: &Server, crowd: &mut [Member]| {
        each_part(crowd, |part| {
            for member in part.iter_mut() {
                member.knock(server, &epoch);
            }
            for member in part {
                member.come_in(server, &epoch, &busy);
            }
        });
    };
    let began = Instant::now();
    come(&server, &mut crowd);
    eprintln!("{number} sessions came in {:.1?}", began.elapsed());

    // All speak, and in the middle of it the server is killed.
    let acked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let speaking = scope.spawn(|| {
            each_part(&mut crowd, |part| {
                for member in part.iter_mut() {
                    let _ = member.speak();
                }
                for member in part.iter_mut() {
                    let mut known = 0;
                    while member.open > 0 && member.read() {
                        acked.fetch_add(member.acked.len() - known, Ordering::Relaxed);
                        known = member.acked.len();
                    }
                }
                // What had left the server before it died.
                for member in part {
                    while member.read() {}
                    member.raw = None;
                }
            });
        });
        eventually("a part is acknowledged", || {
            speaking.is_finished() || acked.load(Ordering::Relaxed) > number * SAYS / 4
        });
        server.signal("KILL");
        speaking.join().expect("the crowd is well");
    });
    server.wait(DEADLINE);
    let promised: usize = crowd.iter().map(|member| member.acked.len()).sum();

    let began = Instant::now();
    server.restart();
    beside(&server, "thousands who come back", || {
        let began = Instant::now();
        come(&server, &mut crowd);
        eprintln!(
            "{number} sessions came back in {:.1?}, {} were sent away once more before; {promised} of {} messages had \
             been acknowledged",
            began.elapsed(),
            busy.load(Ordering::Relaxed),
            number * SAYS
        );
        each_part(&mut crowd, |part| {
            for member in part.iter_mut() {
                assert!(member.speak(), "{} is cut off", member.n);
            }
            all_acknowledged(part);
        });
        each_part(&mut crowd, |part| {
            for member in part {
                while member.inbox.len() < 2 * SAYS {
                    assert!(member.read(), "{} is cut off", member.n);
                }
            }
        });
    });
    assert!(began.elapsed() < 6 * DEADLINE, "{:?}", began.elapsed());
    for pair in crowd.chunks(2) {
        pair[0].check(&pair[1]);
        pair[1].check(&pair[0]);
    }
    let refused = crowd.iter().filter(|member| member.refused).count();
    eprintln!(
        "the server was too busy for some messages of {refused} of them, who said them again"
    );
    drop(crowd);
    server.kill();
    let (well, said) = server.verify();
    assert!(well, "verify: {said}");
}

//! Thousands of clients that reconnect at once after a crash.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::pair::{exclusive, measure_with_attack, session_count};
use crate::support::{Client, DEADLINE, Raw, Server, client_frame, eventually, handshake};

/// Messages that each client sends to its partner.
const MESSAGES: usize = 3;

/// A message: the number of its sender, and its number among the sender's messages.
type Sent = (usize, usize);

/// A client: its connection, and the frames that it has received.
struct Member {
    n: usize,
    raw: Option<Raw>,
    /// The `seq` of the newest entry that it has.
    cursor: u64,
    /// Its inbox up to that entry.
    inbox: Vec<Sent>,
    /// The `seq` of each of its own messages that was acknowledged.
    acked: BTreeMap<usize, u64>,
    /// Frames that are not answered yet.
    open: usize,
    /// The server rejected some of its messages as overloaded.
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

    /// Connects and sends the handshake, without waiting for the response.
    fn send_handshake(&mut self, server: &Server, epoch: &str) {
        let n = self.n;
        let path = format!("/ws/member-{n}?since={}&epoch={epoch}", self.cursor);
        let mut raw = Raw::open(server);
        raw.write(handshake(&path, "").as_bytes());
        self.raw = Some(raw);
        self.synced = false;
    }

    /// Waits for the session, and tries again while the server is too busy to open it. Reads up to `synced`.
    fn wait_for_session(&mut self, server: &Server, epoch: &str, busy: &AtomicUsize) {
        loop {
            let raw = self.raw.as_mut().expect("the handshake was sent");
            let head = raw.head();
            if head.starts_with("HTTP/1.1 101 ") {
                break;
            }
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            busy.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(500));
            self.send_handshake(server, epoch);
        }
        while !self.synced {
            assert!(self.read(), "{} is disconnected", self.n);
        }
    }

    /// Sends the messages that are not acknowledged. False: the connection has ended.
    fn send_unacknowledged(&mut self) -> bool {
        let n = self.n;
        let frames: Vec<_> = (0..MESSAGES)
            .filter(|k| !self.acked.contains_key(k))
            .collect();
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
        let raw = self.raw.as_mut().expect("it is connected");
        raw.stream.write_all(&frames).is_ok()
    }

    /// Reads one frame. False: the connection has ended.
    fn read(&mut self) -> bool {
        let Some(frame) = self.raw.as_mut().expect("it is connected").text() else {
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
                let message = (
                    from.parse().expect("a number"),
                    k.parse().expect("a number"),
                );
                assert_eq!(frame["from_user"], format!("member-{}", message.0));
                self.take(seq(), message);
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

    fn take(&mut self, seq: u64, message: Sent) {
        assert_eq!(seq, self.cursor + 1, "{}: {message:?}", self.n);
        self.cursor = seq;
        self.inbox.push(message);
    }

    /// Asserts that no message is lost, duplicated, or out of the order in which it was sent or acknowledged.
    fn check(&self, partner: &Self) {
        let n = self.n;
        let of = |inbox: &[Sent]| -> Vec<_> {
            let own = inbox.iter().filter(|message| message.0 == n);
            own.map(|message| message.1).collect()
        };
        let mut own = of(&self.inbox);
        assert_eq!(
            own,
            of(&partner.inbox),
            "{n}: the two inboxes have different orders"
        );
        if self.refused {
            own.sort_unstable();
        }
        assert!(own.into_iter().eq(0..MESSAGES), "{n}: {:?}", self.inbox);
        for (k, seq) in &self.acked {
            let at = usize::try_from(*seq).expect("a small number") - 1;
            assert_eq!(self.inbox[at], (n, *k), "{n}: an ack has another seq");
        }
    }
}

/// Runs `work` in several threads, each with a part of the clients.
fn each_part(members: &mut [Member], work: impl Fn(&mut [Member]) + Sync) {
    const THREADS: usize = 32;
    let part = members.len().div_ceil(THREADS);
    std::thread::scope(|scope| {
        for part in members.chunks_mut(part) {
            let work = &work;
            scope.spawn(move || work(part));
        }
    });
}

/// Reads until all messages are acknowledged. Messages that the server rejected as overloaded are sent again after a pause.
fn all_acknowledged(part: &mut [Member]) {
    loop {
        for member in part.iter_mut() {
            while member.open > 0 {
                assert!(member.read(), "{} is disconnected", member.n);
            }
        }
        let left = part
            .iter_mut()
            .filter(|member| member.acked.len() < MESSAGES);
        let mut left: Vec<_> = left.collect();
        if left.is_empty() {
            return;
        }
        // The value of `retry_after_ms`.
        std::thread::sleep(Duration::from_millis(500));
        for member in &mut left {
            assert!(member.send_unacknowledged(), "{} is disconnected", member.n);
        }
    }
}

#[test]
fn thousands_of_clients_reconnect_at_once_after_a_crash_without_loss() {
    let _exclusive = exclusive();
    let mut server = Server::start(&["--heartbeat-seconds", "3600", "--ping-seconds", "3600"]);
    let epoch = Client::fresh(&server, "nobody").epoch().to_owned();
    let number = session_count();
    let mut members: Vec<_> = (0..number).map(Member::new).collect();
    let busy = AtomicUsize::new(0);
    let connect = |server: &Server, members: &mut [Member]| {
        each_part(members, |part| {
            for member in part.iter_mut() {
                member.send_handshake(server, &epoch);
            }
            for member in part {
                member.wait_for_session(server, &epoch, &busy);
            }
        });
    };
    let began = Instant::now();
    connect(&server, &mut members);
    eprintln!("{number} sessions connected in {:.1?}", began.elapsed());

    // All clients send, and the server is killed meanwhile.
    let acked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let speaking = scope.spawn(|| {
            each_part(&mut members, |part| {
                for member in part.iter_mut() {
                    let _ = member.send_unacknowledged();
                }
                for member in part.iter_mut() {
                    let mut known = 0;
                    while member.open > 0 && member.read() {
                        acked.fetch_add(member.acked.len() - known, Ordering::Relaxed);
                        known = member.acked.len();
                    }
                }
                // Frames that the server sent before it was killed.
                for member in part {
                    while member.read() {}
                    member.raw = None;
                }
            });
        });
        eventually("some messages are acknowledged", || {
            speaking.is_finished() || acked.load(Ordering::Relaxed) > number * MESSAGES / 4
        });
        server.signal("KILL");
        speaking.join().expect("every thread succeeds");
    });
    server.wait(DEADLINE);
    let promised: usize = members.iter().map(|member| member.acked.len()).sum();

    let began = Instant::now();
    server.restart();
    measure_with_attack(&server, "thousands of reconnects", || {
        let began = Instant::now();
        connect(&server, &mut members);
        eprintln!(
            "{number} sessions came back in {:.1?}, {} were sent away once more before; {promised} of {} messages had \
             been acknowledged",
            began.elapsed(),
            busy.load(Ordering::Relaxed),
            number * MESSAGES
        );
        each_part(&mut members, |part| {
            for member in part.iter_mut() {
                assert!(member.send_unacknowledged(), "{} is disconnected", member.n);
            }
            all_acknowledged(part);
        });
        each_part(&mut members, |part| {
            for member in part {
                while member.inbox.len() < 2 * MESSAGES {
                    assert!(member.read(), "{} is disconnected", member.n);
                }
            }
        });
    });
    assert!(began.elapsed() < 6 * DEADLINE, "{:?}", began.elapsed());
    for pair in members.chunks(2) {
        pair[0].check(&pair[1]);
        pair[1].check(&pair[0]);
    }
    let refused = members.iter().filter(|member| member.refused).count();
    eprintln!("{refused} clients had messages rejected as overloaded and sent them again");
    drop(members);
    server.kill();
    let (valid, output) = server.verify();
    assert!(valid, "verify: {output}");
}

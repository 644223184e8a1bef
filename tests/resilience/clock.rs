//! A wrong clock of the machine deletes nothing and hides nothing. `libfaketime` shows the server another time; a file tells it
//! which, so that the clock jumps while the server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{Client, Folder, Server, eventually, json_answer, to};

const SECOND: i64 = 1000;
const DAY: i64 = 86_400 * SECOND;
/// How far a time may differ from the expected one.
const TOLERANCE: i64 = 30 * SECOND;
/// Old messages are removed, and hidden, after the default of 30 days for inboxes and after this.
const HISTORY: [&str; 2] = ["--history-days", "90"];

/// A machine with a clock that can be set.
struct Machine {
    folder: Arc<Folder>,
    preloaded: PathBuf,
    file: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = Arc::new(Folder::new());
        let machine = Self {
            preloaded: faketime(),
            file: folder.0.join("clock"),
            folder,
        };
        machine.set_clock("+0");
        machine
    }

    /// Sets the clock to differ from the right time by this, such as `+1y`. The server sees it at once.
    fn set_clock(&self, difference: &str) {
        let next = self.folder.0.join("clock.next");
        std::fs::write(&next, difference).expect("the file can be written");
        std::fs::rename(&next, &self.file).expect("the file can be replaced");
    }

    fn start(&self, arguments: &[&str]) -> Server {
        let arguments = [&HISTORY, arguments].concat();
        Server::start_with(&self.folder, &arguments, &self.environment())
    }

    fn environment(&self) -> [(&'static str, &Path); 5] {
        [
            ("LD_PRELOAD", self.preloaded.as_path()),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
            ("FAKETIME_NO_CACHE", Path::new("1")),
            ("NO_FAKE_STAT", Path::new("1")),
        ]
    }
}

/// The Debian package `libfaketime`.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib is readable");
    let libraries = folders.flatten().map(|folder| {
        let folder = folder.path();
        folder.join("faketime/libfaketime.so.1")
    });
    libraries
        .into_iter()
        .find(|library| library.exists())
        .expect("scripts/setup installs the package libfaketime, which this test needs")
}

fn ms(time: &Value) -> i64 {
    let time = time.as_str().expect("a time");
    let time: jiff::Timestamp = time.parse().expect("a time");
    time.as_millisecond()
}

/// The right time.
fn real_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("the clock of this machine is right");
    i64::try_from(since.as_millis()).expect("a time")
}

#[track_caller]
fn assert_differs_by(time: &Value, difference: i64) {
    let found = ms(time) - real_time();
    assert!(
        (found - difference).abs() < TOLERANCE,
        "{time} differs by {found} ms, not by {difference}"
    );
}

fn is_settled(server: &Server) -> bool {
    let (status, body) = json_answer(&server.get("/readyz"));
    assert_eq!((status, &body["status"]), (200, &json!("ready")));
    match body.get("clock") {
        None => true,
        Some(clock) => {
            assert_eq!(clock, "unsettled");
            false
        }
    }
}

#[track_caller]
fn wait_until_settled(server: &Server, expected: bool) {
    eventually("the clock is settled, or is not", || {
        is_settled(server) == expected
    });
}

/// Sends messages of `a` to `b` with these texts. Returns `sent_at` of the last.
fn send(server: &Server, texts: &[&str]) -> Value {
    let mut a = Client::connect(server, "a", "");
    a.until("synced");
    let mut sent_at = Value::Null;
    for text in texts {
        a.send(&to("b", text));
        sent_at = a.until("ack")["sent_at"].clone();
    }
    sent_at
}

/// The texts in the inbox of `b`, and those that the history shows. The watermark of the device stays where it is.
fn kept(server: &Server) -> [Vec<String>; 2] {
    let mut b = Client::connect(server, "b", "?since=0&ack=manual");
    let mut inbox = Vec::new();
    loop {
        let frame = b.recv();
        match frame["type"].as_str() {
            Some("synced") => break,
            Some("message") => inbox.push(text(&frame)),
            Some("truncated") => {}
            _ => panic!("{frame}"),
        }
    }
    let history = b.ask(&json!({"type": "history", "target_user": "a"}));
    let messages = history["messages"].as_array().expect("messages");
    let listed = b.ask(&json!({"type": "conversations"}));
    let listed = listed["items"].as_array().expect("items").len();
    assert_eq!(listed, usize::from(!messages.is_empty()));
    [inbox, messages.iter().map(text).collect()]
}

fn text(message: &Value) -> String {
    message["message"].as_str().expect("a text").to_owned()
}

/// Asserts that these messages are in the inbox and in the history, and stay there for a while.
#[track_caller]
fn assert_keeps(server: &Server, texts: &[&str]) {
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(kept(server), [texts, texts]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn wait_until_all_is_removed(server: &Server) {
    eventually("all messages are removed", || {
        kept(server) == [Vec::<String>::new(), Vec::new()]
    });
}

#[test]
fn a_jump_removes_nothing_and_times_continue() {
    std::thread::scope(|scope| {
        for difference in ["+365d", "-400d", "+90s", "-90s", "-50y"] {
            scope.spawn(move || jump(difference));
        }
    });
}

fn jump(difference: &str) {
    let machine = Machine::new();
    let server = machine.start(&["--clock-settle", "1h"]);
    assert_differs_by(&send(&server, &["1", "2"]), 0);
    assert!(is_settled(&server));
    machine.set_clock(difference);
    // Noticed without any message.
    let log = server.wait_for_log("the clock of this machine was set");
    assert!(log.contains("WARN"), "{log}");
    assert_eq!(log.contains("ahead"), difference.starts_with('+'), "{log}");
    assert!(!is_settled(&server));
    assert_differs_by(&send(&server, &["3"]), 0);
    let mut a = Client::connect(&server, "a", "");
    assert_differs_by(&a.welcome["server_time"], 0);
    a.until("synced");
    let relayed = json!({"message": "x", "target_user": "b", "ephemeral": true});
    assert_differs_by(&a.ask(&relayed)["sent_at"], 0);
    assert_differs_by(&a.ask(&json!({"type": "ping"}))["server_time"], 0);
    assert_keeps(&server, &["1", "2", "3"]);
    // Back to the right time.
    machine.set_clock("+0");
    assert_keeps(&server, &["1", "2", "3"]);
    assert!(!is_settled(&server), "a jump back is a jump as well");
    assert_differs_by(&send(&server, &["4"]), 0);
}

#[test]
fn a_clock_that_stays_where_it_is_settles() {
    let machine = Machine::new();
    let server = machine.start(&["--clock-settle", "1500ms"]);
    send(&server, &["1"]);
    machine.set_clock("+365d");
    server.wait_for_log("was set ahead by 365 days");
    server.wait_for_log("has not jumped again");
    wait_until_settled(&server, true);
    assert_differs_by(&send(&server, &["2"]), 365 * DAY);
    eventually("the old message is removed", || {
        let [inbox, history] = kept(&server);
        (inbox, history) == (vec!["2".to_owned()], vec!["2".to_owned()])
    });
    // Back again: nothing has expired by the right time.
    machine.set_clock("+0");
    server.wait_for_log("was set back by 365 days");
    eventually("times follow the clock again", || is_settled(&server));
    assert_differs_by(&send(&server, &["3"]), 0);
    let [inbox, history] = kept(&server);
    assert_eq!(inbox, ["2", "3"]);
    assert!(history.ends_with(&inbox), "{history:?}");
}

#[test]
fn an_operator_accepts_the_clock() {
    let machine = Machine::new();
    let server = machine.start(&[]);
    send(&server, &["1"]);
    machine.set_clock("+365d");
    wait_until_settled(&server, false);
    assert_keeps(&server, &["1"]);
    server.signal("HUP");
    wait_until_settled(&server, true);
    server.wait_for_log("is accepted (SIGHUP)");
    wait_until_all_is_removed(&server);
    assert_differs_by(&send(&server, &["2"]), 365 * DAY);
}

#[test]
fn steps_of_less_than_a_minute_are_followed() {
    let machine = Machine::new();
    let server = machine.start(&[]);
    send(&server, &["1"]);
    machine.set_clock("+50s");
    let mut a = Client::connect(&server, "a", "");
    a.until("synced");
    let time = |a: &mut Client| ms(&a.ask(&json!({"type": "ping"}))["server_time"]);
    let ahead = time(&mut a) - real_time();
    assert!((45 * SECOND..55 * SECOND).contains(&ahead), "{ahead}");
    assert!(is_settled(&server));
    machine.set_clock("+0");
    let ahead = time(&mut a) - real_time();
    assert!((-5 * SECOND..5 * SECOND).contains(&ahead), "{ahead}");
    assert!(is_settled(&server));
    assert!(!server.log().contains("was set"), "{}", server.log());
}

#[test]
fn a_start_with_a_clock_that_is_ahead_removes_nothing() {
    let machine = Machine::new();
    let mut server = machine.start(&[]);
    send(&server, &["1", "2"]);
    server.stop();
    machine.set_clock("+365d");
    server.restart();
    let log = server.wait_for_log("the clock of this machine is 365 days ahead of");
    assert!(log.contains("WARN"), "{log}");
    assert!(!is_settled(&server));
    assert_differs_by(&send(&server, &["3"]), 365 * DAY);
    assert_keeps(&server, &["1", "2", "3"]);
    // What was stored meanwhile is no reason to trust the clock.
    server.kill();
    server.restart();
    assert!(!is_settled(&server));
    assert_keeps(&server, &["1", "2", "3"]);
    server.kill();
    machine.set_clock("+0");
    server.restart();
    assert!(!is_settled(&server));
    assert_differs_by(&send(&server, &["4"]), 0);
    server.signal("HUP");
    wait_until_settled(&server, true);
    assert_keeps(&server, &["1", "2", "3", "4"]);
    server.kill();
    server.restart();
    assert!(is_settled(&server), "{}", server.log());
}

#[test]
fn a_start_with_a_clock_that_is_behind_removes_nothing() {
    let machine = Machine::new();
    let mut server = machine.start(&[]);
    send(&server, &["1", "2"]);
    server.kill();
    machine.set_clock("-400d");
    server.restart();
    server.wait_for_log("the clock of this machine is 400 days behind");
    assert!(!is_settled(&server));
    // The time continues from the store, so that the message does not expire too early.
    assert_differs_by(&send(&server, &["3"]), 0);
    // The clock is set right while the server runs.
    machine.set_clock("+0");
    server.wait_for_log("was set ahead by 400 days");
    assert_keeps(&server, &["1", "2", "3"]);
    server.signal("HUP");
    wait_until_settled(&server, true);
    assert_keeps(&server, &["1", "2", "3"]);
}

#[test]
fn one_message_with_a_time_that_is_too_early_removes_nothing_before_it() {
    let machine = Machine::new();
    let mut server = machine.start(&[]);
    send(&server, &["1", "2"]);
    server.stop();
    machine.set_clock("-400d");
    server.restart();
    server.signal("HUP");
    wait_until_settled(&server, true);
    assert_differs_by(&send(&server, &["3"]), -400 * DAY);
    server.stop();
    machine.set_clock("+0");
    server.restart();
    assert!(!is_settled(&server));
    server.signal("HUP");
    wait_until_settled(&server, true);
    assert_differs_by(&send(&server, &["4"]), 0);
    assert_keeps(&server, &["1", "2", "3", "4"]);
}

#[test]
fn a_clock_before_1970_is_reported_at_start() {
    let machine = Machine::new();
    machine.set_clock("-70y");
    let environment = machine.environment();
    let started = Server::try_start_with(&machine.folder, &[], &environment);
    let (status, log) = started.err().expect("the server does not start");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("before 1970") && !log.contains("panicked"),
        "{log}"
    );
}

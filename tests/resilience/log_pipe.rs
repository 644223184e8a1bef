//! The log goes to a pipe that nobody reads, or that is closed: the server works all the same.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Client, DEADLINE, Folder, Reading, Server, eventually, program, to};

const THREADS: usize = 4;
/// Sessions whose log is longer than the pipe and the queue hold.
const MANY: usize = 2500;
/// Sessions whose log is longer than the pipe holds.
const SOME: usize = 250;

/// Opens and closes sessions. Each makes two lines of the log.
fn open_and_close_sessions(server: &Server, count: usize) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for n in 0..count / THREADS {
                    let user = format!("{:x<64}", format!("{thread}-{n}"));
                    Client::connect(server, &user, &format!("?device={user}")).close();
                }
            });
        }
    });
}

fn assert_works(server: &Server) {
    let mut a = Client::fresh(server, "a");
    let mut b = Client::connect(server, "b", "");
    assert_eq!(a.ask(&to("b", "hello"))["type"], "ack");
    b.until("message");
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_log_that_nobody_reads_delays_nothing_and_dropped_lines_are_reported() {
    let server = Server::start(&[]);
    server.set_log_reading(Reading::Paused);
    open_and_close_sessions(&server, MANY);
    assert_works(&server);
    server.set_log_reading(Reading::On);
    let line = server.wait_for_log("lines of the log were dropped");
    let dropped: usize = line
        .split_once("count=")
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("no number in {line:?}"));
    assert!(line.contains(" WARN ") && dropped > 0, "{line}");
    // Two lines for each session, also for those of `assert_works`.
    eventually("every line is written or counted", || {
        let log = server.log();
        let count = |text| log.matches(text).count();
        let written = count(" connection opened ") + count(" connection closed ");
        count("lines of the log were dropped") == 1
            && written + dropped == 2 * (MANY / THREADS * THREADS + 2)
    });
}

#[test]
fn a_closed_log_ends_nothing() {
    let mut server = Server::start(&[]);
    server.set_log_reading(Reading::Closed);
    open_and_close_sessions(&server, SOME);
    assert_works(&server);
    server.signal("TERM");
    assert!(server.wait(DEADLINE).success());
}

#[test]
fn a_server_whose_log_nobody_reads_stops_in_time() {
    for signals in [1, 2] {
        let mut server = Server::start(&[]);
        server.set_log_reading(Reading::Paused);
        open_and_close_sessions(&server, SOME);
        let start = Instant::now();
        for _ in 0..signals {
            server.signal("TERM");
        }
        let status = server.wait(Duration::from_secs(10));
        // The second signal may come when the server has already stopped.
        assert!(matches!(status.code(), Some(0 | 130)), "{status:?}");
        eprintln!("{signals} signals: {:.1?}", start.elapsed());
    }
}

#[test]
fn the_last_lines_are_written_before_the_server_exits() {
    let mut server = Server::start(&[]);
    server.set_log_reading(Reading::Paused);
    Client::fresh(&server, "a").close();
    server.signal("TERM");
    assert!(server.wait(DEADLINE).success());
    server.set_log_reading(Reading::On);
    for line in ["connection closed user=a", "shutting down", "stopped"] {
        server.wait_for_log(line);
    }
}

/// A stream that accepts no more bytes, and the end at which nobody reads.
fn full_stream() -> (OwnedFd, UnixStream) {
    let (mut near, far) = UnixStream::pair().expect("two sockets");
    near.set_nonblocking(true).expect("the mode can be set");
    let full = loop {
        if let Err(error) = near.write(&[b'x'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    near.set_nonblocking(false).expect("the mode can be set");
    (near.into(), far)
}

#[test]
fn links_that_nobody_reads_do_not_delay_the_start() {
    let folder = Folder::new();
    let (stdout, _unread) = full_stream();
    let mut child = program(&folder.0, &["--listen", "0.0.0.0:0"])
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let log = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let started = log
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("listening on"));
    let port = started.and_then(|line| {
        let address = line.split("://").nth(1)?.split([' ', '/']).next()?;
        address.rsplit(':').next()?.parse::<u16>().ok()
    });
    let port = port.expect("an address");
    let healthy = program(
        &folder.0,
        &["healthcheck", "--listen", &format!("127.0.0.1:{port}")],
    );
    let healthy = crate::support::run_to_end(healthy);
    let pid = child.id().to_string();
    let signalled = std::process::Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status();
    let until = Instant::now() + DEADLINE;
    let mut status = None;
    while status.is_none() && Instant::now() < until {
        status = child.try_wait().expect("the program can be waited for");
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    assert!(signalled.is_ok_and(|status| status.success()));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn a_program_whose_errors_nobody_reads_ends_all_the_same() {
    let folder = Folder::new();
    std::fs::write(folder.0.join("odd"), "x \n").expect("a file can be written");
    let anywhere = ["--listen", "127.0.0.1:0"];
    for (arguments, code) in [
        // Before and after the log is started.
        (&["--workers", "0"][..], 2),
        (&["--jwt-secret-file", "odd"], 2),
        (&["--jwt-secret-file", "nowhere/key"], 1),
    ] {
        let (stderr, _unread) = full_stream();
        let mut child = program(&folder.0, &[&anywhere[..], arguments].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the program can be started");
        let until = Instant::now() + DEADLINE;
        let mut status = None;
        while status.is_none() && Instant::now() < until {
            status = child.try_wait().expect("the program can be waited for");
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        let found = status.and_then(|status| status.code());
        assert_eq!(found, Some(code), "{arguments:?}");
    }
}

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly() {
    let folder = Folder::new();
    for arguments in [
        &["config"][..],
        &[
            "token",
            "--user",
            "a",
            "--jwt-secret",
            "0123456789abcdef0123456789abcdef",
        ],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = program(&folder.0, arguments)
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .expect("the program runs");
        let error = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(
            (ended.status.code(), &*error),
            (Some(141), ""),
            "{arguments:?}"
        );
    }
}

//! Floods of connections and requests that never end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::pair::{exclusive, measure_with_attack, run_threads};
use crate::support::{Client, DEADLINE, Server, client_frame, cut, eventually, handshake, to};

/// A connection on which nothing was sent.
fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream
        .set_read_timeout(Some(DEADLINE))
        .and_then(|()| stream.set_write_timeout(Some(DEADLINE)))
        .expect("a timeout can be set");
    stream
}

/// As [`plain`], with a small receive buffer.
fn narrow_socket(address: SocketAddr) -> TcpStream {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket can be created");
    socket
        .set_recv_buffer_size(8192)
        .and_then(|()| socket.connect(&address.into()))
        .expect("the server accepts");
    socket.into()
}

/// The number of sockets that the server has open after its first session has ended.
fn sockets_at_rest(server: &Server) -> usize {
    Client::fresh(server, "first").close();
    server.wait_for_log("connection closed user=first");
    sockets(server)
}

/// What the descriptors of the server refer to.
fn descriptors(server: &Server) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    let links = folder.expect("the server is running").flatten();
    // A descriptor may be closed meanwhile.
    links
        .filter_map(|link| std::fs::read_link(link.path()).ok())
        .collect()
}

/// The number of sockets that the server has open. Other descriptors do not count: a reader thread opens a file of the database
/// when it is first used, which may be at any time.
fn sockets(server: &Server) -> usize {
    let links = descriptors(server);
    let sockets = links
        .iter()
        .filter(|link| link.to_string_lossy().starts_with("socket:"));
    sockets.count()
}

/// Waits until the server has at most `before` sockets open.
fn assert_closed_down_to(server: &Server, before: usize) {
    let until = Instant::now() + DEADLINE;
    loop {
        let now = sockets(server);
        if now <= before {
            return;
        }
        assert!(Instant::now() < until, "{now} sockets, from {before}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn incomplete_handshakes_time_out_and_delay_nobody() {
    const MANY: usize = 600;
    let _exclusive = exclusive();
    let server = Server::start(&["--workers", "1"]);
    let before = sockets_at_rest(&server);
    measure_with_attack(&server, "slow handshakes", || {
        let head = handshake("/ws/slow", &format!("X: {}\r\n", "x".repeat(10_000)));
        let head = head.as_bytes();
        let began = Instant::now();
        let mut slow: Vec<(usize, TcpStream)> =
            (0..MANY).map(|n| (n, plain(server.address))).collect();
        for (_, stream) in &slow {
            stream
                .set_nonblocking(true)
                .expect("the blocking mode can be set");
        }
        let mut cuts = Vec::new();
        for at in 0.. {
            assert!(
                began.elapsed() < 2 * DEADLINE,
                "{} connections are still open",
                slow.len()
            );
            slow.retain_mut(|(n, stream)| {
                // A third sends nothing, a third stops within a line, and a third goes on byte by byte.
                let sends = match *n % 3 {
                    0 => false,
                    1 => at < 20,
                    _ => true,
                };
                if sends {
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
        eprintln!("{MANY} incomplete handshakes timed out after {first:.1?} to {last:.1?}");
    });
    assert_closed_down_to(&server, before);
}

#[test]
fn incomplete_later_requests_and_unread_responses_time_out() {
    const EACH: usize = 20;
    // This test mostly waits, so that it need not be exclusive.
    let server = Server::start(&["--workers", "1"]);
    let before = sockets_at_rest(&server);
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
                stream.write_all(ask).expect("the server reads it");
                let mut answer = vec![0; 65_536];
                let mut read = 0;
                while !answer[..read].ends_with(b"}") && !answer[..read].ends_with(b"}\n") {
                    read += stream.read(&mut answer[read..]).expect("an answer");
                }
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHo")
                    .expect("the server reads it");
            }
            stream
                .set_nonblocking(true)
                .expect("the blocking mode can be set");
            if unread {
                // As much as the server reads.
                let _ = stream.write(&ask.repeat(1000));
            }
            stream
        })
        .collect();
    let (few, all) = (before + 2, before + 2 + held.len());
    let mut first = None;
    for at in 0.. {
        let now = sockets(&server);
        if now < all {
            first.get_or_insert_with(|| began.elapsed());
        }
        if now <= few {
            break;
        }
        assert!(
            began.elapsed() < 4 * DEADLINE,
            "{} connections are still open",
            now - few
        );
        // Half of the connections with a second request go on byte by byte.
        for stream in held.iter_mut().skip(2 * EACH) {
            let _ = stream.write(b"x");
        }
        // A client that sends complete requests is served for as long as it likes.
        if at % 20 == 0 {
            well.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .expect("the server reads it");
            assert!(well.read(&mut [0; 4096]).is_ok_and(|n| n > 0));
            session.assert_quiet();
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    let (first, last) = (first.unwrap_or_default(), began.elapsed());
    eprintln!(
        "{} connections timed out after {first:.1?} to {last:.1?}",
        held.len()
    );
    assert!(first > Duration::from_secs(20), "cut after {first:?}");
    well.write_all(ask).expect("the server reads it");
    assert!(well.read(&mut [0; 4096]).is_ok_and(|n| n > 0));
    session.assert_quiet();
    drop((well, session, held));
    assert_closed_down_to(&server, before);
}

#[test]
fn a_server_without_free_descriptors_keeps_its_connections() {
    let _exclusive = exclusive();
    let server = Server::start(&[]);
    Client::fresh(&server, "first").close();
    let limit = |files| {
        let pid = i32::try_from(server.pid()).expect("a process id");
        let both = Some((files, files));
        rlimit::prlimit(pid, rlimit::Resource::NOFILE, both, None).expect("a limit can be set");
    };
    let room = descriptors(&server).len() as u64 + 40;
    measure_with_attack(&server, "no descriptors left", || {
        limit(room);
        let mut waiting: Vec<_> = (0..100).map(|_| plain(server.address)).collect();
        eventually("no descriptor is left", || {
            descriptors(&server).len() as u64 >= room
        });
        // Connections that had to wait are served when others have closed.
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
fn connections_that_are_opened_and_dropped_in_great_number_are_released() {
    const THREADS: usize = 8;
    const EACH: usize = 400;
    let _exclusive = exclusive();
    let server = Server::start(&[]);
    let before = (sockets_at_rest(&server), server.memory_kib());
    let address = server.address;
    let (answered, times) = (AtomicUsize::new(0), AtomicUsize::new(0));
    measure_with_attack(&server, "dropped connections", || {
        times.fetch_add(1, Ordering::Relaxed);
        run_threads(THREADS, |member| {
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
                        // The handshake completes, and the connection ends within a frame.
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
    assert_eq!(
        answered.into_inner(),
        times.into_inner() * THREADS * EACH / 5
    );
    // actix keeps a connection a moment longer when both ends have closed it.
    assert_closed_down_to(&server, before.0);
    let grown = server.memory_kib().saturating_sub(before.1);
    eprintln!("{} connections: memory grew by {grown} KiB", THREADS * EACH);
    assert!(grown < 32 * 1024, "{grown} KiB");
    Client::fresh(&server, "flood-0").assert_quiet();
}

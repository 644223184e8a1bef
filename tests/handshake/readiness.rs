//! `GET /readyz` (PROTOCOL section 9): whether the server can serve new clients.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{Client, Folder, Raw, Server, client_frame, eventually, json_answer, to};

#[test]
fn a_running_server_is_ready() {
    let server = Server::start(&["--jwt-secret", "0123456789abcdef0123456789abcdef"]);
    let answer = server.get("/readyz");
    assert_eq!(json_answer(&answer), (200, json!({"status": "ready"})));
    assert!(
        answer.to_lowercase().contains("cache-control: no-store"),
        "{answer}"
    );
    let head = server.http("HEAD /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let base = Server::start(&["--base-path", "/demo"]);
    assert_eq!(json_answer(&base.get("/demo/readyz")).0, 200);
    assert_eq!(json_answer(&base.get("/readyz")).0, 404);
}

#[test]
fn a_server_that_shuts_down_is_not_ready() {
    let server = Server::start(&[]);
    // A client that does not close delays the shutdown for a moment.
    let _stays = Raw::upgrade(&server, "/ws/a");
    let mut asking = Raw::open(&server);
    server.signal("TERM");
    server.wait_for_log("shutting down");
    asking.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asking
        .stream
        .read_to_string(&mut answer)
        .expect("it is answered");
    let (status, body) = json_answer(&answer);
    assert_eq!((status, &body["code"]), (503, &json!("draining")));
    assert!(body["retry_after_ms"].is_u64(), "{body}");
}

/// A file system in memory that is soon full. Only root can mount it.
struct Disk(std::path::PathBuf);

impl Disk {
    fn new(folder: &Folder) -> Self {
        let path = folder.0.join("disk");
        std::fs::create_dir(&path).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(&path)
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test mounts a small file system and must run as root"
        );
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_server_that_cannot_store_is_not_ready_until_it_can() {
    let folder = Arc::new(Folder::new());
    let disk = Disk::new(&folder);
    let server = Server::start_in(
        &folder,
        &[
            "--store",
            "sqlite:disk/dmwire.db",
            "--messages-per-second",
            "10000",
            "--burst",
            "10000",
        ],
    );
    let mut a = Client::fresh(&server, "a");
    assert_eq!(a.ask(&to("b", "x"))["type"], "ack");
    let filler = disk.0.join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let text = "x".repeat(10_000);
    eventually("the disk is full", || {
        a.ask(&to("b", &text))["type"] == "error"
    });
    eventually("the server notices", || {
        json_answer(&server.get("/readyz")).0 == 503
    });
    let (_, body) = json_answer(&server.get("/readyz"));
    assert_eq!(body["code"], "overloaded", "{body}");
    assert_eq!(
        json_answer(&server.get("/healthz")).0,
        200,
        "it is alive nevertheless"
    );
    std::fs::remove_file(filler).expect("it can be removed");
    eventually("there is room again", || {
        a.ask(&to("b", &text))["type"] == "ack"
    });
    eventually("it is ready again", || {
        json_answer(&server.get("/readyz")).0 == 200
    });
}

#[test]
fn with_a_full_queue_the_server_is_overloaded_and_not_ready() {
    // The store waits for another process that has locked its file.
    let server = Server::start(&["--messages-per-second", "1000000", "--burst", "1000000"]);
    let mut senders: Vec<_> = (0..2)
        .map(|n| Client::fresh(&server, &format!("s{n}")))
        .collect();
    for sender in &mut senders {
        assert_eq!(sender.ask(&to("b", "x"))["type"], "ack");
    }
    let file = rusqlite::Connection::open(server.store()).expect("it opens");
    file.execute_batch("BEGIN IMMEDIATE").expect("it is held");
    // Notices fill the queue with few bytes. Each batch that the writer takes has a message, so that it waits for the store.
    let typing = client_frame(0x81, br#"{"type":"typing","target_user":"b"}"#);
    let message = client_frame(0x81, to("b", "x").to_string().as_bytes());
    let frames = [&message[..], &typing.repeat(500)].concat();
    let is_full = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for sender in &mut senders {
            let (frames, is_full) = (&frames, &is_full);
            scope.spawn(move || {
                while !is_full.load(Ordering::Relaxed) {
                    sender.stream().write_all(frames).expect("the server reads");
                }
            });
        }
        eventually("the server is not ready", || {
            let answer = server.get("/readyz");
            // On a very busy machine, the workers may be too slow to read the request in time: 408.
            let full = answer.starts_with("HTTP/1.1 503 ") && {
                let (_, body) = json_answer(&answer);
                let detail = body["detail"].as_str().unwrap_or_default();
                body["code"] == "overloaded" && detail.contains("waiting")
            };
            is_full.store(full, Ordering::Relaxed);
            full
        });
    });
    for sender in &mut senders {
        // The writer may have taken a batch or two meanwhile.
        let messages = message.repeat(3000);
        sender
            .stream()
            .write_all(&messages)
            .expect("the server reads");
        let error = sender.until("error");
        assert_eq!(error["code"], "overloaded", "{error}");
        assert!(error["retry_after_ms"].as_u64() > Some(0), "{error}");
    }
    file.execute_batch("ROLLBACK").expect("it is given back");
    eventually("it is ready again", || {
        json_answer(&server.get("/readyz")).0 == 200
    });
}

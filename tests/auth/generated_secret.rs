//! The secret that a reachable server generates, and the `token` command.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use crate::helpers::{assert_not_logged, assert_rejected, bearer, connect, server_with_secret};
use crate::support::tokens::{Issuer, SECRET};
use crate::support::{Folder, Server, dmwire, eventually, handshake};

#[test]
fn the_token_command_makes_valid_tokens() {
    let server = server_with_secret(&["--jwt-issuer", "me", "--jwt-audience", "chat"]);
    let folder = Folder::new();
    let made = |more: &[&str]| {
        let settings = [
            "token",
            "--jwt-secret",
            SECRET,
            "--jwt-issuer",
            "me",
            "--jwt-audience",
            "chat",
        ];
        dmwire(&folder.0, &[&settings, more].concat())
    };
    let output = made(&["--user", "8888"]);
    assert_eq!(
        (output.code, output.out.lines().count(), &*output.err),
        (Some(0), 1, "signed with the secret of --jwt-secret\n"),
        "{output:?}"
    );
    assert_eq!(
        connect(&server, "/ws", &bearer(output.out.trim()))["user_id"],
        "8888"
    );
    let output = made(&["--user", "8888", "--ttl", "1s"]);
    let short = output.out.trim().to_owned();
    eventually("the token expires", || {
        let answer = server.http(&handshake("/ws/6666", &bearer(&short)));
        answer.starts_with("HTTP/1.1 401 ")
    });
    for (arguments, code, parts) in [
        (&["--user", "a b"][..], 1, ["user id", "64"]),
        (&["--user", "a", "--ttl", "soon"], 2, ["--ttl", "1h"]),
        (
            &["--user", "a", "--ttl", "3654d"],
            2,
            ["--ttl", "ten years"],
        ),
        (&[], 2, ["--user", "required"]),
    ] {
        let output = made(arguments);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(
            parts.iter().all(|part| output.err.contains(part)),
            "{output:?}"
        );
    }
    fs::write(folder.0.join("a.pem"), Issuer::p256().pem).expect("a file can be written");
    // The folder of the server may be another one.
    let looked_for = fs::canonicalize(&folder.0).expect("the folder is there");
    let looked_for = format!("{}/dmwire.db-secret does not exist", looked_for.display());
    for (settings, part) in [
        (&["--jwt-key", "a.pem"][..], "private key"),
        (&[], "clients need no token"),
        (&["--open"], "clients need no token"),
        (
            &["--listen", "0.0.0.0:1"],
            "dmwire.db-secret does not exist yet",
        ),
        (&["--listen", "0.0.0.0:1"], &*looked_for),
        (&["--listen", "0.0.0.0:1"], "--store"),
        (&[], &*looked_for),
        (&[], "--jwt-secret-file"),
        (
            &["--listen", "0.0.0.0:1", "--store", "memory:"],
            "in no file",
        ),
    ] {
        let output = dmwire(&folder.0, &[&["token", "--user", "a"], settings].concat());
        assert_eq!((output.code, &*output.out), (Some(1), ""), "{output:?}");
        assert!(output.err.contains(part), "{output:?}");
    }
}

/// The link for `user` that the server printed: path with query, and the token.
fn link(server: &Server, user: &str, to: &str) -> (String, String) {
    let line = server.wait_for_output(&format!("/?user={user}&to={to}#token="));
    let line = line.trim().to_owned();
    let port = server.address.port();
    let rest = line
        .strip_prefix(&format!("http://localhost:{port}"))
        .expect("a link");
    let (page, token) = rest.split_once("#token=").expect("a token");
    (page.to_owned(), token.to_owned())
}

/// A server that listens on all addresses, without settings for authentication.
fn reachable(folder: &Arc<Folder>, more: &[&str]) -> Server {
    let mut server = Server::start_in(folder, &[&["--listen", "0.0.0.0:0"], more].concat());
    server.address.set_ip([127, 0, 0, 1].into());
    server
}

#[test]
fn a_reachable_server_generates_a_secret_and_prints_two_links() {
    let folder = Arc::new(Folder::new());
    let mut server = reachable(&folder, &["--base-path", "/demo", "--log", "trace"]);
    let first = [("8888", "6666"), ("6666", "8888")].map(|(user, to)| {
        let (page, token) = link(&server, user, to);
        assert!(
            server.get(&page).contains("bearer."),
            "the page sends tokens"
        );
        let protocols = format!("Sec-WebSocket-Protocol: dmwire.v1, bearer.{token}\r\n");
        let path = format!("/demo/ws/{user}");
        assert_eq!(connect(&server, &path, &protocols)["user_id"], user);
        assert_rejected(
            &server,
            &format!("/demo/ws/{to}"),
            &protocols,
            403,
            "forbidden",
        );
        token
    });
    assert_rejected(&server, "/demo/ws/8888", "", 401, "unauthorized");
    let file = folder.0.join("dmwire.db-secret");
    let secret = fs::read_to_string(&file).expect("the secret is there");
    assert_eq!(secret.trim_end().len(), 43, "256 bits in base64");
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_not_logged(
        &server,
        &[
            secret.trim_end(),
            &first[0],
            &first[1],
            &first[0][first[0].len() - 20..],
        ],
    );

    // With the same settings the `token` command uses the same secret.
    let output = dmwire(
        &folder.0,
        &["token", "--user", "c", "--listen", "0.0.0.0:1"],
    );
    let third = output.out.trim();
    assert_eq!(connect(&server, "/demo/ws", &bearer(third))["user_id"], "c");

    // So does the next start of the server.
    server.kill();
    drop(server);
    let server = reachable(&folder, &["--base-path", "/demo"]);
    link(&server, "8888", "6666");
    assert_eq!(
        fs::read_to_string(&file).expect("the secret is there"),
        secret
    );
    for (user, token) in [("8888", &*first[0]), ("6666", &*first[1]), ("c", third)] {
        assert_eq!(
            connect(&server, "/demo/ws", &bearer(token))["user_id"],
            user
        );
    }
    let names: Vec<_> = fs::read_dir(&folder.0)
        .expect("a folder")
        .flatten()
        .collect();
    let part = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(".part");
    assert!(!names.iter().any(part), "{names:?}");
}

#[test]
fn an_invalid_secret_file_is_reported_and_not_replaced() {
    let folder = Folder::new();
    let file = folder.0.join("dmwire.db-secret");
    for (text, why) in [
        (&b"\n"[..], "is empty"),
        (b"\xEF\xBB\xBFa secret\n", "byte order mark"),
        (b"\xFF\xFEa\0b\0", "UTF-16"),
        (b"a secret \n", "at its end"),
    ] {
        fs::write(&file, text).expect("a file can be written");
        for arguments in [
            &["--listen", "0.0.0.0:0"][..],
            &["token", "--listen", "0.0.0.0:0", "--user", "a"],
        ] {
            let output = dmwire(&folder.0, arguments);
            assert_eq!(output.code, Some(2), "{output:?}");
            assert!(
                output.err.contains("dmwire.db-secret")
                    && output.err.contains(why)
                    && output.out.is_empty(),
                "{output:?}"
            );
        }
        assert_eq!(fs::read(&file).expect("it is there"), text);
    }
}

#[test]
fn with_a_store_in_memory_the_secret_is_not_saved() {
    let folder = Arc::new(Folder::new());
    let server = reachable(&folder, &["--store", "memory:"]);
    let (_, token) = link(&server, "6666", "8888");
    assert_eq!(connect(&server, "/ws", &bearer(&token))["user_id"], "6666");
    let names: Vec<_> = fs::read_dir(&folder.0)
        .expect("a folder")
        .flatten()
        .collect();
    let secret = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("secret");
    assert!(!names.iter().any(secret), "{names:?}");
    drop(server);
    let other = reachable(&folder, &["--store", "memory:"]);
    assert_rejected(&other, "/ws", &bearer(&token), 401, "unauthorized");
}

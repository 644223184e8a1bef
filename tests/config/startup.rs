//! The start of the server: listen addresses, and the errors that prevent it (PROTOCOL section 2).

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::{Client, DEADLINE, Folder, Server, to};

/// Runs the program in `folder` until it ends. Returns its exit code and its standard error.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("DMWIRE_")) {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let until = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{arguments:?} does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr
        .read_to_string(&mut text)
        .expect("the program writes UTF-8");
    (status.code(), text)
}

/// The server must not start in `folder`: exit code 1, and an error on one line that contains all of `parts`.
fn assert_fails(folder: &Path, arguments: &[&str], parts: &[&str]) {
    assert_fails_with(1, folder, arguments, parts);
}

/// As [`assert_fails`], with another exit code.
fn assert_fails_with(expected: i32, folder: &Path, arguments: &[&str], parts: &[&str]) {
    let (code, error) = run(folder, arguments);
    assert_eq!(code, Some(expected), "{arguments:?}: {error}");
    let last = error.lines().last().unwrap_or_default();
    assert!(last.starts_with("dmwire: "), "{error}");
    for part in parts {
        assert!(last.contains(part), "{part:?} is not in {error}");
    }
    assert!(
        !error.contains("listening on") && !error.contains("panicked"),
        "{error}"
    );
}

const ANYWHERE: [&str; 2] = ["--listen", "127.0.0.1:0"];

#[test]
fn the_server_listens_on_both_loopback_addresses() {
    if TcpListener::bind("[::1]:0").is_err() {
        return; // A machine without IPv6.
    }
    let server = Server::start(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    server.wait_for_log("listening on http://[::1]:");
    let log = server.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("listening on"))
        .collect();
    let [first, second] = lines[..] else {
        panic!("two addresses are listened on: {log}");
    };
    let mut welcomes = Vec::new();
    for (line, ip) in [(first, "127.0.0.1"), (second, "[::1]")] {
        let rest = line.split("http://").nth(1).expect("an address");
        let address = rest.split(['/', ' ']).next().expect("an address");
        assert!(address.starts_with(ip), "{line}");
        let address: SocketAddr = address.parse().expect("an address with a port");
        let stream = TcpStream::connect(address).expect("the server accepts");
        let (mut socket, _) = tungstenite::client(format!("ws://{address}/ws/a"), stream)
            .expect("the handshake succeeds");
        welcomes.push(socket.read().expect("welcome").into_text().expect("a text"));
    }
    assert!(
        welcomes
            .iter()
            .all(|welcome| welcome.contains(r#""type":"welcome""#)),
        "{welcomes:?}"
    );
}

#[test]
fn an_unspecified_address_without_authentication_needs_open() {
    let folder = Folder::new();
    for address in ["0.0.0.0:0", "[::]:0"] {
        for open in [&[][..], &["--open=false"]] {
            let listen = [
                "--auth",
                "none",
                "--listen",
                "127.0.0.1:0",
                "--listen",
                address,
            ];
            let (code, error) = run(&folder.0, &[&listen, open].concat());
            assert_eq!(code, Some(2), "{error}");
            assert!(
                error.contains("--open") && error.contains("authentication"),
                "{error}"
            );
        }
    }
    // No file was created.
    assert_eq!(
        fs::read_dir(&folder.0)
            .expect("a readable directory")
            .count(),
        0
    );
    let mut server = Server::start(&["--listen", "0.0.0.0:0", "--open"]);
    assert!(server.address.ip().is_unspecified());
    server.wait_for_log("there is no authentication");
    server.address.set_ip([127, 0, 0, 1].into());
    Client::fresh(&server, "a");
}

/// As [`assert_fails`], for a file that a setting names: exit code 2, or 1 if it cannot be read.
fn assert_unusable(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let code = if arguments.contains(&"nowhere") { 1 } else { 2 };
    assert_fails_with(code, folder, arguments, parts);
}

#[test]
fn an_unusable_key_or_certificate_is_named_and_no_store_is_created() {
    let folder = Folder::new();
    let private = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .expect("a certificate")
        .cert
        .pem();
    for (name, text) in [
        ("empty", ""),
        ("text", "no key\n"),
        (
            "damaged.pem",
            "-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n",
        ),
        (
            "odd.pem",
            "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n",
        ),
        ("private.pem", &private),
        ("cert.pem", &certificate),
        ("none.json", r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#),
    ] {
        fs::write(folder.0.join(name), text).expect("a writable file");
    }
    let looked_for = fs::canonicalize(&folder.0).expect("the folder is there");
    let looked_for = looked_for.join("nowhere").display().to_string();
    for (setting, name, parts) in [
        (
            "--jwt-secret-file",
            "nowhere",
            ["jwt_secret_file: nowhere", "cannot be read"],
        ),
        (
            "--jwt-secret-file",
            "empty",
            ["jwt_secret_file: empty", "is empty"],
        ),
        (
            "--jwt-key",
            "nowhere",
            ["jwt_key: nowhere", "cannot be read"],
        ),
        (
            "--jwt-secret-file",
            "nowhere",
            ["looked for at", &*looked_for],
        ),
        ("--jwt-key", "nowhere", ["looked for at", &*looked_for]),
        ("--jwt-key", "text", ["jwt_key: text", "no public key"]),
        (
            "--jwt-key",
            "damaged.pem",
            ["jwt_key: damaged.pem", "damaged"],
        ),
        ("--jwt-key", "odd.pem", ["jwt_key: odd.pem", "Ed25519"]),
        (
            "--jwt-key",
            "private.pem",
            ["jwt_key: private.pem", "private key"],
        ),
        ("--jwks", "nowhere", ["jwks: nowhere", "No such file"]),
        ("--jwks", "text", ["jwks: text", "not a JSON Web Key Set"]),
        (
            "--jwks",
            "none.json",
            ["jwks: none.json", "no supported key"],
        ),
    ] {
        assert_unusable(
            &folder.0,
            &[&ANYWHERE[..], &[setting, name]].concat(),
            &parts,
        );
    }
    for (ca, part) in [
        ("nowhere", "jwks_ca: nowhere cannot be read"),
        ("text", "jwks_ca: text contains no certificate"),
    ] {
        let set = ["--jwks", "https://127.0.0.1:1/", "--jwks-ca", ca];
        assert_unusable(&folder.0, &[&ANYWHERE[..], &set].concat(), &[part]);
    }
    for (cert, key, part) in [
        ("nowhere", "private.pem", "tls_cert: nowhere"),
        (
            "text",
            "private.pem",
            "tls_cert: text: contains no certificate",
        ),
        ("text", "text", "tls_cert: text: contains no certificate"),
        (
            "private.pem",
            "private.pem",
            "tls_cert: private.pem: contains no certificate",
        ),
        ("cert.pem", "cert.pem", "tls_key: cert.pem: no private key"),
        ("cert.pem", "text", "tls_key: text: no private key"),
    ] {
        let tls = ["--tls-cert", cert, "--tls-key", key];
        assert_unusable(&folder.0, &[&ANYWHERE[..], &tls].concat(), &[part]);
    }
    assert!(!folder.0.join("dmwire.db").exists());
}

#[test]
fn sighup_without_files_to_reload_is_explained() {
    let server = Server::start(&["--jwt-secret", "a secret that is no file, of 32 bytes"]);
    server.signal("HUP");
    let line = server.wait_for_log("SIGHUP: nothing to reload");
    assert!(line.contains("settings needs a restart"), "{line}");
}

#[test]
fn a_second_server_on_the_same_store_fails_without_damage() {
    let server = Server::start(&[]);
    let mut a = Client::fresh(&server, "a");
    a.ask(&to("a", "1"));
    a.expect("message");
    assert_fails(server.folder(), &ANYWHERE, &["dmwire.db", "in use"]);
    assert_eq!(a.ask(&to("b", "2"))["seq"], 2);
}

#[test]
fn another_path_to_the_same_store_is_recognised() {
    let server = Server::start(&[]);
    let path = server.folder().join("dmwire.db");
    let link = server.folder().join("link.db");
    std::os::unix::fs::symlink(&path, link).expect("a symbolic link");
    for store in ["./dmwire.db", &path.to_string_lossy(), "link.db"] {
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--store",
            &format!("sqlite:{store}"),
        ];
        assert_fails(server.folder(), &arguments, &[store, "in use"]);
    }
}

#[test]
fn the_error_names_a_port_in_use() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let folder = Folder::new();
    assert_fails(
        &folder.0,
        &["--listen", &address],
        &[
            "--listen",
            &address,
            "another program",
            "choose another port",
        ],
    );
    assert_fails(
        &folder.0,
        &["--listen", "127.0.0.1:0", "--listen", &address],
        &["--listen", &address],
    );
    Client::fresh(&server, "a");
}

#[test]
fn the_error_names_an_address_of_another_machine() {
    let folder = Folder::new();
    // TEST-NET-1 (RFC 5737) is assigned to no machine.
    assert_fails(
        &folder.0,
        &["--listen", "192.0.2.1:0", "--open"],
        &["listen", "192.0.2.1:0"],
    );
}

#[test]
fn a_file_that_is_not_a_database_is_not_changed() {
    let folder = Folder::new();
    let path = folder.0.join("dmwire.db");
    for content in ["not a database\n".repeat(1000), "no".to_owned()] {
        fs::write(&path, &content).expect("a writable file");
        assert_fails(&folder.0, &ANYWHERE, &["dmwire.db", "not a database"]);
        assert_eq!(fs::read_to_string(&path).expect("a readable file"), content);
    }
}

/// The server must reject a database created by `setup` with an error that contains all of `parts`, and must not change a
/// byte of it.
fn assert_not_changed(setup: &str, parts: &[&str]) {
    let folder = Folder::new();
    let path = folder.0.join("notes.db");
    let connection = rusqlite::Connection::open(&path).expect("a database");
    connection.execute_batch(setup).expect("valid SQL");
    drop(connection);
    let before = fs::read(&path).expect("a readable file");
    let arguments = ["--listen", "127.0.0.1:0", "--store", "sqlite:notes.db"];
    assert_fails(&folder.0, &arguments, parts);
    assert!(
        fs::read(&path).expect("a readable file") == before,
        "{setup}: the file was changed"
    );
}

#[test]
fn a_database_of_another_program_is_not_changed() {
    for setup in [
        "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('keep');",
        "PRAGMA application_id = 1234; PRAGMA user_version = 1; CREATE TABLE meta (key TEXT, value TEXT);",
        "PRAGMA user_version = 99; CREATE TABLE messages (n INTEGER PRIMARY KEY);",
    ] {
        assert_not_changed(setup, &["notes.db", "not one of dmwire"]);
    }
}

#[test]
fn a_database_with_the_id_of_another_program_is_not_changed_even_without_tables() {
    assert_not_changed(
        "PRAGMA application_id = 1234; VACUUM;",
        &["notes.db", "not one of dmwire"],
    );
}

#[test]
fn a_database_with_a_version_but_without_tables_is_not_a_store() {
    assert_not_changed("PRAGMA user_version = 7; VACUUM;", &["notes.db"]);
    assert_not_changed("PRAGMA user_version = 1; VACUUM;", &["notes.db"]);
}

#[test]
fn a_database_of_a_newer_version_is_not_changed() {
    let mut server = Server::start(&[]);
    server.signal("TERM");
    assert!(server.wait(DEADLINE).success());
    let path = server.folder().join("dmwire.db");
    let connection = rusqlite::Connection::open(&path).expect("the database can be opened");
    connection
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99;")
        .expect("valid SQL");
    drop(connection);
    let before = fs::read(&path).expect("a readable file");
    assert_fails(server.folder(), &ANYWHERE, &["dmwire.db", "newer"]);
    assert!(fs::read(&path).expect("a readable file") == before);
}

#[test]
fn the_error_names_a_store_that_cannot_be_created() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("folder")).expect("a new directory");
    for store in ["folder", "nowhere/dmwire.db"] {
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--store",
            &format!("sqlite:{store}"),
        ];
        assert_fails(&folder.0, &arguments, &[store]);
    }
}

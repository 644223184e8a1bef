//! Files with secrets, keys and settings that were written with another encoding, or with more than the text that their author sees.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use serde_json::json;

use crate::helpers::{DMWIRE, bearer, connect};
use crate::support::tokens::{self, Issuer, SECRET, claims, hs256};
use crate::support::{Folder, Output, Raw, Server, dmwire, eventually, program, run_to_end};

const BOM: &[u8] = b"\xEF\xBB\xBF";

fn utf16(text: &str, mark: bool, big: bool) -> Vec<u8> {
    let units = mark
        .then_some(0xFEFF)
        .into_iter()
        .chain(text.encode_utf16());
    units
        .flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

/// Forms of a text that no program should read in silence, each with the word that names it.
fn odd_encodings(text: &str) -> Vec<(Vec<u8>, &'static str)> {
    vec![
        ([BOM, text.as_bytes()].concat(), "byte order mark"),
        (utf16(text, true, false), "UTF-16"),
        (utf16(text, true, true), "UTF-16"),
        (utf16(text, false, false), "NUL"),
        (utf16(text, false, true), "NUL"),
        ([text.as_bytes(), b"\0"].concat(), "NUL"),
    ]
}

/// Asserts that no server starts with this setting, and that the error names the file and what is wrong with it.
fn assert_rejected(folder: &Folder, arguments: &[&str], file: &str, why: &str) {
    let arguments = [
        &["--listen", "127.0.0.1:0", "--ops-listen", "off"][..],
        arguments,
    ]
    .concat();
    assert_named(&dmwire(&folder.0, &arguments), file, why);
}

fn assert_named(output: &Output, file: &str, why: &str) {
    assert_eq!(output.code, Some(2), "{output:?}");
    assert_eq!(output.err.lines().count(), 1, "{output:?}");
    for part in [file, why] {
        assert!(output.err.contains(part), "{part}: {output:?}");
    }
    assert!(!output.err.contains(SECRET), "{output:?}");
}

#[test]
fn a_secret_with_something_added_is_rejected_by_name() {
    let folder = Folder::new();
    let line = format!("{SECRET}\n");
    let with = |text: &str| (text.as_bytes().to_vec(), "at its end");
    let mut files = odd_encodings(&line);
    files.extend([
        with(&format!("{SECRET} \n")),
        with(&format!("{SECRET}\t")),
        with(&format!("{SECRET}\n\n")),
        with(&format!("{SECRET}\r\n\r\n")),
        with(&format!("{SECRET}\r")),
        with(&format!("{SECRET}\n\r")),
        with(&format!("{SECRET}\u{a0}\n")),
        with(&format!("{SECRET}\u{200b}\n")),
        with(&format!("{SECRET}\u{feff}\n")),
        with(&format!("{SECRET}\u{1a}")),
        (format!(" {SECRET}\n").into_bytes(), "at its start"),
        (format!("\n{SECRET}\n").into_bytes(), "at its start"),
        (format!("\u{200b}{SECRET}\n").into_bytes(), "at its start"),
        (b" \n".to_vec(), "at its"),
        (b"\n".to_vec(), "is empty"),
        (b"\r\n".to_vec(), "is empty"),
    ]);
    for (bytes, why) in files {
        fs::write(folder.0.join("jwt.secret"), &bytes).expect("a file can be written");
        let file = ["--jwt-secret-file", "jwt.secret"];
        assert_rejected(&folder, &file, "jwt_secret_file: jwt.secret", why);
        let output = dmwire(&folder.0, &[&["token", "--user", "a"][..], &file].concat());
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(
            output.out.is_empty() && output.err.contains(why),
            "{output:?}"
        );
    }
}

#[test]
fn a_secret_in_a_flag_a_variable_or_a_setting_is_not_changed_in_silence() {
    let folder = Folder::new();
    let odd = [
        (format!("{SECRET} "), "at its end"),
        (format!("{SECRET}\t\n"), "at its end"),
        (format!("{SECRET}\n\n"), "at its end"),
        (format!("{SECRET}\u{a0}"), "at its end"),
        (format!("{SECRET}\u{200b}"), "at its end"),
        (format!(" {SECRET}"), "at its start"),
        (format!("\n{SECRET}"), "at its start"),
        (format!("\u{feff}{SECRET}"), "byte order mark"),
        (" ".to_owned(), "at its end"),
        ("\n".to_owned(), "is empty"),
    ];
    for (secret, why) in &odd {
        assert_rejected(&folder, &["--jwt-secret", secret], "--jwt-secret: ", why);
        // One of several.
        let two = ["--jwt-secret", SECRET, "--jwt-secret", secret];
        assert_rejected(&folder, &two, "--jwt-secret: ", why);
        let mut command = program(&folder.0, &["config"]);
        command.env("DMWIRE_JWT_SECRET", secret);
        assert_named(&run_to_end(command), "DMWIRE_JWT_SECRET: ", why);
        let text = format!("jwt_secret = {}", json!([SECRET, secret]));
        fs::write(folder.0.join("odd.toml"), text).expect("a file can be written");
        assert_rejected(
            &folder,
            &["--config", "odd.toml"],
            "odd.toml: jwt_secret: ",
            why,
        );
    }
    // A file in UTF-16, read by a shell.
    let odd = OsStr::from_bytes(b"\xFF\xFEa\xFF");
    let mut command = program(&folder.0, &["config"]);
    command.env("DMWIRE_JWT_SECRET", odd);
    assert_named(&run_to_end(command), "DMWIRE_JWT_SECRET: ", "UTF-8");
    let mut command = program(&folder.0, &["config", "--jwt-secret"]);
    command.arg(odd);
    assert_named(&run_to_end(command), "--jwt-secret: ", "UTF-8");
    let mut command = program(&folder.0, &["config", "--open"]);
    command.arg(OsStr::from_bytes(b"--jwt-secret=a\xFF"));
    assert_named(&run_to_end(command), "--jwt-secret: ", "UTF-8");
    // The line break at the end of a variable that was made from a file.
    for secret in [format!("{SECRET}\n"), format!("{SECRET}\r\n")] {
        let server = Server::start(&["--jwt-secret", &secret]);
        connect(&server, "/ws/a", &bearer(&hs256(SECRET, &claims("a"))));
    }
}

/// Keys and certificates, with the setting or the command that their rejection as a secret names.
fn keys_and_certificates() -> Vec<(String, &'static str)> {
    let certificate = rcgen::generate_simple_self_signed(["a".to_owned()]).expect("a certificate");
    let (public, private) = (Issuer::p256().pem, certificate.signing_key.serialize_pem());
    let certificate = certificate.cert.pem();
    let body = |pem: &str| -> String {
        let lines = pem.lines().filter(|line| !line.starts_with('-'));
        lines.collect()
    };
    let rsa = |bits: &str| {
        let rest = "AQ8AMIIBCgKCAQEAvZ1gTqtVZ";
        format!("{bits}ANBgkqhkiG9w0BAQEFAAOC{rest}")
    };
    vec![
        (public.clone(), "--jwt-key"),
        (public.replace('\n', "\r\n"), "--jwt-key"),
        (public.replace('\n', "\\n"), "--jwt-key"),
        (format!("{}\n\n", public.trim_end()), "--jwt-key"),
        (format!("\n{public}"), "--jwt-key"),
        (format!("Public-Key: (256 bit)\n{public}"), "--jwt-key"),
        (body(&public), "--jwt-key"),
        (Issuer::ed25519().pem, "--jwt-key"),
        (body(&Issuer::ed25519().pem), "--jwt-key"),
        (rsa("MIIBIj"), "--jwt-key"),
        (rsa("MIICIj"), "--jwt-key"),
        (private, "openssl pkey"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n".to_owned(),
            "private key",
        ),
        (certificate.clone(), "openssl x509"),
        (
            format!("Certificate:\n    Data:\n{certificate}"),
            "openssl x509",
        ),
        (
            "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K".to_owned(),
            "--jwt-key",
        ),
        (
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ a@b\n".to_owned(),
            "ssh-keygen",
        ),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG".to_owned(),
            "ssh-keygen",
        ),
        (
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTI a@b".to_owned(),
            "ssh-keygen",
        ),
        (
            "---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2E".to_owned(),
            "ssh-keygen",
        ),
        (Issuer::p256().jwk("1").to_string(), "--jwks"),
        (tokens::jwk_set(&[Issuer::p256().jwk("1")]), "--jwks"),
        ("[{\n  \"kty\": \"oct\",".to_owned(), "--jwks"),
    ]
}

#[test]
fn a_key_or_a_certificate_is_not_a_secret() {
    let folder = Folder::new();
    // Another program may use the default port.
    let start = |arguments: &[&str]| {
        let listen = &["--listen", "127.0.0.1:0", "--ops-listen", "off"][..];
        dmwire(&folder.0, &[listen, arguments].concat())
    };
    for (text, part) in keys_and_certificates() {
        fs::write(folder.0.join("a.pem"), &text).expect("a file can be written");
        fs::write(
            folder.0.join("a.toml"),
            format!("jwt_secret = {}", json!(text)),
        )
        .expect("a file can be written");
        let mut by_variable = program(&folder.0, &["config"]);
        by_variable.env("DMWIRE_JWT_SECRET", &text);
        for (output, name) in [
            (
                start(&["--jwt-secret-file", "a.pem"]),
                "jwt_secret_file: a.pem is a",
            ),
            (
                dmwire(
                    &folder.0,
                    &["token", "--user", "a", "--jwt-secret-file", "a.pem"],
                ),
                "jwt_secret_file: a.pem is a",
            ),
            (
                start(&[&format!("--jwt-secret={text}")]),
                "--jwt-secret: a secret is a",
            ),
            (
                start(&["--config", "a.toml"]),
                "a.toml: jwt_secret: a secret is a",
            ),
            (run_to_end(by_variable), "DMWIRE_JWT_SECRET: a secret is a"),
        ] {
            assert_named(&output, name, part);
            assert_eq!(output.err.lines().count(), 1, "{output:?}");
            for line in text.lines().filter(|line| line.len() > 20) {
                assert!(!output.err.contains(line), "{output:?}");
            }
        }
    }
    // Separated by a blank, a text that begins with a hyphen is no value.
    for text in [
        Issuer::p256().pem,
        "-a-secret-with-a-hyphen-of-32-bytes".to_owned(),
    ] {
        let output = dmwire(&folder.0, &["config", "--jwt-secret", &text]);
        assert_named(&output, "--jwt-secret: ", "--jwt-key");
        for line in text.lines() {
            assert!(!output.err.contains(line), "{output:?}");
        }
    }
    assert!(!folder.0.join("dmwire.db").exists());
    // Secrets that only resemble keys.
    for secret in [
        "ssh-tunnels are not keys, and this is long",
        "MIIB-a-secret-of-thirty-two-bytes-or-more",
        "{a secret in braces, of thirty-two bytes}",
        "-----a secret between dashes, long enough-----",
    ] {
        let given = format!("--jwt-secret={secret}");
        let output = dmwire(&folder.0, &["config", &given]);
        assert_eq!(output.code, Some(0), "{output:?}");
    }
}

#[test]
fn a_secret_file_that_becomes_a_public_key_is_not_loaded() {
    let folder = Arc::new(Folder::new());
    let file = folder.0.join("jwt.secret");
    fs::write(&file, SECRET).expect("a file can be written");
    let server = Server::start_in(&folder, &["--jwt-secret-file", "jwt.secret"]);
    let public = Issuer::p256().pem;
    fs::write(&file, &public).expect("a file can be written");
    server.signal("HUP");
    server.wait_for_log("stay in use: jwt_secret_file: jwt.secret is a public key");
    connect(&server, "/ws/a", &bearer(&hs256(SECRET, &claims("a"))));
    let forged = bearer(&hs256(&public, &claims("a")));
    let answer = server.http(&crate::support::handshake("/ws/a", &forged));
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let folder = Folder::new();
    fs::write(folder.0.join("file"), "").expect("a file can be written");
    fs::create_dir(folder.0.join("there")).expect("a folder can be created");
    for (path, why) in [
        ("gone/jwt.secret", "the folder gone does not exist"),
        ("there/a/b/key", "the folder there/a does not exist"),
        ("file/key", "file is not a folder"),
        ("there/key", "No such file"),
    ] {
        for (setting, more) in [
            ("--jwt-secret-file", &[][..]),
            ("--jwt-key", &[]),
            ("--jwks", &[]),
            ("--jwks-ca", &["--jwks", "https://127.0.0.1:1/"]),
            ("--tls-cert", &["--tls-key", "file"]),
            ("--config", &[]),
        ] {
            let arguments = [&["--listen", "127.0.0.1:0", setting, path], more].concat();
            let output = dmwire(&folder.0, &arguments);
            assert!(matches!(output.code, Some(1 | 2)), "{output:?}");
            for part in [path, why] {
                assert!(output.err.contains(part), "{setting}: {part}: {output:?}");
            }
        }
    }
}

#[test]
fn one_line_break_at_the_end_of_a_secret_is_no_part_of_it() {
    for (file, secret) in [
        (SECRET.to_owned(), SECRET),
        (format!("{SECRET}\n"), SECRET),
        (format!("{SECRET}\r\n"), SECRET),
        (
            "contraseña, en español, de verdad\n".into(),
            "contraseña, en español, de verdad",
        ),
        (
            "several words\nin two lines, more than 32 bytes\n".into(),
            "several words\nin two lines, more than 32 bytes",
        ),
    ] {
        let folder = Arc::new(Folder::new());
        fs::write(folder.0.join("jwt.secret"), file).expect("a file can be written");
        let server = Server::start_in(&folder, &["--jwt-secret-file", "jwt.secret"]);
        connect(&server, "/ws/a", &bearer(&hs256(secret, &claims("a"))));
    }
}

#[test]
fn keys_certificates_and_settings_in_another_encoding_are_rejected_by_name() {
    let folder = Folder::new();
    let issuer = Issuer::p256();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(folder.0.join("cert.pem"), &cert).expect("a file can be written");
    fs::write(folder.0.join("key.pem"), &key).expect("a file can be written");
    let tls = |cert, key| vec!["--tls-cert", cert, "--tls-key", key];
    for (setting, text, arguments) in [
        ("jwt_key", &*issuer.pem, vec!["--jwt-key", "odd"]),
        (
            "jwks",
            &tokens::jwk_set(&[issuer.jwk("1")]),
            vec!["--jwks", "odd"],
        ),
        (
            "jwks_ca",
            &cert,
            vec!["--jwks", "https://127.0.0.1:1/", "--jwks-ca", "odd"],
        ),
        ("tls_cert", &cert, tls("odd", "key.pem")),
        ("tls_key", &key, tls("cert.pem", "odd")),
    ] {
        for (bytes, why) in odd_encodings(text) {
            fs::write(folder.0.join("odd"), &bytes).expect("a file can be written");
            assert_rejected(&folder, &arguments, &format!("{setting}: odd"), why);
        }
    }
    let settings = "heartbeat_seconds = 7\r\n";
    for (bytes, why) in odd_encodings(settings).into_iter().skip(1) {
        fs::write(folder.0.join("odd"), &bytes).expect("a file can be written");
        assert_rejected(&folder, &["--config", "odd"], "odd", why);
    }
    fs::write(folder.0.join("odd"), b"store = \"\xE9\"").expect("a file can be written");
    assert_rejected(&folder, &["--config", "odd"], "odd", "UTF-8");
    // In a file with settings the mark has no meaning.
    for bytes in [
        settings.as_bytes().to_vec(),
        [BOM, settings.as_bytes()].concat(),
    ] {
        fs::write(folder.0.join("odd"), bytes).expect("a file can be written");
        let output = dmwire(&folder.0, &["config", "--config", "odd"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.out.contains("heartbeat_seconds = 7"), "{output:?}");
    }
}

#[test]
fn the_previous_keys_stay_in_use_when_a_reload_finds_another_encoding() {
    let folder = Arc::new(Folder::new());
    let issuer = Issuer::p256();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.0.join(name), bytes).expect("a file can be written");
    };
    let set = tokens::jwk_set(&[issuer.jwk("1")]);
    write("jwt.secret", SECRET.as_bytes());
    write("keys.json", set.as_bytes());
    let server = Server::start_in(
        &folder,
        &["--jwt-secret-file", "jwt.secret", "--jwks", "keys.json"],
    );
    let by_secret = bearer(&hs256(SECRET, &claims("a")));
    let by_key = bearer(&issuer.token(Some("1"), &claims("a")));
    write("jwt.secret", &[BOM, SECRET.as_bytes()].concat());
    write("keys.json", &utf16(&set, true, false));
    server.signal("HUP");
    server.wait_for_log("jwt_secret_file: jwt.secret begins with a byte order mark");
    server.wait_for_log("is in UTF-16");
    for token in [&by_secret, &by_key] {
        connect(&server, "/ws/a", token);
    }
    let other = "another secret, of thirty-two bytes";
    write("jwt.secret", format!("{other}\r\n").as_bytes());
    server.signal("HUP");
    let by_other = format!("{DMWIRE}{}", bearer(&hs256(other, &claims("a"))));
    eventually("the new secret is in use", || {
        let frame = Raw::upgrade_with(&server, "/ws/a", &by_other).0.next();
        frame.is_some_and(|frame| frame.json()["type"] == "welcome")
    });
}

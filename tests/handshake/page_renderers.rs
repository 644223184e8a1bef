//! The scripts of an operator in the page (`--page-renderers`).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::support::{Folder, Server, dmwire};

const FLAGS: &[&str] = &["--page-renderers", "renderers"];

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let renderers = folder.join("renderers");
    fs::create_dir_all(&renderers).expect("a folder can be made");
    fs::write(renderers.join(name), text).expect("a file can be written");
}

/// The scripts of the page, and its answer. Each script is allowed by its hash, and the policy names no other.
#[track_caller]
fn scripts(server: &Server) -> (Vec<String>, String) {
    let answer = server.get("/");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let scripts = body.split("<script type=\"module\">").skip(1);
    let scripts = scripts.map(|rest| rest.split("</script>").next().unwrap_or_default());
    let scripts: Vec<_> = scripts.map(str::to_owned).collect();
    let hashes = scripts
        .iter()
        .map(|text| STANDARD.encode(Sha256::digest(text)));
    let hashes: Vec<_> = hashes.map(|hash| format!("'sha256-{hash}'")).collect();
    let allowed = format!("; script-src {}; ", hashes.join(" "));
    assert!(head.contains(&allowed), "{allowed} is not in {head}");
    (scripts, answer)
}

#[test]
fn the_scripts_follow_that_of_the_page_in_the_order_of_their_names() {
    let folder = Arc::new(Folder::new());
    write(&folder.0, "b.js", "second('é')");
    write(&folder.0, "a.js", "first();\r\nnext();\r");
    for name in ["README.md", "a.ts", ".#a.js", "a.js~"] {
        write(&folder.0, name, "</script>");
    }
    let server = Server::start_in(&folder, FLAGS);
    let (found, answer) = scripts(&server);
    assert_eq!(found[1..], ["first();\nnext();\n", "second('é')"]);
    let plain = Server::start(&[]);
    assert_eq!(scripts(&plain).0, found[..1]);
    assert!(
        answer.ends_with("</body>\n</html>\n"),
        "the page is complete"
    );
}

#[test]
fn sighup_reads_them_again_and_keeps_them_if_one_is_invalid() {
    let folder = Arc::new(Folder::new());
    write(&folder.0, "a.js", "old()");
    let server = Server::start_in(&folder, FLAGS);
    let etag = |answer: &str| {
        let line = answer
            .lines()
            .find(|line| line.to_lowercase().starts_with("etag:"));
        line.expect("an entity tag").to_owned()
    };
    let before = scripts(&server);
    write(&folder.0, "a.js", "new()");
    server.signal("HUP");
    server.wait_for_log("page renderers loaded");
    let after = scripts(&server);
    assert_eq!(after.0[1..], ["new()"]);
    assert_ne!(etag(&before.1), etag(&after.1));
    write(&folder.0, "a.js", "'</script>'");
    server.signal("HUP");
    let line = server.wait_for_log("the page renderers stay as they were");
    assert!(line.contains("a.js"), "{line}");
    assert_eq!(scripts(&server).0, after.0);
}

#[test]
fn a_file_that_cannot_be_part_of_the_page_prevents_the_start() {
    let large = "x".repeat(64 * 1024 + 1);
    for (text, reason) in [
        (&b"'</SCRIPT >'"[..], "contains `</script`"),
        (b"'<script>'", "contains `<script`"),
        (b"x<!--y", "contains `<!--`"),
        (b"\xEF\xBB\xBFx()", "byte order mark"),
        (b"'\xFF'", "not UTF-8"),
        (large.as_bytes(), "larger than 65536"),
    ] {
        let folder = Folder::new();
        write(&folder.0, "a.js", text);
        assert_fails(&folder, &["a.js", reason]);
    }
    let folder = Folder::new();
    assert_fails(&folder, &["renderers", "No such file or directory"]);
    for n in 0..65 {
        write(&folder.0, &format!("{n}.js"), "");
    }
    assert_fails(&folder, &["at most 64"]);
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("renderers/a.js")).expect("a folder can be made");
    assert_fails(&folder, &["a.js", "not a file"]);
}

/// The program does not start: exit code 2, and the last line has all of `parts`.
#[track_caller]
fn assert_fails(folder: &Folder, parts: &[&str]) {
    let arguments = [&["--listen", "127.0.0.1:0"], FLAGS].concat();
    let output = dmwire(&folder.0, &arguments);
    assert_eq!(output.code, Some(2), "{output:?}");
    let last = output.err.lines().last().unwrap_or_default();
    assert!(last.starts_with("dmwire: --page-renderers: "), "{output:?}");
    for part in parts {
        assert!(last.contains(part), "{part:?} is not in {last}");
    }
}

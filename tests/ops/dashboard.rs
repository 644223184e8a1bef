//! `GET /admin`

use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::helpers::{Ops, new_key};
use crate::support::Folder;

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[test]
fn the_dashboard_needs_no_key_and_runs_nothing_but_its_own_script() {
    let (_, line) = new_key("shop");
    let folder = Arc::new(Folder::new());
    fs::write(folder.0.join("keys"), line).expect("a writable folder");
    let ops = Ops::start_in(&folder, &["--api-key-file", "keys"]);
    let page = ops.request("GET /admin", &[], b"");
    assert_eq!(page.status, 200, "{}", page.head);
    assert!(page.body.contains("dmwire dashboard"));
    let policy = header(&page.head, "content-security-policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains("https:"),
        "{policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-cache"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(header(&page.head, name), Some(value), "{}", page.head);
    }
    assert!(header(&page.head, "permissions-policy").is_some());

    let tag = format!("\"{}\"", STANDARD.encode(Sha256::digest(&page.body)));
    let known = ops.request("GET /admin", &[&format!("If-None-Match: {tag}")], b"");
    assert_eq!((known.status, &*known.body), (304, ""));
    let head = ops.request("HEAD /admin", &[], b"");
    assert_eq!((head.status, &*head.body), (200, ""));
    ops.request("POST /admin", &[], b"")
        .assert_error(405, "method_not_allowed", None);
    for path in ["/admin/", "/admin/x"] {
        ops.get(path).assert_error(404, "not_found", None);
    }
}

//! The HTTP routes: page, schemas, health, and the base path of all of them (PROTOCOL sections 2 and 9).

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Client, Raw, Server, handshake, json_answer};

const SCHEMAS: [&str; 5] = [
    "client-frame.schema.json",
    "server-frame.schema.json",
    "monitor-frame.schema.json",
    "asyncapi.json",
    "openapi.json",
];

/// The head in lower case, and the body.
fn parts(answer: &str) -> (String, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    (head.to_lowercase(), body)
}

fn assert_no_page(server: &Server, path: &str) {
    let (status, body) = json_answer(&server.get(path));
    assert_eq!(
        (status, &body["code"]),
        (404, &json!("not_found")),
        "{path}"
    );
    assert!(
        body["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "{path}: {body}"
    );
}

fn request(server: &Server, method: &str, path: &str) -> String {
    server.http(&format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ))
}

fn committed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("schema")
        .join(name);
    fs::read_to_string(path).expect("the schema is committed")
}

#[test]
fn the_schemas_are_the_committed_files() {
    let server = Server::start(&[]);
    let (status, index) = json_answer(&server.get("/schema"));
    assert_eq!((status, &index["protocol"]), (200, &json!("dmwire.v1")));
    let listed: Vec<&str> = index["schemas"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    for name in SCHEMAS {
        assert!(listed.contains(&name), "{name} is not in {index}");
    }
    for one in index["schemas"].as_array().expect("a list") {
        let url = one["url"].as_str().expect("an address");
        let answer = server.get(url);
        let (head, body) = parts(&answer);
        assert!(head.starts_with("http/1.1 200 "), "{url}: {head}");
        assert!(head.contains("json"), "{head}");
        assert!(
            body == committed(one["name"].as_str().expect("a name")),
            "{url} is not the committed file"
        );
    }
    assert_eq!(
        Client::connect(&server, "a", "").welcome["schema"],
        index["hash"]
    );
}

#[test]
fn unknown_schemas_are_not_found() {
    let server = Server::start(&[]);
    for name in [
        "none.json",
        "client-frame.schema",
        "..%2FCargo.toml",
        "../Cargo.toml",
        "%00",
        "client-frame.schema.json/x",
    ] {
        assert_no_page(&server, &format!("/schema/{name}"));
    }
}

#[test]
fn other_paths_than_page_and_health_are_not_found() {
    let server = Server::start(&[]);
    let (status, body) = json_answer(&server.get("/healthz"));
    assert_eq!((status, body), (200, json!({"status": "ok"})));
    let answer = server.get("/");
    let (head, body) = parts(&answer);
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(head.contains("\r\ncontent-type: text/html"), "{head}");
    assert!(body.to_lowercase().contains("<!doctype html>"), "{body}");
    for path in [
        "/nothing",
        "/index.html",
        "/wsx",
        "/WS/8888",
        "/demo",
        "/dmwire.db",
        "//",
        "/%2e%2e/Cargo.toml",
    ] {
        assert_no_page(&server, path);
    }
}

/// The value of a header in a lower-case head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn the_page_may_only_run_its_own_script() {
    let server = Server::start(&[]);
    let answer = server.get("/");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let policy = head
        .lines()
        .find_map(|line| line.strip_prefix("content-security-policy: "))
        .expect("a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for part in [
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (directive, element) in [("script-src", "script"), ("style-src", "style")] {
        let value = policy
            .split("; ")
            .find_map(|part| part.strip_prefix(directive))
            .expect("the directive");
        let (_, after) = body.split_once(&format!("<{element}")).expect("it");
        let (_, text) = after.split_once('>').expect("its text");
        let (text, _) = text.split_once(&format!("</{element}>")).expect("its end");
        let hash = STANDARD.encode(Sha256::digest(text));
        assert_eq!(value, format!(" 'sha256-{hash}'"), "{directive}");
    }
    let head = head.to_lowercase();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(header(&head, name), Some(value), "{head}");
    }
}

#[test]
fn a_cached_page_is_not_sent_again() {
    let server = Server::start(&["--base-path", "/demo"]);
    let conditional = |tag: &str| {
        server.http(&format!(
            "GET /demo/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
        ))
    };
    let answer = server.get("/demo/");
    let tag = answer
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .expect("an etag");
    for tags in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}")] {
        let answer = conditional(&tags);
        let (head, body) = parts(&answer);
        assert!(head.starts_with("http/1.1 304 "), "{tags}: {head}");
        assert!(header(&head, "content-security-policy").is_some(), "{head}");
        assert_eq!(
            (body, header(&head, "etag").is_some()),
            ("", true),
            "{tags}"
        );
    }
    assert!(conditional("\"x\"").starts_with("HTTP/1.1 200 "));
}

#[test]
fn other_methods_are_not_allowed() {
    let server = Server::start(&[]);
    let schema = format!("/schema/{}", SCHEMAS[0]);
    for path in [
        "/",
        "/schema",
        &schema,
        "/schema/none.json",
        "/healthz",
        "/ws/8888",
        "/ws",
        "/echo",
    ] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = request(&server, method, path);
            let (status, body) = json_answer(&answer);
            assert_eq!(
                (status, &body["code"]),
                (405, &json!("method_not_allowed")),
                "{method} {path}"
            );
            assert!(
                parts(&answer).0.contains("\r\nallow: get"),
                "{method} {path}: {answer}"
            );
        }
    }
    for path in ["/", "/schema", &schema, "/healthz"] {
        let (got, head) = (server.get(path), request(&server, "HEAD", path));
        let length = |answer: &str| {
            let lines = parts(answer).0;
            lines
                .lines()
                .find(|line| line.starts_with("content-length:"))
                .map(str::to_owned)
        };
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert_eq!(
            (parts(&head).1, length(&head)),
            ("", length(&got)),
            "{path}"
        );
    }
    let (status, _) = json_answer(&request(&server, "POST", "/nothing"));
    assert_eq!(status, 404);
}

#[test]
fn the_base_path_applies_to_all_routes() {
    let server = Server::start(&["--base-path", "/demo/"]);
    assert!(
        server
            .wait_for_log("listening on http://")
            .contains("/demo")
    );
    for path in ["/demo", "/demo/"] {
        assert!(parts(&server.get(path)).0.contains("text/html"), "{path}");
    }
    assert_eq!(json_answer(&server.get("/demo/healthz")).0, 200);
    assert_eq!(json_answer(&server.get("/demo/ws/8888")).0, 426);
    let (_, index) = json_answer(&server.get("/demo/schema"));
    for one in index["schemas"].as_array().expect("a list") {
        let url = one["url"].as_str().expect("an address");
        assert!(url.starts_with("/demo/schema/"), "{url}");
        let (status, schema) = json_answer(&server.get(url));
        assert_eq!(status, 200, "{url}");
        if one["name"] == "asyncapi.json" {
            let servers = schema["servers"].as_object().expect("servers");
            assert!(servers.values().all(|server| server["pathname"] == "/demo"));
        } else if one["name"] == "openapi.json" {
            // The port that it describes has no base path.
            assert_eq!(schema["servers"][0]["url"], "http://127.0.0.1:8081");
        } else {
            assert_eq!(schema["$id"], one["name"]);
        }
    }
    assert_eq!(
        Raw::upgrade(&server, "/demo/ws/8888").expect("welcome")["user_id"],
        "8888"
    );
    Raw::upgrade(&server, "/demo/echo");

    for path in [
        "/",
        "/healthz",
        "/schema",
        "/schema/client-frame.schema.json",
        "/ws/8888",
        "/echo",
        "/demox",
        "/demo/demo",
        "/Demo",
    ] {
        assert_no_page(&server, path);
    }
    for path in [
        "/ws/8888",
        "/echo",
        "/demows/8888",
        "/demo/demo/ws/8888",
        "/demo",
        "/demo/",
        "/x/demo/ws/8888",
    ] {
        let (status, body): (u16, Value) = json_answer(&server.http(&handshake(path, "")));
        assert_eq!(
            (status, &body["code"]),
            (404, &json!("not_found")),
            "{path}"
        );
        let detail = body["detail"].as_str().expect("a detail");
        assert!(
            detail.ends_with("sessions are at /demo/ws/{user_id}"),
            "{path}: {detail}"
        );
    }
    let (_, body): (u16, Value) = json_answer(&server.http(&handshake("/demo/monitor", "")));
    let detail = body["detail"].as_str().expect("a detail");
    assert!(detail.contains("operations port"), "{detail}");
    for (path, reason) in [
        ("/", "begin with /demo"),
        ("/v1/messages", "begin with /demo"),
        ("/demo/v1/messages", "operations port"),
    ] {
        let (_, body): (u16, Value) = json_answer(&server.get(path));
        let detail = body["detail"].as_str().expect("a detail");
        assert!(detail.contains(reason), "{path}: {detail}");
    }
}

#[test]
fn connections_are_reused_for_further_requests() {
    let server = Server::start(&[]);
    let mut raw = Raw::open(&server);
    let one = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    raw.write(one.as_bytes());
    assert!(raw.head().starts_with("HTTP/1.1 404 "));
    raw.write(one.repeat(3).as_bytes());
    for _ in 0..3 {
        // The body of the previous response precedes the head.
        assert!(raw.head().contains("HTTP/1.1 404 "));
    }
}

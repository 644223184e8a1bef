//! A server without keys, which only this machine reaches: web pages and the clients of proxies must not reach its API.

use crate::helpers::Ops;

const CALL: &str = "GET /v1/users/8888/conversations";

#[test]
fn requests_of_web_pages_and_proxies_are_rejected() {
    let ops = Ops::start(&[]);
    let port = ops.address.port();
    for headers in [
        &[][..],
        &["Host: localhost"],
        &["Host: [::1]:8081"],
        &["Host: ops.localhost"],
        // The port's own page.
        &["Host: localhost:8081", "Origin: http://localhost:8081"],
    ] {
        let response = ops.request(CALL, headers, b"");
        assert_eq!(response.status, 200, "{headers:?}: {response:?}");
    }
    let own = format!("Origin: http://127.0.0.1:{port}");
    ops.request(CALL, &[&own], b"").assert_ok();
    let https = format!("Origin: https://127.0.0.1:{port}");
    for headers in [
        &["Host: evil.example"][..],
        &["Host: 192.0.2.1"],
        &["Host:"],
        &["Host: localhost", "Host: localhost"],
        &["Origin: null"],
        &["Origin: http://evil.example"],
        &["Origin: http://localhost:3000"],
        &["Origin:"],
        &[&own, "Origin: http://evil.example"],
        &[&https],
        &["Host: evil.example", "Origin: http://evil.example"],
        &["Forwarded: for=192.0.2.1"],
        &["X-Forwarded-For: 192.0.2.1"],
        &["X-Forwarded-Proto: https"],
        &["x-forwarded-anything: 1"],
        &["Via: 1.1 proxy"],
    ] {
        let response = ops.request(CALL, headers, b"");
        if headers.len() == 2 && headers[1] == "Host: localhost" {
            // The HTTP library may reject two of them itself.
            assert!(matches!(response.status, 400 | 403), "{response:?}");
            continue;
        }
        response.assert_error(403, "forbidden", None);
    }
    // A key is not needed and not looked at.
    ops.get_with("/v1/users/8888/conversations", "x")
        .assert_ok();
    // Health checks come from anywhere.
    let health = ops.request("GET /readyz", &["Host: evil.example", "Via: 1.1 a"], b"");
    health.assert_ok();
}

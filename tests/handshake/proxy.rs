//! The server behind a proxy: whose address headers are trusted (PROTOCOL section 2).

use crate::support::tokens::{SECRET, valid_token};
use crate::support::{Raw, Server, handshake, json_answer};

/// Connects with these header lines and returns the address that the log shows for the connection of `user`.
fn logged_address(server: &Server, user: &str, more: &str) -> String {
    Raw::upgrade_with(server, &format!("/ws/{user}"), more)
        .0
        .expect("welcome");
    let line = server.wait_for_log(&format!("connection opened user={user} "));
    let (_, ip) = line.split_once(" ip=").expect("an address");
    ip.to_owned()
}

#[test]
fn address_headers_of_an_untrusted_peer_are_ignored() {
    let spoofed =
        "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n";
    for trusted in [&[][..], &["--trusted-proxy", "10.0.0.0/8,127.0.0.2"]] {
        let server = Server::start(trusted);
        assert_eq!(logged_address(&server, "a", spoofed), "127.0.0.1");
        assert!(!server.log().contains("203.0.113.9"), "{}", server.log());
        // The log warns of a proxy that is not configured.
        server.wait_for_log("add it to --trusted-proxy");
        // The host and scheme are ignored too: they would give any page the same origin.
        let origin = "Origin: https://evil.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n";
        let answer = server.http(&handshake("/ws/a", origin));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
}

#[test]
fn addresses_from_a_trusted_proxy_count_up_to_the_first_untrusted_one() {
    let server = Server::start(&[
        "--trusted-proxy",
        "127.0.0.0/8",
        "--trusted-proxy",
        "10.0.0.0/8",
    ]);
    for (n, (headers, ip)) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 198.51.100.7\r\n", "198.51.100.7"),
        ("X-Forwarded-For: 1.1.1.1, 198.51.100.7\r\n", "198.51.100.7"),
        (
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 198.51.100.7, 10.0.0.9\r\n",
            "198.51.100.7",
        ),
        ("X-Forwarded-For: garbage\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 198.51.100.7, \u{e9}\r\n", "127.0.0.1"),
        ("X-Forwarded-For: \u{e9}, 198.51.100.7\r\n", "198.51.100.7"),
        (
            "Forwarded: for=\"[2001:db8::7]:4711\";proto=https\r\n",
            "2001:db8::7",
        ),
        // Only one kind of headers counts.
        (
            "X-Forwarded-For: 198.51.100.7\r\nForwarded: for=1.1.1.1\r\n",
            "198.51.100.7",
        ),
        // An empty or unreadable entry hides the client, whatever it sent itself.
        ("X-Forwarded-For: 1.1.1.1,\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.1.1.1, unknown\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.1.1.1, _hidden\r\n", "127.0.0.1"),
        ("X-Forwarded-For: 1.1.1.1, fe80::1%eth0\r\n", "127.0.0.1"),
        (
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For:\r\n",
            "127.0.0.1",
        ),
        ("X-Forwarded-For: , 198.51.100.7:80\r\n", "198.51.100.7"),
        ("X-Forwarded-For: ::ffff:198.51.100.7\r\n", "198.51.100.7"),
        (
            "X-Forwarded-For: 198.51.100.7, ::ffff:10.0.0.9\r\n",
            "198.51.100.7",
        ),
        // A proxy may quote a value that its client chose.
        (
            "Forwarded: for=198.51.100.7;by=\"x, for=1.1.1.1\"\r\n",
            "198.51.100.7",
        ),
        ("Forwarded: for=\"1.1.1.1, for=1.1.1.1\r\n", "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            logged_address(&server, &format!("u{n}"), headers),
            ip,
            "{headers}"
        );
    }
    // The longest possible header.
    let long = format!(
        "X-Forwarded-For: {}198.51.100.7\r\n",
        "1.1.1.1,".repeat(3000)
    );
    assert_eq!(logged_address(&server, "long", &long), "198.51.100.7");
    assert!(!server.log().contains("1.1.1.1"), "{}", server.log());
}

#[test]
fn the_scheme_and_host_of_a_trusted_proxy_make_the_origin() {
    let server = Server::start(&["--trusted-proxy", "127.0.0.1", "--jwt-secret", SECRET]);
    let bearer = format!("Authorization: Bearer {}\r\n", valid_token("a"));
    for (origin, status) in [
        ("https://chat.example.org", 101),
        ("http://chat.example.org", 403),
        ("https://chat.example.org:444", 403),
        ("https://localhost", 403),
    ] {
        for forwarded in [
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: chat.example.org\r\n",
            "Forwarded: for=1.1.1.1;proto=https;host=chat.example.org\r\n",
        ] {
            let more = format!("{bearer}{forwarded}Origin: {origin}\r\n");
            let mut raw = Raw::open(&server);
            raw.write(handshake("/ws/a", &more).as_bytes());
            let head = raw.head();
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{more}{head}"
            );
        }
    }
}

/// Asserts that the address of these requests, which come from a trusted proxy, is limited.
fn assert_limited(server: &Server, more: &str) {
    for n in 0..1000 {
        let answer = server.http(&handshake("/echo", &format!("Origin: null\r\n{more}")));
        match json_answer(&answer) {
            (403, _) => {}
            (status, body) => {
                assert_eq!(
                    (status, &body["code"]),
                    (429, &"too_many_connections".into())
                );
                assert!(n > 0, "a first handshake is not limited");
                return;
            }
        }
    }
    panic!("not limited: {more}");
}

#[test]
fn requests_through_a_trusted_proxy_are_limited_whatever_their_headers_say() {
    for (setting, headers) in [
        ("auto", "X-Forwarded-For: 127.0.0.1\r\n"),
        ("auto", "X-Forwarded-For: ::1\r\n"),
        ("auto", "X-Forwarded-For: garbage\r\n"),
        (
            "auto",
            "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=127.0.0.1\r\n",
        ),
        ("auto", "Forwarded: for=unknown\r\n"),
        ("auto", "Forwarded: for=\r\n"),
        (
            "auto",
            "X-Forwarded-Proto: https\r\nForwarded: for=203.0.113.9\r\n",
        ),
        ("forwarded", "X-Forwarded-For: 203.0.113.9\r\n"),
        ("x-forwarded-for", "Forwarded: for=203.0.113.9\r\n"),
        ("auto", ""),
    ] {
        let server = Server::start(&[
            "--trusted-proxy",
            "::ffff:127.0.0.0/120",
            "--proxy-header",
            setting,
        ]);
        assert_limited(&server, headers);
    }
    // Without a trusted proxy, clients on this machine are not limited.
    let server = Server::start(&["--trusted-proxy", "10.0.0.1"]);
    for _ in 0..300 {
        let answer = server.http(&handshake("/echo", "Origin: null\r\n"));
        assert_eq!(json_answer(&answer).0, 403);
    }
}

#[test]
fn a_proxy_that_writes_the_other_header_is_reported_once() {
    const X: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n";
    const FORWARDED: &str = "Forwarded: for=203.0.113.9;proto=https\r\n";
    for (setting, sent, parts) in [
        (
            "x-forwarded-for",
            FORWARDED,
            [
                "sent Forwarded without X-Forwarded-For",
                "set --proxy-header forwarded",
            ],
        ),
        (
            "forwarded",
            X,
            [
                "sent X-Forwarded-* without Forwarded",
                "set --proxy-header x-forwarded-for",
            ],
        ),
    ] {
        let server = Server::start(&["--trusted-proxy", "127.0.0.1", "--proxy-header", setting]);
        // A request without headers, as of a health check, and one with both say nothing about the proxy.
        logged_address(&server, "a", "");
        logged_address(&server, "b", &format!("{X}{FORWARDED}"));
        assert!(!server.log().contains("--proxy-header"), "{}", server.log());
        for user in ["c", "d", "e"] {
            assert_eq!(logged_address(&server, user, sent), "127.0.0.1");
        }
        let log = server.log();
        let warnings: Vec<_> = log
            .lines()
            .filter(|line| line.contains("--proxy-header"))
            .collect();
        assert_eq!(warnings.len(), 1, "{log}");
        for part in parts {
            assert!(warnings[0].contains(part), "{part}: {log}");
        }
    }
}

#[test]
fn the_header_that_the_proxy_writes_can_be_named() {
    let both = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: http\r\nForwarded: for=203.0.113.9;proto=https\r\n";
    for (setting, ip, scheme) in [
        ("auto", "198.51.100.7", "ws"),
        ("x-forwarded-for", "198.51.100.7", "ws"),
        ("X-Forwarded-For", "198.51.100.7", "ws"),
        ("forwarded", "203.0.113.9", "wss"),
    ] {
        let arguments = [
            "--trusted-proxy",
            "::ffff:127.0.0.1",
            "--proxy-header",
            setting,
        ];
        let server = Server::start(&arguments);
        for user in ["a", "b", "c"] {
            assert_eq!(logged_address(&server, user, both), ip, "{setting}");
        }
        let plain = server.http(&format!(
            "GET /ws/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{both}\r\n"
        ));
        assert!(
            plain.contains(&format!(" {scheme}://localhost/ws/a")),
            "{plain}"
        );
        // One warning, not one per request.
        let warnings = server.log().matches("--proxy-header").count();
        assert_eq!(warnings, usize::from(setting == "auto"), "{setting}");
    }
}

//! Invalid settings, and settings that contradict each other.

use crate::run::{Run, has_line};

#[test]
fn an_error_names_the_setting_as_it_was_written() {
    let expected = "not a whole number from 1 to 512";
    Run::new("config --workers 513").fails_with(&["--workers: \"513\"", expected]);
    Run::new("config")
        .variable("DMWIRE_WORKERS", "many")
        .fails_with(&["DMWIRE_WORKERS: \"many\"", expected]);
    Run::new("config")
        .file("dmwire.toml", "workers = 0")
        .fails_with(&["dmwire.toml: workers: \"0\"", expected]);
    Run::new("config --config a.toml")
        .file("a.toml", "workers = -1")
        .fails_with(&["a.toml: workers: \"-1\"", expected]);
}

#[test]
fn an_error_names_the_valid_values() {
    for (args, expected) in [
        ("--listen 8080", "localhost:8080"),
        ("--listen :8080", "0.0.0.0:8080"),
        ("--ops-listen 8081", "localhost:8081"),
        ("--ops-listen off,127.0.0.1:1", "off stands alone"),
        ("--ops-listen 127.0.0.1:8080", "another one"),
        ("--ops-tls", "--tls-cert"),
        ("--api-requests-per-second 0", "1 to 1000000"),
        ("--base-path /a//b", "/demo"),
        ("--open=maybe", "true nor false"),
        ("--allowed-origin *", "name each origin"),
        ("--allowed-origin https://a/b", "https://chat.example.org"),
        ("--auth basic", "jwt nor none nor auto"),
        ("--jwt-secret=", "empty"),
        ("--jwt-key a,,b", "empty"),
        ("--jwks ftp://a/b", ".well-known/jwks.json"),
        ("--jwks-refresh-seconds 0", "1 to 86400"),
        ("--jwt-leeway-seconds 301", "0 to 300"),
        ("--query-token maybe", "true nor false"),
        ("--allowed-host a:80", "without a port"),
        ("--trusted-proxy 10.0.0.1/8", "10.0.0.0/8"),
        ("--workers 0", "1 to 512"),
        ("--store postgres://db", "sqlite:PATH"),
        ("--max-frame-bytes 63", "64 to 16777216"),
        ("--messages-per-second 0", "1 to 1000000"),
        ("--burst 1.5", "1 to 1000000"),
        ("--bad-frames-per-minute 100001", "1 to 100000"),
        ("--sessions-per-user none", "1 to 10000"),
        ("--user-burst 0", "1 to 4000000, nor \"auto\""),
        ("--connections-per-ip some", "1 to 4000000, nor \"auto\""),
        ("--connections 0", "1 to 10000000"),
        ("--users some", "any nor known"),
        ("--rooms some", "open nor managed nor off"),
        ("--room-limit 10001", "1 to 10000"),
        ("--rooms-per-user 0", "1 to 100000"),
        ("--room-history some", "all nor joined"),
        ("--small-room 1001", "0 to 1000"),
        ("--room-entries-per-second 0", "1 to 10000000"),
        ("--room-entries-burst 0", "1 to 10000000"),
        ("--presence some", "contacts nor everyone nor off"),
        ("--presence-grace-seconds 301", "0 to 300"),
        ("--notify http://localhost", "redis://[USER:PASSWORD@]HOST"),
        ("--notify redis://h/x", "redis://[USER:PASSWORD@]HOST"),
        (
            "--notify redis://h#insecure",
            "redis://[USER:PASSWORD@]HOST",
        ),
        ("--notify-sender a/b", "is not a user id"),
        ("--webhook hook", "such as https://example.org/hook"),
        ("--webhook ftp://a/", "such as https://example.org/hook"),
        ("--webhook https://a/,https://a/", "occurs twice"),
        (
            "--webhook-events message.read",
            "message.created, message.waiting",
        ),
        ("--webhook-waiting-seconds 0", "1 to 86400"),
        ("--webhook-retry-hours 0", "above 0 and up to 720"),
        ("--unknown-recipients=-1", "0 to 1000000000"),
        ("--unknown-recipients-per-user 1GB", "0 to 1000000000"),
        (
            "--unknown-recipients-per-ip 0",
            "1 to 4000000, nor \"auto\"",
        ),
        ("--min-free-disk 1GB", "0 to 1125899906842624, nor \"auto\""),
        ("--blocks-per-user many", "0 to 100000"),
        ("--outbox-bytes 1", "1024 to 1073741824"),
        ("--buffer-bytes 1000", "1048576 to 1099511627776"),
        ("--heartbeat-seconds 30s", "1 to 3600"),
        ("--ping-seconds=-1", "1 to 3600"),
        ("--clock-settle soon", "500ms, 90s, 15m or 1h"),
        ("--log verbose", "debug or trace"),
        ("--log-format xml", "plain nor json"),
    ] {
        let flag = args.split([' ', '=']).next().expect("a flag");
        Run::new(&format!("config {args}")).fails_with(&[flag, expected]);
    }
}

#[test]
fn an_error_in_a_file_names_the_line() {
    Run::new("config")
        .file("dmwire.toml", "burst = 1\nmax-frame-bytes = 2048\n")
        .fails_with(&[
            "dmwire.toml",
            "line 2",
            "`max-frame-bytes`",
            "`max_frame_bytes`",
        ]);
    Run::new("config")
        .file("dmwire.toml", "burst = = 1\n")
        .fails_with(&["dmwire.toml", "line 1"]);
    Run::new("config")
        .file("dmwire.toml", "burst = [1]\n")
        .fails_with(&["dmwire.toml", "line 1", "a number"]);
}

#[test]
fn a_reachable_server_without_authentication_needs_a_confirmation() {
    for args in [
        "--auth none --listen 0.0.0.0:0",
        "config --auth none --listen 127.0.0.1:0 --listen 0.0.0.0:0",
    ] {
        Run::new(args).fails_with(&[
            "--listen: 0.0.0.0:0",
            "authentication is disabled",
            "as any user",
            "--open",
        ]);
    }
    Run::new("--auth none")
        .variable("DMWIRE_LISTEN", "[::]:0")
        .fails_with(&["DMWIRE_LISTEN: [::]:0", "--open"]);
    let settings = Run::new("config --open --listen 0.0.0.0:0").output();
    for line in ["open = true  # flag --open", "auth = \"auto\"  # default"] {
        assert!(has_line(&settings, line), "{settings}");
    }
    Run::new("config --auth none --listen 0.0.0.0:0")
        .variable("DMWIRE_OPEN", "1")
        .output();
    Run::new("config --auth none --listen 0.0.0.0:0")
        .file("dmwire.toml", "open = true")
        .output();
}

#[test]
fn a_setting_about_tokens_enables_authentication_by_token() {
    for (args, by) in [
        ("--jwt-secret x", "jwt_secret"),
        ("--jwt-secret-file x", "jwt_secret_file"),
        ("--jwt-key x", "jwt_key"),
        ("--jwks x", "jwks"),
    ] {
        let settings = Run::new(&format!("config {args}")).output();
        let line = format!("auth = \"jwt\"  # follows from {by}");
        assert!(has_line(&settings, &line), "{line} is not in\n{settings}");
    }
    // The same for a server that other machines can reach, and for a variable.
    let settings = Run::new("config --listen 0.0.0.0:0")
        .variable("DMWIRE_JWT_SECRET", "hunter2,with,commas")
        .output();
    assert!(
        has_line(
            &settings,
            "# jwt_secret = (not shown)  # variable DMWIRE_JWT_SECRET"
        ),
        "{settings}"
    );
}

#[test]
fn contradictory_settings_are_rejected_by_name() {
    for (args, parts) in [
        ("--auth jwt", ["--auth: ", "no key", "--jwt-secret"]),
        ("--jwt-issuer x", ["--jwt-issuer: ", "no key", "--jwks"]),
        (
            "--jwt-audience x",
            ["--jwt-audience: ", "no key", "--jwt-key"],
        ),
        (
            "--open --jwt-secret hunter2",
            ["--open: ", "--jwt-secret", "one of them"],
        ),
        (
            "--open --auth jwt --jwks x",
            ["--open: ", "--auth", "one of them"],
        ),
        (
            "--auth none --jwt-key x",
            ["--jwt-key: ", "--auth", "disables tokens"],
        ),
        (
            "--jwt-secret x --jwks-ca y",
            ["--jwks-ca: ", "without", "--jwks"],
        ),
        ("--tls-cert x", ["--tls-cert: ", "without", "--tls-key"]),
        (
            "--proxy-header forwarded",
            ["--proxy-header: ", "without", "--trusted-proxy"],
        ),
        ("--tls-key x", ["--tls-key: ", "without", "--tls-cert"]),
        (
            "--notify-sender bot",
            ["--notify-sender: ", "without", "--notify"],
        ),
        (
            "--webhook-events user.online",
            ["--webhook-events: ", "without", "--webhook"],
        ),
        (
            "--webhook https://a/",
            ["--webhook: ", "signed", "--webhook-secret-file"],
        ),
        (
            "--webhook http://a/ --webhook-secret-file x",
            [
                "--webhook: ",
                "is not an https://",
                "--webhook-allow-private",
            ],
        ),
        (
            "--webhook https://u:hunter2@10.0.0.1/ --webhook-secret-file x",
            [
                "https://10.0.0.1/ ",
                "private network",
                "--webhook-allow-private",
            ],
        ),
        (
            "--webhook https://localhost/ --webhook-secret-file x",
            ["--webhook: ", "of this machine", "--webhook-allow-private"],
        ),
    ] {
        Run::new(args).fails_with(&parts);
        Run::new(&format!("config {args}")).fails_with(&parts);
    }
    Run::new("--open")
        .variable("DMWIRE_JWT_SECRET", "hunter2")
        .fails_with(&["--open: ", "DMWIRE_JWT_SECRET"]);
}

#[test]
fn a_value_of_a_flag_that_takes_none_is_explained() {
    for args in [
        "--open false",
        "config --open FALSE",
        "serve --listen 127.0.0.1:0 --open no",
        "--open 0 config",
        "backup --open false copy.db",
        "verify --open true",
    ] {
        let run = Run::new(args);
        let outcome = run.end();
        assert_eq!(outcome.code, Some(2), "{args}: {outcome:?}");
        let value = args
            .split(' ')
            .skip_while(|arg| *arg != "--open")
            .nth(1)
            .expect("a value");
        assert!(
            outcome.stderr.contains(&format!("--open={value};")),
            "{args}: {outcome:?}"
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(!outcome.stderr.contains("erase"), "{outcome:?}");
    }
    // Other mistakes keep their suggestions.
    let outcome = Run::new("--open verfy").end();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("'verify'"), "{outcome:?}");
}

//! The sources of settings and their precedence: flags, environment variables, file, defaults.

use crate::run::{Run, has_line};

#[test]
fn a_flag_overrides_a_variable_a_variable_the_file_and_the_file_the_default() {
    let file = "workers = 3\nburst = 30\nsessions_per_user = 4\n";
    let settings = Run::new("config --workers 5")
        .file("dmwire.toml", file)
        .variable("DMWIRE_WORKERS", "4")
        .variable("DMWIRE_BURST", "31")
        .output();
    for line in [
        "workers = 5  # flag --workers",
        "burst = 31  # variable DMWIRE_BURST",
        "sessions_per_user = 4  # file dmwire.toml",
        "ping_seconds = 25  # default",
    ] {
        assert!(has_line(&settings, line), "{line} is not in\n{settings}");
    }
}

#[test]
fn the_defaults_are_those_of_the_protocol_document() {
    let settings = Run::new("config").output();
    for line in [
        r#"listen = ["127.0.0.1:8080", "[::1]:8080"]  # default"#,
        r#"ops_listen = ["127.0.0.1:8081", "[::1]:8081"]  # default"#,
        "ops_tls = false  # default",
        "api_key_file = \"\"  # default",
        "api_requests_per_second = 1000  # default",
        "base_path = \"\"  # default",
        "open = false  # default",
        "allowed_origin = []  # default",
        "auth = \"auto\"  # default",
        "jwt_secret = []  # default",
        "jwks = \"\"  # default",
        "jwks_refresh_seconds = 300  # default",
        "jwt_leeway_seconds = 2  # default",
        "query_token = true  # default",
        "allowed_host = []  # default",
        "trusted_proxy = []  # default",
        "tls_cert = \"\"  # default",
        "content_types = \"\"  # default",
        "page_renderers = \"\"  # default",
        "store = \"sqlite:dmwire.db\"  # default",
        "max_frame_bytes = 65536  # default",
        "messages_per_second = 50  # default",
        "burst = 100  # default",
        "bad_frames_per_minute = 20  # default",
        "sessions_per_user = 16  # default",
        "user_messages_per_second = \"auto\"  # default",
        "user_burst = \"auto\"  # default",
        "queries_per_second = \"auto\"  # default",
        "query_burst = \"auto\"  # default",
        "changes_per_message = 1000  # default",
        "connections = 50000  # default",
        "connections_per_ip = \"auto\"  # default",
        "handshakes_per_second = \"auto\"  # default",
        "handshake_burst = \"auto\"  # default",
        "blocks_per_user = 1000  # default",
        "users = \"any\"  # default",
        "unknown_recipients = 1000000  # default",
        "unknown_recipients_per_user = 20000  # default",
        "unknown_recipients_per_ip = \"auto\"  # default",
        "rooms = \"open\"  # default",
        "room_limit = 1000  # default",
        "rooms_per_user = 1000  # default",
        "room_history = \"all\"  # default",
        "small_room = 100  # default",
        "room_entries_per_second = 10000  # default",
        "room_entries_burst = 20000  # default",
        "presence = \"contacts\"  # default",
        "presence_grace_seconds = 5  # default",
        "notify = \"\"  # default",
        "notify_sender = \"system\"  # default",
        "webhook = []  # default",
        "webhook_secret_file = \"\"  # default",
        "webhook_events = [\"message.created\", \"message.waiting\"]  # default",
        "webhook_waiting_seconds = 5  # default",
        "webhook_retry_hours = 24  # default",
        "webhook_allow_private = false  # default",
        "min_free_disk = \"auto\"  # default",
        "outbox_bytes = 1048576  # default",
        "buffer_bytes = 268435456  # default",
        "heartbeat_seconds = 30  # default",
        "ping_seconds = 25  # default",
        "log = \"info\"  # default",
        "log_format = \"plain\"  # default",
    ] {
        assert!(has_line(&settings, line), "{line} is not in\n{settings}");
    }
}

#[test]
fn the_output_of_config_is_a_file_with_the_same_settings() {
    let args = "config --listen localhost:0 --ops-listen off --ops-tls --api-key-file g --api-requests-per-second 31 --base-path /a --open=false --allowed-origin https://a,null --store memory: \
                --auth jwt --jwt-secret-file a,b --jwt-key c --jwks https://a/keys --jwks-ca f --jwks-refresh-seconds 60 \
                --jwt-issuer https://a --jwt-audience b --jwt-leeway-seconds 9 --query-token false --allowed-host chat \
                --trusted-proxy 10.0.0.0/8 --proxy-header forwarded --tls-cert d --tls-key e --jwt-secret hunter2 \
                --workers 7 --max-frame-bytes 2048 --messages-per-second 1 --burst 2 --bad-frames-per-minute 3 \
                --sessions-per-user 4 --blocks-per-user 8 --users known --unknown-recipients 17 \
                --unknown-recipients-per-user 18 --unknown-recipients-per-ip 19 --min-free-disk 20 --user-messages-per-second 10 --user-burst 11 --user-bytes-per-day 23 \
                --queries-per-second 12 --query-burst 13 --changes-per-message 24 --pings-per-second 20 --control-frames-per-second 21 --session-bytes-per-second 22000 --connections 14 --connections-per-ip 15 \
                --handshakes-per-second 16 --handshake-burst auto --outbox-bytes 16384 --buffer-bytes 2000000 --heartbeat-seconds 5 --ping-seconds 6 --stall-seconds 7 --durability normal --inbox-days 1.5 --inbox-limit 9 --history-days 90 --device-days 45 --clock-settle 90s --content-types types --page-renderers renderers \
                --rooms managed --room-limit 25 --rooms-per-user 26 --room-history joined --small-room 27 --room-entries-per-second 28 \
                --room-entries-burst 29 --presence everyone --presence-grace-seconds 30 --notify redis://h:1/2 --notify-sender bot \
                --webhook https://a/b,http://c:1 --webhook-secret-file h --webhook-events user.online --webhook-waiting-seconds 32 \
                --webhook-retry-hours 1.5 --webhook-allow-private \
                --log off,dmwire=debug --log-format json";
    let by_flag = Run::new(args).output();
    assert!(
        !by_flag.contains("# default"),
        "a setting is missing in this test:\n{by_flag}"
    );
    // Secrets are not displayed.
    let secret = "# jwt_secret = (not shown)  # flag --jwt-secret";
    assert!(
        has_line(&by_flag, secret) && !by_flag.contains("hunter2"),
        "{by_flag}"
    );
    let by_file = Run::new("config --config my.toml")
        .file("my.toml", &by_flag)
        .output();
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.contains("jwt_secret ="))
            .filter_map(|line| Some(line.split_once("  # ")?.0.to_owned()))
            .collect()
    };
    assert_eq!(values(&by_file), values(&by_flag));
    assert_eq!(by_file.matches("# file my.toml").count(), 81);
}

#[test]
fn the_output_of_config_without_any_setting_can_be_used_as_a_file() {
    let defaults = Run::new("config").output();
    let from_file = Run::new("config").file("dmwire.toml", &defaults).output();
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split("  # ").next());
        lines.flatten().map(str::to_owned).collect()
    };
    assert_eq!(values(&from_file), values(&defaults));
    for line in [
        "auth = \"auto\"  # file dmwire.toml",
        "jwt_secret = []  # default",
    ] {
        assert!(has_line(&from_file, line), "{from_file}");
    }
    // A setting that is added to it has the same effect as without the file.
    let open = Run::new("config --open --listen 0.0.0.0:0")
        .file("dmwire.toml", &defaults)
        .output();
    assert!(has_line(&open, "open = true  # flag --open"), "{open}");
}

#[test]
fn an_empty_value_in_a_file_counts_as_absent() {
    for (key, default) in [
        ("listen", r#"["127.0.0.1:8080", "[::1]:8080"]"#),
        ("jwt_secret", "[]"),
        ("jwt_secret_file", "[]"),
        ("jwt_key", "[]"),
        ("jwks", "\"\""),
        ("jwks_ca", "\"\""),
        ("jwt_issuer", "[]"),
        ("jwt_audience", "[]"),
        ("tls_cert", "\"\""),
        ("tls_key", "\"\""),
        ("burst", "100"),
        ("open", "false"),
    ] {
        let is_list = default.starts_with('[');
        for empty in ["\"\"", "[]", "[\"\"]"] {
            if empty.starts_with('[') && !is_list {
                continue;
            }
            let run = Run::new("config").file("dmwire.toml", &format!("{key} = {empty}"));
            let settings = run.output();
            let line = format!("{key} = {default}  # default");
            assert!(has_line(&settings, &line), "{line} is not in\n{settings}");
            assert!(
                has_line(&settings, "auth = \"auto\"  # default"),
                "{settings}"
            );
        }
    }
    // A list with an entry is not empty.
    Run::new("config")
        .file("dmwire.toml", "jwt_key = [\"a\", \"\"]")
        .fails_with(&["dmwire.toml: jwt_key", "empty"]);
    let settings = Run::new("config")
        .file("dmwire.toml", "jwt_secret = [\"hunter2\"]\njwks = \"\"")
        .output();
    assert!(
        has_line(&settings, "auth = \"jwt\"  # follows from jwt_secret"),
        "{settings}"
    );
}

#[test]
fn settings_may_precede_or_follow_the_command() {
    let settings = Run::new("--burst 7 config --workers 7").output();
    assert!(
        has_line(&settings, "burst = 7  # flag --burst"),
        "{settings}"
    );
    assert!(
        has_line(&settings, "workers = 7  # flag --workers"),
        "{settings}"
    );
}

#[test]
fn a_list_is_a_repeated_flag_a_variable_with_commas_or_a_list_in_the_file() {
    let expected = r#"listen = ["127.0.0.1:1", "127.0.0.2:2"]"#;
    for run in [
        Run::new("config --listen 127.0.0.1:1 --listen 127.0.0.2:2"),
        Run::new("config").variable("DMWIRE_LISTEN", "127.0.0.1:1, 127.0.0.2:2"),
        Run::new("config").file("dmwire.toml", "listen = ['127.0.0.1:1', '127.0.0.2:2']"),
    ] {
        let settings = run.output();
        assert!(settings.contains(expected), "{settings}");
    }
    let single = Run::new("config")
        .file("dmwire.toml", "listen = '127.0.0.1:1'")
        .output();
    assert!(
        single.contains(r#"listen = ["127.0.0.1:1"]  # file"#),
        "{single}"
    );
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let settings = Run::new("config")
        .file("dmwire.toml", "burst = 30")
        .variable("DMWIRE_BURST", "")
        .variable("DMWIRE_LISTEN", "")
        .variable("DMWIRE_OPEN", "")
        .variable("DMWIRE_CONFIG", "")
        .output();
    assert!(
        has_line(&settings, "burst = 30  # file dmwire.toml"),
        "{settings}"
    );
    assert!(has_line(&settings, "open = false  # default"), "{settings}");
}

#[test]
fn an_unknown_variable_is_reported_and_ignored() {
    let outcome = Run::new("config")
        .variable("DMWIRE_BRUST", "30")
        .variable("DMWIRE_BURST", "30")
        // Kubernetes sets these if a service has the name `dmwire`.
        .variable("DMWIRE_SERVICE_HOST", "10.0.0.1")
        .variable("DMWIRE_PORT_8080_TCP", "tcp://10.0.0.1:8080")
        .end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("burst = 30"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("DMWIRE_BRUST"), "{outcome:?}");
}

#[test]
fn a_named_file_must_exist() {
    Run::new("config --config none.toml").fails_with(&["--config: none.toml", "cannot be read"]);
    Run::new("config")
        .variable("DMWIRE_CONFIG", "none.toml")
        .fails_with(&["DMWIRE_CONFIG: none.toml"]);
}

#[test]
fn a_named_file_replaces_the_default_file() {
    let run = Run::new("config")
        .file("dmwire.toml", "workers = 3")
        .file("my.toml", "burst = 7");
    let settings = run.variable("DMWIRE_CONFIG", "my.toml").output();
    assert!(
        has_line(&settings, "burst = 7  # file my.toml"),
        "{settings}"
    );
    assert!(!settings.contains("workers = 3  # file"), "{settings}");
}

//! The command line from outside: which source of a setting counts, what a wrong one is answered with, and what the
//! commands that serve nothing do. Each test runs the built program in a folder of its own, without `DMWIRE_*`.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use socket2::{Domain, Socket, Type};

/// One run of the program, prepared.
struct Run {
    folder: PathBuf,
    command: Command,
}

/// What a run left behind.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn new(args: &str) -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("config_cli-{}-{run}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("the folder for tests can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmwire"));
        command.current_dir(&folder).args(args.split_whitespace());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DMWIRE_") {
                command.env_remove(name);
            }
        }
        Self { folder, command }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.join(name), text).expect("the folder for tests can be written");
        self
    }

    fn end(mut self) -> Outcome {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().expect("the program starts");
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Outcome {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// The settings printed by a run of `dmwire config` that must succeed.
    fn settings(self) -> String {
        let outcome = self.end();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(outcome.stderr, "");
        outcome.stdout
    }

    /// Must end with exit code 2 and one complaint that holds all of `parts`.
    fn refused_with(self, parts: &[&str]) {
        let said = format!("{:?}", self.command);
        let outcome = self.end();
        assert_eq!(outcome.code, Some(2), "{said}: {outcome:?}");
        assert!(
            outcome.stderr.starts_with("dmwire: "),
            "{said}: {outcome:?}"
        );
        for part in parts {
            assert!(
                outcome.stderr.contains(part),
                "{said}: {part:?} is not in {}",
                outcome.stderr
            );
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nothing.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let file = "workers = 3\nburst = 30\nsessions_per_user = 4\n";
    let settings = Run::new("config --workers 5")
        .file("dmwire.toml", file)
        .variable("DMWIRE_WORKERS", "4")
        .variable("DMWIRE_BURST", "31")
        .settings();
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
fn the_defaults_are_those_of_the_protocol() {
    let settings = Run::new("config").settings();
    for line in [
        r#"listen = ["127.0.0.1:8080", "[::1]:8080"]  # default"#,
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
        "connections = 50000  # default",
        "connections_per_ip = \"auto\"  # default",
        "handshakes_per_second = \"auto\"  # default",
        "handshake_burst = \"auto\"  # default",
        "blocks_per_user = 1000  # default",
        "users = \"any\"  # default",
        "unknown_recipients = 1000000  # default",
        "unknown_recipients_per_user = 20000  # default",
        "unknown_recipients_per_ip = \"auto\"  # default",
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
fn what_config_prints_is_a_file_with_the_same_settings() {
    let said = "config --listen localhost:0 --base-path /a --open=false --allowed-origin https://a,null --store memory: \
                --auth jwt --jwt-secret-file a,b --jwt-key c --jwks https://a/keys --jwks-ca f --jwks-refresh-seconds 60 \
                --jwt-issuer https://a --jwt-audience b --jwt-leeway-seconds 9 --query-token false --allowed-host chat \
                --trusted-proxy 10.0.0.0/8 --tls-cert d --tls-key e --jwt-secret hunter2 \
                --workers 7 --max-frame-bytes 2048 --messages-per-second 1 --burst 2 --bad-frames-per-minute 3 \
                --sessions-per-user 4 --blocks-per-user 8 --users known --unknown-recipients 17 \
                --unknown-recipients-per-user 18 --unknown-recipients-per-ip 19 --min-free-disk 20 --user-messages-per-second 10 --user-burst 11 \
                --queries-per-second 12 --query-burst 13 --connections 14 --connections-per-ip 15 \
                --handshakes-per-second 16 --handshake-burst auto --outbox-bytes 16384 --buffer-bytes 2000000 --heartbeat-seconds 5 --ping-seconds 6 --stall-seconds 7 --durability normal --inbox-days 1.5 --inbox-limit 9 --history-days 90 \
                --log off,dmwire=debug --log-format json";
    let by_flag = Run::new(said).settings();
    assert!(
        !by_flag.contains("# default"),
        "a setting is not tried here:\n{by_flag}"
    );
    // But for secrets, which are not shown.
    let secret = "# jwt_secret = (not shown)  # flag --jwt-secret";
    assert!(
        has_line(&by_flag, secret) && !by_flag.contains("hunter2"),
        "{by_flag}"
    );
    let by_file = Run::new("config --config my.toml")
        .file("my.toml", &by_flag)
        .settings();
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.contains("jwt_secret ="))
            .filter_map(|line| Some(line.split_once("  # ")?.0.to_owned()))
            .collect()
    };
    assert_eq!(values(&by_file), values(&by_flag));
    assert_eq!(by_file.matches("# file my.toml").count(), 50);
}

#[test]
fn settings_stand_before_a_command_or_after_it() {
    let settings = Run::new("--burst 7 config --workers 7").settings();
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
fn a_list_is_repeated_flags_or_a_variable_with_commas_or_a_list_in_the_file() {
    let expected = r#"listen = ["127.0.0.1:1", "127.0.0.2:2"]"#;
    for run in [
        Run::new("config --listen 127.0.0.1:1 --listen 127.0.0.2:2"),
        Run::new("config").variable("DMWIRE_LISTEN", "127.0.0.1:1, 127.0.0.2:2"),
        Run::new("config").file("dmwire.toml", "listen = ['127.0.0.1:1', '127.0.0.2:2']"),
    ] {
        let settings = run.settings();
        assert!(settings.contains(expected), "{settings}");
    }
    let single = Run::new("config")
        .file("dmwire.toml", "listen = '127.0.0.1:1'")
        .settings();
    assert!(
        single.contains(r#"listen = ["127.0.0.1:1"]  # file"#),
        "{single}"
    );
}

#[test]
fn an_empty_variable_says_nothing() {
    let settings = Run::new("config")
        .file("dmwire.toml", "burst = 30")
        .variable("DMWIRE_BURST", "")
        .variable("DMWIRE_LISTEN", "")
        .variable("DMWIRE_OPEN", "")
        .variable("DMWIRE_CONFIG", "")
        .settings();
    assert!(
        has_line(&settings, "burst = 30  # file dmwire.toml"),
        "{settings}"
    );
    assert!(has_line(&settings, "open = false  # default"), "{settings}");
}

#[test]
fn a_variable_that_is_no_setting_is_named_and_does_no_harm() {
    let outcome = Run::new("config")
        .variable("DMWIRE_BRUST", "30")
        .variable("DMWIRE_BURST", "30")
        // What Kubernetes sets where there is a service of this name.
        .variable("DMWIRE_SERVICE_HOST", "10.0.0.1")
        .variable("DMWIRE_PORT_8080_TCP", "tcp://10.0.0.1:8080")
        .end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("burst = 30"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains("DMWIRE_BRUST"), "{outcome:?}");
}

#[test]
fn a_wrong_setting_is_named_as_it_was_written() {
    let right = "not a whole number from 1 to 512";
    Run::new("config --workers 513").refused_with(&["--workers: \"513\"", right]);
    Run::new("config")
        .variable("DMWIRE_WORKERS", "many")
        .refused_with(&["DMWIRE_WORKERS: \"many\"", right]);
    Run::new("config")
        .file("dmwire.toml", "workers = 0")
        .refused_with(&["dmwire.toml: workers: \"0\"", right]);
    Run::new("config --config a.toml")
        .file("a.toml", "workers = -1")
        .refused_with(&["a.toml: workers: \"-1\"", right]);
}

#[test]
fn every_wrong_setting_is_answered_with_what_would_be_right() {
    for (said, right) in [
        ("--listen 8080", "localhost:8080"),
        ("--listen :8080", "0.0.0.0:8080"),
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
        ("--log verbose", "debug or trace"),
        ("--log-format xml", "plain nor json"),
    ] {
        let flag = said.split([' ', '=']).next().expect("a flag stands first");
        Run::new(&format!("config {said}")).refused_with(&[flag, right]);
    }
}

#[test]
fn a_file_with_an_unknown_key_or_no_toml_refused_with_the_place() {
    Run::new("config")
        .file("dmwire.toml", "burst = 1\nmax-frame-bytes = 2048\n")
        .refused_with(&[
            "dmwire.toml",
            "line 2",
            "`max-frame-bytes`",
            "`max_frame_bytes`",
        ]);
    Run::new("config")
        .file("dmwire.toml", "burst = = 1\n")
        .refused_with(&["dmwire.toml", "line 1"]);
    Run::new("config")
        .file("dmwire.toml", "burst = [1]\n")
        .refused_with(&["dmwire.toml", "line 1", "a number"]);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    Run::new("config --config none.toml").refused_with(&["--config: none.toml", "cannot be read"]);
    Run::new("config")
        .variable("DMWIRE_CONFIG", "none.toml")
        .refused_with(&["DMWIRE_CONFIG: none.toml"]);
}

#[test]
fn a_named_file_stands_in_for_the_default_one() {
    let run = Run::new("config")
        .file("dmwire.toml", "workers = 3")
        .file("my.toml", "burst = 7");
    let settings = run.variable("DMWIRE_CONFIG", "my.toml").settings();
    assert!(
        has_line(&settings, "burst = 7  # file my.toml"),
        "{settings}"
    );
    assert!(!settings.contains("workers = 3  # file"), "{settings}");
}

#[test]
fn no_authentication_where_others_can_reach_the_server_must_be_said_twice() {
    for args in [
        "--auth none --listen 0.0.0.0:0",
        "config --auth none --listen 127.0.0.1:0 --listen 0.0.0.0:0",
    ] {
        Run::new(args).refused_with(&[
            "--listen: 0.0.0.0:0",
            "authentication is disabled",
            "as any user",
            "--open",
        ]);
    }
    Run::new("--auth none")
        .variable("DMWIRE_LISTEN", "[::]:0")
        .refused_with(&["DMWIRE_LISTEN: [::]:0", "--open"]);
    let settings = Run::new("config --open --listen 0.0.0.0:0").settings();
    for line in ["open = true  # flag --open", "auth = \"auto\"  # default"] {
        assert!(has_line(&settings, line), "{settings}");
    }
    Run::new("config --auth none --listen 0.0.0.0:0")
        .variable("DMWIRE_OPEN", "1")
        .settings();
    Run::new("config --auth none --listen 0.0.0.0:0")
        .file("dmwire.toml", "open = true")
        .settings();
}

#[test]
fn a_setting_about_tokens_asks_for_tokens() {
    for (said, by) in [
        ("--jwt-secret x", "jwt_secret"),
        ("--jwt-secret-file x", "jwt_secret_file"),
        ("--jwt-key x", "jwt_key"),
        ("--jwks x", "jwks"),
    ] {
        let settings = Run::new(&format!("config {said}")).settings();
        let line = format!("auth = \"jwt\"  # follows from {by}");
        assert!(has_line(&settings, &line), "{line} is not in\n{settings}");
    }
    // Where others can reach the server as well, and by variable.
    let settings = Run::new("config --listen 0.0.0.0:0")
        .variable("DMWIRE_JWT_SECRET", "hunter2,with,commas")
        .settings();
    assert!(
        has_line(
            &settings,
            "# jwt_secret = (not shown)  # variable DMWIRE_JWT_SECRET"
        ),
        "{settings}"
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused_by_name() {
    for (said, parts) in [
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
        ("--tls-key x", ["--tls-key: ", "without", "--tls-cert"]),
    ] {
        Run::new(said).refused_with(&parts);
        Run::new(&format!("config {said}")).refused_with(&parts);
    }
    Run::new("--open")
        .variable("DMWIRE_JWT_SECRET", "hunter2")
        .refused_with(&["--open: ", "DMWIRE_JWT_SECRET"]);
}

#[test]
fn the_help_names_every_flag_and_variable() {
    let help = Run::new("--help").settings();
    for flag in [
        "listen",
        "base-path",
        "open",
        "auth",
        "jwt-secret",
        "jwt-secret-file",
        "jwt-key",
        "jwks",
        "jwks-ca",
        "jwks-refresh-seconds",
        "jwt-issuer",
        "jwt-audience",
        "jwt-leeway-seconds",
        "query-token",
        "allowed-origin",
        "allowed-host",
        "trusted-proxy",
        "tls-cert",
        "tls-key",
        "workers",
        "store",
        "max-frame-bytes",
        "messages-per-second",
        "burst",
        "bad-frames-per-minute",
        "sessions-per-user",
        "user-messages-per-second",
        "user-burst",
        "queries-per-second",
        "query-burst",
        "connections",
        "connections-per-ip",
        "handshakes-per-second",
        "handshake-burst",
        "blocks-per-user",
        "users",
        "unknown-recipients",
        "unknown-recipients-per-user",
        "unknown-recipients-per-ip",
        "min-free-disk",
        "outbox-bytes",
        "buffer-bytes",
        "heartbeat-seconds",
        "ping-seconds",
        "stall-seconds",
        "durability",
        "inbox-days",
        "inbox-limit",
        "history-days",
        "log",
        "log-format",
        "config",
    ] {
        assert!(
            help.contains(&format!("--{flag}")),
            "--{flag} is not in\n{help}"
        );
        let variable = format!("DMWIRE_{}]", flag.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable} is not in\n{help}");
    }
    for heading in [
        "Network:",
        "Authentication:",
        "TLS:",
        "token",
        "Storage:",
        "Recipients:",
        "Limits:",
        "Keepalive:",
        "Logging:",
        "healthcheck",
        "schema",
    ] {
        assert!(help.contains(heading), "{heading} is not in\n{help}");
    }
}

#[test]
fn the_help_keeps_the_values_of_variables_to_itself() {
    let help = Run::new("--help")
        .variable("DMWIRE_STORE", "sqlite:hunter2.db")
        .variable("DMWIRE_JWT_SECRET", "hunter2")
        .settings();
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn the_version_is_the_one_of_the_crate() {
    assert_eq!(
        Run::new("--version").settings(),
        concat!("dmwire ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn the_schema_cannot_be_exported_into_a_file() {
    // No setting matters to the export, so none can stand in its way.
    let run = Run::new("schema export taken").variable("DMWIRE_WORKERS", "many");
    let outcome = run.file("taken", "").end();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .starts_with("dmwire: cannot write the schemas to taken: "),
        "{outcome:?}"
    );
}

#[test]
fn a_server_that_answers_200_is_healthy() {
    let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let run = Run::new("healthcheck --base-path /demo");
    let outcome = run.variable("DMWIRE_LISTEN", &address.to_string()).end();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let asked = asked.join().expect("the server has answered");
    assert!(
        asked.starts_with("GET /demo/healthz HTTP/1.1\r\nHost: 127.0.0.1:"),
        "{asked}"
    );
}

#[test]
fn an_unspecified_address_is_reached_on_loopback_and_needs_no_open() {
    let (address, _) = answering("HTTP/1.1 200 OK\r\n\r\n");
    let outcome = Run::new(&format!("healthcheck --listen 0.0.0.0:{}", address.port())).end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn any_other_answer_is_unhealthy() {
    for (answer, why) in [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
        ("SSH-2.0-x\r\n", "SSH"),
        ("", "not 200"),
    ] {
        let (address, _) = answering(answer);
        let outcome = Run::new(&format!("healthcheck --listen {address}")).end();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains(why) && outcome.stderr.lines().count() == 1,
            "{outcome:?}"
        );
    }
}

#[test]
fn nobody_listening_or_port_0_is_unhealthy() {
    // Bound and never listening: nobody else gets the port, and whoever connects is refused.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    let free = held
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket())
        .expect("it is bound");
    for (address, why) in [
        (free.to_string(), "refused"),
        ("127.0.0.1:0".to_owned(), "port 0"),
    ] {
        let outcome = Run::new(&format!("healthcheck --listen {address}")).end();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains(why) && outcome.stderr.lines().count() == 1,
            "{outcome:?}"
        );
    }
}

/// A server that answers one connection and returns what it was asked.
fn answering(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the health check connects");
        let mut asked = Vec::new();
        let mut piece = [0; 512];
        while !asked.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece).expect("the health check asks") {
                0 => break,
                read => asked.extend_from_slice(&piece[..read]),
            }
        }
        stream
            .write_all(answer.as_bytes())
            .expect("the health check listens");
        String::from_utf8_lossy(&asked).into_owned()
    });
    (address, asked)
}

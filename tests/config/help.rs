//! The help and version texts.

use crate::run::Run;

/// The flags of all settings, without the hyphens.
const SETTINGS: &[&str] = &[
    "listen",
    "ops-listen",
    "ops-tls",
    "api-key-file",
    "api-requests-per-second",
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
    "pings-per-second",
    "control-frames-per-second",
    "session-bytes-per-second",
    "changes-per-message",
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
    "device-days",
    "user-bytes-per-day",
    "rooms",
    "room-limit",
    "rooms-per-user",
    "room-history",
    "small-room",
    "room-entries-per-second",
    "room-entries-burst",
    "presence",
    "presence-grace-seconds",
    "notify",
    "notify-sender",
    "webhook",
    "webhook-secret-file",
    "webhook-events",
    "webhook-waiting-seconds",
    "webhook-retry-hours",
    "webhook-allow-private",
    "clock-settle",
    "content-types",
    "page-renderers",
    "log",
    "log-format",
    "config",
];

#[test]
fn the_help_names_every_flag_and_variable() {
    let help = Run::new("--help").output();
    for flag in SETTINGS {
        assert!(
            help.contains(&format!("--{flag}")),
            "--{flag} is not in\n{help}"
        );
        let variable = format!("DMWIRE_{}]", flag.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable} is not in\n{help}");
    }
    for heading in [
        "Network:",
        "Operations:",
        "Authentication:",
        "TLS:",
        "token",
        "Storage:",
        "Content:",
        "Recipients:",
        "Rooms:",
        "Presence:",
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
fn the_short_help_shows_the_most_used_settings_only() {
    let help = Run::new("-h").output();
    assert_eq!(
        flags(&help),
        [
            "--config",
            "--help",
            "--version",
            "--listen",
            "--allowed-origin",
            "--trusted-proxy",
            "--open",
            "--jwt-secret-file",
            "--jwt-key",
            "--tls-cert",
            "--tls-key",
            "--store",
            "--log",
        ]
    );
    assert!(!help.contains("Keepalive:"), "{help}");
    // It refers to the complete help.
    assert!(help.contains("see more with '--help'"), "{help}");
}

#[test]
fn the_help_of_a_command_shows_the_settings_that_concern_it() {
    let store: &[&str] = &["--store"];
    for (command, shown) in [
        ("backup", store),
        ("verify", store),
        ("export", &["--user", "--store", "--room-history"]),
        ("erase", &["--user", "--store", "--small-room"]),
        (
            "healthcheck",
            &["--listen", "--base-path", "--tls-cert", "--tls-key"],
        ),
        (
            "token",
            &[
                "--user",
                "--ttl",
                "--listen",
                "--open",
                "--auth",
                "--jwt-secret",
                "--jwt-secret-file",
                "--jwt-issuer",
                "--jwt-audience",
                "--store",
            ],
        ),
    ] {
        for help in ["-h", "--help"] {
            let help = Run::new(&format!("{command} {help}")).output();
            let mut found = flags(&help);
            found.retain(|flag| flag != "--config" && flag != "--help");
            assert_eq!(found, shown, "{command}");
            assert!(help.contains("--config"), "{help}");
        }
    }
    for command in ["schema", "schema export", "schema check", "api-key"] {
        let help = Run::new(&format!("{command} --help")).output();
        assert_eq!(flags(&help), ["--help"], "{command}");
    }
    for command in ["serve", "config"] {
        let help = Run::new(&format!("{command} --help")).output();
        assert!(help.contains("--ping-seconds"), "{help}");
        let help = Run::new(&format!("{command} -h")).output();
        assert!(!help.contains("--ping-seconds"), "{help}");
    }
}

#[test]
fn the_help_names_the_commands() {
    let help = Run::new("--help").output();
    for command in [
        "serve",
        "schema",
        "backup",
        "verify",
        "export",
        "erase",
        "token",
        "api-key",
        "config",
        "healthcheck",
    ] {
        let line = format!("\n  {command} ");
        assert!(help.contains(&line), "{command} is not in\n{help}");
    }
    let outcome = Run::new("serv").end();
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("'serve'"), "{outcome:?}");
}

#[test]
fn the_help_does_not_show_former_names() {
    for help in ["-h", "--help", "config --help", "help serve"] {
        let help = Run::new(help).output().to_lowercase();
        assert!(!help.contains("unclaimed"), "{help}");
    }
}

/// The flags that a help text describes, in its order.
fn flags(help: &str) -> Vec<String> {
    let flag = |line: &str| {
        let mut prefixes = ["      --", "  -h, --", "  -V, --"].iter();
        let described = prefixes.find_map(|prefix| line.strip_prefix(prefix))?;
        let name = described.split([' ', '[']).next()?;
        Some(format!("--{name}"))
    };
    help.lines().filter_map(flag).collect()
}

#[test]
fn the_help_does_not_show_the_values_of_variables() {
    let help = Run::new("--help")
        .variable("DMWIRE_STORE", "sqlite:hunter2.db")
        .variable("DMWIRE_JWT_SECRET", "hunter2")
        .output();
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn the_version_is_that_of_the_crate() {
    assert_eq!(
        Run::new("--version").output(),
        concat!("dmwire ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

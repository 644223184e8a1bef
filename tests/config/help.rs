//! The help and version texts.

use crate::run::Run;

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

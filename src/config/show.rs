//! A configuration in writing: as TOML that can be the file, and as `Debug`.

use std::fmt::{self, Display};
use std::path::PathBuf;

use super::{ACCESS, Auto, Config, DATA, LIMITS, LINE, LISTENING, LOGGING, Resolved, TLS};

/// One setting as it is shown: heading, key, and value in TOML.
type Shown = (&'static str, &'static str, String);

/// What stands in the place of secrets.
const HIDDEN: &str = "(not shown)";

impl Config {
    /// Every setting in the order of the help. All that prints a configuration goes through here, so this is the place
    /// that keeps a secret from every eye: it shows a fixed word instead of it.
    #[allow(clippy::too_many_lines)] // one for each setting
    pub(super) fn shown(&self) -> [Shown; 51] {
        // Taken apart by name, so that a field which is added and not shown does not compile.
        let Self {
            listen,
            listen_is_default: _,
            base_path,
            open,
            auth,
            jwt_secret,
            jwt_secret_file,
            jwt_key,
            jwks,
            jwks_ca,
            jwks_refresh_seconds,
            jwt_issuer,
            jwt_audience,
            jwt_leeway_seconds,
            query_token,
            allowed_origin,
            allowed_host,
            trusted_proxy,
            tls_cert,
            tls_key,
            workers,
            store,
            durability,
            inbox_days,
            inbox_limit,
            history_days,
            max_frame_bytes,
            messages_per_second,
            burst,
            user_messages_per_second,
            user_burst,
            queries_per_second,
            query_burst,
            connections,
            connections_per_ip,
            handshakes_per_second,
            handshake_burst,
            bad_frames_per_minute,
            sessions_per_user,
            blocks_per_user,
            users,
            unclaimed,
            unclaimed_per_user,
            unclaimed_per_ip,
            min_free_disk,
            outbox_bytes,
            buffer_bytes,
            heartbeat_seconds,
            ping_seconds,
            stall_seconds,
            log,
            log_format,
        } = self;
        [
            (LISTENING, "listen", list(listen)),
            (LISTENING, "base_path", text(base_path)),
            (LISTENING, "open", open.to_string()),
            (LISTENING, "workers", workers.to_string()),
            (ACCESS, "auth", text(auth)),
            (ACCESS, "jwt_secret", hidden(jwt_secret.is_empty())),
            (ACCESS, "jwt_secret_file", files(jwt_secret_file)),
            (ACCESS, "jwt_key", files(jwt_key)),
            (ACCESS, "jwks", optional(jwks.as_ref())),
            (ACCESS, "jwks_ca", file(jwks_ca.as_ref())),
            (
                ACCESS,
                "jwks_refresh_seconds",
                jwks_refresh_seconds.to_string(),
            ),
            (ACCESS, "jwt_issuer", list(jwt_issuer)),
            (ACCESS, "jwt_audience", list(jwt_audience)),
            (ACCESS, "jwt_leeway_seconds", jwt_leeway_seconds.to_string()),
            (ACCESS, "query_token", query_token.to_string()),
            (ACCESS, "allowed_origin", list(allowed_origin)),
            (ACCESS, "allowed_host", list(allowed_host)),
            (ACCESS, "trusted_proxy", list(trusted_proxy)),
            (TLS, "tls_cert", file(tls_cert.as_ref())),
            (TLS, "tls_key", file(tls_key.as_ref())),
            (DATA, "store", text(store)),
            (DATA, "durability", text(durability)),
            (DATA, "inbox_days", inbox_days.to_string()),
            (DATA, "inbox_limit", inbox_limit.to_string()),
            (
                DATA,
                "history_days",
                history_days.map_or_else(|| text("forever"), |days| days.to_string()),
            ),
            (LIMITS, "max_frame_bytes", max_frame_bytes.to_string()),
            (
                LIMITS,
                "messages_per_second",
                messages_per_second.to_string(),
            ),
            (LIMITS, "burst", burst.to_string()),
            (
                LIMITS,
                "user_messages_per_second",
                auto(*user_messages_per_second),
            ),
            (LIMITS, "user_burst", auto(*user_burst)),
            (LIMITS, "queries_per_second", auto(*queries_per_second)),
            (LIMITS, "query_burst", auto(*query_burst)),
            (LIMITS, "connections", connections.to_string()),
            (LIMITS, "connections_per_ip", auto(*connections_per_ip)),
            (
                LIMITS,
                "handshakes_per_second",
                auto(*handshakes_per_second),
            ),
            (LIMITS, "handshake_burst", auto(*handshake_burst)),
            (
                LIMITS,
                "bad_frames_per_minute",
                bad_frames_per_minute.to_string(),
            ),
            (LIMITS, "sessions_per_user", sessions_per_user.to_string()),
            (LIMITS, "blocks_per_user", blocks_per_user.to_string()),
            (LIMITS, "users", text(users)),
            (LIMITS, "unclaimed", unclaimed.to_string()),
            (LIMITS, "unclaimed_per_user", unclaimed_per_user.to_string()),
            (LIMITS, "unclaimed_per_ip", auto(*unclaimed_per_ip)),
            (LIMITS, "min_free_disk", auto(*min_free_disk)),
            (LIMITS, "outbox_bytes", outbox_bytes.to_string()),
            (LIMITS, "buffer_bytes", buffer_bytes.to_string()),
            (LINE, "heartbeat_seconds", heartbeat_seconds.to_string()),
            (LINE, "ping_seconds", ping_seconds.to_string()),
            (LINE, "stall_seconds", stall_seconds.to_string()),
            (LOGGING, "log", text(log)),
            (LOGGING, "log_format", text(log_format)),
        ]
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Config");
        for (_, key, value) in self.shown() {
            out.field(key, &format_args!("{value}"));
        }
        out.finish()
    }
}

/// What is in force, as a `dmwire.toml`; a comment after each value says where it came from.
impl Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "# What is in force; it can be used as dmwire.toml. After each value: where it came from."
        )?;
        let mut section = "";
        for (heading, key, value) in self.config.shown() {
            if heading != section {
                write!(f, "\n\n# {heading}")?;
                section = heading;
            }
            // What is not shown is no setting of the file that this can be used as.
            let mark = if value == HIDDEN { "# " } else { "" };
            let from = self.source(key).describe(key);
            write!(f, "\n{mark}{key} = {value}  # {from}")?;
        }
        writeln!(f)
    }
}

fn hidden(empty: bool) -> String {
    if empty { "[]" } else { HIDDEN }.to_owned()
}

fn auto<T: Display>(value: Auto<T>) -> String {
    match value.0 {
        Some(number) => number.to_string(),
        None => text(value),
    }
}

fn optional(value: Option<impl Display>) -> String {
    value.map_or_else(|| text(""), text)
}

fn file(path: Option<&PathBuf>) -> String {
    optional(path.map(|path| path.display()))
}

fn files(paths: &[PathBuf]) -> String {
    list(&paths.iter().map(|path| path.display()).collect::<Vec<_>>())
}

fn list(values: &[impl Display]) -> String {
    format!(
        "[{}]",
        values.iter().map(text).collect::<Vec<_>>().join(", ")
    )
}

/// A TOML basic string. JSON escapes what TOML does, but for DEL.
fn text(value: impl Display) -> String {
    serde_json::Value::String(value.to_string())
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

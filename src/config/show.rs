//! A configuration in writing: as TOML that can be the file, and as `Debug`.

use std::fmt::{self, Display};

use super::{Config, DATA, LIMITS, LINE, LISTENING, LOGGING, Resolved};

/// One setting as it is shown: heading, key, and value in TOML.
type Shown = (&'static str, &'static str, String);

impl Config {
    /// Every setting in the order of the help. All that prints a configuration goes through here, so this is the place
    /// that keeps a secret from every eye: it shows a fixed word instead of it.
    pub(super) fn shown(&self) -> [Shown; 21] {
        // Taken apart by name, so that a field which is added and not shown does not compile.
        let Self {
            listen,
            listen_is_default: _,
            base_path,
            open,
            allowed_origin,
            workers,
            store,
            durability,
            inbox_days,
            inbox_limit,
            history_days,
            max_frame_bytes,
            messages_per_second,
            burst,
            bad_frames_per_minute,
            sessions_per_user,
            outbox_bytes,
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
            (LISTENING, "allowed_origin", list(allowed_origin)),
            (LISTENING, "workers", workers.to_string()),
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
                "bad_frames_per_minute",
                bad_frames_per_minute.to_string(),
            ),
            (LIMITS, "sessions_per_user", sessions_per_user.to_string()),
            (LIMITS, "outbox_bytes", outbox_bytes.to_string()),
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
            write!(f, "\n{key} = {value}  # {}", self.source(key).describe(key))?;
        }
        writeln!(f)
    }
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

//! Writes the log to stderr, as plain text or as JSON.
//!
//! Each record is exactly one line: its texts may come from clients, so control characters are escaped. Values are passed as
//! key-values and not inside the message: `info!(user = id; "connection opened")`.
//!
//! The server's threads do not write to stderr: a thread of its own does (`queue`), because a write may block. The log is
//! flushed with `log::logger().flush()` before the process exits, which waits for a second at most.

mod limit;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use env_logger::{Target, WriteStyle};
use jiff::Timestamp;
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Log, Metadata, Record};
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value as Json;

pub use self::limit::LogLimit;
use self::queue::LogQueue;
use crate::config::{LogFormat, stderr_shows_colors};

/// The keys of every JSON line.
const FIXED_KEYS: [&str; 4] = ["time", "level", "target", "message"];

/// How long the end of the process waits for the log to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// The name that the standard library gives to the thread of `main`.
const MAIN_THREAD: &str = "main";

/// The queue of the installed logger.
static QUEUE: OnceLock<Arc<LogQueue>> = OnceLock::new();

/// Starts logging of the records that match `filter`, such as `info` or `info,dmwire::store=debug`, and of panics. Does nothing
/// if a logger is already installed.
pub fn init(format: LogFormat, filter: &str) {
    let mut builder = env_logger::Builder::new();
    // The server logs its start and stop itself. A filter that names the module overrides this.
    builder.filter_module("actix_server", log::LevelFilter::Warn);
    // It logs errors of peers, such as malformed requests, at the level of errors. The server counts them (`http/service`).
    builder.filter_module("actix_http", log::LevelFilter::Off);
    // The same for TLS: it warns of unexpected messages and alerts of any peer. The server logs failed handshakes (`http/service`).
    builder.filter_module("rustls", log::LevelFilter::Off);
    builder.parse_filters(filter);
    match format {
        LogFormat::Plain => builder.format(|out, record| {
            let style = out.default_level_style(record.level());
            let level = format!("{style}{:<5}{style:#}", record.level());
            plain(out, Timestamp::now(), &level, record)
        }),
        LogFormat::Json => builder.format(|out, record| json(out, Timestamp::now(), record)),
    };
    let Ok(queue) = start_queue(move |count| dropped_notice(format, count)) else {
        // The system has no thread or descriptor left; the log is written directly. The only error is that a logger is already
        // installed.
        let _ = builder.try_init();
        return;
    };
    builder.target(Target::Pipe(Box::new(ToQueue(queue.clone()))));
    builder.write_style(if stderr_shows_colors() {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    });
    let formatter = builder.build();
    let level = formatter.filter();
    let logger = Logger {
        formatter,
        queue: queue.clone(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
        let _ = QUEUE.set(queue.clone());
        std::panic::set_hook(Box::new(move |panic| log_panic(panic, &queue)));
    }
}

/// Writes a last line to stderr before the process exits: after the log, if there is one. Waits a second each for room and for the line
/// to be written, at most.
pub fn print_last(line: &str) {
    let started = QUEUE.get().cloned();
    let queue = started.map_or_else(|| start_queue(|_| Vec::new()), Ok);
    match queue {
        Ok(queue) => {
            queue.push_last(format!("{line}\n").as_bytes(), FLUSH);
            queue.flush(FLUSH);
        }
        Err(_) => {
            // If stderr is closed, the exit code is the only report.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

fn start_queue(notice: impl Fn(u64) -> Vec<u8> + Send + 'static) -> io::Result<Arc<LogQueue>> {
    // Not through `io::stderr`, whose lock the thread would hold while a write blocks.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    LogQueue::start(out, notice)
}

/// The line that reports dropped lines; empty if warnings are not logged.
fn dropped_notice(format: LogFormat, count: u64) -> Vec<u8> {
    let mut line = Vec::new();
    if log::log_enabled!(Level::Warn) {
        let pairs = [("count", Value::from(count))];
        let args =
            format_args!("lines of the log were dropped, because stderr did not accept them");
        let record = Record::builder()
            .args(args)
            .level(Level::Warn)
            .target(module_path!())
            .key_values(&pairs)
            .build();
        let written = match format {
            LogFormat::Plain => plain(&mut line, Timestamp::now(), "WARN ", &record),
            LogFormat::Json => json(&mut line, Timestamp::now(), &record),
        };
        debug_assert!(written.is_ok(), "writing to a vector succeeds");
    }
    line
}

/// The panic hook. The default one writes to stderr itself.
fn log_panic(panic: &PanicHookInfo<'_>, queue: &LogQueue) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("?");
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("?");
    if log::log_enabled!(Level::Error) {
        log::error!(thread = thread, place = place; "panicked: {message}");
    } else {
        queue.push(
            format!(
                "thread '{thread}' panicked at {place}: {}\n",
                OneLine(message)
            )
            .as_bytes(),
        );
    }
    // Only if the environment asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        queue.push(format!("{backtrace}\n").as_bytes());
    }
    // A panic of this thread ends the process without another chance to wait for the log.
    if thread == MAIN_THREAD {
        queue.flush(FLUSH);
    }
}

/// Formats the records, filters them, and passes them to the queue.
struct Logger {
    formatter: env_logger::Logger,
    queue: Arc<LogQueue>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.formatter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.formatter.log(record);
    }

    fn flush(&self) {
        self.queue.flush(FLUSH);
    }
}

/// Adds each line to the queue. The formatter writes a line at once.
struct ToQueue(Arc<LogQueue>);

impl Write for ToQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `2026-11-20T11:03:00.123Z INFO  message key=value`
fn plain(
    out: &mut impl Write,
    time: Timestamp,
    level: &str,
    record: &Record<'_>,
) -> io::Result<()> {
    write!(out, "{time:.3} {level} {}", OneLine(record.args()))?;
    for (key, value) in pairs(record) {
        write!(out, " {}=", OneLine(&key))?;
        match value {
            Json::String(text) if is_word(&text) => write!(out, "{text}")?,
            value => write!(out, "{}", OneLine(&value))?,
        }
    }
    writeln!(out)
}

/// Whether a text can follow `key=` without quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

/// `{"time":"2026-11-20T11:03:00.123Z","level":"INFO","target":"dmwire","message":"...","key":"value"}`
fn json(out: &mut impl Write, time: Timestamp, record: &Record<'_>) -> io::Result<()> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("time", &format_args!("{time:.3}"))?;
    map.serialize_entry("level", record.level().as_str())?;
    map.serialize_entry("target", record.target())?;
    map.serialize_entry("message", record.args())?;
    for (key, value) in pairs(record) {
        if FIXED_KEYS.contains(&key.as_str()) {
            map.serialize_entry(&format!("{key}_"), &value)?;
        } else {
            map.serialize_entry(&key, &value)?;
        }
    }
    map.end()?;
    line.push(b'\n');
    out.write_all(&line)
}

/// The key-values of a record. Numbers and booleans keep their type, everything else becomes text.
fn pairs(record: &Record<'_>) -> Vec<(String, Json)> {
    struct Pairs(Vec<(String, Json)>);

    impl<'kvs> VisitSource<'kvs> for Pairs {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            let mut typed = Typed(Json::Null);
            value.visit(&mut typed)?;
            self.0.push((key.to_string(), typed.0));
            Ok(())
        }
    }

    let mut pairs = Pairs(Vec::new());
    // The visitors never fail. If a source fails, the pairs before the error are kept.
    let _ = record.key_values().visit(&mut pairs);
    pairs.0
}

struct Typed(Json);

impl VisitValue<'_> for Typed {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.0 = Json::String(value.to_string());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = Json::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

/// Text with escaped control characters, so that a client can neither start a new line of the log nor send escape sequences to the
/// terminal.
struct OneLine<T>(T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::write(&mut Escaping(f), format_args!("{}", self.0))
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let clean = piece.trim_end_matches(char::is_control);
            self.0.write_str(clean)?;
            write!(self.0, "{}", piece[clean.len()..].escape_debug())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    /// 2026-11-20T11:03:00.1239Z; the log truncates it to milliseconds.
    fn time() -> Timestamp {
        Timestamp::from_nanosecond(1_795_172_580_123_900_000).expect("a time within range")
    }

    fn in_both_formats(args: fmt::Arguments<'_>, pairs: &[(&str, Value<'_>)]) -> (String, String) {
        let record = Record::builder()
            .args(args)
            .level(Level::Info)
            .target("dmwire")
            .key_values(&pairs)
            .build();
        let (mut plain_text, mut json_text) = (Vec::new(), Vec::new());
        plain(&mut plain_text, time(), "INFO ", &record).expect("writing to a vector succeeds");
        json(&mut json_text, time(), &record).expect("writing to a vector succeeds");
        (
            String::from_utf8(plain_text).expect("UTF-8"),
            String::from_utf8(json_text).expect("UTF-8"),
        )
    }

    #[test]
    fn a_line_has_time_level_and_message() {
        let (plain, json) = in_both_formats(format_args!("listening on {}", 1), &[]);
        assert_eq!(plain, "2026-11-20T11:03:00.123Z INFO  listening on 1\n");
        assert_eq!(
            json,
            "{\"time\":\"2026-11-20T11:03:00.123Z\",\"level\":\"INFO\",\"target\":\"dmwire\",\"message\":\"listening on 1\"}\n"
        );
    }

    #[test]
    fn key_values_follow_the_message_and_keep_their_type() {
        let pairs = [
            ("user", "8888".into()),
            ("sessions", 2.into()),
            ("ok", true.into()),
            ("why", "a b".into()),
        ];
        let (plain, json) = in_both_formats(format_args!("opened"), &pairs);
        assert!(
            plain.ends_with("INFO  opened user=8888 sessions=2 ok=true why=\"a b\"\n"),
            "{plain}"
        );
        assert!(
            json.ends_with("\"user\":\"8888\",\"sessions\":2,\"ok\":true,\"why\":\"a b\"}\n"),
            "{json}"
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        let pairs = [("device", "x\n\u{1b}[31m\"".into()), ("empty", "".into())];
        let (plain, json) = in_both_formats(format_args!("bad \r\n\u{1b}[2J\u{9b} name"), &pairs);
        assert_eq!(plain.matches(char::is_control).collect::<String>(), "\n");
        assert!(
            plain.contains(r"bad \r\n\u{1b}[2J\u{9b} name device="),
            "{plain}"
        );
        assert_eq!(json.matches('\n').count(), 1);
        let object: Json = serde_json::from_str(&json).expect("one JSON object");
        assert_eq!(object["message"], "bad \r\n\u{1b}[2J\u{9b} name");
        assert_eq!(object["device"], "x\n\u{1b}[31m\"");
    }

    #[test]
    fn a_key_of_every_line_is_not_written_twice() {
        let (_, json) = in_both_formats(format_args!("text"), &[("message", "other".into())]);
        assert!(
            json.contains(r#""message":"text","message_":"other""#),
            "{json}"
        );
    }
}

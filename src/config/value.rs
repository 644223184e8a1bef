//! What the words of a setting mean: text in, a value out, or what would have been right.
//!
//! The errors here are fragments that [`super::source`] puts the setting's name in front of.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::source::Written;
use crate::store::sqlite::Durability;

/// Where messages are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: one `SQLite` file, made if it is not there. A relative path starts at the working directory.
    Sqlite(PathBuf),
    /// `memory:`: nothing outlives the process.
    Memory,
}

impl Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

/// How users prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// As the other settings have it.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// By a token (RFC 7519).
    Jwt,
}

impl Display for AuthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Jwt => "jwt",
        })
    }
}

pub(super) fn auth(written: &Written) -> Result<AuthMode, String> {
    match written.as_str() {
        "auto" => Ok(AuthMode::Auto),
        "none" => Ok(AuthMode::None),
        "jwt" => Ok(AuthMode::Jwt),
        _ => Err(format!("{written} is neither jwt nor none nor auto")),
    }
}

/// Where a set of public keys is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// In a file.
    File(PathBuf),
    /// At an `http://` or `https://` address.
    Url(String),
}

impl Jwks {
    /// Where it is, for the log: the query of an address may hold a secret.
    pub fn place(&self) -> String {
        let whole = self.to_string();
        match (self, whole.split_once('?')) {
            (Self::Url(_), Some((place, _))) => format!("{place}?..."),
            _ => whole,
        }
    }
}

impl Display for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// A file or an address; nothing, written out, is none.
pub(super) fn jwks(written: &Written) -> Result<Option<Jwks>, String> {
    let text = written.as_str();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(file(written)?.map(Jwks::File));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_graphic();
    if !matches!(scheme, "http" | "https") || authority.is_empty() || !rest.chars().all(plain) {
        return Err(format!(
            "{written} is neither a file nor an address such as https://id.example.org/.well-known/jwks.json"
        ));
    }
    if authority.contains('@') {
        return Err("an address with a password in it would be shown; leave it away".into());
    }
    Ok(Some(Jwks::Url(text.to_owned())))
}

/// A file's path; nothing, written out, is none.
#[allow(clippy::unnecessary_wraps)] // as all that read a setting
pub(super) fn file(written: &Written) -> Result<Option<PathBuf>, String> {
    Ok(Some(written.as_str())
        .filter(|path| !path.is_empty())
        .map(PathBuf::from))
}

pub(super) fn files(entries: &[Written]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in entries {
        files.push(file(entry)?.ok_or("a file's name is empty")?);
    }
    Ok(files)
}

/// Words that are compared as they are.
pub(super) fn words(entries: &[Written]) -> Result<Vec<String>, String> {
    let word = |entry: &Written| match entry.as_str() {
        "" => Err("an entry is empty".to_owned()),
        word => Ok(word.to_owned()),
    };
    entries.iter().map(word).collect()
}

/// A number, or `auto`: what follows from other settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Auto<T = u32>(pub Option<T>);

impl<T: Display> Display for Auto<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("auto"),
        }
    }
}

/// A number of things per something, or `auto`.
pub(super) fn auto(written: &Written) -> Result<Auto, String> {
    auto_of(&Range::new(1, 4_000_000, 1), written)
}

/// A number of bytes, 0 for none, or `auto`.
pub(super) fn auto_bytes(written: &Written) -> Result<Auto<u64>, String> {
    auto_of(&Range::new(0, 1 << 50, 0), written)
}

fn auto_of<T>(range: &Range<T>, written: &Written) -> Result<Auto<T>, String>
where
    T: FromStr + PartialOrd + Copy + Display,
{
    if written.as_str() == "auto" {
        return Ok(Auto(None));
    }
    let number = range.parse(written);
    number
        .map(|number| Auto(Some(number)))
        .map_err(|error| format!("{error}, nor \"auto\""))
}

/// Who can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Users {
    /// Any name: whoever has it finds the message when they come.
    #[default]
    Any,
    /// Only those who have connected before.
    Known,
}

impl Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Known => "known",
        })
    }
}

pub(super) fn users(written: &Written) -> Result<Users, String> {
    match written.as_str() {
        "any" => Ok(Users::Any),
        "known" => Ok(Users::Known),
        _ => Err(format!("{written} is neither any nor known")),
    }
}

/// A time such as `90s`, `15m`, `1h` or `7d`, in seconds.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    const MOST: u64 = 10 * 365 * 86_400;
    let (digits, unit) = match text.char_indices().last() {
        Some((at, unit)) if !unit.is_ascii_digit() => (&text[..at], unit),
        _ => (text, 's'),
    };
    let factor = match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(86_400),
        _ => None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = factor
        .zip(digits.parse::<u64>().ok().filter(|_| plain))
        .and_then(|(factor, count)| count.checked_mul(factor));
    seconds
        .filter(|seconds| (1..=MOST).contains(seconds))
        .ok_or_else(|| {
            format!("{text:?} is not a time such as 90s, 15m, 1h or 7d, up to ten years")
        })
}

/// A time in days, kept in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub i64);

impl Days {
    const MS: f64 = 86_400_000.0;
    /// A hundred years.
    const MOST: f64 = 36_500.0;

    /// So many days.
    pub const fn new(days: i64) -> Self {
        Self(days * 86_400_000)
    }
}

impl Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / Self::MS)
    }
}

pub(super) fn days(written: &Written) -> Result<Days, String> {
    let days = written.as_str().parse::<f64>().ok();
    days.filter(|days| *days > 0.0 && *days <= Days::MOST)
        .map(|days| Days((days * Days::MS).ceil() as i64))
        .ok_or_else(|| {
            format!(
                "{written} is not a number of days above 0 and up to {}",
                Days::MOST
            )
        })
}

/// Days, or `forever`.
pub(super) fn days_or_forever(written: &Written) -> Result<Option<Days>, String> {
    if written.as_str() == "forever" {
        return Ok(None);
    }
    days(written)
        .map(Some)
        .map_err(|error| format!("{error}, nor \"forever\""))
}

pub(super) fn durability(written: &Written) -> Result<Durability, String> {
    match written.as_str() {
        "full" => Ok(Durability::Full),
        "normal" => Ok(Durability::Normal),
        _ => Err(format!("{written} is neither full nor normal")),
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: time, level, message, ` key=value`.
    #[default]
    Plain,
    /// For machines: one JSON object a line.
    Json,
}

impl Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Json => "json",
        })
    }
}

/// The bounds of a whole-number setting, both allowed, and its default.
pub(super) struct Range<T> {
    least: T,
    pub most: T,
    pub default: T,
}

impl<T> Range<T> {
    pub const fn new(least: T, most: T, default: T) -> Self {
        Self {
            least,
            most,
            default,
        }
    }
}

impl<T: FromStr + PartialOrd + Copy + Display> Range<T> {
    pub fn parser(self) -> impl Fn(&Written) -> Result<T, String> {
        move |written| self.parse(written)
    }

    fn parse(&self, written: &Written) -> Result<T, String> {
        let Self { least, most, .. } = self;
        let number = written
            .as_str()
            .parse()
            .ok()
            .filter(|n| (*least..=*most).contains(n));
        number.ok_or_else(|| format!("{written} is not a whole number from {least} to {most}"))
    }

    /// The help text of the setting: what it is, then its bounds and default.
    pub fn help(&self, what: &str) -> String {
        let Self {
            least,
            most,
            default,
        } = self;
        format!("{what}, {least} to {most} [default: {default}]")
    }
}

pub(super) fn switch(written: &Written) -> Result<bool, String> {
    match written.as_str().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{written} is neither true nor false")),
    }
}

/// The addresses of all entries, each once. Port 0 asks for a free port each time, so it may stand there twice.
pub(super) fn listen(entries: &Vec<Written>) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    for entry in entries {
        for address in listen_entry(entry.as_str())? {
            if address.port() == 0 || !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    if addresses.is_empty() {
        return Err("at least one address is needed, such as 127.0.0.1:8080".into());
    }
    Ok(addresses)
}

/// Both loopback addresses, the meaning of `localhost`.
pub(super) fn loopbacks(port: u16) -> Vec<SocketAddr> {
    vec![
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ]
}

fn listen_entry(entry: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = entry.parse() {
        return Ok(vec![address]);
    }
    let named = entry
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match named {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => Ok(loopbacks(port)),
        _ => Err(format!(
            "{entry:?} is not ADDR:PORT; {}",
            listen_hint(entry, named)
        )),
    }
}

/// What was probably meant by an entry that is no address and port.
fn listen_hint(entry: &str, named: Option<(&str, u16)>) -> String {
    match (entry.parse::<IpAddr>(), named) {
        (Ok(IpAddr::V4(ip)), _) => format!("the port is missing: {ip}:8080"),
        (Ok(IpAddr::V6(ip)), _) => format!("an IPv6 address needs brackets and a port: [{ip}]:8080"),
        (_, Some(("" | "*", port))) => {
            format!("every address of this machine is 0.0.0.0:{port} (IPv4) or [::]:{port} (IPv6)")
        }
        (_, Some((_, port))) => {
            format!("it needs an IP address or localhost, such as 127.0.0.1:{port} or localhost:{port}")
        }
        _ => match entry.parse::<u16>() {
            Ok(port) => format!("the address is missing: localhost:{port}"),
            Err(_) => "it looks like 127.0.0.1:8080, [::1]:8080 or localhost:8080, with a port up to 65535".into(),
        },
    }
}

pub(super) fn store(written: &Written) -> Result<StoreUrl, String> {
    let expected = "expected sqlite:PATH, such as sqlite:dmwire.db, or memory:";
    match written.as_str().split_once(':') {
        Some(("memory", "") | ("sqlite", ":memory:")) => Ok(StoreUrl::Memory),
        Some(("sqlite", path)) if path.starts_with("//") => Err(format!(
            "{written} has the slashes of a URL before its path; {expected}"
        )),
        Some(("sqlite", path)) if !path.is_empty() => Ok(StoreUrl::Sqlite(path.into())),
        _ => Err(format!("{written} is not a store; {expected}")),
    }
}

/// `/a/b` without a slash at the end, or nothing for the root.
pub(super) fn base_path(written: &Written) -> Result<String, String> {
    let trimmed = written.as_str().trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let good = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(plain);
    if trimmed.split('/').all(good) {
        Ok(format!("/{trimmed}"))
    } else {
        Err(format!(
            "{written} is not a path such as /demo, of letters, digits and - . _ ~ between single slashes"
        ))
    }
}

pub(super) fn log_format(written: &Written) -> Result<LogFormat, String> {
    match written.as_str() {
        "plain" => Ok(LogFormat::Plain),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{written} is neither plain nor json")),
    }
}

/// A log filter, checked more strictly than the logger does: it would take a misspelt level for the name of a module
/// and say nothing from then on.
pub(super) fn log_filter(written: &Written) -> Result<String, String> {
    let is_level = |level: &str| level.trim().parse::<log::LevelFilter>().is_ok();
    let good = |directive: &str| match directive.split_once('=') {
        Some((target, level)) => {
            !target.trim().is_empty() && !target.contains('/') && is_level(level)
        }
        None => is_level(directive),
    };
    if written.as_str().split(',').all(good) {
        Ok(written.as_str().to_owned())
    } else {
        Err(format!(
            "{written} is not a log filter; expected a level (off, error, warn, info, debug or trace) or levels by module, \
             such as info,dmwire::store=debug"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(parse: impl Fn(&Written) -> Result<T, String>, text: &str) -> Result<T, String> {
        parse(&Written::from(text.to_owned()))
    }

    fn listening(text: &str) -> Result<Vec<String>, String> {
        let addresses = listen(
            &text
                .split(' ')
                .map(|entry| Written::from(entry.to_owned()))
                .collect(),
        )?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn listening_takes_addresses_and_localhost() {
        assert_eq!(
            listening("127.0.0.1:0 [::1]:80").unwrap(),
            ["127.0.0.1:0", "[::1]:80"]
        );
        assert_eq!(
            listening("LocalHost:81 127.0.0.1:81").unwrap(),
            ["127.0.0.1:81", "[::1]:81"]
        );
        assert_eq!(listening("127.0.0.1:0 127.0.0.1:0").unwrap().len(), 2);
    }

    #[test]
    fn a_bad_address_comes_with_the_one_that_was_probably_meant() {
        for (text, hint) in [
            ("127.0.0.1", "127.0.0.1:8080"),
            ("::1", "[::1]:8080"),
            (":80", "0.0.0.0:80 (IPv4)"),
            ("*:80", "[::]:80"),
            ("80", "localhost:80"),
            ("example.org:80", "127.0.0.1:80"),
            ("127.0.0.1:65536", "up to 65535"),
            ("localhost", "localhost:8080"),
            ("", "127.0.0.1:8080"),
        ] {
            let error = listening(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!(listen(&Vec::new()).unwrap_err().contains("at least one"));
    }

    #[test]
    fn a_set_of_keys_is_a_file_or_an_address() {
        for (text, kept) in [
            ("keys.json", Some(Jwks::File("keys.json".into()))),
            ("https://a/b?c", Some(Jwks::Url("https://a/b?c".into()))),
            ("http://[::1]:80", Some(Jwks::Url("http://[::1]:80".into()))),
            ("", None),
        ] {
            assert_eq!(with(jwks, text).unwrap(), kept);
        }
        for bad in [
            "ftp://a/b",
            "https://",
            "https:///b",
            "https://a b",
            "https://u:p@a/b",
        ] {
            let error = with(jwks, bad).unwrap_err();
            assert!(!error.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (text, seconds) in [
            ("1", 1),
            ("90s", 90),
            ("15m", 900),
            ("1h", 3600),
            ("7d", 604_800),
        ] {
            assert_eq!(duration(text), Ok(seconds));
        }
        for bad in [
            "",
            "0",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "1y",
            "1 h",
            "4000d",
            "1é",
            "99999999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_store_is_a_file_or_memory() {
        assert_eq!(with(store, "memory:"), Ok(StoreUrl::Memory));
        assert_eq!(with(store, "sqlite::memory:"), Ok(StoreUrl::Memory));
        assert_eq!(
            with(store, "sqlite:/var/lib/a.db"),
            Ok(StoreUrl::Sqlite("/var/lib/a.db".into()))
        );
        for bad in [
            "",
            "sqlite:",
            "dmwire.db",
            "memory",
            "memory:x",
            "postgres://db",
            "sqlite://a.db",
        ] {
            assert!(
                with(store, bad).unwrap_err().contains("sqlite:dmwire.db"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_base_path_has_a_slash_in_front_and_none_behind() {
        for (text, path) in [
            ("", ""),
            ("/", ""),
            ("demo", "/demo"),
            ("/demo/", "/demo"),
            ("/a/b.c~d_e-f", "/a/b.c~d_e-f"),
        ] {
            assert_eq!(with(base_path, text).unwrap(), path);
        }
        for bad in [
            "/a//b", "/a b", "/{id}", "/..", "/a/./b", "/é", "/a?b", "/%41",
        ] {
            assert!(with(base_path, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_filter_is_made_of_levels() {
        for good in [
            "info",
            "WARN",
            "off,dmwire=debug",
            "info, dmwire::store=trace",
        ] {
            assert!(with(log_filter, good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "dmwire",
            "info,",
            "dmwire=loud",
            "=info",
            "info/word",
        ] {
            assert!(with(log_filter, bad).is_err(), "{bad}");
        }
    }
}

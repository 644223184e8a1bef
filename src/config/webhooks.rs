//! Webhooks: HTTP requests about events, for a back end that does not keep a connection.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::RawValue;
use super::global_address::is_global;
use super::setting::{Kind, file, list_of, list_or_hidden, number, section, strings, switch};

section! {
    /// HTTP requests about events.
    pub struct WebhooksConfig = config.webhooks, "Webhooks";

    /// URL to which events are posted, signed as Standard Webhooks describes; may be repeated
    ///
    /// Each receiver gets each event of --webhook-events at least once, also after a restart, from its first use on.
    webhook: Vec<WebhookUrl> = Vec::new(), list_or_hidden("URL", urls, |urls: &Vec<WebhookUrl>| {
        let has_secret = urls.iter().any(WebhookUrl::may_have_secret);
        (!has_secret).then(|| strings(urls))
    });

    /// File with the secrets that sign the requests: a line `whsec_BASE64` for each, several while receivers change to a new one
    ///
    /// The file is read again on SIGHUP. A line that begins with # is a comment.
    webhook_secret_file: Option<PathBuf> = None, file();

    /// Events that are posted: message.created, message.waiting, user.online, user.offline, room.joined or room.left
    webhook_events: Vec<WebhookEvent> = WebhookEvent::DEFAULT.to_vec(),
        list_of("EVENT", events, |events: &Vec<WebhookEvent>| strings(events))
            .default_text("message.created and message.waiting");

    /// Time after which a message that no session of its recipient has received is reported as message.waiting
    webhook_waiting_seconds: u64 = 5, number("SECONDS", 1..=86_400);

    /// Time for which an event is posted again while the receiver does not accept it; then it is dropped
    webhook_retry_hours: Hours = Hours::new(24), Kind::one("HOURS", Hours::parse, ToString::to_string);

    /// Allow receivers at http:// URLs and at addresses of this machine and of private networks
    webhook_allow_private: bool = false, switch().flag_alone();
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WebhookEvent {
    /// A message was stored.
    MessageCreated,
    /// No session of a recipient has received a message in time.
    MessageWaiting,
    /// A user has come online.
    UserOnline,
    /// A user is not online any more.
    UserOffline,
    /// A user has become a member of a room.
    RoomJoined,
    /// A user is not a member of a room any more.
    RoomLeft,
}

impl WebhookEvent {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::MessageCreated,
        Self::MessageWaiting,
        Self::UserOnline,
        Self::UserOffline,
        Self::RoomJoined,
        Self::RoomLeft,
    ];
    const DEFAULT: [Self; 2] = [Self::MessageCreated, Self::MessageWaiting];

    /// The name in requests and in the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageCreated => "message.created",
            Self::MessageWaiting => "message.waiting",
            Self::UserOnline => "user.online",
            Self::UserOffline => "user.offline",
            Self::RoomJoined => "room.joined",
            Self::RoomLeft => "room.left",
        }
    }
}

impl Display for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn events(values: &[RawValue]) -> Result<Vec<WebhookEvent>, String> {
    let mut events = Vec::new();
    for value in values {
        let found = WebhookEvent::ALL
            .into_iter()
            .find(|event| event.as_str() == value.as_str());
        let event = found.ok_or_else(|| {
            let names = WebhookEvent::ALL.map(WebhookEvent::as_str).join(", ");
            format!("{value} is not one of {names}")
        })?;
        if !events.contains(&event) {
            events.push(event);
        }
    }
    if events.is_empty() {
        return Err("no event is named".to_owned());
    }
    Ok(events)
}

/// The URL of a receiver. It is displayed without user, password and query, which may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    /// The whole URL.
    pub fn whole(&self) -> &str {
        self.0.as_str()
    }

    /// The URL of requests: without user and password.
    pub fn without_user(&self) -> String {
        let mut url = self.0.clone();
        // They fail for URLs without a host only.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.into()
    }

    /// The user and the password.
    pub fn credentials(&self) -> Option<(String, String)> {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = self.0.password().unwrap_or_default();
        let has_some = !self.0.username().is_empty() || !password.is_empty();
        has_some.then(|| (decoded(self.0.username()), decoded(password)))
    }

    /// Parts of it are not displayed.
    fn may_have_secret(&self) -> bool {
        self.credentials().is_some() || self.0.query().is_some()
    }

    /// Why the URL needs `--webhook-allow-private`; `None`: it does not. A name may still resolve to a private address.
    pub(super) fn private_reason(&self) -> Option<&'static str> {
        if self.0.scheme() != "https" {
            return Some("is not an https:// URL");
        }
        let is_private = match self.0.host() {
            Some(Host::Ipv4(address)) => !is_global(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => !is_global(IpAddr::V6(address)),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            None => true,
        };
        is_private.then_some("has an address of this machine or of a private network")
    }
}

/// Without user, password and query.
impl Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, host) = (&self.0, self.0.host_str().unwrap_or_default());
        write!(f, "{}://{host}", url.scheme())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}

fn urls(values: &[RawValue]) -> Result<Vec<WebhookUrl>, String> {
    let mut urls = Vec::new();
    for value in values {
        let url = url(value.as_str())?;
        if urls.contains(&url) {
            return Err(format!("{url} occurs twice"));
        }
        urls.push(url);
    }
    Ok(urls)
}

impl FromStr for WebhookUrl {
    type Err = String;

    /// The error does not repeat the text, which may have a password.
    fn from_str(text: &str) -> Result<Self, String> {
        url(text)
    }
}

fn url(text: &str) -> Result<WebhookUrl, String> {
    let invalid =
        || "expected a URL such as https://example.org/hook, without a fragment (#...)".to_owned();
    // A URL parser would skip spaces and further slashes.
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    if rest.is_empty() || rest.starts_with('/') || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(invalid());
    }
    let url = Url::parse(text).map_err(|_| invalid())?;
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    if !matches!(url.scheme(), "http" | "https") || !has_host || url.fragment().is_some() {
        return Err(invalid());
    }
    Ok(WebhookUrl(url))
}

/// A time in hours, stored in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours(pub i64);

impl Hours {
    const MS: f64 = 3_600_000.0;
    /// 30 days.
    const MAX: f64 = 720.0;

    /// A whole number of hours.
    pub const fn new(hours: i64) -> Self {
        Self(hours * 3_600_000)
    }

    fn parse(raw: &RawValue) -> Result<Self, String> {
        let hours = raw.as_str().parse::<f64>().ok();
        hours
            .filter(|hours| *hours > 0.0 && *hours <= Self::MAX)
            .map(|hours| Self((hours * Self::MS).ceil() as i64))
            .ok_or_else(|| {
                format!(
                    "{raw} is not a number of hours above 0 and up to {}",
                    Self::MAX
                )
            })
    }
}

impl Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / Self::MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let parsed = url("https://me:pass%20word@example.org:8443/hook?key=hidden").unwrap();
        assert_eq!(parsed.to_string(), "https://example.org:8443/hook");
        assert_eq!(
            parsed.without_user(),
            "https://example.org:8443/hook?key=hidden"
        );
        let credentials = Some(("me".to_owned(), "pass word".to_owned()));
        assert_eq!(parsed.credentials(), credentials);
        assert!(parsed.may_have_secret());
        assert!(!url("https://example.org").unwrap().may_have_secret());
        for invalid in [
            "",
            "example.org",
            "https://",
            "https:///hidden",
            "ftp://hidden/",
            "https://a b",
            "https://hidden@",
            "https://a/#hidden",
        ] {
            let error = url(invalid).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_url_is_private_by_its_scheme_or_its_address() {
        for (text, is_private) in [
            ("https://example.org/", false),
            ("https://1.1.1.1/", false),
            ("https://[2606:4700:4700::1111]/", false),
            ("http://example.org/", true),
            ("https://127.0.0.1/", true),
            // Other notations of 127.0.0.1.
            ("https://2130706433/", true),
            ("https://0x7f.1/", true),
            ("https://[::ffff:127.0.0.1]/", true),
            ("https://10.1.2.3/", true),
            ("https://[::1]:8443/", true),
            ("https://localhost/", true),
            ("https://a.LocalHost./", true),
        ] {
            let found = url(text).unwrap().private_reason();
            assert_eq!(found.is_some(), is_private, "{text}");
        }
    }
}

//! Notifications: messages that an application publishes through Redis.

use std::fmt::{self, Display};

use percent_encoding::percent_decode_str;
use url::Url;

use super::RawValue;
use super::setting::{Kind, quoted, section, text};

section! {
    /// Messages that an application publishes through Redis.
    pub struct NotifyConfig = config.notify, "Notifications";

    /// Redis server whose publications on the channels notifications:USER become messages to these users:
    /// redis://USER:PASSWORD@HOST:PORT/DB, of which only HOST is required, or rediss:// for TLS
    ///
    /// Anyone who may publish there may write as anyone. A publication that nobody has subscribed to at its moment is lost: use
    /// POST /v1/messages when confirmation is needed.
    notify: Option<RedisUrl> = None, redis_url();

    /// User whose messages the notifications are, unless they name another one; nobody can connect as this user
    notify_sender: String = "system".into(), text("USER", user_id);
}

impl NotifyConfig {
    /// Whether nobody may connect as this user.
    pub fn reserves(&self, user: &str) -> bool {
        self.notify.is_some() && self.notify_sender == user
    }
}

/// A user id.
fn user_id(raw: &RawValue) -> Result<String, String> {
    let text = raw.as_str();
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"._~@:+-".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_part) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{raw} is not a user id: 1 to 64 characters from A-Z a-z 0-9 . _ ~ @ : + -"
        ))
    }
}

/// The address of a Redis server.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// Use TLS.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user's name; `None`: the default user.
    pub user: Option<String>,
    /// The password, which is never displayed.
    pub password: Option<String>,
    /// The number of the database.
    pub database: u32,
}

/// Without user and password.
impl Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)?;
        match self.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// An address with a password is not displayed.
fn redis_url() -> Kind<Option<RedisUrl>> {
    Kind::one_or_hidden("URL", parse, |url: &Option<RedisUrl>| match url {
        None => Some(quoted("")),
        Some(url) if url.user.is_some() || url.password.is_some() => None,
        Some(url) => Some(quoted(url)),
    })
}

/// An address; an empty text stands for none. The error does not repeat the text, which may have a password.
fn parse(raw: &RawValue) -> Result<Option<RedisUrl>, String> {
    const DEFAULT_PORT: u16 = 6379;
    let text = raw.as_str();
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || {
        "expected the address of a Redis server: redis://[USER:PASSWORD@]HOST[:PORT][/DB], or rediss://... for TLS".to_owned()
    };
    // A URL parser would skip spaces and further slashes.
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    if rest.is_empty() || rest.starts_with('/') || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(invalid());
    }
    let url = Url::parse(text).map_err(|_| invalid())?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return Err(invalid()),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid());
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(invalid)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let database = match url.path() {
        "" | "/" => 0,
        path => {
            let digits = path.get(1..).unwrap_or_default();
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            digits.parse().map_err(|_| invalid())?
        }
    };
    let decoded = |text: &str| {
        let text = percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| invalid())?;
        Ok::<_, String>((!text.is_empty()).then(|| text.into_owned()))
    };
    let (user, password) = (
        decoded(url.username())?,
        decoded(url.password().unwrap_or_default())?,
    );
    if user.is_some() && password.is_none() {
        return Err("the address has a user without a password; for a password alone, write redis://:PASSWORD@HOST".into());
    }
    Ok(Some(RedisUrl {
        tls,
        host: host.to_owned(),
        port: url.port().unwrap_or(DEFAULT_PORT),
        user,
        password,
        database,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_redis_are_parsed_and_shown_without_their_password() {
        for (text, shown, user, password) in [
            ("redis://localhost", "redis://localhost:6379", None, None),
            (
                "rediss://a.example:7000/3",
                "rediss://a.example:7000/3",
                None,
                None,
            ),
            ("redis://[::1]:1/", "redis://[::1]:1", None, None),
            ("redis://:p%40ss@h/0", "redis://h:6379", None, Some("p@ss")),
            (
                "redis://me:secret@h",
                "redis://h:6379",
                Some("me"),
                Some("secret"),
            ),
        ] {
            let url = parse(&text.into()).unwrap().unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert!(!format!("{url:?}").contains("secret"));
            assert_eq!(
                (url.user.as_deref(), url.password.as_deref()),
                (user, password)
            );
        }
        assert_eq!(parse(&"".into()), Ok(None));
        for invalid in [
            "redis://",
            "redis:///1",
            "redis://h/x",
            "redis://h/1/2",
            "redis://h/-1",
            "redis://h?db=1",
            "redis://h#insecure",
            "redis://h:70000",
            "redis://secret@h",
            "redis://a b",
            "unix:///secret",
            "http://h",
            "localhost:6379",
        ] {
            let error = parse(&invalid.into()).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

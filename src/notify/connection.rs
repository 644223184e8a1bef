//! The connection to Redis.

use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    Client, Connection, ConnectionAddr, ConnectionLike as _, ErrorKind, IntoConnectionInfo as _,
    ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
};

use crate::config::RedisUrl;

/// How long connecting and subscribing may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// When nothing has arrived for this time, another connection asks whether Redis answers.
const CHECK_AFTER: Duration = Duration::from_secs(5);
/// How long the end of a subscription may take.
const END_TIMEOUT: Duration = Duration::from_millis(100);
/// A connection without data is probed after this time, and given up after some probes without an answer.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// A subscription to channels.
pub struct Subscription {
    client: Client,
    connection: Connection,
}

impl Subscription {
    /// Connects, and subscribes to the channels whose names match `pattern`.
    pub fn open(url: &RedisUrl, pattern: &str) -> RedisResult<Self> {
        let client = Client::open(connection_info(url)?)?;
        let mut connection = client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        let mut subscribe = redis::cmd("PSUBSCRIBE");
        subscribe.arg(pattern);
        // The subscription is active when this reply has arrived, and nothing else arrives before it.
        let reply = connection.req_command(&subscribe)?;
        reply.extract_error()?;
        connection.set_read_timeout(Some(CHECK_AFTER))?;
        Ok(Self { client, connection })
    }

    /// Calls `receive` with the channel and the payload of each publication until the connection ends. Returns the reason.
    pub fn each(&mut self, mut receive: impl FnMut(&str, &[u8])) -> RedisError {
        let Self { client, connection } = self;
        let mut messages = connection.as_pubsub();
        let error = loop {
            match messages.get_message() {
                Ok(message) => receive(message.get_channel_name(), message.get_payload_bytes()),
                Err(error) if error.is_timeout() => {
                    if let Err(error) = check(client) {
                        break error;
                    }
                }
                Err(error) => break error,
            }
        };
        // The connection is unsubscribed when this is dropped, for which a server that does not answer must not be waited.
        drop(messages.set_read_timeout(Some(END_TIMEOUT)));
        error
    }
}

/// Asks Redis for an answer over a new connection: that of a subscription gets none if nothing is published.
fn check(client: &Client) -> RedisResult<()> {
    let mut connection = client.get_connection_with_timeout(TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    redis::cmd("PING").exec(&mut connection)
}

fn connection_info(url: &RedisUrl) -> RedisResult<redis::ConnectionInfo> {
    let address = if url.tls {
        ConnectionAddr::TcpTls {
            host: url.host.clone(),
            port: url.port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(url.host.clone(), url.port)
    };
    if !address.is_supported() {
        let kind = ErrorKind::InvalidClientConfig;
        return Err((kind, "TLS is not supported").into());
    }
    let mut settings = RedisConnectionInfo::default()
        .set_db(url.database.into())
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    if let Some(user) = &url.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &url.password {
        settings = settings.set_password(password);
    }
    let keepalive = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES);
    let tcp = TcpSettings::default().set_keepalive(keepalive);
    let info = address.into_connection_info()?;
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

//! Asks the server that a configuration describes whether it is alive, for container health checks: an image then
//! needs no HTTP client of its own.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConnection};

use super::Config;

/// How long connecting may take, and how long the answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Length of `HTTP/1.1 200`, all that is read of the answer.
const STATUS_LENGTH: usize = 12;

/// Sends `GET {base_path}/healthz` to the first listen address; an unspecified one (`0.0.0.0`, `[::]`) is reached on
/// loopback.
///
/// # Errors
///
/// Whatever kept a 200 from coming within three seconds, in one line; also a first address with port 0, which says
/// nothing about where the server listens.
pub fn healthcheck(config: &Config) -> io::Result<()> {
    let address = config
        .listen
        .first()
        .copied()
        .map(reachable)
        .ok_or_else(|| io::Error::other("no listen address"))?;
    if address.port() == 0 {
        return Err(io::Error::other(format!(
            "{address}: port 0 is any free port; name the one the server took"
        )));
    }
    ask(address, config)
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {}", plain(&error))))
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr, config: &Config) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let mut stream = TimeoutStream {
        stream,
        until: Instant::now() + PATIENCE,
    };
    let request = format!(
        "GET {}/healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        config.base_path
    );
    let status = if config.tls_cert.is_some() {
        let probe = crate::tls::probe().map_err(io::Error::other)?;
        let name = ServerName::from(address.ip());
        let mut tls = ClientConnection::new(probe, name).map_err(io::Error::other)?;
        status(&mut rustls::Stream::new(&mut tls, &mut stream), &request)?
    } else {
        status(&mut stream, &request)?
    };
    if status.starts_with("HTTP/1.") && status.ends_with(" 200") {
        Ok(())
    } else {
        Err(io::Error::other(format!("answered {status:?}, not 200")))
    }
}

/// The first bytes of the answer.
fn status(stream: &mut (impl Read + Write), request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut status = [0; STATUS_LENGTH];
    let mut filled = 0;
    while filled < STATUS_LENGTH {
        match stream.read(&mut status[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&status[..filled]).into_owned())
}

/// A stream with one deadline for all that is done with it: a server that sends a byte a second is not alive.
struct TimeoutStream {
    stream: TcpStream,
    until: Instant,
}

impl TimeoutStream {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for TimeoutStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for TimeoutStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A timed-out read says "resource temporarily unavailable" on some systems.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    }
}

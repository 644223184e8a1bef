//! `dmwire healthcheck`: asks a running server whether it is alive. A container image then needs no HTTP client.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::ArgMatches;
use dmwire::config::{Config, Resolved};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConnection};

use super::{Command, CommandError, Settings, failed};

pub const COMMAND: Command = Command {
    clap: || {
        clap::Command::new("healthcheck").about(
            "Ask the server at the first listen address whether it is alive; the exit code is 0 if it is",
        )
    },
    settings: Settings::Only(&["listen", "base_path", "tls_cert", "tls_key"]),
    run,
};

/// Timeout of the connection attempt, and of the request.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Length of `HTTP/1.1 200`. The rest of the response is not read.
const STATUS_LENGTH: usize = 12;

fn run(matches: &ArgMatches, _: &ArgMatches) -> Result<(), CommandError> {
    healthcheck(&Resolved::new(matches)?.config).map_err(failed("the server is not healthy"))
}

/// Sends `GET {base_path}/healthz` to the first listen address, or to loopback if that is unspecified (`0.0.0.0`, `[::]`).
/// Fails unless the response has status 200. Port 0 is an error, since it does not tell where the server listens.
fn healthcheck(config: &Config) -> io::Result<()> {
    let address = config
        .network
        .listen
        .addresses
        .first()
        .copied()
        .map(reachable)
        .ok_or_else(|| io::Error::other("no listen address"))?;
    if address.port() == 0 {
        return Err(io::Error::other(format!(
            "{address}: port 0 stands for any free port; name the port of the server"
        )));
    }
    request(address, config).map_err(|error| {
        let hint = if !config.tls.is_enabled() && has_answered(&error) && speaks_tls(address) {
            "; this port speaks TLS: give this command --tls-cert and --tls-key as well"
        } else {
            ""
        };
        let text = format!("{address}: {}{hint}", describe(&error));
        io::Error::new(error.kind(), text)
    })
}

/// Whether the server has answered, so that another connection is not in vain.
fn has_answered(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    !matches!(error.kind(), ConnectionRefused | TimedOut | WouldBlock)
}

/// Whether a TLS handshake succeeds.
fn speaks_tls(address: SocketAddr) -> bool {
    let handshake = || -> io::Result<()> {
        let mut stream = connect(address)?;
        tls_client(address)?.complete_io(&mut stream)?;
        Ok(())
    };
    handshake().is_ok()
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

fn request(address: SocketAddr, config: &Config) -> io::Result<()> {
    let mut stream = connect(address)?;
    let request = format!(
        "GET {}/healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
        config.network.base_path
    );
    let status = if config.tls.is_enabled() {
        let mut tls = tls_client(address)?;
        status(&mut rustls::Stream::new(&mut tls, &mut stream), &request)?
    } else {
        status(&mut stream, &request)?
    };
    if status.starts_with("HTTP/1.") && status.ends_with(" 200") {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "the response is {status:?}, not 200"
        )))
    }
}

fn connect(address: SocketAddr) -> io::Result<DeadlineStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    Ok(DeadlineStream {
        stream,
        deadline: Instant::now() + TIMEOUT,
    })
}

fn tls_client(address: SocketAddr) -> io::Result<ClientConnection> {
    let probe = dmwire::tls::probe().map_err(io::Error::other)?;
    ClientConnection::new(probe, ServerName::from(address.ip())).map_err(io::Error::other)
}

/// The first bytes of the response.
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

/// A stream with one deadline for all operations together: a server that sends a byte per second is not alive.
struct DeadlineStream {
    stream: TcpStream,
    deadline: Instant,
}

impl DeadlineStream {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(remaining))
    }
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.remaining()?)?;
        self.stream.read(buffer)
    }
}

impl Write for DeadlineStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.remaining()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The error text. The text of a timeout is "resource temporarily unavailable" on some systems.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no response within {} s", TIMEOUT.as_secs())
        }
        _ => error.to_string(),
    }
}

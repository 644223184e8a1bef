//! Binds the sockets to listen on.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listen;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (--listen): {error}")]
pub struct ListenError {
    address: SocketAddr,
    error: io::Error,
}

pub fn listen(config: &Listen) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::new();
    let mut failed = None;
    for address in &config.addresses {
        match bind(*address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 does without [::1], unless somebody asked for it.
            Err(error) if config.is_default && no_such_address(&error) => {
                log::warn!("not listening on {address}: {error}");
                failed = Some(ListenError {
                    address: *address,
                    error,
                });
            }
            Err(error) => {
                return Err(ListenError {
                    address: *address,
                    error,
                });
            }
        }
    }
    match failed {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn no_such_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(97) // EAFNOSUPPORT
}

/// Bytes that the kernel is to keep for a client at most; it takes twice as much, bookkeeping included. Enough for a megabyte
/// a second to the other side of the world.
const SEND_BUFFER: usize = 128 * 1024;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // [::] and 0.0.0.0 can be listened on side by side; each address means what it says.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Connections inherit it. The kernel would else keep megabytes for each client that stops reading, which is no less memory
    // for not being this process's; and what it has taken is not told from what has arrived.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

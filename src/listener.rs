//! Binds the sockets that the server listens on.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Listen;

/// Size of the kernel's send buffer of a connection; the kernel doubles it for its bookkeeping. It is enough for a megabyte per
/// second to a client on the other side of the world.
const SEND_BUFFER: usize = 128 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The system has no such address family.
const EAFNOSUPPORT: i32 = 97;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({setting}): {error}{}", hint(error))]
pub struct ListenError {
    address: SocketAddr,
    setting: &'static str,
    error: io::Error,
}

/// What an operator can do about an error.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program, or another dmwire, listens there: stop it, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a permission (README.md)",
        _ => "",
    }
}

/// The sockets of the operations port. The error with which they could not be bound, if they are the default: the server then does
/// without the port.
pub type OperationsListeners = Result<Vec<TcpListener>, ListenError>;

/// Binds the addresses of the operations port.
///
/// # Errors
/// [`ListenError`] if the addresses are configured.
pub fn listen_for_operations(config: &Listen) -> Result<OperationsListeners, ListenError> {
    match listen(config, "--ops-listen") {
        Err(error) if config.is_default => Ok(Err(error)),
        result => result.map(Ok),
    }
}

/// Binds all addresses that `setting` names. A default address that the machine does not have is skipped, if another one is bound.
///
/// # Errors
/// [`ListenError`]
pub fn listen(config: &Listen, setting: &'static str) -> Result<Vec<TcpListener>, ListenError> {
    let failed = |address, error| ListenError {
        address,
        setting,
        error,
    };
    let mut listeners = Vec::new();
    let mut skipped = None;
    for &address in &config.addresses {
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 has no [::1], which is a default address.
            Err(error) if config.is_default && no_such_address(&error) => {
                log::warn!("not listening on {address}: {error}");
                skipped = Some(failed(address, error));
            }
            Err(error) => return Err(failed(address, error)),
        }
    }
    match skipped {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn no_such_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // So that [::] and 0.0.0.0 can both be bound, and each means only its own address family.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Connections inherit it. By default the kernel buffers megabytes for a client that does not read. That memory is not
    // counted by this process, and bytes in it look as if they had been sent.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

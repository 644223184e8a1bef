//! A socket whose calls are repeated after an interruption.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// A socket with timeouts. The kernel interrupts its calls with `EINTR`, also without a signal handler, when the process is stopped
/// and continued (signal(7)); a WebSocket library reports that as a lost connection.
pub struct Uninterrupted(pub TcpStream);

impl Read for Uninterrupted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        repeat(|| self.0.read(buffer))
    }
}

impl Write for Uninterrupted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        repeat(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn repeat<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

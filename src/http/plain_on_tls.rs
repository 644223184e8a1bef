//! A client that sends plain HTTP to a port with TLS gets a readable answer instead of a TLS alert.

use std::io;
use std::time::Duration;

use actix_rt::net::TcpStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::rejection::Rejection;

/// How long the client may take to read the answer and to close the connection.
const LINGER: Duration = Duration::from_secs(1);
/// How much of the request is read, so that the answer is not lost in a reset.
const MAX_DISCARDED: u64 = 64 * 1024;

/// Whether a connection begins like an HTTP request: with a method, or with an empty line before it (RFC 9112 section 2.2). TLS begins
/// with the byte 0x16. The bytes stay unread.
///
/// # Errors
/// If the connection is closed or broken.
pub async fn is_plain_http(io: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match io.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0].is_ascii_alphabetic() || matches!(first[0], b'\r' | b'\n')),
    }
}

/// Answers with an explanation and closes the connection.
pub async fn explain(mut io: TcpStream) {
    let answered = async {
        io.write_all(&Rejection::plain_http().response(false))
            .await?;
        io.shutdown().await?;
        let mut rest = io.take(MAX_DISCARDED);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Errors and the timeout are ignored: the connection is closed in any case.
    drop(tokio::time::timeout(LINGER, answered).await);
}

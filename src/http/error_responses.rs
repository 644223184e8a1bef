//! Adds the security headers to the responses that actix-http writes itself: to requests that are not HTTP (400), have too large a head
//! (431) or do not arrive in time (408). It offers no way to change them before they are written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::security_headers;

/// Bytes to write in place of those that actix-http has passed.
#[derive(Debug, Default)]
pub struct ErrorResponses {
    replacement: Vec<u8>,
    written: usize,
    /// The number of bytes that are replaced.
    replaced: usize,
}

impl ErrorResponses {
    /// As [`AsyncWrite::poll_write`], with headers added to a response of actix-http at the end of `bytes`. `tls`: the connection is
    /// encrypted by this server.
    pub fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
        bytes: &[u8],
        tls: bool,
    ) -> Poll<io::Result<usize>> {
        if self.replacement.is_empty() {
            let Some(replacement) = with_headers(bytes, tls) else {
                return Pin::new(io).poll_write(cx, bytes);
            };
            self.replacement = replacement;
            self.replaced = bytes.len();
        }
        // After `Pending` the caller passes the same bytes again.
        while self.written < self.replacement.len() {
            let rest = &self.replacement[self.written..];
            let written = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Ok(0));
            }
            self.written += written;
        }
        let Self { replaced, .. } = std::mem::take(self);
        Poll::Ready(Ok(replaced))
    }
}

/// The bytes with the headers added to the last response, if that has no body and none of the headers: the responses of this server have
/// them already.
fn with_headers(bytes: &[u8], tls: bool) -> Option<Vec<u8>> {
    const END: &[u8] = b"\r\n\r\n";
    const VERSION: &[u8] = b"HTTP/1.";
    let heads = bytes.strip_suffix(END)?;
    let at = heads
        .windows(VERSION.len())
        .rposition(|part| part == VERSION)?;
    let head = str::from_utf8(&heads[at..]).ok()?.to_ascii_lowercase();
    let is_error = head.get(VERSION.len() + 1..)?.starts_with(" 4");
    let has = |header: &str| head.contains(&format!("\r\n{header}: "));
    let is_own = is_error
        && !head.contains("\r\n\r\n")
        && head.contains("\r\ncontent-length: 0")
        && !has("x-content-type-options");
    is_own.then(|| {
        let headers = security_headers::lines(tls);
        [heads, b"\r\n", headers.as_bytes(), b"\r\n"].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: &str =
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    fn added(bytes: &str) -> Option<String> {
        with_headers(bytes.as_bytes(), false)
            .map(|bytes| String::from_utf8(bytes).expect("headers are text"))
    }

    #[test]
    fn headers_are_added_to_the_last_response_without_any() {
        let headers = security_headers::lines(false);
        let with = ERROR.replace("close\r\n\r\n", &format!("close\r\n{headers}\r\n"));
        assert_eq!(added(ERROR).as_deref(), Some(&*with));
        let first = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let both = added(&format!("{first}{ERROR}"));
        assert_eq!(both, Some(format!("{first}{with}")));
        for other in [
            &with,
            first,
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "ontent-length: 0\r\n\r\n",
            "HTTP/1.\r\n\r\n",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(added(other), None, "{other}");
        }
        let tls = with_headers(ERROR.as_bytes(), true).expect("headers are added");
        assert!(String::from_utf8_lossy(&tls).contains("\r\nstrict-transport-security: "));
    }

    /// Accepts three bytes at a time, and nothing each other time.
    #[derive(Default)]
    struct Narrow {
        written: Vec<u8>,
        is_full: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.is_full = !self.is_full;
            if self.is_full {
                return Poll::Pending;
            }
            let bytes = &bytes[..bytes.len().min(3)];
            self.written.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_replacement_is_written_once_whatever_the_socket_accepts() {
        let (mut responses, mut io) = (ErrorResponses::default(), Narrow::default());
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut rest = ERROR.as_bytes();
        while !rest.is_empty() {
            if let Poll::Ready(written) = responses.poll_write(&mut io, cx, rest, true) {
                rest = &rest[written.expect("no error")..];
            }
        }
        let expected = with_headers(ERROR.as_bytes(), true).expect("headers are added");
        assert_eq!(io.written, expected);
    }
}

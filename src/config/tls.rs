//! TLS: the server's certificate.

use std::path::PathBuf;

use super::setting::{file, section};

section! {
    /// The server's certificate, if it speaks TLS itself.
    pub struct TlsConfig = config.tls, "TLS";

    /// Certificate chain in PEM; with --tls-key the server speaks TLS (`https://`, `wss://`)
    ///
    /// The file is read again on SIGHUP and when it changes.
    tls_cert: Option<PathBuf> = None, file().common();

    /// Private key of the certificate, in PEM
    tls_key: Option<PathBuf> = None, file().common();
}

impl TlsConfig {
    /// Whether the server speaks TLS itself.
    pub fn is_enabled(&self) -> bool {
        self.tls_cert.is_some()
    }
}

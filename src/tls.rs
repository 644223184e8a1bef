//! TLS at the door: certificate and key from two files, exchanged while connections go on.
//!
//! Not by actix-http's own TLS services, which offer HTTP/2 to every client and have none here.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_rustls::rustls;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, InconsistentKeys, ServerConfig, SignatureScheme,
};

use crate::config::TlsConfig;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// A certificate or key that cannot be used; its text names the file.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The server's side of TLS.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    /// As they were when they were first read.
    known: [Stamp; 2],
    shown: Arc<Shown>,
    /// What every handshake begins with.
    pub config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// The certificate that is shown now. Its lock is held for one clone or one exchange, never across an await.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

impl Tls {
    /// Reads the files that the settings name; `None` if they name none.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else, or a key of another certificate.
    pub fn new(config: &TlsConfig) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(cert), Some(key)) = (config.tls_cert.clone(), config.tls_key.clone()) else {
            return Ok(None);
        };
        let files = Files { cert, key };
        // Before they are read: what changes from here on is noticed.
        let known = files.stamp();
        let shown = Arc::new(Shown(RwLock::new(Arc::new(files.read()?))));
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(format!("TLS: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(Self {
            files,
            known,
            shown,
            config: Arc::new(server),
        })))
    }

    /// Reads the files again. Who connects from now on sees what they hold; if that is nothing good, what was shown before
    /// stays. Connections that are there are not touched.
    pub fn reload(&self) {
        match self.files.read() {
            Ok(read) => {
                *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                log::info!(file:% = self.files.cert.display(); "read the TLS certificate again");
            }
            Err(error) => log::error!("the TLS certificate stays as it was: {error}"),
        }
    }

    /// Looks at the files for as long as the server runs, and reads them again when they have changed.
    pub async fn watch(self: Arc<Self>) {
        let mut known = self.known;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.files.stamp();
            // While one of them is being replaced it may be missing: then the next look will tell.
            if now != known && now.iter().all(Option::is_some) {
                known = now;
                self.reload();
            }
        }
    }
}

/// What tells one state of a file from another: inode, length, and time of change.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Files {
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        let wrong = |path: &Path, what: &str| {
            let setting = if path == self.key { "key" } else { "cert" };
            TlsError(format!("tls_{setting}: {}: {what}", path.display()))
        };
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(&self.cert, &error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&self.cert, "holds no certificate in PEM"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| wrong(&self.key, &format!("no private key in PEM: {error}")))?;
        let key = ring::sign::any_supported_type(&key)
            .map_err(|error| wrong(&self.key, &error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(wrong(
                &self.key,
                &format!(
                    "is not the key of the certificate in {}",
                    self.cert.display()
                ),
            )),
            Err(error) => Err(wrong(&self.cert, &error.to_string())),
        }
    }

    fn stamp(&self) -> [Stamp; 2] {
        [&self.cert, &self.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        })
    }
}

/// For a client that only asks this machine's own server whether it lives, and tells it nothing: any certificate will do.
///
/// # Errors
/// When the library has no protocol version in common with itself.
pub fn probe() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

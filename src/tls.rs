//! TLS for the public port, with a certificate and a key from files that are reloaded without interrupting connections.
//!
//! This does not use the TLS services of actix-http, because they offer HTTP/2, which this server does not support.

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

use crate::config::{TlsConfig, encoding_fault, read_error};

/// The interval for checking the files for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A certificate or a key cannot be used; the text names the setting and the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or the library has failed.
    #[error("{0}")]
    Failed(String),
    /// The content of a file is not a certificate or a key that can be used.
    #[error("{0}")]
    Invalid(String),
}

impl TlsError {
    /// Whether another attempt fails as well, unless somebody changes the file.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Invalid(_))
    }
}

/// The server side of TLS.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    /// The state of the files when they were first read.
    initial: [FileState; 2],
    current: Arc<CurrentCertificate>,
    /// The configuration for handshakes.
    pub config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// The certificate for new connections. The lock is held for one clone or one replacement, never across an await.
#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentCertificate {
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
    /// Reads the configured files. Returns `None` if TLS is not configured.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or the key does not belong to the certificate.
    pub fn new(config: &TlsConfig) -> Result<Option<Arc<Self>>, TlsError> {
        let (Some(cert), Some(key)) = (config.tls_cert.clone(), config.tls_key.clone()) else {
            return Ok(None);
        };
        let files = Files { cert, key };
        // Before the files are read, so that no later change is missed.
        let initial = files.state();
        let current = Arc::new(CurrentCertificate(RwLock::new(Arc::new(files.read()?))));
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Failed(format!("TLS: {error}")))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(Self {
            files,
            initial,
            current,
            config: Arc::new(server),
        })))
    }

    /// Reads the files again. New connections use the new certificate; after an error, they use the old one. Open connections are not
    /// affected.
    pub fn reload(&self) {
        match self.files.read() {
            Ok(read) => {
                *self
                    .current
                    .0
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                log::info!(file:% = self.files.cert.display(); "reloaded the TLS certificate");
            }
            Err(error) => {
                log::error!("cannot reload the TLS certificate, the old one stays in use: {error}");
            }
        }
    }

    /// Reloads the files when they change. Never returns.
    pub async fn watch(self: Arc<Self>) {
        let mut known = self.initial;
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let now = self.files.state();
            // A file may be missing while it is replaced; the next check finds it.
            if now != known && now.iter().all(Option::is_some) {
                known = now;
                self.reload();
            }
        }
    }
}

/// Inode, length and modification time of a file, which together change whenever the file does.
type FileState = Option<(u64, u64, i64, i64)>;

impl Files {
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        // Both settings may name the same file.
        let (cert, key) = (("tls_cert", &*self.cert), ("tls_key", &*self.key));
        let named = |(setting, path): (&str, &Path), reason: &str| {
            format!("{setting}: {}: {reason}", path.display())
        };
        let invalid = |file: (&str, &Path), reason: &str| TlsError::Invalid(named(file, reason));
        let text = |file: (&str, &Path)| {
            let text = std::fs::read(file.1)
                .map_err(|error| TlsError::Failed(named(file, &read_error(file.1, &error))))?;
            match encoding_fault(&text) {
                Some(fault) => Err(invalid(file, fault)),
                None => Ok(text),
            }
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text(cert)?)
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(cert, &error.to_string()))?;
        if chain.is_empty() {
            return Err(invalid(cert, "contains no certificate in PEM"));
        }
        let private = PrivateKeyDer::from_pem_slice(&text(key)?)
            .map_err(|error| invalid(key, &format!("no private key in PEM: {error}")))?;
        let private = ring::sign::any_supported_type(&private)
            .map_err(|error| invalid(key, &error.to_string()))?;
        let certified = CertifiedKey::new(chain, private);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(invalid(
                key,
                &format!(
                    "is not the key of the certificate in {}",
                    self.cert.display()
                ),
            )),
            Err(error) => Err(invalid(cert, &error.to_string())),
        }
    }

    fn state(&self) -> [FileState; 2] {
        [&self.cert, &self.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        })
    }
}

/// The configuration of a client that accepts any certificate. Only for the health check, which connects to this machine and sends
/// nothing confidential.
///
/// # Errors
/// If the provider supports no protocol version.
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

//! TLS: private certificate authorities for clients, and the certificate of a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use hyper_rustls::ConfigBuilderExt as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, WantsVerifier,
};

use mpsync_core::error::{Error, Result};

/// The certificate authorities that a client trusts.
#[derive(Clone)]
pub struct Tls {
    file: PathBuf,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the authorities in a PEM file, and no others.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has no certificate.
    pub fn from_ca_file(path: &Path) -> Result<Self> {
        let bad = |what: String| Error::config(format!("{} {what}", path.display()));
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|e| bad(format!("has an unusable certificate: {e}")))?;
        }
        Self::of(path, roots)
    }

    /// Trusts the authorities that the system trusts.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn system() -> Result<Self> {
        let client = client()?
            .with_native_roots()
            .map_err(|e| {
                Error::config(format!(
                    "cannot read the certificate authorities of the system: {e}"
                ))
                .with_hint("install ca-certificates, or configure the file of your own authorities")
            })?
            .with_no_client_auth();
        Ok(Self {
            file: PathBuf::new(),
            client: Arc::new(client),
        })
    }

    /// Trusts no authority: for connections that are not encrypted.
    ///
    /// # Errors
    ///
    /// If the TLS library cannot be used.
    pub fn without_authorities() -> Result<Self> {
        Self::of(Path::new(""), RootCertStore::empty())
    }

    fn of(file: &Path, roots: RootCertStore) -> Result<Self> {
        let client = client()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            file: file.to_owned(),
            client: Arc::new(client),
        })
    }

    /// Returns the configuration for a connector.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        (*self.client).clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.file.display())
    }
}

/// The certificate and key of a server. Clones share them.
#[derive(Clone)]
pub struct Certificate {
    resolver: Arc<CertificateResolver>,
    server: Arc<ServerConfig>,
}

struct CertificateResolver {
    certificate_file: PathBuf,
    key_file: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads a certificate chain, the server's own certificate first, and its key, both as PEM.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the key does not belong to the certificate.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self> {
        let resolver = Arc::new(CertificateResolver {
            certificate_file: certificate.to_owned(),
            key_file: key.to_owned(),
            current: RwLock::new(Arc::new(certified(certificate, key)?)),
        });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| no_tls(&e))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            resolver,
            server: Arc::new(server),
        })
    }

    /// Reads the files again, for the connections from now on.
    ///
    /// # Errors
    ///
    /// As [`Self::from_files`]; the previous certificate then stays in use.
    pub fn read_again(&self) -> Result<()> {
        let resolver = &self.resolver;
        let read = Arc::new(certified(&resolver.certificate_file, &resolver.key_file)?);
        *resolver
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// Returns the configuration for an acceptor of HTTP/1. It follows [`Self::read_again`].
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Returns the configuration for a connector that accepts a server with exactly this certificate, under any name.
    ///
    /// # Errors
    ///
    /// If the TLS library cannot be used.
    pub fn client(&self) -> Result<ClientConfig> {
        let verifier = Arc::clone(&self.resolver) as Arc<dyn ServerCertVerifier>;
        Ok(client()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resolver.fmt(f)
    }
}

impl CertificateResolver {
    fn current(&self) -> Arc<CertifiedKey> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for CertificateResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.certificate_file.display())
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ServerCertVerifier for CertificateResolver {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Validity and names matter to clients that trust an authority: this client knows the certificate itself.
        if self
            .current()
            .cert
            .first()
            .is_some_and(|own| own == end_entity)
        {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "the certificate of the server differs from the one in {}; after a renewal send SIGHUP to the daemon",
            self.certificate_file.display()
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, signatures())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, signatures())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures().supported_schemes()
    }
}

fn certified(certificate: &Path, key: &Path) -> Result<CertifiedKey> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| Error::config(format!("cannot read the PEM key in {}: {e}", key.display())))?;
    CertifiedKey::from_der(chain, private, provider()).map_err(|e| {
        Error::config(format!(
            "cannot use the certificate in {} with the key in {}: {e}",
            certificate.display(),
            key.display()
        ))
    })
}

/// Reads the certificates in a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |problem: String| Error::config(format!("{} {problem}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|e| bad(format!("cannot be read as PEM: {e}")))?;
    if certificates.is_empty() {
        return Err(bad("has no certificate".into()));
    }
    Ok(certificates)
}

fn no_tls(e: &rustls::Error) -> Error {
    Error::config(format!("cannot use TLS: {e}"))
}

/// Returns the provider, which is created once: each handshake needs it several times.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    &PROVIDER
}

/// Returns the signature algorithms of certificates that the provider can verify.
fn signatures() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

fn client() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| no_tls(&e))
}

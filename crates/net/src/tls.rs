//! TLS: authorities of one's own to trust, and the certificate of a server of ours.

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

/// How a client checks servers whose certificates authorities of one's own have signed.
#[derive(Clone)]
pub struct Tls {
    file: PathBuf,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the authorities in a PEM file, and no others.
    pub fn from_ca_file(path: &Path) -> Result<Self> {
        let bad = |what: String| Error::config(format!("{} {what}", path.display()));
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|e| bad(format!("holds a certificate that cannot be used: {e}")))?;
        }
        Self::of(path, roots)
    }

    /// Trusts the authorities that the system trusts.
    pub fn system() -> Result<Self> {
        let client = client()?
            .with_native_roots()
            .map_err(|e| {
                Error::config(format!(
                    "the system's certificate authorities cannot be read: {e}"
                ))
                .with_hint("install ca-certificates, or name authorities of your own")
            })?
            .with_no_client_auth();
        Ok(Self {
            file: PathBuf::new(),
            client: Arc::new(client),
        })
    }

    /// Trusts nobody: for connections that are not encrypted anyway.
    pub fn nobody() -> Result<Self> {
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

    /// For a connector.
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

/// The certificate and key by which a server of ours is known. Clones are one and the same.
#[derive(Clone)]
pub struct Certificate {
    shown: Arc<CertificateResolver>,
    server: Arc<ServerConfig>,
}

struct CertificateResolver {
    certificate_file: PathBuf,
    key_file: PathBuf,
    held: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads a certificate, the server's own first and then those between it and its authority, and its key, both as PEM.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self> {
        let shown = Arc::new(CertificateResolver {
            certificate_file: certificate.to_owned(),
            key_file: key.to_owned(),
            held: RwLock::new(Arc::new(certified(certificate, key)?)),
        });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| no_tls(&e))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            shown,
            server: Arc::new(server),
        })
    }

    /// Reads the files again: connections that come from now on are shown what is there now. On an error everything holds as before.
    pub fn read_again(&self) -> Result<()> {
        let shown = &self.shown;
        let read = Arc::new(certified(&shown.certificate_file, &shown.key_file)?);
        *shown.held.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// For an acceptor of a server that speaks HTTP/1. It follows [`Self::read_again`].
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For a connector that takes a server with this very certificate, by whatever name it is reached, and no other.
    pub fn client(&self) -> Result<ClientConfig> {
        let shown = Arc::clone(&self.shown) as Arc<dyn ServerCertVerifier>;
        Ok(client()?
            .dangerous()
            .with_custom_certificate_verifier(shown)
            .with_no_client_auth())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

impl CertificateResolver {
    fn held(&self) -> Arc<CertifiedKey> {
        self.held
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
        Some(self.held())
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
        // Its validity and names are for those who know it by its authority: here it is known itself.
        if self
            .held()
            .cert
            .first()
            .is_some_and(|own| own == end_entity)
        {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "the server shows another certificate than the one in {}; one that was renewed is taken over by SIGHUP",
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
        .map_err(|e| Error::config(format!("{} holds no key as PEM: {e}", key.display())))?;
    CertifiedKey::from_der(chain, private, provider()).map_err(|e| {
        Error::config(format!(
            "{} cannot be used with the key in {}: {e}",
            certificate.display(),
            key.display()
        ))
    })
}

/// The certificates in a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |what: String| Error::config(format!("{} {what}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|e| bad(format!("cannot be read as PEM: {e}")))?;
    if certificates.is_empty() {
        return Err(bad("holds no certificate".into()));
    }
    Ok(certificates)
}

fn no_tls(e: &rustls::Error) -> Error {
    Error::config(format!("TLS cannot be used: {e}"))
}

/// Made once: each handshake asks for it several times.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    &PROVIDER
}

/// What signatures of certificates it can check.
fn signatures() -> &'static WebPkiSupportedAlgorithms {
    &provider().signature_verification_algorithms
}

fn client() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| no_tls(&e))
}

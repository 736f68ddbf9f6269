//! TLS with authorities of one's own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, Result};

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
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|e| bad(format!("cannot be read as PEM: {e}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|e| bad(format!("holds a certificate that cannot be used: {e}")))?;
        }
        if roots.is_empty() {
            return Err(bad("holds no certificate".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(format!("cannot be used: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            file: path.to_owned(),
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

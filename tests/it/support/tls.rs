//! Certificates of the tests' own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A certificate authority and what it has signed for this machine, as PEM.
pub(crate) struct Authority {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A new one, for `localhost` and `127.0.0.1`.
pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)
        .expect("names")
        .signed_by(&key, &issuer)
        .expect("signed");
    let ca: &rcgen::Certificate = issuer.as_ref();
    Authority {
        ca: ca.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// Where its files lie.
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Writes its files into a folder, over those of an earlier one.
    pub(crate) fn written(&self, folder: &Path) -> Files {
        let written = |name: &str, text: &str| {
            let path = folder.join(name);
            super::write_secret(&path, text);
            path
        };
        Files {
            ca: written("ca.pem", &self.ca),
            certificate: written("cert.pem", &self.certificate),
            key: written("key.pem", &self.key),
        }
    }
}

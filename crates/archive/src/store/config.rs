//! Where an archive lies and how it is written.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use mpsync_core::error::{Error, Result};
use mpsync_net::{Secret, Tls};

use crate::chunk::keys::EncryptionKeys;

/// Where the archive lies.
#[derive(Debug, Clone)]
pub enum ArchivePlace {
    /// In a folder, on a local disk or a mounted NAS.
    Folder(PathBuf),
    /// In a bucket of an S3-compatible store.
    S3(Box<S3Config>),
}

impl ArchivePlace {
    /// Returns its folder, if it lies in one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) => Some(path),
            Self::S3(_) => None,
        }
    }
}

impl std::fmt::Display for ArchivePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3(s3) => write!(f, "{s3}"),
        }
    }
}

/// How an S3-compatible store is reached.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket. It must exist.
    pub bucket: String,
    /// The folder in it that is the archive's root; empty for the bucket itself.
    pub prefix: String,
    /// `https://host:port` of a store other than Amazon's, without bucket.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is part of the host name rather than of the path.
    pub virtual_host: bool,
    /// Authorities to trust instead of the system's.
    pub tls: Option<Tls>,
    /// The credentials.
    pub credentials: S3Credentials,
}

impl std::fmt::Display for S3Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        match &self.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// Credentials for an S3-compatible store.
#[derive(Debug, Clone)]
pub enum S3Credentials {
    /// A key for as long as the process runs.
    Key(S3Key),
    /// A file as the AWS tools write it, read again for each request, so that keys can be renewed; and the profile in it.
    File(PathBuf, String),
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Key {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// The token of a session, for keys that expire.
    pub token: Option<Secret>,
}

impl S3Key {
    /// Parses the key of a profile in the text of a credentials file, as the AWS tools write it.
    pub fn from_profile(text: &str, profile: &str) -> Result<Self> {
        let (mut id, mut secret, mut token) = (None, None, None);
        let mut is_ours = false;
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                is_ours = name.trim() == profile;
            } else if let Some((name, value)) = line.split_once('=').filter(|_| is_ours) {
                let value = value.trim().to_owned();
                match name.trim() {
                    "aws_access_key_id" => id = Some(value),
                    "aws_secret_access_key" => secret = Some(Secret::new(value)),
                    "aws_session_token" => token = Some(Secret::new(value)),
                    _ => {}
                }
            }
        }
        match (id, secret) {
            (Some(id), Some(secret)) => Ok(Self { id, secret, token }),
            _ => Err(Error::config(format!(
                "there is no aws_access_key_id with aws_secret_access_key under [{profile}]"
            ))),
        }
    }
}

/// Where the archive lies and how it is written.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Its place.
    pub place: ArchivePlace,
    /// zstd level of the Parquet pages.
    pub zstd_level: i32,
    /// The most rows of a chunk.
    pub chunk_rows: u64,
    /// The most bytes of a chunk, approximately.
    pub chunk_bytes: u64,
    /// The most rows of a row group.
    pub row_group_rows: u64,
    /// Whether every chunk is read back and hashed before the manifest is written.
    pub verify_after_write: bool,
    /// The most bytes a second with which all chunks together are uploaded; `None` for no limit.
    pub upload_bytes_per_second: Option<NonZeroU64>,
    /// The least number of days for which windows stay; `None` for ever.
    pub retention_days: Option<NonZeroU32>,
    /// The keys with which chunks are encrypted and decrypted.
    pub encryption: EncryptionKeys,
}

impl ArchiveConfig {
    /// Returns the defaults for an archive in this place.
    #[must_use]
    pub fn new(place: ArchivePlace) -> Self {
        Self {
            place,
            zstd_level: 3,
            chunk_rows: 4_000_000,
            chunk_bytes: 256 << 20,
            row_group_rows: 131_072,
            verify_after_write: true,
            upload_bytes_per_second: None,
            retention_days: None,
            encryption: EncryptionKeys::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_without_a_whole_key_is_named() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=one\n\n[ archive ]\n# ours\n\
            aws_access_key_id=B\naws_secret_access_key = two=2\naws_session_token = t\n[half]\naws_access_key_id = C\n";
        let key = S3Key::from_profile(text, "archive").unwrap();
        assert_eq!((key.id.as_str(), key.secret.reveal()), ("B", "two=2"));
        assert_eq!(key.token.as_ref().map(Secret::reveal), Some("t"));
        assert!(!format!("{key:?}").contains("two"));
        let e = S3Key::from_profile(text, "half").unwrap_err();
        assert!(e.to_string().contains("[half]"), "{e}");
    }
}

//! `archive:`

use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};

use super::Tls;
use super::encryption::EncryptionKeys;
use super::reader::Section;
use super::secret::Secret;
use crate::error::{Error, Result};

/// Where the archive lies.
#[derive(Debug, Clone)]
pub enum ArchivePlace {
    /// In a folder, on a local disk or a mounted NAS.
    Folder(PathBuf),
    /// In a bucket of an S3-compatible store.
    S3(Box<S3Config>),
}

impl ArchivePlace {
    /// Its folder, where it lies in one.
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
    /// The bucket. It must be there.
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
    /// Who we are.
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

/// Who we are at an S3-compatible store.
#[derive(Debug, Clone)]
pub enum S3Credentials {
    /// A key for as long as the process runs.
    Key(S3Key),
    /// A file as the AWS tools write it, read anew for each request, so that keys can be renewed; and the profile in it.
    File(PathBuf, String),
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Key {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// The token of a session, for keys that end by themselves.
    pub token: Option<Secret>,
}

impl S3Key {
    /// The key of a profile in the text of a credentials file, as the AWS tools write it.
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

/// How the archive is laid down.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Where it lies.
    pub place: ArchivePlace,
    /// zstd level of the Parquet pages.
    pub zstd_level: i32,
    /// Rows of a chunk at most.
    pub chunk_rows: u64,
    /// Bytes of a chunk, about, at most.
    pub chunk_bytes: u64,
    /// Rows of a row group at most.
    pub row_group_rows: u64,
    /// Whether every chunk is read back and hashed before the manifest is written.
    pub verify_after_write: bool,
    /// Bytes a second that chunks are uploaded with at most, all together; `None` for no limit.
    pub upload_bytes_per_second: Option<NonZeroU64>,
    /// For how many days windows stay at least, where they do not stay for ever.
    pub retention_days: Option<NonZeroU32>,
    /// The keys with which chunks are encrypted and decrypted.
    pub encryption: EncryptionKeys,
}

/// Bytes a second below which a limit would make every request time out.
const SLOWEST: u64 = 64 << 10;

impl ArchiveConfig {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let rate = s.key("upload_bytes_per_second").integer(0, 0..=u64::MAX);
        if (1..SLOWEST).contains(&rate) {
            s.wrong(
                "upload_bytes_per_second",
                format!("{rate} is below {SLOWEST}; 0 is no limit"),
            );
        }
        Self {
            place: place(s),
            zstd_level: s.key("zstd_level").integer(3, 1..=22),
            chunk_rows: s.key("chunk_rows").integer(4_000_000, 1..=u64::MAX),
            chunk_bytes: s.key("chunk_bytes").bytes(256 << 20, 1..=u64::MAX),
            row_group_rows: s.key("row_group_rows").integer(131_072, 1..=u64::MAX),
            verify_after_write: s.key("verify_after_write").flag(true),
            upload_bytes_per_second: NonZeroU64::new(rate),
            retention_days: NonZeroU32::new(
                s.key("retention_days").live().integer(0, 0..=u32::MAX),
            ),
            encryption: EncryptionKeys::read(s),
        }
    }

    /// Why windows must not leave the archive as early as it says: cold gives up only what the archive proves.
    pub(super) fn refuse_retention(&self, cold_days: u32) -> Option<String> {
        let days = self.retention_days?.get();
        (days < cold_days).then(|| {
            format!(
                "{days} is less than cold_storage.retention_days, which is {cold_days}: cold gives up only what the archive \
                 holds, and would keep it for ever; where that is meant, say cold_storage.retention_days: 0"
            )
        })
    }
}

fn place(s: &mut Section<'_>) -> ArchivePlace {
    let url = s.key("url").optional_text();
    let s3 = s3(s, url.as_deref());
    match (url, s3) {
        (None, _) => ArchivePlace::Folder(s.key("path").path("mpsync-archive")),
        (Some(_), s3) => {
            if s.key("path").optional_path().is_some() {
                s.wrong("path", "say path or url, not both");
            }
            // What is wrong with it has been told.
            s3.map_or_else(
                || ArchivePlace::Folder(PathBuf::new()),
                |s3| ArchivePlace::S3(Box::new(s3)),
            )
        }
    }
}

/// Reads all keys, so that each is known; gives a store where there is a URL and nothing is wrong.
fn s3(s: &mut Section<'_>, url: Option<&str>) -> Option<S3Config> {
    let endpoint = s.key("s3_endpoint").optional_text();
    let allow_http = s.key("s3_allow_http").flag(false);
    let region = s.key("s3_region").text("us-east-1");
    let virtual_host = s.key("s3_virtual_host").flag(false);
    let tls = s
        .key("s3_tls_ca_file")
        .optional_path()
        .map(|file| Tls::from_ca_file(&file).map_err(|e| s.wrong("s3_tls_ca_file", e.to_string())));
    let credentials = credentials(s);
    let Some(place) = url?.strip_prefix("s3://") else {
        s.wrong("url", "it must be like s3://bucket/prefix");
        return None;
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?']) {
        s.wrong(
            "url",
            "it names no bucket: it must be like s3://bucket/prefix",
        );
        return None;
    }
    if let Some(endpoint) = &endpoint {
        let is_plain = endpoint.starts_with("http://");
        if endpoint.contains('@') || !(is_plain || endpoint.starts_with("https://")) {
            s.wrong(
                "s3_endpoint",
                "it must be https://host:port, without user and password",
            );
        } else if is_plain && !allow_http {
            s.wrong(
                "s3_endpoint",
                "what goes over http:// can be read and changed on its way: use https://, or set s3_allow_http where the \
                 network is your own",
            );
        }
    }
    let credentials = match credentials {
        Ok(credentials) => credentials,
        Err(what) => {
            s.wrong("s3_access_key_id", what);
            return None;
        }
    };
    Some(S3Config {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        endpoint: endpoint.map(|e| e.trim_end_matches('/').to_owned()),
        region,
        virtual_host,
        tls: tls.transpose().ok()?,
        credentials,
    })
}

/// Who we are; or what is wrong with what is said of it.
fn credentials(s: &mut Section<'_>) -> Result<S3Credentials, &'static str> {
    let id = s.key("s3_access_key_id").optional_text();
    let secret = s.secret("s3_secret_access_key");
    let token = s.key("s3_session_token").secret_text();
    let file = s.key("s3_credentials_file").optional_path();
    let profile = s.key("s3_profile").text("default");
    match (id, secret, file) {
        (Some(id), Some(secret), None) => Ok(S3Credentials::Key(S3Key { id, secret, token })),
        (None, None, Some(file)) => Ok(S3Credentials::File(file, profile)),
        (None, None, None) => Err(
            "nothing says who we are at the store: set it with s3_secret_access_key_file, or s3_credentials_file, or \
             AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY in the environment",
        ),
        _ => Err(
            "say it with its secret, or s3_credentials_file (AWS_… in the environment counts, too)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_s_key_is_read_and_what_is_missing_is_told() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=one\n\n[ archive ]\n# ours\n\
            aws_access_key_id=B\naws_secret_access_key = two=2\naws_session_token = t\n[half]\naws_access_key_id = C\n";
        let key = S3Key::from_profile(text, "archive").unwrap();
        assert_eq!((key.id.as_str(), key.secret.reveal()), ("B", "two=2"));
        assert_eq!(key.token.as_ref().map(Secret::reveal), Some("t"));
        assert!(!format!("{key:?}").contains("two"));
        let e = S3Key::from_profile(text, "half").unwrap_err();
        assert!(e.to_string().contains("[half]"), "{e}");
    }

    fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<ArchiveConfig> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, format!("archive: {{{yaml}}}\n")).unwrap();
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Ok(super::super::Config::load(Some(&file), environment)?.archive)
    }

    #[test]
    fn an_archive_lies_in_a_folder_or_a_bucket_and_who_we_are_comes_from_file_or_environment() {
        assert!(
            load("path: x", &[])
                .unwrap()
                .place
                .folder()
                .unwrap()
                .ends_with("x")
        );
        let aws = [
            ("AWS_ACCESS_KEY_ID", "i"),
            ("AWS_SECRET_ACCESS_KEY", "sss"),
            ("AWS_REGION", "r"),
        ];
        let archive = load("url: 's3://b/p/q/', s3_endpoint: 'https://h:1/'", &aws).unwrap();
        assert_eq!(archive.place.to_string(), "s3://b/p/q at https://h:1");
        assert!(!format!("{archive:?}").contains("sss"), "{archive:?}");
        for (yaml, message) in [
            ("url: 's3://b'", "who we are"),
            ("url: 'ftp://b'", "s3://bucket/prefix"),
            ("url: 's3://b', path: x", "not both"),
            ("url: 's3://b', s3_endpoint: 'http://h'", "s3_allow_http"),
            ("url: 's3://b', s3_access_key_id: i", "with its secret"),
            ("upload_bytes_per_second: 5", "below 65536"),
            ("encryption_key: 'no key!'", "it is neither hex nor base64"),
            (
                "encryption_old_key_files: [no/such/file]",
                "cannot read the secret",
            ),
        ] {
            let e = load(yaml, &[]).unwrap_err();
            assert!(e.to_string().contains(message), "{yaml}: {e}");
        }
    }
}

//! The archive: where it lies, how it is laid down, who we are there.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use super::raw::RawArchive;
use super::{Secret, Tls, positive};
use crate::error::{Context as _, Error, Result};

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
}

/// Bytes a second below which a limit would make every request time out.
const SLOWEST: u64 = 64 << 10;

/// Checks `archive:`; `aws` is what the AWS tools read of the environment.
pub(super) fn check(
    raw: RawArchive,
    relative: impl Fn(PathBuf) -> PathBuf,
    aws: &BTreeMap<String, String>,
) -> Result<ArchiveConfig> {
    let zstd_level = raw.zstd_level.unwrap_or(3);
    let rate = raw.upload_bytes_per_second.unwrap_or(0);
    if (1..SLOWEST).contains(&rate) {
        return Err(Error::config(format!(
            "archive.upload_bytes_per_second: {rate} is below {SLOWEST}; 0 is no limit"
        )));
    }
    Ok(ArchiveConfig {
        zstd_level: i32::try_from(zstd_level)
            .ok()
            .filter(|level| (1..=22).contains(level))
            .ok_or_else(|| {
                Error::config(format!(
                    "archive.zstd_level: {zstd_level} is not within 1 to 22"
                ))
            })?,
        chunk_rows: positive("archive.chunk_rows", raw.chunk_rows.unwrap_or(4_000_000))?,
        chunk_bytes: positive("archive.chunk_bytes", raw.chunk_bytes.unwrap_or(256 << 20))?,
        row_group_rows: positive(
            "archive.row_group_rows",
            raw.row_group_rows.unwrap_or(131_072),
        )?,
        verify_after_write: raw.verify_after_write.unwrap_or(true),
        upload_bytes_per_second: NonZeroU64::new(rate),
        place: place(raw, relative, aws)?,
    })
}

fn place(
    raw: RawArchive,
    relative: impl Fn(PathBuf) -> PathBuf,
    aws: &BTreeMap<String, String>,
) -> Result<ArchivePlace> {
    let Some(url) = &raw.url else {
        let path = raw.path.map(relative);
        return Ok(ArchivePlace::Folder(
            path.unwrap_or_else(|| PathBuf::from("mpsync-archive")),
        ));
    };
    if raw.path.is_some() {
        return Err(Error::config("archive: say path or url, not both"));
    }
    let bad = |what: &str| {
        Error::config(format!(
            "archive.url: {what}; it is like s3://bucket/prefix"
        ))
    };
    let place = url
        .strip_prefix("s3://")
        .ok_or_else(|| bad("it does not begin with s3://"))?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?']) {
        return Err(bad("it names no bucket"));
    }
    let endpoint = raw.s3_endpoint.clone();
    match &endpoint {
        Some(e) if e.starts_with("https://") && !e.contains('@') => {}
        Some(e) if e.starts_with("http://") && !e.contains('@') => {
            if raw.s3_allow_http != Some(true) {
                return Err(Error::config(
                    "archive.s3_endpoint: what goes over http:// can be read and changed by others on its way",
                )
                .hint("use https://, or set archive.s3_allow_http where the network is your own"));
            }
        }
        Some(_) => {
            return Err(Error::config(
                "archive.s3_endpoint: it must be https://host:port, without user and password",
            ));
        }
        None => {}
    }
    let tls = raw
        .s3_tls_ca_file
        .clone()
        .map(|file| Tls::from_ca_file(&relative(file)).doing(|| "archive.s3_tls_ca_file"));
    let region = [
        &raw.s3_region,
        &aws.get("AWS_REGION").cloned(),
        &aws.get("AWS_DEFAULT_REGION").cloned(),
    ]
    .into_iter()
    .find_map(Clone::clone);
    Ok(ArchivePlace::S3(Box::new(S3Config {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        endpoint: endpoint.map(|e| e.trim_end_matches('/').to_owned()),
        region: region.unwrap_or_else(|| "us-east-1".to_owned()),
        virtual_host: raw.s3_virtual_host.unwrap_or(false),
        tls: tls.transpose()?,
        credentials: credentials(raw, relative, aws)?,
    })))
}

/// Who we are: the configuration's key, its credentials file, or what the AWS tools' environment says, in this order.
fn credentials(
    raw: RawArchive,
    relative: impl Fn(PathBuf) -> PathBuf,
    aws: &BTreeMap<String, String>,
) -> Result<S3Credentials> {
    let secret = match (raw.s3_secret_access_key, raw.s3_secret_access_key_file) {
        (Some(_), Some(_)) => {
            return Err(Error::config(
                "archive: say s3_secret_access_key or s3_secret_access_key_file, not both",
            ));
        }
        (Some(text), None) => Some(Secret::new(text)),
        (None, Some(file)) => {
            Some(Secret::from_file(&relative(file)).doing(|| "archive.s3_secret_access_key_file")?)
        }
        (None, None) => None,
    };
    let profile = raw.s3_profile.or_else(|| aws.get("AWS_PROFILE").cloned());
    let profile = profile.unwrap_or_else(|| "default".to_owned());
    let of_environment = |name: &str| aws.get(name).cloned();
    match (raw.s3_access_key_id, secret, raw.s3_credentials_file) {
        (Some(id), Some(secret), None) => Ok(S3Credentials::Key(S3Key {
            id,
            secret,
            token: raw.s3_session_token.map(Secret::new),
        })),
        (None, None, Some(file)) => Ok(S3Credentials::File(relative(file), profile)),
        (None, None, None) => match (
            of_environment("AWS_ACCESS_KEY_ID"),
            of_environment("AWS_SECRET_ACCESS_KEY"),
            of_environment("AWS_SHARED_CREDENTIALS_FILE"),
        ) {
            (Some(id), Some(secret), _) => Ok(S3Credentials::Key(S3Key {
                id,
                secret: Secret::new(secret),
                token: of_environment("AWS_SESSION_TOKEN").map(Secret::new),
            })),
            (_, _, Some(file)) => Ok(S3Credentials::File(PathBuf::from(file), profile)),
            _ => Err(Error::config("archive: nothing says who we are at the S3 store").hint(
                "set archive.s3_access_key_id and s3_secret_access_key_file, archive.s3_credentials_file, or \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )),
        },
        _ => Err(Error::config(
            "archive: say s3_access_key_id with its secret, or s3_credentials_file",
        )),
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
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let raw = serde_saphyr::from_str(yaml).unwrap();
        check(raw, |path| path, &environment.collect())
    }

    #[test]
    fn an_archive_lies_in_a_folder_or_a_bucket_and_who_we_are_comes_from_file_or_environment() {
        assert_eq!(load("path: x", &[]).unwrap().place.to_string(), "x");
        let aws = [
            ("AWS_ACCESS_KEY_ID", "i"),
            ("AWS_SECRET_ACCESS_KEY", "sss"),
            ("AWS_REGION", "r"),
        ];
        let archive = load("url: s3://b/p/q/\ns3_endpoint: https://h:1/", &aws).unwrap();
        assert_eq!(archive.place.to_string(), "s3://b/p/q at https://h:1");
        assert!(!format!("{archive:?}").contains("sss"), "{archive:?}");
        for (yaml, said) in [
            ("url: s3://b", "who we are"),
            ("url: ftp://b", "s3://bucket/prefix"),
            ("url: s3://b\npath: x", "not both"),
            ("url: s3://b\ns3_endpoint: http://h", "s3_allow_http"),
            ("url: s3://b\ns3_access_key_id: i", "with its secret"),
            ("upload_bytes_per_second: 5", "below 65536"),
        ] {
            let e = load(yaml, &[]).unwrap_err();
            assert!(e.to_string().contains(said), "{yaml}: {e}");
        }
    }
}

//! `archive:`

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use mpsync_archive::{ArchiveConfig, ArchivePlace, S3Config, S3Credentials, S3Key};
use mpsync_net::Tls;

use super::encryption;
use crate::reading::section::Section;

/// The lowest upload rate, in bytes a second: with a lower one every request would time out.
const UPLOAD_RATE_MIN: u64 = 64 << 10;

/// Reads the section.
pub(crate) fn read(s: &mut Section<'_>) -> ArchiveConfig {
    let rate = s.key("upload_bytes_per_second").integer(0, 0..=u64::MAX);
    if (1..UPLOAD_RATE_MIN).contains(&rate) {
        s.wrong(
            "upload_bytes_per_second",
            format!("{rate} is below {UPLOAD_RATE_MIN}; 0 means no limit"),
        );
    }
    ArchiveConfig {
        place: place(s),
        zstd_level: s.key("zstd_level").integer(3, 1..=22),
        chunk_rows: s.key("chunk_rows").integer(4_000_000, 1..=u64::MAX),
        chunk_bytes: s.key("chunk_bytes").bytes(256 << 20, 1..=u64::MAX),
        row_group_rows: s.key("row_group_rows").integer(131_072, 1..=u64::MAX),
        verify_after_write: s.key("verify_after_write").flag(true),
        upload_bytes_per_second: NonZeroU64::new(rate),
        retention_days: NonZeroU32::new(s.key("retention_days").live().integer(0, 0..=u32::MAX)),
        encryption: encryption::read(s),
    }
}

/// Returns why the archive's retention is too short: cold deletes only rows that the archive contains.
pub(crate) fn refuse_retention(archive: &ArchiveConfig, cold_days: u32) -> Option<String> {
    let days = archive.retention_days?.get();
    (days < cold_days).then(|| {
            format!(
                "{days} is less than cold_storage.retention_days, which is {cold_days}: cold deletes only rows that the \
                 archive contains, and would never delete these; to keep them set cold_storage.retention_days to 0"
            )
        })
}

fn place(s: &mut Section<'_>) -> ArchivePlace {
    let url = s.key("url").optional_text();
    let s3 = s3(s, url.as_deref());
    match (url, s3) {
        (None, _) => ArchivePlace::Folder(s.key("path").path("mpsync-archive")),
        (Some(_), s3) => {
            if s.key("path").optional_path().is_some() {
                s.wrong("path", "set path or url, not both");
            }
            // Its mistakes are among the problems already.
            s3.map_or_else(
                || ArchivePlace::Folder(PathBuf::new()),
                |s3| ArchivePlace::S3(Box::new(s3)),
            )
        }
    }
}

/// Reads all keys, so that each is known. Returns the store if there is a URL and no mistake.
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
            "the bucket is missing: it must be like s3://bucket/prefix",
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
                "http:// exposes all data to reading and changes on the way: use https://, or set s3_allow_http if the \
                 network is trusted",
            );
        }
    }
    let credentials = match credentials {
        Ok(credentials) => credentials,
        Err(text) => {
            s.wrong("s3_access_key_id", text);
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

/// Returns the credentials, or the mistake in them.
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
            "the store needs credentials: set it with s3_secret_access_key_file, or s3_credentials_file, or \
             AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY in the environment",
        ),
        _ => Err(
            "set it with its secret, or s3_credentials_file (the environment variables AWS_… count as well)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, environment: &[(&str, &str)]) -> mpsync_core::error::Result<ArchiveConfig> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, format!("archive: {{{yaml}}}\n")).unwrap();
        let environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Ok(crate::Config::load(Some(&file), environment)?.archive)
    }

    #[test]
    fn folder_bucket_and_credentials_are_read_from_all_sources() {
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
            ("url: 's3://b'", "needs credentials"),
            ("url: 'ftp://b'", "s3://bucket/prefix"),
            ("url: 's3://b', path: x", "not both"),
            ("url: 's3://b', s3_endpoint: 'http://h'", "s3_allow_http"),
            ("url: 's3://b', s3_access_key_id: i", "with its secret"),
            ("upload_bytes_per_second: 5", "below 65536"),
            ("encryption_key: 'no key!'", "it is neither hex nor base64"),
            (
                "decryption_key_files: [no/such/file]",
                "cannot read the secret",
            ),
        ] {
            let e = load(yaml, &[]).unwrap_err();
            assert!(e.to_string().contains(message), "{yaml}: {e}");
        }
    }
}

//! The archive in a bucket of an S3-compatible store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AwsCredential, Checksum, S3ConditionalPut};
use object_store::client::CredentialProvider;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use super::backend::{Backend, CreateOutcome, UnfinishedUpload, create_settled};
use super::config::{ArchiveConfig, ArchivePlace, S3Config, S3Credentials, S3Key};
use super::error_hints::to_error;
use super::multipart_cleanup;
use super::rate_limiter::RateLimiter;
use super::s3_http_client::S3HttpClient;
use mpsync_core::error::{Context as _, Error, Result};

/// A bucket that an archive lies in.
#[derive(Debug)]
pub(crate) struct S3Backend {
    store: Arc<dyn ObjectStore>,
    config: S3Config,
}

impl S3Backend {
    /// Returns a client for the archive's root. Nothing is sent yet.
    pub(crate) fn connect(
        config: &ArchiveConfig,
        rate_limiter: Option<Arc<RateLimiter>>,
    ) -> Result<Self> {
        let ArchivePlace::S3(s3) = &config.place else {
            return Err(Error::usage("the archive lies in a folder"));
        };
        Ok(Self {
            store: client(s3, rate_limiter)?,
            config: s3.as_ref().clone(),
        })
    }
}

#[async_trait]
impl Backend for S3Backend {
    fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    async fn create(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        create_settled(self, path, content).await
    }

    fn to_error(&self, e: object_store::Error) -> Error {
        to_error(e, &ArchivePlace::S3(Box::new(self.config.clone())))
    }

    async fn old_uploads(&self, now: SystemTime, age: Duration) -> Result<Vec<UnfinishedUpload>> {
        multipart_cleanup::old_uploads(&self.config, &credential(&self.config)?, now, age).await
    }

    async fn abort_upload(&self, upload: &UnfinishedUpload) -> Result<()> {
        multipart_cleanup::abort_upload(&self.config, &credential(&self.config)?, upload).await
    }
}

fn client(s3: &S3Config, rate_limiter: Option<Arc<RateLimiter>>) -> Result<Arc<dyn ObjectStore>> {
    let http = S3HttpClient::new(s3.tls.as_ref(), rate_limiter)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(&s3.region)
        .with_virtual_hosted_style_request(s3.virtual_host)
        .with_http_connector(http)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // The store refuses each object and each part that differs from what was sent.
        .with_checksum_algorithm(Checksum::SHA256)
        // Compatible stores lack the bulk request first, and few objects are removed at a time.
        .with_disable_bulk_delete(true)
        // An outage that lasts longer is retried with its whole window.
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(5),
                base: 2.0,
            },
            max_retries: 6,
            retry_timeout: Duration::from_mins(1),
        });
    if let Some(endpoint) = &s3.endpoint {
        builder = builder
            .with_endpoint(endpoint)
            .with_allow_http(endpoint.starts_with("http://"));
    }
    builder = match &s3.credentials {
        S3Credentials::Key(key) => {
            let builder = builder
                .with_access_key_id(&key.id)
                .with_secret_access_key(key.secret.reveal());
            match &key.token {
                Some(token) => builder.with_token(token.reveal()),
                None => builder,
            }
        }
        S3Credentials::File(path, profile) => {
            let file = CredentialsFile {
                path: path.clone(),
                profile: profile.clone(),
            };
            // A faulty file is reported at the start.
            file.read()?;
            builder.with_credentials(Arc::new(file))
        }
    };
    let store = builder
        .build()
        .map_err(|e| to_error(e, &ArchivePlace::S3(Box::new(s3.clone()))))
        .context(|| format!("opening the archive {s3}"))?;
    Ok(if s3.prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, s3.prefix.as_str()))
    })
}

/// A credentials file as the AWS tools write it, read again for each request.
#[derive(Debug)]
struct CredentialsFile {
    path: PathBuf,
    profile: String,
}

impl CredentialsFile {
    fn read(&self) -> Result<S3Key> {
        let path = self.path.display();
        let text = std::fs::read_to_string(&self.path)
            .map_err(|e| Error::config(format!("cannot read the credentials in {path}: {e}")))?;
        S3Key::from_profile(&text, &self.profile).context(|| format!("credentials file {path}"))
    }
}

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let key = self.read().map_err(|e| object_store::Error::Generic {
            store: "S3",
            source: Box::new(e),
        })?;
        Ok(Arc::new(of_key(&key)))
    }
}

fn of_key(key: &S3Key) -> AwsCredential {
    AwsCredential {
        key_id: key.id.clone(),
        secret_key: key.secret.reveal().to_owned(),
        token: key.token.as_ref().map(|token| token.reveal().to_owned()),
    }
}

/// Returns the credential as of now.
fn credential(s3: &S3Config) -> Result<AwsCredential> {
    match &s3.credentials {
        S3Credentials::Key(key) => Ok(of_key(key)),
        S3Credentials::File(path, profile) => {
            let file = CredentialsFile {
                path: path.clone(),
                profile: profile.clone(),
            };
            file.read().map(|key| of_key(&key))
        }
    }
}

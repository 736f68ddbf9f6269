//! The archive in a bucket of an S3-compatible store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AwsCredential, Checksum, S3ConditionalPut};
use object_store::client::CredentialProvider;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use rand::RngExt as _;

use super::error_hints::to_error;
use super::layout::INTERNAL;
use super::rate_limiter::RateLimiter;
use super::s3_http_client::S3HttpClient;
use super::store::{Archive, CreateOutcome};
use crate::{ArchivePlace, S3Config, S3Credentials, S3Key};
use mpsync_core::error::{Context as _, Error, Result};

/// Writers that create one object at the same time, to see that one of them wins.
const CONTENDERS: usize = 4;

/// A client for the archive's root. Nothing is sent yet.
pub(super) fn connect(
    s3: &S3Config,
    rate_limiter: Option<Arc<RateLimiter>>,
) -> Result<Arc<dyn ObjectStore>> {
    let wire = S3HttpClient::new(s3.tls.as_ref(), rate_limiter)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(&s3.region)
        .with_virtual_hosted_style_request(s3.virtual_host)
        .with_http_connector(wire)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Each object and each part is refused by the store when it is not what was sent.
        .with_checksum_algorithm(Checksum::SHA256)
        // The bulk request is what compatible stores lack first, and few objects are removed at a time.
        .with_disable_bulk_delete(true)
        // What lasts longer is retried with its whole window.
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
            // What is wrong with it is told at the start.
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

/// A credentials file as the AWS tools write it, read anew for each request.
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

/// Who we are, as of now.
pub(super) fn credential(s3: &S3Config) -> Result<AwsCredential> {
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

/// Tries that the store does what manifests, leases and the journal stand on: of several writers of one object exactly one
/// creates it, a later one is refused, and what was written is read and listed at once.
pub(super) async fn probe(archive: &Archive) -> Result<()> {
    let folder = Path::from(INTERNAL).join("probe");
    let path = folder.clone().join(rand::rng().random::<u64>().to_string());
    let tried = try_to_create(archive, &folder, &path).await;
    let removed = archive.remove(&path).await;
    tried?;
    removed
}

async fn try_to_create(archive: &Archive, folder: &Path, path: &Path) -> Result<()> {
    let context = || format!("trying the archive {}", archive.place());
    let contenders = (0..CONTENDERS).map(|n| archive.create(path, Bytes::from(n.to_string())));
    let mut created: Vec<CreateOutcome> = Vec::new();
    for outcome in futures_util::future::join_all(contenders).await {
        created.push(outcome.map_err(refused).context(context)?);
    }
    created.push(
        archive
            .create(path, Bytes::from_static(b"later"))
            .await
            .map_err(refused)
            .context(context)?,
    );
    let winner = created.iter().position(|c| *c == CreateOutcome::Yes);
    let winners = created.iter().filter(|c| **c == CreateOutcome::Yes).count();
    let (Some(winner), 1) = (winner, winners) else {
        return Err(no_store(
            archive,
            &format!(
                "it let {winners} of {} writers create one and the same object",
                created.len()
            ),
        ));
    };
    let content = archive.read(path).await.context(context)?;
    if content.as_deref() != Some(winner.to_string().as_bytes()) {
        return Err(no_store(
            archive,
            "what the writer of an object was told had been created is not what is read from it",
        ));
    }
    let listed = archive.list(folder).await.context(context)?;
    if !listed.iter().any(|object| object.location == *path) {
        return Err(no_store(
            archive,
            "it does not list an object that it has just taken",
        ));
    }
    Ok(())
}

/// An error of a store that knows no conditional writes at all.
fn refused(e: Error) -> Error {
    let text = e.to_string();
    if text.contains("501") || text.contains("NotImplemented") {
        e.with_hint("the store must know conditional writes (If-None-Match: *): use a newer version of it, or another one")
    } else {
        e
    }
}

fn no_store(archive: &Archive, what: &str) -> Error {
    Error::config(format!(
        "the store of {} cannot hold an archive: {what}, so that two workers could not tell who was first",
        archive.place()
    ))
    .with_hint("it must keep to conditional writes (If-None-Match: *) and list what it holds: use a newer version of it, or another one")
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::super::testing::small;
    use super::*;
    use mpsync_core::error::ExitCode;
    use mpsync_testkit::{FaultyStore, StoreFault};

    #[tokio::test]
    async fn a_store_that_ignores_conditions_is_refused_by_name() {
        let config = small("/nas/archive".as_ref());
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let good = Archive::with_store(Arc::clone(&memory), &config);
        probe(&good).await.unwrap();
        let careless = FaultyStore::new(memory, u64::MAX, StoreFault::Careless);
        let e = probe(&Archive::with_store(careless, &config))
            .await
            .unwrap_err();
        assert_eq!(e.exit_code(), ExitCode::Usage);
        let told = e.to_string();
        assert!(
            told.contains("/nas/archive cannot hold an archive: it let 5 of 5 writers"),
            "{told}"
        );
        // Nothing is left of the trials.
        assert!(good.list(&Path::default()).await.unwrap().is_empty());
    }
}

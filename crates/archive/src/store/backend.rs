//! The interface of a place in which an archive lies. Each kind of place is one file beside this one.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use mpsync_core::error::{Cause, Error, Result};

/// How often a store may refuse an object that it does not have.
const CONFLICTS: u32 = 8;
/// The longest pause before it is asked again.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// The outcome of a create-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The object exists with this content, durably.
    Yes,
    /// An object of that name existed before; it was left as it is.
    ///
    /// A store that repeats a request by itself can answer so to its own winner: if it matters which writer won, read the
    /// object back and compare something that only one writer can have written.
    Exists,
}

/// A multipart upload that was begun and not completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The object's path in the archive.
    pub path: String,
    /// The store's id of the upload.
    pub id: String,
    /// How long ago it was begun.
    pub age: Duration,
}

/// A place in which an archive lies.
///
/// To support another kind of store, implement it in a file of its own and open it in `open.rs`; the contract that an
/// implementation is held to is in `tests/it/transfer/contract.rs`.
#[async_trait]
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Returns the objects.
    fn objects(&self) -> &Arc<dyn ObjectStore>;

    /// Returns the archive's folder, if it lies in one.
    fn root(&self) -> Option<&FilePath> {
        None
    }

    /// Creates an object only if none of that name exists; whole or not at all, and durable on return.
    async fn create(&self, path: &Path, content: Bytes) -> Result<CreateOutcome>;

    /// Converts an error of the store, with a hint that says what to do.
    fn to_error(&self, e: object_store::Error) -> Error;

    /// Returns temporary files that a crash left behind at least `age` ago.
    async fn old_temporaries(&self, _now: SystemTime, _age: Duration) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Removes files that [`Backend::old_temporaries`] returned.
    async fn remove_temporaries(&self, _files: Vec<PathBuf>) -> Result<()> {
        Ok(())
    }

    /// Returns the multipart uploads that were begun at least `age` ago and not completed.
    async fn old_uploads(&self, _now: SystemTime, _age: Duration) -> Result<Vec<UnfinishedUpload>> {
        Ok(Vec::new())
    }

    /// Aborts an upload that [`Backend::old_uploads`] returned.
    async fn abort_upload(&self, _upload: &UnfinishedUpload) -> Result<()> {
        Ok(())
    }
}

/// Creates an object by one conditional write.
pub(crate) async fn create_once(
    backend: &dyn Backend,
    path: &Path,
    content: Bytes,
) -> Result<CreateOutcome> {
    let options = PutOptions::from(PutMode::Create);
    let put = backend
        .objects()
        .put_opts(path, PutPayload::from(content), options);
    match put.await {
        Ok(_) => Ok(CreateOutcome::Yes),
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => Ok(CreateOutcome::Exists),
        Err(e) => Err(backend.to_error(e).context(format!("creating {path}"))),
    }
}

/// Creates an object by conditional writes until the outcome is certain.
///
/// A store that is busy with two writers at once may refuse both ("conflict"); a lookup distinguishes that from an object
/// that exists.
pub(crate) async fn create_settled(
    backend: &dyn Backend,
    path: &Path,
    content: Bytes,
) -> Result<CreateOutcome> {
    for _ in 0..CONFLICTS {
        if create_once(backend, path, content.clone()).await? == CreateOutcome::Yes {
            return Ok(CreateOutcome::Yes);
        }
        match backend.objects().head(path).await {
            Ok(_) => return Ok(CreateOutcome::Exists),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(backend.to_error(e).context(format!("looking up {path}"))),
        }
        tokio::time::sleep(CONFLICT_PAUSE.mul_f64(rand::random())).await;
    }
    Err(Error::new(Cause::Io(std::io::Error::new(
        std::io::ErrorKind::ResourceBusy,
        "the store keeps refusing the object, and does not have it",
    )))
    .context(format!("creating {path}")))
}

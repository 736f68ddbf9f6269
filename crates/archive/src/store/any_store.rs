//! An archive in any store that has conditional writes: in memory, or one that injects faults.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

use super::backend::{Backend, CreateOutcome, create_settled};
use super::config::ArchivePlace;
use super::error_hints::to_error;
use mpsync_core::error::{Error, Result};

/// A store of which nothing is known but its interface.
#[derive(Debug)]
pub(crate) struct AnyStoreBackend {
    store: Arc<dyn ObjectStore>,
    place: ArchivePlace,
}

impl AnyStoreBackend {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, place: ArchivePlace) -> Self {
        Self { store, place }
    }
}

#[async_trait]
impl Backend for AnyStoreBackend {
    fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    async fn create(&self, path: &Path, content: Bytes) -> Result<CreateOutcome> {
        create_settled(self, path, content).await
    }

    fn to_error(&self, e: object_store::Error) -> Error {
        to_error(e, &self.place)
    }
}

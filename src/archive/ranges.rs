//! Parts of a chunk, for who does not read it whole. Nothing of them is checked: a sum is of a whole file.

use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;

use super::layout::GenerationId;
use super::manifest::Chunk;
use super::store::Archive;
use crate::error::Result;

impl Archive {
    /// Bytes of a chunk, unverified. An integrity error where the chunk is not there.
    pub async fn chunk_range(
        &self,
        id: &GenerationId,
        chunk: &Chunk,
        range: Range<u64>,
    ) -> Result<Bytes> {
        let path = id.file(&chunk.file);
        match self.store().get_range(&path, range).await {
            Ok(bytes) => Ok(bytes),
            Err(object_store::Error::NotFound { .. }) => {
                Err(self.missing_or_superseded(id, chunk).await)
            }
            Err(e) => Err(self.explain(e).doing(format!("reading {path}"))),
        }
    }
}

//! Parts of a chunk, for who does not read it whole. Nothing of them is checked: a sum is of a whole file.

use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::chunk_reader::RESTORE;
use super::layout::GenerationId;
use super::manifest::Chunk;
use super::store::Archive;
use mpsync_core::error::{Error, Result};

impl Archive {
    /// Bytes of a chunk, unverified. An integrity error where the chunk is not there, or has another length than its manifest says
    /// and not these bytes.
    pub async fn chunk_range(
        &self,
        id: &GenerationId,
        chunk: &Chunk,
        range: Range<u64>,
    ) -> Result<Bytes> {
        let path = id.file(&chunk.file);
        let expected = range.end - range.start;
        match self.store().get_range(&path, range).await {
            Ok(bytes) if bytes.len() as u64 == expected => Ok(bytes),
            Ok(_) => Err(self.shorter(&path, chunk).await?),
            Err(object_store::Error::NotFound { .. }) => {
                Err(self.missing_or_superseded(id, chunk).await)
            }
            Err(e) => match self.shorter(&path, chunk).await {
                Ok(shorter) => Err(shorter),
                Err(_) => Err(self.to_error(e).context(format!("reading {path}"))),
            },
        }
    }

    /// What to say of a chunk that ends too early. An error where it does not.
    async fn shorter(&self, path: &Path, chunk: &Chunk) -> Result<Error> {
        let found = self.head(path).await?.map_or(0, |object| object.size);
        let what = format!(
            "{path} has {found} bytes, the manifest says {}",
            chunk.bytes
        );
        if found < chunk.bytes {
            Ok(Error::integrity(what).with_hint(RESTORE))
        } else {
            Err(Error::malformed(what))
        }
    }
}

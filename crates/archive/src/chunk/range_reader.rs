//! Ranges of a chunk, for readers that do not read it whole. They are not verified: a checksum is of a whole file.

use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::chunk::reader::RESTORE;
use crate::format::layout::GenerationId;
use crate::format::manifest::Chunk;
use crate::store::archive::Archive;
use mpsync_core::error::{Error, Result};

impl Archive {
    /// Returns bytes of a chunk, unverified. An integrity error if the chunk is missing, or is shorter than its manifest says and
    /// lacks these bytes.
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

    /// Returns the error of a chunk that ends too early; fails if it does not.
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

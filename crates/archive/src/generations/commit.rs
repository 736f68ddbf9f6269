//! How a generation comes to exist: exactly one attempt wins.

use bytes::Bytes;

use super::read::generation_id;
use crate::format::layout::GenerationId;
use crate::format::manifest::{Chunk, Manifest};
use crate::store::archive::Archive;
use crate::store::backend::CreateOutcome;
use mpsync_core::error::{Error, Result};

/// The outcome of a commit. Either way the generation exists, with this manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// It is the caller's.
    Won(Manifest),
    /// Another attempt was first, with this manifest. No manifest names the chunks of the loser.
    Lost(Manifest),
}

impl Committed {
    /// Returns the manifest that counts.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Won(manifest) | Self::Lost(manifest) => manifest,
        }
    }
}

impl Archive {
    /// Makes a generation exist: writes `SHA256SUMS`, then the manifest, only if it is absent.
    ///
    /// All its chunks must be in place; the generation before it must exist.
    ///
    /// # Errors
    ///
    /// After an error the generation may or may not exist; repeating the call with the same manifest settles that, and finding
    /// the caller's own manifest counts as won.
    pub async fn commit(&self, manifest: Manifest) -> Result<Committed> {
        let id = manifest.id();
        let json = Bytes::from(manifest.to_json()?);
        // A manifest that cannot be read back must not be written.
        Manifest::from_json(&json, &id)?;
        if let Some(there) = self.manifest(&id).await? {
            return self.settle(&id, manifest, there).await;
        }
        self.check_ready(&id, &manifest).await?;
        self.write_sums(&id, &manifest).await?;
        match self.create(&id.manifest(), json).await? {
            CreateOutcome::Yes => {
                tracing::info!(
                    generation = %id, attempt = manifest.attempt, chunks = manifest.chunks.len(),
                    rows = manifest.fingerprint.rows, bytes = manifest.bytes(), "generation committed"
                );
                Ok(Committed::Won(manifest))
            }
            CreateOutcome::Exists => match self.manifest(&id).await? {
                Some(there) => self.settle(&id, manifest, there).await,
                None => Err(Error::integrity(format!(
                    "the store says that {} exists, and does not find it",
                    id.manifest()
                ))),
            },
        }
    }

    /// Settles a commit that found a manifest. That one counts, whichever attempt wrote it, and `SHA256SUMS` must be its own: the
    /// loser may have overwritten it.
    pub(crate) async fn settle(
        &self,
        id: &GenerationId,
        ours: Manifest,
        there: Manifest,
    ) -> Result<Committed> {
        self.settle_sums(id, &there).await?;
        if there == ours {
            // A repeated call, or a store that repeated a request whose first answer was lost.
            return Ok(Committed::Won(there));
        }
        tracing::warn!(
            generation = %id, ours = ours.attempt, theirs = there.attempt,
            "another attempt committed this generation first"
        );
        Ok(Committed::Lost(there))
    }

    /// Makes `SHA256SUMS` agree with the manifest that counts.
    pub async fn settle_sums(&self, id: &GenerationId, holds: &Manifest) -> Result<()> {
        let sums = self.read(&id.sums()).await?;
        if sums.as_deref() != Some(holds.sha256sums().as_bytes()) {
            self.write_sums(id, holds).await?;
        }
        Ok(())
    }

    /// Writes `SHA256SUMS` from a manifest.
    pub(crate) async fn write_sums(&self, id: &GenerationId, manifest: &Manifest) -> Result<()> {
        self.overwrite(&id.sums(), Bytes::from(manifest.sha256sums()))
            .await
    }

    /// Checks before a generation exists that everything that it names exists, and so does the generation before it.
    pub(crate) async fn check_ready(&self, id: &GenerationId, manifest: &Manifest) -> Result<()> {
        if let Some(before) = id.generation.checked_sub(1) {
            let before = generation_id(&id.dataset, id.window, before);
            if self.head(&before.manifest()).await?.is_none() {
                return Err(Error::integrity(format!(
                    "{id} cannot be committed: {before} does not exist"
                )));
            }
        }
        for chunk in &manifest.chunks {
            let path = id.file(&chunk.file);
            let found = self.head(&path).await?.map(|meta| meta.size);
            if found != Some(chunk.bytes) {
                let found = found.map_or_else(
                    || "is missing".to_owned(),
                    |bytes| format!("has {bytes} bytes, not {}", chunk.bytes),
                );
                return Err(Error::integrity(format!(
                    "{id} cannot be committed: {path} {found}"
                )));
            }
        }
        Ok(())
    }

    /// Removes chunks that no manifest names: those of an attempt that lost or was aborted.
    ///
    /// Refused for a chunk that the generation's manifest names.
    pub async fn remove_chunks(&self, id: &GenerationId, chunks: &[Chunk]) -> Result<()> {
        let named = self.manifest(id).await?;
        for chunk in chunks {
            if named
                .iter()
                .any(|m| m.chunks.iter().any(|c| c.file == chunk.file))
            {
                return Err(Error::integrity(format!(
                    "{} is part of the archive and will not be removed",
                    id.file(&chunk.file)
                )));
            }
            self.remove(&id.file(&chunk.file)).await?;
        }
        Ok(())
    }
}

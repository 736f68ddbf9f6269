//! Manifests of repairs: the same rows in other chunks.
//!
//! A manifest is never changed. `manifest-r1.json` beside `manifest.json` says where the same rows lie now; the highest number
//! counts. It is created only if absent, after everything that it names, so at every moment the manifest that counts names
//! chunks that were proven. Chunks that it no longer names go to `_mpsync/quarantine/`: kept for inspection, and hidden from
//! programs that read the folders.

use bytes::Bytes;
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::commit::Committed;
use crate::format::layout::{GenerationId, parse_chunk_file};
use crate::format::manifest::Manifest;
use crate::store::archive::Archive;
use crate::store::backend::CreateOutcome;
use mpsync_core::error::{Error, Result};

impl Archive {
    /// Replaces the manifest that counts by a revision: the same rows in other chunks, all of which must exist.
    ///
    /// After an error it may or may not have taken effect; repeating the call with the same manifest settles that. The loser of a
    /// race gets the winner's manifest.
    pub async fn revise(&self, manifest: Manifest) -> Result<Committed> {
        let id = manifest.id();
        let json = Bytes::from(manifest.to_json()?);
        // A manifest that cannot be read back must not be written.
        Manifest::from_json(&json, &id)?;
        let holds = self.manifest(&id).await?.ok_or_else(|| {
            Error::integrity(format!("{id} has no manifest that could be revised"))
        })?;
        if holds.revision >= manifest.revision {
            return self.settle(&id, manifest, holds).await;
        }
        if !manifest.is_of_same_rows(&holds) || manifest.revision != holds.revision + 1 {
            return Err(Error::integrity(format!(
                "revision {} of {id} is not of the rows of revision {}",
                manifest.revision, holds.revision
            )));
        }
        self.check_ready(&id, &manifest).await?;
        self.write_sums(&id, &manifest).await?;
        match self.create(&id.revision(manifest.revision), json).await? {
            CreateOutcome::Yes => {
                tracing::warn!(
                    generation = %id, revision = manifest.revision, attempt = manifest.attempt,
                    chunks = manifest.chunks.len(), "chunks of a generation replaced"
                );
                Ok(Committed::Won(manifest))
            }
            CreateOutcome::Exists => match self.manifest(&id).await? {
                Some(there) => self.settle(&id, manifest, there).await,
                None => Err(Error::integrity(format!(
                    "the store says that {} exists, and does not find it",
                    id.revision(manifest.revision)
                ))),
            },
        }
    }

    /// Returns the attempt's number, or a higher one if a generation's folder has chunks of that attempt or of a later one, as in
    /// an archive that was restored without its leases, which begin again at 1.
    pub async fn free_attempt(&self, id: &GenerationId, attempt: u64) -> Result<u64> {
        let files = self.list_folder(&id.folder()).await?.objects;
        let names = files.iter().filter_map(|file| file.location.filename());
        let taken = names.filter_map(|name| Some(parse_chunk_file(name)?.1));
        Ok(taken.max().map_or(attempt, |taken| attempt.max(taken + 1)))
    }

    /// Returns the chunks that lie in a generation's folder though its manifest has superseded them.
    pub async fn superseded(
        &self,
        id: &GenerationId,
        manifest: &Manifest,
    ) -> Result<Vec<ObjectMeta>> {
        let mut files = self.list_folder(&id.folder()).await?.objects;
        files.retain(|file| {
            let name = file.location.filename().unwrap_or_default();
            manifest.supersedes(name)
        });
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    /// Moves superseded chunks out of a generation's folder, and returns their names. Can be interrupted and repeated.
    pub async fn quarantine(&self, id: &GenerationId, manifest: &Manifest) -> Result<Vec<String>> {
        let mut moved = Vec::new();
        for file in self.superseded(id, manifest).await? {
            let name = file.location.filename().unwrap_or_default().to_owned();
            let to = id.quarantined(&name);
            match self.store().rename(&file.location, &to).await {
                // Another worker did the same.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => moved.push(name),
                Err(e) => {
                    let context = format!("moving {} to {to}", file.location);
                    return Err(self.to_error(e).context(context));
                }
            }
        }
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::*;
    use crate::testing::{generation, id, manifest, small, trades, write};
    use crate::{Depth, verify};
    use mpsync_testkit::{FaultyStore, StoreFault};

    fn archive_of(store: Arc<dyn ObjectStore>) -> Archive {
        Archive::with_part_bytes(store, &small("".as_ref()), 4096)
    }

    /// Makes one attempt at a repair of the first generation, as a worker makes it: what exists counts.
    async fn repair(archive: &Archive, attempt: u64) -> Result<Manifest> {
        let id = id(0);
        let holds = archive.manifest(&id).await?.expect("there is one");
        let mut whole = true;
        for chunk in &holds.chunks {
            whole &= archive.head(&id.file(&chunk.file)).await?.is_some();
        }
        if !whole {
            let batch = trades(0, 2500);
            let chunks = write(archive, &id, attempt, &batch).await?;
            let revised = Manifest {
                revision: holds.revision + 1,
                ..manifest(&id, attempt, &batch, chunks)
            };
            archive.revise(revised).await?;
        }
        let holds = archive.manifest(&id).await?.expect("there is one");
        archive.write_sums(&id, &holds).await?;
        archive.quarantine(&id, &holds).await?;
        Ok(holds)
    }

    async fn damaged() -> (Arc<dyn ObjectStore>, Manifest) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let archive = archive_of(Arc::clone(&store));
        let first = generation(&archive, 0, 2500).await;
        let lost = id(0).file(&first.chunks[1].file);
        archive.remove(&lost).await.unwrap();
        (store, first)
    }

    #[tokio::test]
    async fn the_highest_revision_holds_and_what_it_supersedes_goes_to_quarantine() {
        let (store, first) = damaged().await;
        let archive = archive_of(store);
        let revised = repair(&archive, 7).await.unwrap();
        assert_eq!((revised.revision, revised.attempt), (1, 7));
        assert!(revised.is_of_same_rows(&first));
        let (id, depth) = (id(0), Depth::Deep);
        let found = archive.generations(&id.dataset, id.window).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&revised));
        assert_eq!(verify(&archive, &id.dataset, id.window, depth).await, []);
        let sums = archive.read(&id.sums()).await.unwrap().unwrap();
        assert_eq!(sums, revised.sha256sums().as_bytes());
        let kept = archive
            .list(&id.quarantined("x").parts().take(4).collect())
            .await;
        assert_eq!(kept.unwrap().len(), first.chunks.len() - 1);
        // A reader of the first manifest gets a busy error, not damage.
        let e = archive.read_chunk(&id, &first.chunks[0]).await.unwrap_err();
        assert!(
            matches!(e.cause(), mpsync_core::error::Cause::Busy(_)),
            "{e}"
        );
        // The first manifest stays, so that no attempt can create it again.
        assert!(archive.head(&id.manifest()).await.unwrap().is_some());
        let windows = archive.windows(&id.dataset, None).await.unwrap();
        assert_eq!(windows, [id.window]);
    }

    #[tokio::test]
    async fn a_revision_of_other_rows_or_without_its_chunks_is_refused_and_of_two_one_wins() {
        let (store, first) = damaged().await;
        let archive = archive_of(store);
        let batch = trades(0, 2500);
        let mut revisions = Vec::new();
        for attempt in [2, 3] {
            let chunks = write(&archive, &id(0), attempt, &batch).await.unwrap();
            revisions.push(Manifest {
                revision: 1,
                ..manifest(&id(0), attempt, &batch, chunks)
            });
        }
        let mut other = revisions[0].clone();
        other.fingerprint.sum += 1;
        let e = archive.revise(other).await.unwrap_err().to_string();
        assert!(e.contains("is not of the rows"), "{e}");
        let mut lost = revisions[0].clone();
        lost.chunks[0].file = "part-00000-a9.parquet".into();
        let e = archive.revise(lost).await.unwrap_err().to_string();
        assert!(e.contains("part-00000-a9.parquet is missing"), "{e}");
        assert_eq!(archive.manifest(&id(0)).await.unwrap(), Some(first));
        let won = archive.revise(revisions[1].clone()).await.unwrap();
        assert_eq!(won, Committed::Won(revisions[1].clone()));
        let lost = archive.revise(revisions[0].clone()).await.unwrap();
        assert_eq!(lost, Committed::Lost(revisions[1].clone()));
    }

    #[tokio::test]
    async fn whichever_call_of_a_repair_fails_a_manifest_names_what_is_there_and_the_next_ends_it()
    {
        for fault in [StoreFault::Before, StoreFault::After] {
            for nth in 1.. {
                let (store, first) = damaged().await;
                let faulty = FaultyStore::new(Arc::clone(&store), nth, fault);
                let tried = repair(&archive_of(faulty.clone()), 2).await;
                let clean = archive_of(store);
                let holds = clean.manifest(&id(0)).await.unwrap().unwrap();
                assert!(holds.is_of_same_rows(&first));
                if holds.revision > 0 {
                    for chunk in &holds.chunks {
                        let path = id(0).file(&chunk.file);
                        let there = clean.head(&path).await.unwrap();
                        assert_eq!(there.map(|m| m.size), Some(chunk.bytes), "{fault:?} {nth}");
                    }
                }
                if !faulty.has_failed() {
                    assert!(nth > 12, "only {nth} calls");
                    break;
                }
                let repaired = repair(&clean, 3).await.unwrap();
                if let Ok(first) = tried {
                    assert_eq!(first, repaired, "{fault:?} {nth}");
                }
                let found = verify(&clean, &id(0).dataset, id(0).window, Depth::Deep).await;
                let severe: Vec<_> = found
                    .iter()
                    .filter(|f| f.kind.severity() > crate::Severity::Info)
                    .collect();
                assert!(severe.is_empty(), "{fault:?} {nth}: {severe:?}");
            }
        }
    }
}

//! Removal of a window from the archive.

use crate::format::layout::{is_written, parse_manifest_file};
use crate::generations::read::generation_id;
use crate::store::archive::Archive;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::Result;

impl Archive {
    /// Removes a window: its manifests first, the newest generation's before the older ones', and of a generation that was
    /// repaired the one that counts last; then the files that they named.
    ///
    /// So at every moment the remaining manifests name only files that exist, and no generation is missing before a later one. An
    /// interruption leaves a window of fewer generations, or files that no manifest names; repeating the call removes them.
    pub async fn remove_window(&self, dataset: &DatasetName, window: Window) -> Result<()> {
        let numbers = self.generation_folders(dataset, window).await?;
        let (mut manifests, mut others) = (Vec::new(), Vec::new());
        for number in numbers.iter().rev() {
            let folder = generation_id(dataset, window, *number).folder();
            let mut revisions = Vec::new();
            for file in self.list_folder(&folder).await?.objects {
                match file.location.filename().and_then(parse_manifest_file) {
                    Some(revision) => revisions.push((revision, file.location)),
                    None if is_written(&file.location) => others.push(file.location),
                    None => {}
                }
            }
            revisions.sort();
            manifests.extend(revisions.into_iter().map(|(_, path)| path));
        }
        for path in manifests.iter().chain(&others) {
            self.remove(path).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::*;
    use crate::testing::{generation, id, small};
    use crate::{Depth, FindingKind, Severity, verify};
    use mpsync_testkit::{FaultyStore, StoreFault};

    fn archive_of(store: Arc<dyn ObjectStore>) -> Archive {
        Archive::with_part_bytes(store, &small("".as_ref()), 4096)
    }

    #[tokio::test]
    async fn wherever_a_removal_breaks_off_what_is_left_is_whole_and_a_second_one_removes_it() {
        for fault in [StoreFault::Before, StoreFault::After] {
            let mut nth = 0;
            loop {
                nth += 1;
                let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
                let clean = archive_of(Arc::clone(&store));
                for number in 0..3 {
                    generation(&clean, number, 500).await;
                }
                let id = id(0);
                let faulty = FaultyStore::new(Arc::clone(&store), nth, fault);
                let first = archive_of(faulty.clone());
                let done = first.remove_window(&id.dataset, id.window).await;
                if !faulty.has_failed() {
                    done.unwrap();
                    assert!(nth > 4, "only {nth} calls");
                    break;
                }
                let findings = verify(&clean, &id.dataset, id.window, Depth::Bytes).await;
                let bad: Vec<_> = findings
                    .iter()
                    // These generations are made of the same trades.
                    .filter(|f| f.kind != FindingKind::Positions)
                    .filter(|f| f.kind.severity() != Severity::Info)
                    .collect();
                assert!(bad.is_empty(), "{fault:?} {nth}: {bad:?}");
                clean.remove_window(&id.dataset, id.window).await.unwrap();
                let root = object_store::path::Path::from(id.dataset.as_str());
                assert!(
                    clean.list(&root).await.unwrap().is_empty(),
                    "{fault:?} {nth}"
                );
            }
        }
    }
}

//! Manifests that are missing though the journal says that their window was archived.

use std::collections::BTreeSet;

use object_store::path::Path;

use crate::format::journal_evidence::Evidence;
use crate::format::layout::{
    GenerationId, SHA256SUMS, numbered_file, parse_internal_window, parse_manifest_file,
    tasks_folder, tasks_root,
};
use crate::generations::read::generation_id;
use crate::store::archive::Archive;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::Result;

impl Archive {
    /// Returns the windows of a dataset that touch `range` and that a check has to look at: those with any file, and those
    /// with a journal, whose files may all be lost.
    pub async fn windows_to_verify(
        &self,
        dataset: &DatasetName,
        range: Option<Window>,
    ) -> Result<Vec<Window>> {
        let mut windows: BTreeSet<Window> =
            self.windows(dataset, range).await?.into_iter().collect();
        let touches = |window: &Window| range.is_none_or(|r| r.intersection(window).is_some());
        let journals = self
            .list_folder(&tasks_root().join(dataset.as_str()))
            .await?;
        for folder in journals.common_prefixes {
            let window = folder.filename().and_then(parse_internal_window);
            let Some(window) = window.filter(touches) else {
                continue;
            };
            if !windows.contains(&window) && !self.lost_manifests(dataset, window).await?.is_empty()
            {
                windows.insert(window);
            }
        }
        Ok(windows.into_iter().collect())
    }

    /// Returns the generations of a window that were committed, as its journal and `SHA256SUMS` say, and have no manifest.
    ///
    /// A generation without a manifest is lost if its `SHA256SUMS` exists, which is written directly before the manifest, and
    /// the journal says that the window was archived. A window that hot had no rows of is archived and proven without a
    /// generation, so that the journal alone proves no loss.
    pub async fn lost_manifests(
        &self,
        dataset: &DatasetName,
        window: Window,
    ) -> Result<Vec<GenerationId>> {
        let mut folders = self.generation_folders(dataset, window).await?;
        if !folders.contains(&0) {
            folders.insert(0, 0);
        }
        let (mut lost, mut evidence) = (Vec::new(), None);
        for generation in folders {
            let id = generation_id(dataset, window, generation);
            let files = self.list_folder(&id.folder()).await?.objects;
            let names = || files.iter().filter_map(|file| file.location.filename());
            if names().any(|name| parse_manifest_file(name).is_some()) {
                continue;
            }
            let evidence = match evidence {
                Some(evidence) => evidence,
                None => *evidence.insert(self.evidence(dataset, window).await?),
            };
            let is_lost = match evidence {
                Evidence::Proven | Evidence::Archived => names().any(|name| name == SHA256SUMS),
                Evidence::Expired | Evidence::Silent => false,
            };
            if is_lost {
                lost.push(id);
            }
        }
        Ok(lost)
    }

    /// Returns the strongest statement of a window's journal since it last expired.
    async fn evidence(&self, dataset: &DatasetName, window: Window) -> Result<Evidence> {
        let folder: Path = tasks_folder(dataset, window);
        let mut strongest = Evidence::Silent;
        for number in self.numbers(&folder).await?.into_iter().rev() {
            let path = folder.clone().join(numbered_file(number));
            let Some(entry) = self.read(&path).await? else {
                continue;
            };
            match Evidence::of(&entry) {
                Evidence::Proven => return Ok(Evidence::Proven),
                Evidence::Archived => strongest = Evidence::Archived,
                Evidence::Expired => break,
                Evidence::Silent => {}
            }
        }
        Ok(strongest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::testing::{generation, id, small};
    use crate::{Archive, Depth, FindingKind, verify};

    const REACHED: &str = r#"{"attempt":1,"at":"2026-01-01T00:00:00Z","holder":"h","event":"reached","stage":"verified"}"#;
    const EXPIRED: &str =
        r#"{"attempt":2,"at":"2026-01-01T00:00:00Z","holder":"h","event":"expired"}"#;

    #[tokio::test]
    async fn lost_manifest_is_a_finding_and_its_files_are_not_swept() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&small(folder.path())).await.unwrap();
        let first = generation(&archive, 0, 500).await;
        let (dataset, window) = (id(0).dataset, id(0).window);
        let journal = crate::layout::tasks_folder(&dataset, window);
        let later = archive.now().await.unwrap() + Duration::from_hours(48);
        let day = Duration::from_hours(24);

        archive.remove(&id(0).manifest()).await.unwrap();
        // An attempt that was interrupted looks the same, so the journal decides.
        assert_eq!(archive.lost_manifests(&dataset, window).await.unwrap(), []);
        let swept = archive.old_leftovers(&dataset, later, day).await.unwrap();
        assert_eq!(swept.len(), first.chunks.len() + 1);

        archive.create_numbered(&journal, REACHED).await.unwrap();
        assert_eq!(
            archive.windows_to_verify(&dataset, None).await.unwrap(),
            [window]
        );
        for depth in [Depth::Quick, Depth::Deep] {
            let found = verify(&archive, &dataset, window, depth).await;
            let lost: Vec<_> = found
                .iter()
                .filter(|f| f.kind == FindingKind::GenerationMissing)
                .collect();
            assert_eq!(lost.len(), 1, "{found:?}");
            assert_eq!(lost[0].generation, id(0));
        }
        let kept = archive.old_leftovers(&dataset, later, day).await.unwrap();
        assert_eq!(kept.len(), first.chunks.len() + 1);
        assert!(kept.iter().all(|leftover| leftover.proven));
        for leftover in &kept {
            assert!(!archive.remove_leftover(leftover).await.unwrap());
        }

        archive.create_numbered(&journal, EXPIRED).await.unwrap();
        assert_eq!(archive.lost_manifests(&dataset, window).await.unwrap(), []);
        assert_eq!(archive.windows_to_verify(&dataset, None).await.unwrap(), []);
    }

    #[tokio::test]
    async fn lost_manifest_of_the_last_generation_is_found_by_its_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&small(folder.path())).await.unwrap();
        generation(&archive, 0, 500).await;
        generation(&archive, 1, 500).await;
        let (dataset, window) = (id(0).dataset, id(0).window);
        let journal = crate::layout::tasks_folder(&dataset, window);
        archive.create_numbered(&journal, REACHED).await.unwrap();
        assert_eq!(archive.lost_manifests(&dataset, window).await.unwrap(), []);
        archive.remove(&id(1).manifest()).await.unwrap();
        let lost = archive.lost_manifests(&dataset, window).await.unwrap();
        assert_eq!(lost, [id(1)]);
    }
}

//! Each kind of damage, made on the fly, and what `verify` says of it.

use std::path::{Path, PathBuf};

use super::{Depth, Finding, FindingKind, verify};
use crate::testing::{generation, id, small, trades, write};
use crate::{Archive, Manifest, Severity};

struct Fixture {
    _folder: tempfile::TempDir,
    archive: Archive,
    manifest: Manifest,
    path: PathBuf,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("archive");
    let archive = Archive::open(&small(&root)).await.unwrap();
    let manifest = generation(&archive, 0, 2500).await;
    let path = root.join(id(0).folder().as_ref());
    Fixture {
        _folder: folder,
        archive,
        manifest,
        path,
    }
}

impl Fixture {
    fn chunk(&self, number: usize) -> PathBuf {
        self.path.join(&self.manifest.chunks[number].file)
    }

    async fn found(&self, depth: Depth) -> Vec<Finding> {
        verify(&self.archive, &id(0).dataset, id(0).window, depth).await
    }

    async fn kinds(&self, depth: Depth) -> Vec<FindingKind> {
        self.found(depth)
            .await
            .into_iter()
            .map(|f| f.kind)
            .collect()
    }

    /// Makes the manifest say something else.
    fn rewrite(&mut self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.manifest);
        let json = self.manifest.to_json().unwrap();
        std::fs::write(self.path.join("manifest.json"), json).unwrap();
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_whole_archive_has_no_findings_at_any_depth() {
    let fixture = fixture().await;
    for depth in [Depth::Quick, Depth::Bytes, Depth::Deep] {
        assert_eq!(fixture.found(depth).await, []);
    }
}

#[tokio::test]
async fn sha256sum_itself_agrees() {
    let fixture = fixture().await;
    let sums = || {
        std::process::Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(&fixture.path)
            .output()
            .unwrap()
    };
    let output = sums();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3);
    edit(&fixture.chunk(1), |bytes| bytes[100] ^= 1);
    assert!(!sums().status.success());
}

#[tokio::test]
async fn a_flipped_byte_is_seen_by_its_checksum() {
    let fixture = fixture().await;
    edit(&fixture.chunk(1), |bytes| bytes[100] ^= 1);
    assert_eq!(fixture.kinds(Depth::Quick).await, []);
    let found = fixture.found(Depth::Bytes).await;
    assert_eq!(found[0].kind, FindingKind::ChunkChecksum);
    assert_eq!(found[0].file.as_deref(), Some("part-00001-a1.parquet"));
    assert!(found[0].remedy.contains("a copy of the archive"));
    // And nothing of it is ever read.
    let chunk = &fixture.manifest.chunks[1];
    let e = fixture.archive.read_chunk(&id(0), chunk).await.unwrap_err();
    assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Integrity);
}

#[tokio::test]
async fn a_truncated_a_longer_and_a_missing_chunk_are_seen_without_reading() {
    let fixture = fixture().await;
    edit(&fixture.chunk(0), |bytes| bytes.truncate(bytes.len() / 2));
    edit(&fixture.chunk(1), |bytes| bytes.push(0));
    std::fs::remove_file(fixture.chunk(2)).unwrap();
    assert_eq!(
        fixture.kinds(Depth::Quick).await,
        [
            FindingKind::ChunkSize,
            FindingKind::ChunkSize,
            FindingKind::ChunkMissing
        ]
    );
    for chunk in &fixture.manifest.chunks {
        let e = async {
            fixture
                .archive
                .chunk_bytes(&id(0), chunk)
                .await?
                .drain()
                .await
        };
        let e = e.await.unwrap_err();
        assert_eq!(
            e.exit_code(),
            mpsync_core::error::ExitCode::Integrity,
            "{e}"
        );
    }
}

#[tokio::test]
async fn swapped_chunks_are_named() {
    let mut fixture = fixture().await;
    // Of one size, or the size alone would tell.
    let (a, b) = (fixture.chunk(0), fixture.chunk(1));
    let (first, second) = (std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    std::fs::write(&a, &second).unwrap();
    std::fs::write(&b, &first).unwrap();
    fixture.rewrite(|m| {
        let bytes = m.chunks[0].bytes;
        m.chunks[0].bytes = m.chunks[1].bytes;
        m.chunks[1].bytes = bytes;
    });
    let found = fixture.found(Depth::Bytes).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|f| f.kind == FindingKind::ChunkSwapped));
    assert!(
        found[0].text.contains("part-00001-a1.parquet"),
        "{}",
        found[0]
    );
}

#[tokio::test]
async fn a_manifest_that_is_half_written_of_another_window_or_format_is_seen() {
    let fixture = fixture().await;
    let path = fixture.path.join("manifest.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    for damaged in [
        whole[..whole.len() / 2].to_owned(),
        whole.replace("2026-01-01T05:00:00Z", "2026-01-01T04:00:00Z"),
        whole.replace("\"format\": 1", "\"format\": 99"),
        whole.replace("\"rows\": 2500", "\"rows\": 2499"),
        String::new(),
    ] {
        std::fs::write(&path, damaged).unwrap();
        let found = fixture.found(Depth::Deep).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind, FindingKind::ManifestWrong, "{}", found[0]);
    }
}

#[tokio::test]
async fn wrong_sums_are_damage_and_orphans_are_not() {
    let fixture = fixture().await;
    std::fs::write(fixture.path.join("SHA256SUMS"), "").unwrap();
    let orphans = write(&fixture.archive, &id(0), 9, &trades(1, 10))
        .await
        .unwrap();
    let found = fixture.found(Depth::Quick).await;
    let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [FindingKind::Orphan, FindingKind::SumsDiffer]);
    assert_eq!(found[0].file.as_ref(), Some(&orphans[0].file));
    assert_eq!(kinds[0].severity(), Severity::Info);
}

#[tokio::test]
async fn a_missing_generation_and_one_that_shares_positions_are_seen() {
    let fixture = fixture().await;
    // The same positions again: sequences count from the same number in every generation of these tests.
    generation(&fixture.archive, 1, 100).await;
    let found = fixture.found(Depth::Quick).await;
    assert_eq!(found[0].kind, FindingKind::Positions);
    assert!(
        found[0].text.starts_with("100 of its positions"),
        "{}",
        found[0]
    );
    std::fs::remove_dir_all(&fixture.path).unwrap();
    assert_eq!(
        fixture.kinds(Depth::Quick).await,
        [FindingKind::GenerationMissing]
    );
}

#[tokio::test]
async fn a_manifest_that_names_other_positions_rows_or_times_than_the_chunks_hold_is_seen() {
    let mut other_positions = fixture().await;
    other_positions.rewrite(|m| {
        let mut positions: Vec<_> = m.positions.iter().collect();
        positions[7].seq = 1;
        m.positions = positions.into_iter().collect();
    });
    assert_eq!(other_positions.kinds(Depth::Bytes).await, []);
    let found = other_positions.found(Depth::Deep).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].text.contains("2499 are in both"), "{}", found[0]);

    let mut other_rows = fixture().await;
    other_rows.rewrite(|m| {
        m.chunks[0].rows -= 1;
        m.chunks[1].rows += 1;
    });
    assert_eq!(
        other_rows.kinds(Depth::Bytes).await,
        [FindingKind::ChunkContent; 2]
    );

    let mut other_times = fixture().await;
    other_times.rewrite(|m| m.chunks[2].max_time = "2026-01-01T05:59:59.999Z".parse().unwrap());
    assert_eq!(other_times.kinds(Depth::Bytes).await, [FindingKind::Times]);

    let mut other_columns = fixture().await;
    other_columns.rewrite(|m| m.schema.columns[6].name = "cost".into());
    assert_eq!(
        other_columns.kinds(Depth::Bytes).await,
        [FindingKind::ChunkContent; 3]
    );
}

#[tokio::test]
async fn what_cannot_be_asked_is_never_taken_for_good() {
    use mpsync_testkit::{FaultyStore, StoreFault};
    let fixture = fixture().await;
    let mut nth = 0;
    loop {
        nth += 1;
        let store = FaultyStore::new(fixture.archive.store().clone(), nth, StoreFault::Before);
        let archive = Archive::with_store(store.clone(), fixture.archive.options());
        let found = verify(&archive, &id(0).dataset, id(0).window, Depth::Deep).await;
        if !store.has_failed() {
            assert_eq!(found, []);
            break;
        }
        let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [FindingKind::NotChecked], "call {nth}: {found:?}");
    }
    assert!(nth > 10);
}

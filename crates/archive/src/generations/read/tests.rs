//! How generations are committed and found, and which of two attempts wins.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use bytes::Bytes;

use crate::Committed;
use crate::testing::{generation, id, manifest, small, trades, write};
use crate::{Depth, Severity, verify};
use mpsync_testkit::{FaultyStore, StoreFault};

fn archive_of(store: Arc<dyn ObjectStore>) -> Archive {
    Archive::with_part_bytes(store, &small("".as_ref()), 4096)
}

#[tokio::test]
async fn a_window_is_found_by_its_range_wherever_it_begins() {
    let archive = archive_of(Arc::new(InMemory::new()));
    for window in [
        "2026-01-01T05",
        "2026-01-02",
        "2026-01-02T05",
        "2026-01-01T00:00:00Z_2026-02-01T00:00:00Z",
    ] {
        let id = generation_id(&id(0).dataset, window.parse().unwrap(), 0);
        archive
            .overwrite(&id.manifest(), Bytes::new())
            .await
            .unwrap();
    }
    let orphan = generation_id(&id(0).dataset, "2026-01-03T07".parse().unwrap(), 0);
    archive
        .overwrite(&orphan.file("part-00000-a1.parquet"), Bytes::new())
        .await
        .unwrap();
    let found = async |range: Option<&str>| {
        let range = range.map(|r| r.parse().unwrap());
        let windows = archive.windows(&id(0).dataset, range).await.unwrap();
        windows.iter().map(Window::id).collect::<Vec<_>>()
    };
    let month = "2026-01-01T00:00:00Z_2026-02-01T00:00:00Z";
    assert_eq!(
        found(None).await,
        [month, "2026-01-01T05", "2026-01-02", "2026-01-02T05"]
    );
    assert_eq!(found(Some("2026-01-01T05")).await, [month, "2026-01-01T05"]);
    assert_eq!(found(Some("2026-01-02T06")).await, [month, "2026-01-02"]);
    assert_eq!(found(Some("2026-02-01")).await, [""; 0]);
    let touched = archive.touched_windows(&id(0).dataset, None).await.unwrap();
    assert_eq!(touched.last().unwrap().id(), "2026-01-03T07");
}

#[tokio::test]
async fn generations_come_in_order_and_a_gap_in_them_is_an_integrity_error() {
    let archive = archive_of(Arc::new(InMemory::new()));
    for number in 0..3 {
        generation(&archive, number, 500).await;
    }
    let id = id(0);
    let found = archive.generations(&id.dataset, id.window).await.unwrap();
    assert_eq!(
        found.iter().map(|m| m.generation).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let lost = generation_id(&id.dataset, id.window, 1);
    archive.remove(&lost.manifest()).await.unwrap();
    let e = archive
        .generations(&id.dataset, id.window)
        .await
        .unwrap_err();
    assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Integrity);
    assert!(e.to_string().contains("gen 1 has no manifest"), "{e}");
}

#[tokio::test]
async fn of_two_attempts_one_wins_and_the_sums_are_the_winner_s() {
    let archive = archive_of(Arc::new(InMemory::new()));
    let batch = trades(1, 1500);
    let mut manifests = Vec::new();
    for attempt in [1, 2] {
        let chunks = write(&archive, &id(0), attempt, &batch).await.unwrap();
        manifests.push(manifest(&id(0), attempt, &batch, chunks));
    }
    let (first, second) = (manifests.remove(0), manifests.remove(0));
    let won = archive.commit(first.clone()).await.unwrap();
    assert_eq!(won, Committed::Won(first.clone()));
    // The loser had written its sums before it came too late.
    archive.write_sums(&id(0), &second).await.unwrap();
    let lost = archive.commit(second.clone()).await.unwrap();
    assert_eq!(lost, Committed::Lost(first.clone()));
    let sums = archive.read(&id(0).sums()).await.unwrap().unwrap();
    assert_eq!(sums, first.sha256sums().as_bytes());
    // Repeating the call does not lose.
    assert_eq!(
        archive.commit(first.clone()).await.unwrap(),
        Committed::Won(first.clone())
    );
    archive.remove_chunks(&id(0), &second.chunks).await.unwrap();
    assert!(archive.remove_chunks(&id(0), &first.chunks).await.is_err());
    assert_eq!(archive.orphans(&id(0), Some(&first)).await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_committed_whose_chunks_or_predecessor_are_not_there() {
    let archive = archive_of(Arc::new(InMemory::new()));
    let batch = trades(1, 1500);
    let chunks = write(&archive, &id(1), 1, &batch).await.unwrap();
    let later = manifest(&id(1), 1, &batch, chunks);
    let e = archive.commit(later).await.unwrap_err().to_string();
    assert!(e.contains("gen 0 does not exist"), "{e}");
    let chunks = write(&archive, &id(0), 1, &batch).await.unwrap();
    archive.remove(&id(0).file(&chunks[1].file)).await.unwrap();
    let e = archive
        .commit(manifest(&id(0), 1, &batch, chunks))
        .await
        .unwrap_err()
        .to_string();
    assert!(e.contains("part-00001-a1.parquet is missing"), "{e}");
}

/// One try at a generation, as a worker makes it: what exists counts.
async fn attempt(archive: &Archive, attempt: u64) -> Result<Manifest> {
    let batch = trades(1, 1500);
    let id = id(0);
    if let Some(manifest) = archive.manifest(&id).await? {
        return Ok(manifest);
    }
    let chunks = write(archive, &id, attempt, &batch).await?;
    let committed = archive
        .commit(manifest(&id, attempt, &batch, chunks))
        .await?;
    Ok(committed.manifest().clone())
}

#[tokio::test]
async fn whichever_call_fails_a_second_attempt_ends_with_one_whole_generation() {
    for fault in [StoreFault::Before, StoreFault::After] {
        let mut nth = 0;
        loop {
            nth += 1;
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faulty = FaultyStore::new(Arc::clone(&store), nth, fault);
            let first = attempt(&archive_of(faulty.clone()), 1).await;
            if !faulty.has_failed() {
                assert!(nth > 10, "only {nth} calls");
                break;
            }
            let clean = archive_of(store);
            let manifest = attempt(&clean, 2).await.unwrap();
            if let Ok(first) = first {
                assert_eq!(first, manifest, "{fault:?} {nth}");
            }
            let id = id(0);
            let found = clean.generations(&id.dataset, id.window).await.unwrap();
            assert_eq!(found, [manifest], "{fault:?} {nth}");
            let findings = verify(&clean, &id.dataset, id.window, Depth::Deep).await;
            let bad: Vec<_> = findings
                .iter()
                .filter(|f| f.kind.severity() != Severity::Info)
                // A first attempt that ended between manifest and answer; `sums` are the same for both.
                .collect();
            assert!(bad.is_empty(), "{fault:?} {nth}: {bad:?}");
        }
    }
}

//! Encrypted chunks are read with their key and in their place only.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::store::archive::Archive;
use crate::testing::{id, small, trades, write};
use crate::{Depth, verify};
use mpsync_core::error::ExitCode;

fn key(digit: &str) -> EncryptionKey {
    EncryptionKey::parse(&digit.repeat(64)).unwrap()
}

fn archive(store: &Arc<InMemory>, writing: Option<&str>, old: &[&str]) -> Archive {
    let mut config = small("".as_ref());
    let old = old.iter().map(|digit| key(digit)).collect();
    config.encryption = EncryptionKeys::new(writing.map(key), old);
    Archive::with_part_bytes(Arc::clone(store) as Arc<_>, &config, 4096)
}

async fn rows(archive: &Archive, id: &GenerationId, chunk: &Chunk) -> Result<usize> {
    let batches: Vec<_> = archive.read_chunk(id, chunk).await?.try_collect().await?;
    Ok(batches
        .iter()
        .map(arrow::array::RecordBatch::num_rows)
        .sum())
}

#[tokio::test]
async fn an_encrypted_chunk_is_read_with_its_key_and_in_its_place_alone() {
    let store = Arc::new(InMemory::new());
    let writer = archive(&store, Some("a"), &[]);
    let chunks = write(&writer, &id(0), 1, &trades(1, 1500)).await.unwrap();
    let chunk = &chunks[0];
    assert_eq!(chunk.key_id.as_ref(), Some(key("a").id()));
    let reader = archive(&store, None, &["b", "a"]);
    assert_eq!(rows(&reader, &id(0), chunk).await.unwrap(), 1000);
    for other in [archive(&store, Some("b"), &[]), archive(&store, None, &[])] {
        let e = rows(&other, &id(0), chunk).await.unwrap_err();
        assert_eq!(e.exit_code(), ExitCode::Usage);
        let said = e.to_string();
        assert!(said.contains(&key("a").id().to_string()), "{said}");
        assert!(said.contains("trades 2026-01-01T05 gen 0"), "{said}");
        assert!(!said.contains(&"a".repeat(64)), "{said}");
    }
    // The same bytes in another place are not a chunk, whatever a manifest says.
    let bytes = writer
        .read(&id(0).file(&chunk.file))
        .await
        .unwrap()
        .unwrap();
    writer
        .overwrite(&id(1).file(&chunk.file), bytes)
        .await
        .unwrap();
    let e = rows(&writer, &id(1), chunk).await.unwrap_err();
    assert_eq!(e.exit_code(), ExitCode::Integrity);
    assert!(e.to_string().contains("unable to decrypt"), "{e}");
    // Nor is one that is not what the manifest says of it.
    let plain = Chunk {
        key_id: None,
        ..chunk.clone()
    };
    let e = rows(&writer, &id(0), &plain).await.unwrap_err();
    assert!(e.to_string().contains("the manifest names no key"), "{e}");
}

#[tokio::test]
async fn a_chunk_that_lost_its_encryption_is_seen() {
    let store = Arc::new(InMemory::new());
    let plain = archive(&store, None, &["a"]);
    let mut chunk = write(&plain, &id(0), 1, &trades(1, 500))
        .await
        .unwrap()
        .remove(0);
    chunk.key_id = Some(key("a").id().clone());
    let e = rows(&plain, &id(0), &chunk).await.unwrap_err();
    assert_eq!(e.exit_code(), ExitCode::Integrity);
    assert!(e.to_string().contains("it is not encrypted"), "{e}");
}

#[tokio::test]
async fn a_check_without_the_key_says_that_it_is_not_complete() {
    let store = Arc::new(InMemory::new());
    let writer = archive(&store, Some("a"), &[]);
    crate::testing::generation(&writer, 0, 1500).await;
    let (dataset, window) = (&id(0).dataset, id(0).window);
    assert_eq!(verify(&writer, dataset, window, Depth::Deep).await, []);
    let found = verify(&archive(&store, None, &[]), dataset, window, Depth::Deep).await;
    assert_eq!(found.len(), 2, "{found:?}");
    for finding in &found {
        assert_eq!(finding.kind, crate::FindingKind::NotChecked);
        assert!(
            finding.text.contains("is encrypted with the key"),
            "{finding}"
        );
    }
}

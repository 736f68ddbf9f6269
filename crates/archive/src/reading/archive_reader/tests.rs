//! Reading as another program does.

use arrow::array::AsArray as _;
use arrow::compute::concat_batches;
use arrow::datatypes::{TimestampMillisecondType, UInt64Type};
use futures_util::TryStreamExt as _;

use super::*;
use crate::testing::{generation, id, manifest, small, trades, write};
use mpsync_core::error::ExitCode;

async fn archive(path: &std::path::Path) -> Archive {
    Archive::open(&small(path)).await.unwrap()
}

#[tokio::test]
async fn selection_is_read_by_time_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    let batch = trades(0, 2500);
    generation(&archive(folder.path()).await, 0, 2500).await;
    let reader = ArchiveReader::open_folder(folder.path()).await.unwrap();
    assert_eq!(reader.datasets().await.unwrap(), [id(0).dataset]);
    let quarter: Window = "2026-01-01T05:15:00Z_2026-01-01T05:30:00Z".parse().unwrap();
    let selection = Selection::new(id(0).dataset)
        .within(quarter)
        .columns(["stream_seq", "timestamp"]);
    let read: Vec<_> = reader
        .read(selection)
        .into_stream()
        .try_collect()
        .await
        .unwrap();
    let read = concat_batches(&read[0].schema(), &read).unwrap();
    let times = batch.column_by_name("timestamp").unwrap();
    let times = times.as_primitive::<TimestampMillisecondType>().values();
    let seqs = batch.column_by_name("stream_seq").unwrap();
    let seqs = seqs.as_primitive::<UInt64Type>().values();
    let range = quarter.start().as_millisecond()..quarter.end().as_millisecond();
    let expected: Vec<u64> = times
        .iter()
        .zip(seqs)
        .filter(|(time, _)| range.contains(time))
        .map(|(_, seq)| *seq)
        .collect();
    assert!(!expected.is_empty() && expected.len() < 2500);
    assert_eq!(read.num_columns(), 2);
    let found = read.column(0).as_primitive::<UInt64Type>().values();
    assert_eq!(found.to_vec(), expected);
    let unknown = Selection::new(id(0).dataset).columns(["nothing"]);
    let e = reader.read(unknown).next_batch().await.unwrap_err();
    assert!(e.to_string().contains("`nothing`"), "{e}");
}

#[tokio::test]
async fn uncommitted_generation_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path()).await;
    generation(&archive, 0, 500).await;
    let late = trades(7, 100);
    let chunks = write(&archive, &id(1), 9, &late).await.unwrap();
    let reader = ArchiveReader::open_folder(folder.path()).await.unwrap();
    let count = async || {
        let mut rows = reader.read(Selection::new(id(0).dataset));
        let mut count = 0;
        while let Some(batch) = rows.next_batch().await.unwrap() {
            count += batch.num_rows();
        }
        count
    };
    assert_eq!(count().await, 500);
    archive
        .commit(manifest(&id(1), 9, &late, chunks))
        .await
        .unwrap();
    assert_eq!(count().await, 600);
}

#[tokio::test]
async fn damage_is_an_integrity_error_and_no_rows_of_it_are_returned() {
    let folder = tempfile::tempdir().unwrap();
    let first = generation(&archive(folder.path()).await, 0, 500).await;
    let path = folder
        .path()
        .join(id(0).file(&first.chunks[0].file).as_ref());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let reader = ArchiveReader::open_folder(folder.path()).await.unwrap();
    let mut rows = reader.read(Selection::new(id(0).dataset));
    let e = rows.next_batch().await.unwrap_err();
    assert_eq!(e.exit_code(), ExitCode::Integrity, "{e}");
    let findings = reader
        .verify(&id(0).dataset, None, Depth::Bytes)
        .await
        .unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
}

//! `ingest:`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::nats::is_stream;
use crate::reading::section::Section;

/// Limits of ingest, its dead letters, and its share of the datasets.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// The maximum size of all unfinished batches together, in bytes.
    pub memory_limit: usize,
    /// The approximate maximum size of a batch, in bytes.
    pub batch_bytes: usize,
    /// How long JetStream waits for an acknowledgement before it redelivers a message.
    pub ack_wait: Duration,
    /// The JetStream stream of dead letters.
    pub dead_letter_stream: String,
    /// The folder of dead letters that JetStream refuses, one file each; `None` leaves their messages unacknowledged instead.
    pub dead_letter_folder: Option<PathBuf>,
    /// The batch limits of single datasets that differ from those of `hot_storage`.
    pub batches: BTreeMap<String, BatchOverride>,
    /// The number of daemons that share the datasets, each dataset whole.
    pub shards: u32,
    /// The index of this daemon, from 0.
    pub shard_index: u32,
    /// Patterns of the subjects that this daemon ingests; empty for all.
    pub filters: Vec<String>,
    /// The name of the consumers and insert gates of these subjects.
    pub shard_name: Option<String>,
}

/// The limits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The maximum number of rows.
    pub rows: usize,
    /// The maximum age of its oldest row.
    pub flush_interval: Duration,
}

/// The batch limits of a dataset that differ from those of `hot_storage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOverride {
    /// The maximum number of rows.
    pub rows: Option<usize>,
    /// The maximum age of the oldest row.
    pub flush_interval: Option<Duration>,
}

impl IngestConfig {
    pub(crate) fn read(s: &mut Section<'_>) -> Self {
        let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let ingest = Self {
            memory_limit: bytes(s.key("memory_limit").bytes(256 << 20, 1..=u64::MAX)),
            batch_bytes: bytes(s.key("batch_bytes").bytes(16 << 20, 1..=u64::MAX)),
            ack_wait: s.key("ack_wait_seconds").seconds(120.0, 0.001..=86_400.0),
            dead_letter_stream: s.key("dead_letter_stream").text_that(
                "MPSYNC_DEAD_LETTERS",
                "a stream's name, without dots and blanks",
                is_stream,
            ),
            dead_letter_folder: s
                .key("dead_letter_folder")
                .path_or_off("mpsync-dead-letters"),
            batches: batches(s),
            shards: s.key("shards").integer(1, 1..=u32::MAX),
            shard_index: s.key("shard_index").integer(0, 0..=u32::MAX),
            filters: s.key("filters").texts(),
            shard_name: s.key("shard_name").optional_text(),
        };
        if ingest.shard_index >= ingest.shards {
            let (index, shards) = (ingest.shard_index, ingest.shards);
            s.wrong(
                "shard_index",
                format!("{index} is not below ingest.shards ({shards}); indexes begin at 0"),
            );
        }
        if ingest.batch_bytes.saturating_mul(2) > ingest.memory_limit {
            s.wrong(
                "batch_bytes",
                format!(
                    "{} is more than half of ingest.memory_limit ({}): no batch could ever be completed",
                    ingest.batch_bytes, ingest.memory_limit
                ),
            );
        }
        ingest
    }
}

fn batches(s: &mut Section<'_>) -> BTreeMap<String, BatchOverride> {
    let names = s.names("batches");
    let mut table = s.section("batches");
    let one = |dataset: String| {
        let mut s = table.section(&dataset);
        let limits = BatchOverride {
            rows: s
                .key("batch_size")
                .live()
                .optional_integer(1..=4_294_967_295),
            flush_interval: s
                .key("flush_interval")
                .live()
                .optional_seconds(0.001..=86_400.0),
        };
        (dataset, limits)
    };
    names.into_iter().map(one).collect()
}

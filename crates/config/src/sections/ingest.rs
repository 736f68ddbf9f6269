//! `ingest:`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::nats::is_stream;
use super::reader::Section;

/// How messages become rows.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// Bytes that all unfinished batches together may hold.
    pub memory_limit: usize,
    /// Bytes of a batch, about, at most.
    pub batch_bytes: usize,
    /// How long JetStream waits for an acknowledgement before it delivers again.
    pub ack_wait: Duration,
    /// The JetStream stream of dead letters.
    pub dead_letter_stream: String,
    /// The folder of dead letters that JetStream refuses, one file each; `None`: their messages are held instead.
    pub dead_letter_folder: Option<PathBuf>,
    /// Batches of single datasets that are to be other than `hot_storage` says.
    pub batches: BTreeMap<String, BatchOverride>,
    /// Among how many daemons the datasets are shared out, each whole.
    pub shards: u32,
    /// Which of them this one is, from 0.
    pub shard_index: u32,
    /// Patterns of the subjects that this daemon takes; all where there are none.
    pub filters: Vec<String>,
    /// What consumers and doors of these subjects are called.
    pub filter_name: Option<String>,
}

/// How large and how old a batch gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows at most.
    pub rows: usize,
    /// How old its oldest row may get.
    pub flush_interval: Duration,
}

/// What of a dataset's batches is other than `hot_storage` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOverride {
    /// Rows at most.
    pub rows: Option<usize>,
    /// How old the oldest row may get.
    pub flush_interval: Option<Duration>,
}

impl IngestConfig {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
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
            filter_name: s.key("filter_name").optional_text(),
        };
        if ingest.shard_index >= ingest.shards {
            let (index, shards) = (ingest.shard_index, ingest.shards);
            s.wrong(
                "shard_index",
                format!("{index} is not below ingest.shards ({shards}); the first one is 0"),
            );
        }
        if ingest.batch_bytes.saturating_mul(2) > ingest.memory_limit {
            s.wrong(
                "batch_bytes",
                format!(
                    "{} is more than half of ingest.memory_limit ({}): no batch could ever be finished",
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

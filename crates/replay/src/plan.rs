//! The plan of a replay: the chunks of each dataset, in order of time.

use futures_util::StreamExt as _;
use jiff::Timestamp;
use object_store::path::Path;
use serde::Serialize;

use crate::options::ReplayOptions;
use crate::order::{RowKey, StreamOrder};
use crate::report::Damage;
use mpsync_archive::{Archive, Chunk, GenerationId, Manifest};
use mpsync_core::dataset::{Dataset, DatasetName, Epoch, PositionSet, Window};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::fingerprint::HashedColumn;

/// Windows whose manifests are read concurrently.
const READS: usize = 16;

/// The chunks that a replay reads.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayPlan {
    /// One plan a dataset, in the order in which ties in time are broken.
    #[serde(rename = "lanes")]
    pub streams: Vec<DatasetPlan>,
    /// Bytes of all chunks of the selected datasets, including those that need not be read.
    pub archive_bytes: u64,
    /// Damage that is skipped.
    #[serde(skip)]
    pub damage: Vec<Damage>,
}

/// The chunks that a replay reads of one dataset.
#[derive(Debug, Clone, Serialize)]
pub struct DatasetPlan {
    /// The dataset.
    pub dataset: DatasetName,
    /// Windows that are read.
    pub windows: usize,
    /// Chunks that are read.
    pub chunks: usize,
    /// Rows of these chunks; a replay of some exchanges, symbols or a part of a window sends fewer.
    pub rows: u64,
    /// Bytes of these chunks.
    pub bytes: u64,
    /// The earliest and the latest event time of these chunks.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The distinct lists of columns of its generations.
    #[serde(skip)]
    pub schemas: Vec<Vec<HashedColumn>>,
    #[serde(skip)]
    pub(crate) files: Vec<ChunkPlan>,
}

/// A chunk to read.
#[derive(Debug, Clone)]
pub(crate) struct ChunkPlan {
    pub id: GenerationId,
    pub chunk: Chunk,
    /// The earliest and the latest event time in it, in nanoseconds since 1970.
    pub span: (i64, i64),
    /// No row of it precedes this key.
    pub first: RowKey,
    /// No row of it follows this key.
    pub last: RowKey,
}

impl ChunkPlan {
    /// Returns its path in the archive.
    pub(crate) fn name(&self) -> String {
        self.id.file(&self.chunk.file).to_string()
    }
}

impl ReplayPlan {
    /// Returns the rows of all datasets.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rows).sum()
    }

    /// Returns the bytes of all datasets.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.bytes).sum()
    }

    /// Returns the earliest and the latest event time.
    #[must_use]
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let spans = self.streams.iter().filter_map(|stream| stream.span);
        spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// Returns the plan of a replay, from the names of folders and from manifests alone.
pub async fn plan(
    archive: &Archive,
    datasets: &[Dataset],
    options: &ReplayOptions,
) -> Result<ReplayPlan> {
    let mut plan = ReplayPlan {
        streams: Vec::new(),
        archive_bytes: 0,
        damage: Vec::new(),
    };
    for dataset in datasets {
        let files = archive.list(&Path::from(dataset.name.as_str())).await?;
        let chunks = files
            .iter()
            .filter(|f| f.location.extension() == Some("parquet"));
        plan.archive_bytes += chunks.map(|f| f.size).sum::<u64>();
        let stream = dataset_plan(archive, &dataset.name, options, &mut plan.damage).await?;
        plan.streams.push(stream);
    }
    Ok(plan)
}

async fn dataset_plan(
    archive: &Archive,
    dataset: &DatasetName,
    options: &ReplayOptions,
    damage: &mut Vec<Damage>,
) -> Result<DatasetPlan> {
    let range = Window::new(
        options.from.unwrap_or(Timestamp::MIN),
        options.to.unwrap_or(Timestamp::MAX),
    )?;
    let windows = archive
        .windows(
            dataset,
            (options.from.is_some() || options.to.is_some()).then_some(range),
        )
        .await?;
    let mut stream = DatasetPlan {
        dataset: dataset.clone(),
        windows: 0,
        chunks: 0,
        rows: 0,
        bytes: 0,
        span: None,
        schemas: Vec::new(),
        files: Vec::new(),
    };
    let mut found = futures_util::stream::iter(windows)
        .map(|window| async move { (window, archive.generations(dataset, window).await) })
        .buffered(READS);
    while let Some((window, generations)) = found.next().await {
        match generations {
            Ok(generations) => stream.add(generations, options),
            Err(e) if options.skip_damaged && is_damage(&e) => {
                tracing::warn!(%dataset, %window, error = %e, "window skipped");
                damage.push(Damage {
                    what: format!("{dataset} {window}"),
                    rows: None,
                    why: e.to_string(),
                });
            }
            Err(e) => return Err(e),
        }
    }
    Ok(stream)
}

/// Whether an error means that data of the archive is damaged.
pub(crate) fn is_damage(e: &Error) -> bool {
    matches!(e.cause(), Cause::Integrity(_) | Cause::Malformed(_))
}

impl DatasetPlan {
    /// Adds a window; windows come in order of their starts.
    fn add(&mut self, generations: Vec<Manifest>, options: &ReplayOptions) {
        let touches = |chunk: &Chunk| {
            options.from.is_none_or(|from| chunk.max_time >= from)
                && options.to.is_none_or(|to| chunk.min_time < to)
        };
        let before = self.chunks;
        for manifest in generations {
            let id = manifest.id();
            if !self.schemas.contains(&manifest.schema.columns) {
                self.schemas.push(manifest.schema.columns);
            }
            let positions = position_bounds(&manifest.positions);
            for chunk in manifest.chunks.into_iter().filter(touches) {
                self.chunks += 1;
                self.rows += chunk.rows;
                self.bytes += chunk.bytes;
                let (first, last) = self.span.unwrap_or((chunk.min_time, chunk.max_time));
                self.span = Some((first.min(chunk.min_time), last.max(chunk.max_time)));
                let span = (nanos(chunk.min_time), nanos(chunk.max_time));
                let (first, last) = match options.order {
                    StreamOrder::Event => (RowKey::before(span.0), RowKey::after(span.1)),
                    // Unknown until its statistics are read.
                    StreamOrder::Arrival => (RowKey::FIRST, RowKey::after(i64::MAX)),
                    StreamOrder::Position => positions,
                };
                let id = id.clone();
                self.files.push(ChunkPlan {
                    id,
                    chunk,
                    span,
                    first,
                    last,
                });
            }
        }
        self.windows += usize::from(self.chunks > before);
    }
}

fn position_bounds(positions: &PositionSet) -> (RowKey, RowKey) {
    let key = |(epoch, seq): (Epoch, Option<u64>)| {
        Some(RowKey {
            rank: 0,
            epoch: epoch.0,
            seq: seq?,
        })
    };
    let epochs = || positions.epochs().filter(|(_, seqs)| !seqs.is_empty());
    let first = epochs()
        .next()
        .and_then(|(epoch, seqs)| key((epoch, seqs.min())));
    let last = epochs()
        .last()
        .and_then(|(epoch, seqs)| key((epoch, seqs.max())));
    (
        first.unwrap_or(RowKey::FIRST),
        last.unwrap_or(RowKey::after(i64::MAX)),
    )
}

/// Returns nanoseconds since 1970; times that 64 bits cannot represent precede or follow everything.
pub(crate) fn nanos(time: Timestamp) -> i64 {
    let nanos = time.as_nanosecond();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

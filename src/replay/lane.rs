//! Reading one dataset: group after group, each sorted by time in memory, in slices of event time where it does not fit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use bytes::Bytes;
use jiff::Timestamp;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::PageIndexPolicy;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Damage;
use super::chunk::{ChunkRows, Wanted};
use super::merge::RowKey;
use super::plan::{Group, chunk_bytes, is_damage};
use super::wire::{BoundBatch, WireForm};
use crate::archive::Archive;
use crate::error::{Context as _, Error, Result};

/// Bytes of a row's entry in the order of a slice.
const ENTRY_BYTES: usize = size_of::<Row>();

/// Rows in order, with the batches in which they lie.
#[derive(Debug)]
pub(super) struct Slice {
    pub rows: Vec<Row>,
    pub batches: Vec<BoundBatch>,
}

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_field_names, reason = "which row of which batch")]
pub(super) struct Row {
    pub key: RowKey,
    pub batch: u32,
    pub row: u32,
}

/// What the lanes have read, counted together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub bytes: AtomicU64,
    pub damage: Mutex<Vec<Damage>>,
}

/// Reads one lane.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub archive: Archive,
    pub form: WireForm,
    pub wanted: Arc<Wanted>,
    pub verify: bool,
    pub skip_damaged: bool,
    /// What a slice may occupy, in bytes.
    pub budget: usize,
    pub counts: Arc<Counts>,
}

impl Reader {
    /// Begins to read; at most one slice is made ahead of the one that is in use. Dropping the receiver ends it.
    pub(super) fn start(self, groups: Vec<Group>) -> mpsc::Receiver<Result<Slice>> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for group in groups {
                match self.group(group, &sender).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(e) => {
                        // Nobody is there to hear it when the receiver was dropped.
                        let _ = sender.send(Err(e)).await;
                        return;
                    }
                }
            }
        });
        receiver
    }

    /// Reads a group and hands on its slices; `false` when nobody takes them any more.
    async fn group(&self, group: Group, sender: &mpsc::Sender<Result<Slice>>) -> Result<bool> {
        let mut chunks = Vec::with_capacity(group.chunks.len());
        for (id, chunk) in &group.chunks {
            let name = id.file(&chunk.file).to_string();
            let read = match chunk_bytes(&self.archive, id, chunk, self.verify).await {
                Ok(bytes) => {
                    self.counts.bytes.fetch_add(chunk.bytes, Ordering::Relaxed);
                    let options = self.archive.reader_options(id, chunk);
                    options
                        .and_then(|options| open(bytes, options))
                        .doing(|| format!("reading {name}"))
                }
                Err(e) => Err(e),
            };
            match read {
                Ok((bytes, metadata)) => chunks.push(ChunkRows {
                    name,
                    rows: chunk.rows,
                    bytes,
                    metadata,
                    span: (nanos(chunk.min_time), nanos(chunk.max_time)),
                }),
                Err(e) => self.damaged(&name, chunk.rows, e)?,
            }
        }
        let (reader, sender, runtime) = (self.clone(), sender.clone(), Handle::current());
        let sliced = tokio::task::spawn_blocking(move || reader.slices(&chunks, &sender, &runtime));
        sliced.await.map_err(std::io::Error::other)?
    }

    /// Notes damage where it is to be passed over; otherwise gives the error back.
    fn damaged(&self, name: &str, rows: u64, e: Error) -> Result<()> {
        if !(self.skip_damaged && is_damage(&e)) {
            return Err(e);
        }
        let mut damage = self
            .counts
            .damage
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A chunk that is read slice by slice is damaged once.
        if damage.iter().all(|d| d.what != name) {
            tracing::warn!(chunk = name, rows, error = %e, "chunk skipped");
            damage.push(Damage {
                what: name.to_owned(),
                rows: Some(rows),
                why: e.to_string(),
            });
        }
        Ok(())
    }

    fn slices(
        &self,
        chunks: &[ChunkRows],
        sender: &mpsc::Sender<Result<Slice>>,
        runtime: &Handle,
    ) -> Result<bool> {
        for (from, to) in self.cuts(chunks)? {
            // Room first, rows next: there is never more than one slice beside the one in use.
            let Ok(room) = runtime.block_on(sender.reserve()) else {
                return Ok(false);
            };
            let slice = self.slice(chunks, &self.wanted.between(from, to))?;
            if !slice.rows.is_empty() {
                room.send(Ok(slice));
            }
        }
        Ok(true)
    }

    /// The spans of event time, in nanoseconds, both ends included, of which each fits the memory.
    fn cuts(&self, chunks: &[ChunkRows]) -> Result<Vec<(i64, i64)>> {
        let whole = (self.wanted.from_nanos, self.wanted.to_nanos);
        let mut needed = 0;
        for chunk in chunks {
            match chunk.bytes_per_row() {
                Ok(bytes) => {
                    needed += (bytes + ENTRY_BYTES)
                        * usize::try_from(chunk.rows).unwrap_or(usize::MAX / 4096);
                }
                Err(e) => self.damaged(&chunk.name, chunk.rows, e)?,
            }
        }
        let slices = needed.div_ceil(self.budget.max(1));
        if slices <= 1 {
            return Ok(vec![whole]);
        }
        let mut times = Vec::new();
        for chunk in chunks {
            match chunk.times(&self.wanted) {
                Ok(found) => times.extend(found),
                Err(e) => self.damaged(&chunk.name, chunk.rows, e)?,
            }
        }
        times.sort_unstable();
        let mut starts: Vec<i64> = (1..slices)
            .filter_map(|n| times.get(times.len() / slices * n).copied())
            .collect();
        starts.dedup();
        starts.retain(|start| *start > whole.0);
        let mut cuts = Vec::with_capacity(starts.len() + 1);
        let mut from = whole.0;
        for start in starts {
            cuts.push((from, start - 1));
            from = start;
        }
        cuts.push((from, whole.1));
        Ok(cuts)
    }

    fn slice(&self, chunks: &[ChunkRows], wanted: &Wanted) -> Result<Slice> {
        let mut slice = Slice {
            rows: Vec::new(),
            batches: Vec::new(),
        };
        for chunk in chunks {
            match chunk.read(wanted) {
                Ok(batches) => {
                    for batch in batches {
                        self.append(&mut slice, &batch)
                            .doing(|| format!("reading {}", chunk.name))?;
                    }
                }
                Err(e) => self.damaged(&chunk.name, chunk.rows, e)?,
            }
        }
        // A chunk lies in the order of its symbols, each in order of time: sorting finds such runs and merges them.
        slice.rows.sort();
        Ok(slice)
    }

    fn append(&self, slice: &mut Slice, batch: &RecordBatch) -> Result<()> {
        let bound = self.form.bind(batch)?;
        let number = u32::try_from(slice.batches.len())
            .map_err(|_| Error::usage("too many batches in a slice"))?;
        slice
            .rows
            .extend((0_u32..).zip(0..bound.rows()).map(|(row, at)| {
                let (time_nanos, epoch, seq) = bound.key(at);
                Row {
                    key: RowKey {
                        time_nanos,
                        epoch,
                        seq,
                    },
                    batch: number,
                    row,
                }
            }));
        slice.batches.push(bound);
        Ok(())
    }
}

/// Opens a chunk with the index of its pages, which a filter passes over.
fn open(bytes: Bytes, options: ArrowReaderOptions) -> Result<(Bytes, ArrowReaderMetadata)> {
    let options = options.with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&bytes, options)
        .map_err(|e| Error::integrity(format!("it is no readable Parquet: {e}")))?;
    Ok((bytes, metadata))
}

/// Nanoseconds since 1970; times that 64 bits do not hold lie before or after everything.
pub(super) fn nanos(time: Timestamp) -> i64 {
    let nanos = time.as_nanosecond();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

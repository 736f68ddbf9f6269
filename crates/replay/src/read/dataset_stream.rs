//! Reads one dataset: its chunks are opened in the order of their first rows and sorted; chunks that
//! overlap are merged.
//!
//! Memory holds the slice in use, and as much again of sorted rows, from which the next slice is made.

use std::collections::VecDeque;
use std::sync::atomic::Ordering as Atomic;
use std::sync::{Arc, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::message::WireForm;
use crate::order::{RowKey, StreamOrder};
use crate::plan::{ChunkPlan, is_damage};
use crate::read::chunk::{ChunkRows, Wanted};
use crate::read::chunk_source::ChunkSource;
use crate::read::counters::ReadCounters;
use crate::read::sorted::{FAN_IN, Slice, SortedRun, Spill, merge};
use crate::report::Damage;
use mpsync_archive::Archive;
use mpsync_core::error::{Context as _, Error, Result};

/// The most rows of a slice that is merged from several runs.
const SLICE_ROWS: usize = 16_384;
/// About the bytes of a row in such a slice; the number of its rows follows from it if memory is scarce.
const SLICE_ROW_BYTES: usize = 256;

/// The reader of one dataset.
#[derive(Debug, Clone)]
pub(crate) struct DatasetReader {
    pub archive: Archive,
    pub form: WireForm,
    pub wanted: Arc<Wanted>,
    pub verify: bool,
    pub skip_damaged: bool,
    /// Bytes that sorted rows may occupy.
    pub budget: usize,
    pub counts: Arc<ReadCounters>,
}

impl DatasetReader {
    /// Starts a thread that reads; at most one slice is made ahead of the one in use. Dropping the
    /// receiver stops the thread.
    ///
    /// A receiver that is at its end has received everything only if the thread ended without a panic.
    pub(crate) fn start(
        self,
        chunks: Vec<ChunkPlan>,
    ) -> (mpsc::Receiver<Result<Slice>>, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(1);
        let runtime = Handle::current();
        let thread = tokio::task::spawn_blocking(move || {
            let mut stream = DatasetStream::new(self, chunks, runtime.clone());
            // Reserves before it reads: there is never more than one slice beside the one in use.
            while let Ok(room) = runtime.block_on(sender.reserve()) {
                let slice = stream.next();
                let is_last = !matches!(slice, Some(Ok(_)));
                if let Some(slice) = slice {
                    room.send(slice);
                }
                if is_last {
                    return;
                }
            }
        });
        (receiver, thread)
    }

    /// Records damage if damage is skipped; returns the error otherwise.
    fn damaged(&self, name: &str, rows: u64, e: Error) -> Result<()> {
        if !(self.skip_damaged && is_damage(&e)) {
            return Err(e);
        }
        let mut damage = self
            .counts
            .damage
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tracing::warn!(chunk = name, rows, error = %e, "chunk skipped");
        damage.push(Damage {
            what: name.to_owned(),
            rows: Some(rows),
            why: e.to_string(),
        });
        Ok(())
    }

    fn count(&self, bytes: u64) {
        self.counts.bytes.fetch_add(bytes, Atomic::Relaxed);
    }

    /// Returns the most compressed bytes of a chunk that is held in memory.
    fn most_in_memory(&self) -> u64 {
        (self.budget / 4) as u64
    }

    /// Whether all bytes of a chunk are read before the first is used.
    fn is_read_whole(&self, plan: &ChunkPlan) -> bool {
        let is_small = plan.chunk.bytes <= self.most_in_memory();
        self.verify || is_small && self.wanted.takes_all(plan.span)
    }

    /// Reads all bytes of a chunk.
    async fn whole(self, plan: ChunkPlan) -> Result<ChunkSource> {
        let (archive, most) = (&self.archive, self.most_in_memory());
        match self.verify {
            true => ChunkSource::verified(archive, &plan.id, &plan.chunk, most).await,
            false => ChunkSource::unverified(archive, &plan.id, &plan.chunk).await,
        }
    }
}

/// The fetch of a chunk while another is read.
type Coming = JoinHandle<Result<ChunkSource>>;

/// One dataset's rows in order.
struct DatasetStream {
    reader: DatasetReader,
    runtime: Handle,
    /// The chunks that are not open yet, in order of their first rows.
    left: VecDeque<ChunkPlan>,
    /// The fetch of the first of them.
    coming: Option<Coming>,
    /// The rows of those that are open.
    runs: Vec<SortedRun>,
}

impl DatasetStream {
    fn new(reader: DatasetReader, mut chunks: Vec<ChunkPlan>, runtime: Handle) -> Self {
        if reader.form.order() == StreamOrder::Arrival {
            for chunk in &mut chunks {
                chunk.first = first_arrival(&reader, chunk, &runtime);
            }
        }
        chunks.sort_by_key(|chunk| chunk.first);
        Self {
            reader,
            runtime,
            left: chunks.into(),
            coming: None,
            runs: Vec::new(),
        }
    }

    /// Returns the next rows; `None` at the end.
    fn next(&mut self) -> Option<Result<Slice>> {
        match self.slice() {
            Ok(slice) => (!slice.rows.is_empty()).then_some(Ok(slice)),
            Err(e) => Some(Err(e)),
        }
    }

    fn slice(&mut self) -> Result<Slice> {
        self.begin_due()?;
        let end = self.left.front().map(|chunk| chunk.first);
        // The usual case: a chunk that fits in memory and overlaps no other.
        let is_alone = |run: &SortedRun| {
            !run.is_spilled()
                && run
                    .last()
                    .is_some_and(|last| end.is_none_or(|end| last < end))
        };
        if let [run] = &self.runs[..]
            && is_alone(run)
        {
            return Ok(self.runs.remove(0).into_slice());
        }
        let rows = self.reader.budget / 4 / SLICE_ROW_BYTES;
        merge(&mut self.runs, end, rows.clamp(16, SLICE_ROWS))
    }

    /// Opens every chunk that can contain the next row.
    fn begin_due(&mut self) -> Result<()> {
        loop {
            let next = self.runs.iter().filter_map(SortedRun::head).min();
            let Some(chunk) = self
                .left
                .pop_front_if(|chunk| next.is_none_or(|next| chunk.first <= next))
            else {
                return Ok(());
            };
            match self.begin(&chunk) {
                Ok(runs) => {
                    self.runs.extend(runs);
                    debug_assert!(self.held() <= self.reader.budget, "more rows than fit");
                    self.merge_files()?;
                }
                Err(e) => self.reader.damaged(&chunk.name(), chunk.chunk.rows, e)?,
            }
        }
    }

    /// Returns the sorted rows of a chunk.
    fn begin(&mut self, plan: &ChunkPlan) -> Result<Vec<SortedRun>> {
        let source = self.bytes(plan)?;
        self.fetch_ahead();
        let options = self.reader.archive.reader_options(&plan.id, &plan.chunk)?;
        let chunk = ChunkRows::open(plan.name(), &plan.chunk, plan.span, source, options)?;
        let runs = self
            .sort(&chunk)
            .context(|| format!("reading {}", plan.name()))?;
        let first = runs.iter().filter_map(SortedRun::head).min();
        if first.is_some_and(|first| first < plan.first) {
            return Err(Error::integrity(format!(
                "{} contains rows before the earliest time in its manifest",
                plan.name()
            )));
        }
        Ok(runs)
    }

    fn bytes(&mut self, plan: &ChunkPlan) -> Result<ChunkSource> {
        let reader = &self.reader;
        if !reader.is_read_whole(plan) {
            let (archive, counts) = (&reader.archive, &reader.counts);
            return Ok(ChunkSource::parts(
                archive,
                &plan.id,
                &plan.chunk,
                counts,
                &self.runtime,
            ));
        }
        let source = match self.coming.take() {
            Some(coming) => self
                .runtime
                .block_on(coming)
                .map_err(std::io::Error::other)??,
            None => self.runtime.block_on(reader.clone().whole(plan.clone()))?,
        };
        self.reader.count(plan.chunk.bytes);
        Ok(source)
    }

    /// Fetches the next chunk while this one is sorted and used, if it is small enough to wait in memory.
    fn fetch_ahead(&mut self) {
        let most = self.reader.most_in_memory();
        let Some(next) = self.left.front() else {
            return;
        };
        if next.chunk.bytes <= most && self.reader.is_read_whole(next) {
            let fetch = self.reader.clone().whole(next.clone());
            self.coming = Some(self.runtime.spawn(fetch));
        }
    }

    /// Sorts the selected rows: in memory if they fit, the rest in temporary files.
    fn sort(&self, chunk: &ChunkRows) -> Result<Vec<SortedRun>> {
        let budget = self.reader.budget;
        // Merges files of the same size, so that no row is written more often than there are sizes.
        let mut files: Vec<Vec<SortedRun>> = Vec::new();
        let (mut slice, mut bytes) = (Slice::default(), 0);
        for batch in chunk.batches(&self.reader.wanted, budget / 4)? {
            bytes += slice.append(&self.reader.form, &batch?)?;
            if bytes >= self.room() {
                let mut file = self.spill(std::mem::take(&mut slice))?;
                bytes = 0;
                for size in 0.. {
                    if files.len() == size {
                        files.push(Vec::new());
                    }
                    files[size].push(file);
                    if files[size].len() < FAN_IN {
                        break;
                    }
                    file = self.fewer(std::mem::take(&mut files[size]))?;
                }
            }
        }
        let mut runs: Vec<SortedRun> = files.into_iter().flatten().collect();
        if runs.len() > FAN_IN {
            // The small ones come first.
            let small = runs.drain(..=runs.len() - FAN_IN).collect();
            runs.push(self.fewer(small)?);
        }
        if slice.rows.is_empty() {
            return Ok(runs);
        }
        if self.held() + bytes <= budget {
            slice.sort();
            runs.push(SortedRun::in_memory(slice, bytes));
        } else {
            runs.push(self.spill(slice)?);
        }
        Ok(runs)
    }

    /// Returns the bytes of the rows in memory.
    fn held(&self) -> usize {
        self.runs.iter().map(SortedRun::bytes).sum()
    }

    /// Returns the bytes that rows of another chunk may occupy before they are written to a file: never
    /// so few that its files become many.
    fn room(&self) -> usize {
        let budget = self.reader.budget;
        budget.saturating_sub(self.held()).max(budget / 4)
    }

    fn spill(&self, mut slice: Slice) -> Result<SortedRun> {
        slice.sort();
        let mut spill = Spill::new(&self.reader.form, self.reader.budget / 2 / FAN_IN);
        spill.write(&slice)?;
        drop(slice);
        Self::read_back(spill)
    }

    /// Merges files into one if there are many; files of chunks with other columns stay.
    fn merge_files(&mut self) -> Result<()> {
        let files = self.runs.iter().filter(|run| run.is_spilled());
        let Some(schema) = files.clone().find_map(SortedRun::schema) else {
            return Ok(());
        };
        if files.count() <= FAN_IN {
            return Ok(());
        }
        let is_one =
            |run: &mut SortedRun| run.is_spilled() && run.schema().as_ref() == Some(&schema);
        let files: Vec<SortedRun> = self.runs.extract_if(.., is_one).collect();
        let merged = self.fewer(files)?;
        self.runs.push(merged);
        Ok(())
    }

    /// Merges many files into one.
    fn fewer(&self, mut runs: Vec<SortedRun>) -> Result<SortedRun> {
        let mut spill = Spill::new(&self.reader.form, self.reader.budget / 2 / FAN_IN);
        loop {
            let slice = merge(&mut runs, None, SLICE_ROWS)?;
            if slice.rows.is_empty() {
                return Self::read_back(spill);
            }
            spill.write(&slice)?;
        }
    }

    fn read_back(spill: Spill) -> Result<SortedRun> {
        let spilled = spill.read()?;
        SortedRun::spilled(spilled.ok_or_else(|| Error::malformed("no row was written"))?)
    }
}

/// Returns the first key that a chunk can contain, by its own statistics of arrival times. A chunk whose
/// statistics cannot be read is opened at once; damage is found then.
fn first_arrival(reader: &DatasetReader, plan: &ChunkPlan, runtime: &Handle) -> RowKey {
    let (archive, counts) = (&reader.archive, &reader.counts);
    let source = ChunkSource::parts(archive, &plan.id, &plan.chunk, counts, runtime);
    let opened = archive
        .reader_options(&plan.id, &plan.chunk)
        .and_then(|options| ChunkRows::open(plan.name(), &plan.chunk, plan.span, source, options));
    let Ok(chunk) = opened else {
        return RowKey::FIRST;
    };
    // The event time is the fallback.
    let columns = reader.form.arrival_columns();
    let least = chunk.least(columns.chain([reader.form.time_column()]));
    least.map_or(RowKey::FIRST, RowKey::before)
}

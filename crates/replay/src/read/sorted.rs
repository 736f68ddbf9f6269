//! Sorted rows: in memory, or in unnamed files that are read batch by batch.
//!
//! The rows of a chunk are in the order of its table: symbol after symbol, each in order of time. They are
//! sorted in memory as far as they fit; the rest becomes sorted files, which are merged.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, Write as _};
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, DictionaryArray, RecordBatch};
use arrow::compute::{cast, interleave, interleave_record_batch};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::message::{BoundBatch, WireForm};
use crate::order::RowKey;
use mpsync_core::error::{Context as _, Error, Result};

/// Bytes of a row's entry in a slice.
const ENTRY_BYTES: usize = size_of::<RowRef>();
/// Files of one chunk that are merged at once.
pub(crate) const FAN_IN: usize = 32;
/// The least and the most rows of a batch in such a file.
const SPILL_ROWS: (usize, usize) = (16, 4096);

/// Rows in order, with the batches that contain them.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    pub rows: Vec<RowRef>,
    pub batches: Vec<Arc<BoundBatch>>,
}

/// A reference to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowRef {
    pub key: RowKey,
    pub batch: u32,
    pub row: u32,
}

impl Slice {
    /// Adds the rows of a batch; returns the bytes that they occupy.
    pub(crate) fn append(&mut self, form: &WireForm, batch: &RecordBatch) -> Result<usize> {
        let bound = form.bind(batch)?;
        let number = u32::try_from(self.batches.len())
            .map_err(|_| Error::usage("too many batches in a slice"))?;
        self.rows
            .extend((0_u32..).zip(0..bound.rows()).map(|(row, at)| RowRef {
                key: bound.key(at),
                batch: number,
                row,
            }));
        self.batches.push(Arc::new(bound));
        Ok(batch.get_array_memory_size() + batch.num_rows() * ENTRY_BYTES)
    }

    /// Sorts the rows. A chunk consists of runs in order, which the sort detects and merges.
    pub(crate) fn sort(&mut self) {
        self.rows.sort();
    }
}

/// A run of sorted rows.
#[derive(Debug)]
pub(crate) struct SortedRun {
    rows: Vec<RowRef>,
    at: usize,
    batches: Vec<Arc<BoundBatch>>,
    /// The number of each batch in the slice that is being made; `NOWHERE` if it is not in it yet.
    places: Vec<u32>,
    spilled: Option<Spilled>,
    /// Bytes of its rows, if they are all in memory.
    bytes: usize,
}

const NOWHERE: u32 = u32::MAX;

impl SortedRun {
    /// Returns a run of rows in memory.
    pub(crate) fn in_memory(slice: Slice, bytes: usize) -> Self {
        Self {
            places: vec![NOWHERE; slice.batches.len()],
            rows: slice.rows,
            at: 0,
            batches: slice.batches,
            spilled: None,
            bytes,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns a run of rows in a file.
    pub(crate) fn spilled(spilled: Spilled) -> Result<Self> {
        let mut run = Self::in_memory(Slice::default(), 0);
        run.spilled = Some(spilled);
        run.fill()?;
        Ok(run)
    }

    pub(crate) fn is_spilled(&self) -> bool {
        self.spilled.is_some()
    }

    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        self.batches.first().map(|batch| batch.batch().schema())
    }

    /// Returns the first remaining row.
    #[inline]
    pub(crate) fn head(&self) -> Option<RowKey> {
        self.rows.get(self.at).map(|row| row.key)
    }

    /// Returns the last row in memory.
    pub(crate) fn last(&self) -> Option<RowKey> {
        self.rows.last().map(|row| row.key)
    }

    /// Returns the remaining rows of a run in memory.
    pub(crate) fn into_slice(mut self) -> Slice {
        Slice {
            rows: self.rows.split_off(self.at),
            batches: self.batches,
        }
    }

    /// Reads a batch if no row is left in memory.
    fn fill(&mut self) -> Result<()> {
        let Some(spilled) = self.spilled.as_mut().filter(|_| self.at >= self.rows.len()) else {
            return Ok(());
        };
        let mut next = Slice::default();
        if let Some(batch) = spilled.batches.next().transpose()? {
            next.append(&spilled.form, &batch)?;
        }
        self.rows = next.rows;
        self.at = 0;
        self.places = vec![NOWHERE; next.batches.len()];
        self.batches = next.batches;
        Ok(())
    }

    /// Moves the rows up to `until` to a slice of at most `limit` rows.
    fn move_to(&mut self, slice: &mut Slice, until: Option<RowKey>, limit: usize) -> Result<()> {
        while let Some(row) = self.rows.get(self.at).copied() {
            if slice.rows.len() >= limit || until.is_some_and(|until| row.key > until) {
                return Ok(());
            }
            let place = &mut self.places[row.batch as usize];
            if *place == NOWHERE {
                *place = u32::try_from(slice.batches.len())
                    .map_err(|_| Error::usage("too many batches in a slice"))?;
                slice
                    .batches
                    .push(Arc::clone(&self.batches[row.batch as usize]));
            }
            slice.rows.push(RowRef {
                batch: *place,
                ..row
            });
            self.at += 1;
            self.fill()?;
        }
        Ok(())
    }
}

/// Merges the next rows of all runs, at most `limit`, and none from `end` on. Removes exhausted runs.
pub(crate) fn merge(runs: &mut Vec<SortedRun>, end: Option<RowKey>, limit: usize) -> Result<Slice> {
    for run in &mut *runs {
        run.places.fill(NOWHERE);
    }
    let mut slice = Slice::default();
    let heads = runs.iter().enumerate();
    let mut heads: BinaryHeap<Reverse<(RowKey, usize)>> = heads
        .filter_map(|(nth, run)| Some(Reverse((run.head()?, nth))))
        .collect();
    while let Some(Reverse((key, nth))) = heads.pop() {
        if slice.rows.len() >= limit || end.is_some_and(|end| key >= end) {
            break;
        }
        // The run continues alone up to the head of the next run, or up to the end.
        let other = heads.peek().map(|Reverse((key, _))| *key);
        let until = match (other, end) {
            (Some(other), Some(end)) => Some(other.min(just_before(end))),
            (other, end) => other.or_else(|| end.map(just_before)),
        };
        runs[nth].move_to(&mut slice, until, limit)?;
        if let Some(head) = runs[nth].head() {
            heads.push(Reverse((head, nth)));
        }
    }
    runs.retain(|run| run.head().is_some());
    Ok(slice)
}

fn just_before(key: RowKey) -> RowKey {
    match (key.seq, key.epoch) {
        (0, 0) => RowKey::after(key.rank.saturating_sub(1)),
        (0, epoch) => RowKey {
            epoch: epoch - 1,
            seq: u64::MAX,
            ..key
        },
        (seq, _) => RowKey {
            seq: seq - 1,
            ..key
        },
    }
}

/// A file of sorted rows being written.
pub(crate) struct Spill {
    form: WireForm,
    writer: Option<StreamWriter<BufWriter<File>>>,
    batch_bytes: usize,
}

/// A file of sorted rows being read. It has no name and is deleted with the value.
pub(crate) struct Spilled {
    form: WireForm,
    batches: StreamReader<BufReader<File>>,
}

impl std::fmt::Debug for Spilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spilled").finish_non_exhaustive()
    }
}

fn context() -> &'static str {
    "sorting rows in a temporary file (below TMPDIR)"
}

impl Spill {
    /// Returns a file whose batches have about so many bytes.
    pub(crate) fn new(form: &WireForm, batch_bytes: usize) -> Self {
        Self {
            form: form.clone(),
            writer: None,
            batch_bytes,
        }
    }

    /// Appends sorted rows.
    pub(crate) fn write(&mut self, slice: &Slice) -> Result<()> {
        let batches = unified(&slice.batches)?;
        let Some(first) = batches.first() else {
            return Ok(());
        };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => {
                let file = BufWriter::new(tempfile::tempfile().context(context)?);
                empty.insert(StreamWriter::try_new(file, first.schema_ref()).context(context)?)
            }
        };
        let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let row_bytes = bytes / rows.max(1) + ENTRY_BYTES;
        let batch_rows = (self.batch_bytes / row_bytes).clamp(SPILL_ROWS.0, SPILL_ROWS.1);
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        for rows in slice.rows.chunks(batch_rows) {
            let places: Vec<(usize, usize)> = rows
                .iter()
                .map(|row| (row.batch as usize, row.row as usize))
                .collect();
            let sorted = interleave_record_batch(&batches, &places)?;
            writer.write(&sorted).context(context)?;
        }
        Ok(())
    }

    /// Starts to read; returns `None` if no row was written.
    pub(crate) fn read(self) -> Result<Option<Spilled>> {
        let Some(mut writer) = self.writer else {
            return Ok(None);
        };
        writer.finish().context(context)?;
        let file = writer.into_inner().context(context)?.into_inner();
        let mut file = file
            .map_err(std::io::IntoInnerError::into_error)
            .context(context)?;
        file.flush().context(context)?;
        file.rewind().context(context)?;
        Ok(Some(Spilled {
            batches: StreamReader::try_new_buffered(file, None).context(context)?,
            form: self.form,
        }))
    }
}

/// Returns the batches with one shared dictionary for each dictionary column: interleaving batches with
/// many dictionaries would copy all of them, again for each batch.
fn unified(batches: &[Arc<BoundBatch>]) -> Result<Vec<RecordBatch>> {
    let mut columns: Vec<Vec<ArrayRef>> = batches
        .iter()
        .map(|batch| batch.batch().columns().to_vec())
        .collect();
    let Some(first) = batches.first().map(|b| b.batch().schema()) else {
        return Ok(Vec::new());
    };
    for (nth, field) in first.fields().iter().enumerate() {
        let DataType::Dictionary(key, _) = field.data_type() else {
            continue;
        };
        if **key != DataType::Int32 {
            continue;
        }
        let arrays: Vec<&DictionaryArray<Int32Type>> = batches
            .iter()
            .filter_map(|batch| batch.batch().column(nth).as_dictionary_opt::<Int32Type>())
            .collect();
        if arrays.len() < batches.len() {
            continue;
        }
        let unified = one_dictionary(&arrays)?;
        for (columns, array) in columns.iter_mut().zip(unified) {
            columns[nth] = array;
        }
    }
    let columns = columns.into_iter();
    columns
        .map(|columns| Ok(RecordBatch::try_new(Arc::clone(&first), columns)?))
        .collect()
}

fn one_dictionary(arrays: &[&DictionaryArray<Int32Type>]) -> Result<Vec<ArrayRef>> {
    // Batches of one row group share their dictionary.
    let mut distinct: Vec<&ArrayRef> = Vec::new();
    for array in arrays {
        if !distinct
            .iter()
            .any(|values| Arc::ptr_eq(values, array.values()))
        {
            distinct.push(array.values());
        }
    }
    let mut known: HashMap<Option<Vec<u8>>, i32> = HashMap::new();
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut keys_of: Vec<Vec<i32>> = Vec::new();
    for (source, values) in distinct.iter().enumerate() {
        let bytes = cast(values, &DataType::Binary)?;
        let mut keys = Vec::with_capacity(values.len());
        for (at, value) in bytes.as_binary::<i32>().iter().enumerate() {
            let next = i32::try_from(places.len())
                .map_err(|_| Error::usage("too many values in a dictionary"))?;
            let key = *known.entry(value.map(<[u8]>::to_vec)).or_insert(next);
            if key == next {
                places.push((source, at));
            }
            keys.push(key);
        }
        keys_of.push(keys);
    }
    let values: Vec<&dyn arrow::array::Array> = distinct.iter().map(AsRef::as_ref).collect();
    let values = interleave(&values, &places)?;
    let arrays = arrays.iter().map(|array| {
        let source = distinct
            .iter()
            .position(|values| Arc::ptr_eq(values, array.values()));
        let new = &keys_of[source.unwrap_or(0)];
        let keys = array.keys().unary::<_, Int32Type>(|key| {
            // The value under a NULL is not a valid key.
            let new = usize::try_from(key).ok().and_then(|key| new.get(key));
            new.copied().unwrap_or(0)
        });
        let unified = DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&values))?;
        Ok(Arc::new(unified) as ArrayRef)
    });
    arrays.collect()
}

//! Sifts exported rows: what is archived already is counted and dropped, the rest is fingerprinted and kept. Pure.
//!
//! Rows with a position are recognised by it. Of a table without positions the query itself leaves out the rows whose hash is
//! archived, but for hashes of which hot holds more rows than the archive: of those, as many are kept as there are more.

use std::collections::HashMap;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt64Type;

use crate::rows::window_rows::HASH_COLUMN;
use mpsync_archive::Manifest;
use mpsync_core::dataset::{EPOCH_COLUMN, Epoch, Position, PositionSet, SEQ_COLUMN};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::Fingerprint;

/// The rows that an export of a window has found so far.
#[derive(Debug, Default)]
pub(crate) struct RowDeduplicator {
    /// The positions that generations before this one hold.
    archived: PositionSet,
    /// Whether rows have a position.
    positions: bool,
    /// Only rows with these positions are kept, where they are given; others belong to another generation.
    wanted: Option<PositionSet>,
    /// Of a table without positions: how many rows with this hash are yet to be kept; all with a hash that is not here.
    surplus: HashMap<u64, u64>,
    /// Positions of archived rows that turned up again.
    again: PositionSet,
    /// The fingerprint of archived rows that turned up again.
    pub(crate) seen: Fingerprint,
    /// The fingerprint of the rows that were kept.
    pub(crate) kept: Fingerprint,
    /// The positions of the rows that were kept.
    pub(crate) kept_positions: PositionSet,
}

impl RowDeduplicator {
    /// Drops rows whose position these generations hold.
    pub(crate) fn by_position(known: &[Manifest]) -> Self {
        let mut archived = PositionSet::new();
        for manifest in known {
            archived.extend(&manifest.positions);
        }
        Self {
            archived,
            positions: true,
            ..Self::default()
        }
    }

    /// Keeps the rows with these positions and passes over all others.
    pub(crate) fn only(wanted: PositionSet) -> Self {
        Self {
            positions: true,
            wanted: Some(wanted),
            ..Self::default()
        }
    }

    /// Sifts rows without positions: of these hashes only so many rows are kept.
    pub(crate) fn by_hash(surplus: HashMap<u64, u64>) -> Self {
        Self {
            surplus,
            ..Self::default()
        }
    }

    /// The rows of a batch that are not archived yet, without their hash column.
    pub(crate) fn new_rows(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let hashes = numbers(batch, HASH_COLUMN)?;
        let hashes = hashes.as_primitive::<UInt64Type>().values();
        let width = batch.num_columns() - 1;
        let rows = batch.project(&(0..width).collect::<Vec<_>>())?;
        if !self.positions {
            return self.new_rows_by_hash(&rows, hashes);
        }
        let (epochs, seqs) = (numbers(batch, EPOCH_COLUMN)?, numbers(batch, SEQ_COLUMN)?);
        let positions = epochs
            .as_primitive::<UInt64Type>()
            .values()
            .iter()
            .zip(seqs.as_primitive::<UInt64Type>().values())
            .map(|(epoch, seq)| Position {
                epoch: Epoch(*epoch),
                seq: *seq,
            });
        if let Some(wanted) = self.wanted.take() {
            let mut ours = Vec::with_capacity(rows.num_rows());
            for (position, hash) in positions.zip(hashes) {
                let is_ours = wanted.contains(position);
                if is_ours {
                    self.accept(position)?;
                    self.kept = self.kept + fingerprint([*hash]);
                }
                ours.push(is_ours);
            }
            self.wanted = Some(wanted);
            return Ok(filter_record_batch(&rows, &BooleanArray::from(ours))?);
        }
        if self.archived.is_empty() {
            for position in positions {
                self.accept(position)?;
            }
            self.kept = self.kept + fingerprint(hashes.iter().copied());
            return Ok(rows);
        }
        let mut fresh = Vec::with_capacity(rows.num_rows());
        for (position, hash) in positions.zip(hashes) {
            let row = fingerprint([*hash]);
            let is_fresh = !self.archived.contains(position);
            if is_fresh {
                self.accept(position)?;
                self.kept = self.kept + row;
            } else if self.again.insert(position) {
                self.seen = self.seen + row;
            } else {
                return Err(twice(position));
            }
            fresh.push(is_fresh);
        }
        Ok(filter_record_batch(&rows, &BooleanArray::from(fresh))?)
    }

    fn new_rows_by_hash(&mut self, rows: &RecordBatch, hashes: &[u64]) -> Result<RecordBatch> {
        if self.surplus.is_empty() {
            self.kept = self.kept + fingerprint(hashes.iter().copied());
            return Ok(rows.clone());
        }
        let mut fresh = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let is_fresh = match self.surplus.get_mut(hash) {
                None => true,
                Some(0) => false,
                Some(left) => {
                    *left -= 1;
                    true
                }
            };
            let into = if is_fresh {
                &mut self.kept
            } else {
                &mut self.seen
            };
            *into = *into + fingerprint([*hash]);
            fresh.push(is_fresh);
        }
        Ok(filter_record_batch(rows, &BooleanArray::from(fresh))?)
    }

    fn accept(&mut self, position: Position) -> Result<()> {
        if self.kept_positions.insert(position) {
            Ok(())
        } else {
            Err(twice(position))
        }
    }
}

fn fingerprint(hashes: impl IntoIterator<Item = u64>) -> Fingerprint {
    hashes
        .into_iter()
        .map(|sum| Fingerprint { rows: 1, sum })
        .sum()
}

fn twice(position: Position) -> Error {
    Error::integrity(format!("two rows have the position {position}"))
        .with_hint("a row was inserted twice into hot; look at both, delete one, and start again")
}

/// A column of 64-bit numbers without NULLs.
fn numbers(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    batch
        .column_by_name(name)
        .filter(|column| {
            column.as_primitive_opt::<UInt64Type>().is_some() && column.null_count() == 0
        })
        .cloned()
        .ok_or_else(|| {
            Error::malformed(format!(
                "the export has no column `{name}` of 64-bit numbers"
            ))
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::UInt64Array;

    use super::*;

    /// Rows `(epoch, seq, hash)`.
    fn batch(rows: &[(u64, u64, u64)]) -> RecordBatch {
        let column = |pick: fn(&(u64, u64, u64)) -> u64| -> ArrayRef {
            Arc::new(rows.iter().map(pick).collect::<UInt64Array>())
        };
        RecordBatch::try_from_iter([
            (EPOCH_COLUMN, column(|r| r.0)),
            (SEQ_COLUMN, column(|r| r.1)),
            (HASH_COLUMN, column(|r| r.2)),
        ])
        .unwrap()
    }

    fn deduplicator_after(archived: &[(u64, u64)]) -> RowDeduplicator {
        let position = |(epoch, seq): &(u64, u64)| Position {
            epoch: Epoch(*epoch),
            seq: *seq,
        };
        RowDeduplicator {
            archived: archived.iter().map(position).collect(),
            positions: true,
            ..RowDeduplicator::default()
        }
    }

    #[test]
    fn a_first_export_keeps_everything_and_sums_the_hashes() {
        let mut deduplicator = deduplicator_after(&[]);
        let kept = deduplicator
            .new_rows(&batch(&[(1, 1, u64::MAX), (1, 2, 2)]))
            .unwrap();
        assert_eq!((kept.num_rows(), kept.num_columns()), (2, 2));
        assert_eq!(deduplicator.kept, Fingerprint { rows: 2, sum: 1 });
        assert_eq!(deduplicator.kept_positions.len(), 2);
    }

    #[test]
    fn archived_rows_are_dropped_and_counted_and_late_ones_kept() {
        let mut deduplicator = deduplicator_after(&[(1, 1), (1, 3)]);
        let kept = deduplicator
            .new_rows(&batch(&[(1, 1, 10), (1, 2, 20), (2, 1, 30)]))
            .unwrap();
        assert_eq!(kept.num_rows(), 2);
        assert_eq!(deduplicator.kept, Fingerprint { rows: 2, sum: 50 });
        assert_eq!(deduplicator.seen, Fingerprint { rows: 1, sum: 10 });
    }

    #[test]
    fn of_the_rows_that_are_wanted_each_is_kept_once_and_others_are_passed_over() {
        let position = |seq| Position {
            epoch: Epoch(1),
            seq,
        };
        let mut deduplicator =
            RowDeduplicator::only([position(1), position(3)].into_iter().collect());
        let kept = deduplicator
            .new_rows(&batch(&[(1, 1, 10), (1, 2, 20), (2, 1, 30), (1, 3, 40)]))
            .unwrap();
        assert_eq!(kept.num_rows(), 2);
        assert_eq!(deduplicator.kept, Fingerprint { rows: 2, sum: 50 });
        let e = deduplicator.new_rows(&batch(&[(1, 3, 40)])).unwrap_err();
        assert!(e.to_string().contains("1/3"), "{e}");
    }

    #[test]
    fn a_position_twice_halts_whether_archived_or_not() {
        for archived in [&[][..], &[(1, 1)]] {
            let mut deduplicator = deduplicator_after(archived);
            deduplicator.new_rows(&batch(&[(1, 1, 1)])).unwrap();
            let e = deduplicator.new_rows(&batch(&[(1, 1, 1)])).unwrap_err();
            assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Integrity);
            assert!(e.to_string().contains("1/1"), "{e}");
        }
    }

    #[test]
    fn rows_without_positions_are_kept_as_often_as_there_are_more_of_them() {
        let mut deduplicator = RowDeduplicator::by_hash(HashMap::from([(7, 2)]));
        let (one, two) = (
            batch(&[(1, 1, 7), (1, 1, 5), (1, 1, 7)]),
            batch(&[(1, 1, 7)]),
        );
        assert_eq!(deduplicator.new_rows(&one).unwrap().num_rows(), 3);
        assert_eq!(deduplicator.new_rows(&two).unwrap().num_rows(), 0);
        assert_eq!(deduplicator.kept, Fingerprint { rows: 3, sum: 19 });
        assert_eq!(deduplicator.seen, Fingerprint { rows: 1, sum: 7 });

        let mut deduplicator = RowDeduplicator::by_hash(HashMap::new());
        assert_eq!(
            deduplicator
                .new_rows(&batch(&[(1, 1, 5), (1, 1, 6)]))
                .unwrap()
                .num_rows(),
            2
        );
        assert_eq!(deduplicator.kept, Fingerprint { rows: 2, sum: 11 });
        assert!(deduplicator.kept_positions.is_empty());
    }
}

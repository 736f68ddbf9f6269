//! Cleanup of a replicated table: the proven rows are deleted by their positions.
//!
//! A partition operation on a replicated table takes rows that this replica has not fetched and no proof has seen. A mutation
//! replicates as a predicate, so that it takes the rows of the proven positions on every replica, and no others. The positions are
//! written into the statement: a table of them would have to be on every replica.

use crate::dataset_run::{DatasetRun, SourceTable};
use mpsync_archive::Manifest;
use mpsync_clickhouse::ident;
use mpsync_core::dataset::{EPOCH_COLUMN, PositionSet, SEQ_COLUMN, Window};
use mpsync_core::error::Result;

/// Numbers and ranges of numbers in one statement at most: it stays below the server's limit of 256 KiB for a query.
const TERMS: usize = 3_000;
/// How many mutations are left running before one is waited for.
const UNFINISHED: usize = 50;

/// Deletes the rows of a window whose positions these generations hold. Returns how many rows the source no longer has.
///
/// Can be cut off anywhere: each statement deletes rows that are in the archive and in cold.
pub(super) async fn delete_by_position(
    run: &DatasetRun,
    source: &SourceTable,
    window: Window,
    generations: &[Manifest],
) -> Result<u64> {
    let here = run.source_rows(source, window)?;
    let before = here.count().await?;
    if before == 0 {
        return Ok(0);
    }
    let mut proven = PositionSet::new();
    for manifest in generations {
        proven.extend(&manifest.positions);
    }
    let rows = run.window_rows(run.hot()?, window);
    let conditions = conditions(&proven);
    let last = conditions.len();
    for (n, condition) in (1..).zip(conditions) {
        let waits = n == last || n % UNFINISHED == 0;
        rows.delete_replicated(&condition, waits).await?;
    }
    Ok(before.saturating_sub(here.count().await?))
}

/// The conditions that pick exactly these positions, each short enough for a statement. Pure.
fn conditions(positions: &PositionSet) -> Vec<String> {
    let (epoch_column, seq_column) = (ident(EPOCH_COLUMN), ident(SEQ_COLUMN));
    let mut conditions = Vec::new();
    for (epoch, seqs) in positions.epochs() {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for seq in seqs {
            match ranges.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(seq) => *end = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        for some in ranges.chunks(TERMS) {
            let mut terms = Vec::new();
            let mut single = Vec::new();
            for (start, end) in some {
                if start == end {
                    single.push(start.to_string());
                } else {
                    terms.push(format!("{seq_column} BETWEEN {start} AND {end}"));
                }
            }
            if !single.is_empty() {
                terms.push(format!("{seq_column} IN ({})", single.join(", ")));
            }
            conditions.push(format!(
                "({epoch_column} = {} AND ({}))",
                epoch.0,
                terms.join(" OR ")
            ));
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_core::dataset::{Epoch, Position};

    fn set(positions: impl IntoIterator<Item = (u64, u64)>) -> PositionSet {
        let positions = positions.into_iter();
        positions
            .map(|(epoch, seq)| Position {
                epoch: Epoch(epoch),
                seq,
            })
            .collect()
    }

    #[test]
    fn a_condition_picks_exactly_the_proven_positions() {
        let some = set([(7, 1), (7, 2), (7, 3), (7, 9), (7, 11), (8, 4)]);
        assert_eq!(
            conditions(&some),
            [
                "(`stream_epoch` = 7 AND (`stream_seq` BETWEEN 1 AND 3 OR `stream_seq` IN (9, 11)))",
                "(`stream_epoch` = 8 AND (`stream_seq` IN (4)))"
            ]
        );
        assert!(conditions(&PositionSet::new()).is_empty());
        assert_eq!(
            conditions(&set([(1, u64::MAX)])),
            ["(`stream_epoch` = 1 AND (`stream_seq` IN (18446744073709551615)))"]
        );
    }

    #[test]
    fn no_statement_is_longer_than_a_server_reads() {
        let first = u64::MAX - 2_000_000;
        let pairs =
            (0..30_000).flat_map(|n| [(u64::MAX, first + 3 * n), (u64::MAX, first + 3 * n + 1)]);
        let conditions = conditions(&set(pairs));
        assert_eq!(conditions.len(), 30_000_usize.div_ceil(TERMS));
        assert!(conditions.iter().all(|text| text.len() < 256 << 10));
    }
}

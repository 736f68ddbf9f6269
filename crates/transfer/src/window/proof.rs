//! The description of a mismatch: which side differs, by how much, and where to look.

use std::fmt::Write as _;

use arrow::array::AsArray as _;
use arrow::datatypes::UInt64Type;

use crate::rows::arrow_rows::ArrowRows;
use crate::rows::columns::have_positions;
use crate::rows::window_rows::Rows;
use crate::window::holdings::total;
use mpsync_archive::{ColumnSums, Manifest};
use mpsync_core::dataset::{Epoch, Position, PositionSet};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::Fingerprint;

/// How many positions an error names.
const NAMED: usize = 5;

/// The integrity error for a window whose rows in a table are not what the generations say.
///
/// `Err` when the rows could not be asked: then nothing is known, and nothing is proven.
pub(crate) async fn explain(
    rows: &Rows<'_>,
    held: Fingerprint,
    generations: &[Manifest],
) -> Result<Error> {
    let archived = total(generations);
    let mut text = format!(
        "{} holds {held} where the archive's {} generations say {archived}",
        rows.tier.table(rows.table),
        generations.len()
    );
    let positions = generations
        .first()
        .is_some_and(|m| have_positions(&m.schema.columns));
    if positions {
        let (there, twice) = positions_of(rows).await?;
        let mut ours = PositionSet::new();
        for manifest in generations {
            ours.extend(&manifest.positions);
        }
        text.push_str(&compare(&there, twice, &ours));
    }
    if held.rows == archived.rows {
        let columns = differing_columns(rows, generations).await?;
        if !columns.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, "; other values in {}", columns.join(", "));
        }
    }
    Ok(Error::integrity(text).with_hint(
        "nothing was moved or cleaned; find out who wrote to the table; when the archive is proven by `mpsync verify`, drop \
         the window's rows from it and run `mpsync import`",
    ))
}

/// The columns in which rows hold other values than the archive, by the manifests' checksums; none where some manifest has
/// no checksums.
async fn differing_columns(rows: &Rows<'_>, generations: &[Manifest]) -> Result<Vec<String>> {
    let mut archived = ColumnSums::default();
    let all = generations.iter().all(|m| archived.add_hex(&m.column_sums));
    let (Some(first), true) = (generations.first(), all) else {
        return Ok(Vec::new());
    };
    let columns = &first.schema.columns;
    let mut held = ColumnSums::default();
    let query = rows.export_query(columns, None).await?;
    let mut stream = ArrowRows::start(rows.tier, query)?;
    while let Some(batch) = stream.next().await? {
        // The last column is the row's hash.
        let values = batch.project(&(0..columns.len()).collect::<Vec<_>>())?;
        held.add_sent(&values, columns)?;
    }
    Ok(held.differences(&archived, columns))
}

/// The positions of rows, and how many rows bear one that another has.
async fn positions_of(rows: &Rows<'_>) -> Result<(PositionSet, u64)> {
    let mut stream = ArrowRows::start(rows.tier, rows.positions_query())?;
    let (mut there, mut twice) = (PositionSet::new(), 0);
    while let Some(batch) = stream.next().await? {
        let column = |i: usize| batch.column(i).as_primitive_opt::<UInt64Type>();
        let (Some(epochs), Some(seqs)) = (column(0), column(1)) else {
            return Err(Error::malformed("the positions are not 64-bit numbers"));
        };
        for (epoch, seq) in epochs.values().iter().zip(seqs.values()) {
            let position = Position {
                epoch: Epoch(*epoch),
                seq: *seq,
            };
            twice += u64::from(!there.insert(position));
        }
    }
    Ok((there, twice))
}

/// Says how two sets of positions differ. Pure.
fn compare(there: &PositionSet, twice: u64, archived: &PositionSet) -> String {
    let common = there.intersection_len(archived);
    let (missing, extra) = (archived.len() - common, there.len() - common);
    let mut text = String::new();
    let mut say = |count: u64, what: &str, some: Vec<Position>| {
        if count > 0 {
            let some: Vec<_> = some.iter().map(ToString::to_string).collect();
            // Writing to a String cannot fail.
            let _ = write!(text, "; {count} rows {what}");
            if !some.is_empty() {
                let _ = write!(text, ", such as {}", some.join(", "));
            }
        }
    };
    let only = |a: &PositionSet, b: &PositionSet| -> Vec<Position> {
        a.iter().filter(|p| !b.contains(*p)).take(NAMED).collect()
    };
    say(missing, "are archived and not there", only(archived, there));
    say(extra, "are there and not archived", only(there, archived));
    say(twice, "have a position that another row has", Vec::new());
    if text.is_empty() {
        text.push_str("; the positions are the same, so that some row has other values");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_counts_and_some_positions() {
        let set = |seqs: std::ops::Range<u64>| -> PositionSet {
            seqs.map(|seq| Position {
                epoch: Epoch(1),
                seq,
            })
            .collect()
        };
        assert_eq!(
            compare(&set(2..10), 1, &set(1..9)),
            "; 1 rows are archived and not there, such as 1/1; 1 rows are there and not archived, such as 1/9; \
             1 rows have a position that another row has"
        );
        assert!(compare(&set(1..3), 0, &set(1..3)).contains("other values"));
    }
}

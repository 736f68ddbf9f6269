//! Hot → archive: one generation, the rows of a window that no earlier generation holds.

use std::time::Instant;

use jiff::Timestamp;

use super::road::{Road, SourceTable, difference, total};
use super::rows::{Rows, archived_columns, have_positions};
use super::sift::Sift;
use super::staging::Scratch;
use super::stream::ArrowRows;
use super::turn::Turn;
use crate::archive::{
    Chunk, ChunkSchema, ChunkWriter, Committed, FORMAT, GenerationId, Manifest, Schema, Source,
};
use crate::clickhouse::{Fingerprint, HashedColumn};
use crate::dataset::Window;
use crate::error::{Error, Result};
use crate::progress::Work;

/// What one look at the source came to.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// The generation that this look made, unless another worker was faster.
    pub(super) made: bool,
    /// Bytes of Arrow that were read.
    pub(super) arrow_bytes: u64,
    /// Whether every row that the source held at this look was in the archive already, with the same hash.
    pub(super) complete: bool,
}

/// Looks for rows of a window that these generations do not hold, and makes a generation of them.
///
/// Rows that are archived already, and turned up again in hot, are recognised by their position. When the answer is not
/// `complete`, the window has generations beyond `known`: look again.
pub(super) async fn export(
    road: &Road,
    source: &SourceTable,
    window: Window,
    known: &[Manifest],
    turn: &mut Turn<'_>,
    work: &Work,
) -> Result<Exported> {
    let rows = road.source_rows(source, window)?;
    let columns = archived_columns(&road.hot()?.schema);
    work.step("comparing", 0);
    let expected = if known.is_empty() {
        rows.count().await?
    } else {
        let held = rows.fingerprint(&columns).await?;
        if held == total(known) { 0 } else { held.rows }
    };
    let mut exported = Exported::default();
    if expected == 0 {
        exported.complete = true;
        return Ok(exported);
    }
    check_known(window, known, &columns)?;
    if !turn.has_begun() {
        // Somebody else may have been at work until the lease was ours.
        turn.attempt().await?;
        if road.generations(window).await? != known {
            return Ok(exported);
        }
    }
    work.step("exporting", expected);
    let one = Generation {
        road,
        rows,
        window,
        columns: &columns,
        known,
        attempt: turn.attempt().await?,
        work,
    };
    match one.export(&mut exported.arrow_bytes).await? {
        // The fingerprints differ because hot holds some of the archived rows and nothing else.
        None => exported.complete = true,
        Some(committed) => exported.made = matches!(committed, Committed::Won(_)),
    }
    Ok(exported)
}

/// Refuses a supplement whose columns or identity do not go with what is archived.
fn check_known(window: Window, known: &[Manifest], columns: &[HashedColumn]) -> Result<()> {
    let Some(first) = known.first() else {
        return Ok(());
    };
    if first.schema.columns != columns {
        return Err(Error::schema(format!(
            "the table has other columns than {} has in the archive: {}",
            first.id(),
            difference(columns, &first.schema.columns)
        ))
        .hint(
            "a window's generations must have the same columns; set the table back for this window",
        ));
    }
    if !have_positions(columns) {
        return Err(Error::schema(format!(
            "{window} is archived and hot holds other rows of it, but the table has no stream_epoch and stream_seq by which \
             late rows could be told from archived ones"
        )));
    }
    Ok(())
}

/// One generation in the making.
struct Generation<'a> {
    road: &'a Road,
    rows: Rows<'a>,
    window: Window,
    columns: &'a [HashedColumn],
    known: &'a [Manifest],
    attempt: u64,
    work: &'a Work,
}

impl Generation<'_> {
    fn id(&self) -> Result<GenerationId> {
        Ok(GenerationId {
            dataset: self.road.dataset.name.clone(),
            window: self.window,
            generation: u32::try_from(self.known.len())
                .map_err(|_| Error::malformed("a window with more than 2^32 generations"))?,
        })
    }

    /// Writes the rows that are not archived, and commits them; `None` when there are none.
    async fn export(&self, arrow_bytes: &mut u64) -> Result<Option<Committed>> {
        let started = Instant::now();
        let mut sift = Sift::new(self.known, have_positions(self.columns));
        let query = self.rows.export_query(self.columns);
        let mut stream = ArrowRows::start(self.rows.tier, query)?;
        let mut writer = None;
        let written = self.write(&mut stream, &mut sift, &mut writer).await;
        *arrow_bytes += stream.bytes();
        let checked = match written {
            Ok(()) => self.check_seen(sift.seen).await,
            Err(e) => Err(e),
        };
        let writer = match (checked, writer) {
            (Ok(()), Some(writer)) => writer,
            (Ok(()), None) => return Ok(None),
            (Err(e), writer) => {
                if let Some(writer) = writer {
                    writer.abort().await;
                }
                return Err(e.doing(format!("exporting {}", self.id()?)));
            }
        };
        let chunks = writer.finish().await?;
        let rows = sift.kept.rows;
        let manifest = self.manifest(sift, chunks)?;
        let id = manifest.id();
        tracing::info!(generation = %id, attempt = self.attempt, rows, arrow_bytes = stream.bytes(), duration = ?started.elapsed(), "exported");
        let committed = self.road.archive.commit(manifest.clone()).await?;
        if let Committed::Lost(_) = committed {
            self.road
                .archive
                .remove_chunks(&id, &manifest.chunks)
                .await?;
        }
        Ok(Some(committed))
    }

    /// Passes the stream's rows through the sieve to a writer, which is made for the first row.
    async fn write(
        &self,
        stream: &mut ArrowRows,
        sift: &mut Sift,
        writer: &mut Option<ChunkWriter>,
    ) -> Result<()> {
        let mut before = 0;
        while let Some(batch) = stream.next().await? {
            let kept = sift.sift(&batch)?;
            self.work
                .add(batch.num_rows() as u64, stream.bytes() - before);
            before = stream.bytes();
            if kept.num_rows() == 0 {
                continue;
            }
            if writer.is_none() {
                let schema = ChunkSchema {
                    arrow: kept.schema(),
                    columns: self.columns.to_vec(),
                    time_column: self.road.dataset.time_column.clone(),
                    sorting_key: self.rows.schema.sorting_key.clone(),
                };
                *writer = Some(ChunkWriter::new(
                    &self.road.archive,
                    self.id()?,
                    self.attempt,
                    schema,
                )?);
            }
            if let Some(writer) = writer {
                writer.write(kept).await?;
            }
        }
        Ok(())
    }

    fn manifest(&self, sift: Sift, chunks: Vec<Chunk>) -> Result<Manifest> {
        let id = self.id()?;
        Ok(Manifest {
            format: FORMAT,
            writer: concat!("mpsync ", env!("CARGO_PKG_VERSION")).to_owned(),
            dataset: id.dataset,
            window: id.window,
            generation: id.generation,
            attempt: self.attempt,
            created_at: Timestamp::now(),
            source: Source {
                database: self.rows.tier.database().to_owned(),
                table: self.rows.schema.table.clone(),
                server_version: self.road.hot_version.clone(),
            },
            filter: self.road.filter.clone(),
            schema: Schema {
                columns: self.columns.to_vec(),
                time_column: self.road.dataset.time_column.clone(),
                sorting_key: self.rows.schema.sorting_key.clone(),
            },
            fingerprint: sift.kept,
            column_sums: std::collections::BTreeMap::new(),
            positions: sift.kept_positions,
            chunks,
        })
    }

    /// Proves that archived rows which turned up again are the archived ones, hash by hash.
    ///
    /// Where all of them are there, their sum says it; of some of them, the archived chunks themselves have to say it.
    async fn check_seen(&self, seen: Fingerprint) -> Result<()> {
        if seen.rows == 0 || seen == total(self.known) {
            return Ok(());
        }
        let scratch =
            Scratch::fill(self.road, self.window, self.known, self.attempt, self.work).await?;
        let compared = self.rows.conflicts(&scratch.rows(), self.columns).await;
        scratch.remove().await?;
        let (rows, some) = compared?;
        if rows == 0 && seen.rows < total(self.known).rows {
            return Ok(());
        }
        let some: Vec<_> = some
            .iter()
            .map(|(epoch, seq)| format!("{epoch}/{seq}"))
            .collect();
        Err(Error::integrity(format!(
            "{rows} rows of {} bear a position that is archived with other values{}{}; seen {}, archived {}",
            self.rows.tier.table(self.rows.table),
            if some.is_empty() { "" } else { ", such as " },
            some.join(", "),
            seen,
            total(self.known)
        ))
        .hint("a row was changed after it was archived; nothing was cleaned; compare both and correct the wrong one"))
    }
}

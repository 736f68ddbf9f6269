//! Hot → archive: one generation, the rows of a window that no earlier generation holds.

use std::time::Instant;

use jiff::Timestamp;

use super::load;
use super::road::{Road, SourceTable, difference, total};
use super::rows::{Rows, archived_columns, have_positions};
use super::sift::Sift;
use super::stream::ArrowRows;
use super::turn::Turn;
use crate::archive::{
    ChunkSchema, ChunkWriter, Committed, FORMAT, GenerationId, Manifest, Schema, Source,
};
use crate::clickhouse::{Fingerprint, HashedColumn};
use crate::dataset::Window;
use crate::error::{Error, Result};
use crate::progress::Work;

/// How many generations one run makes of a window: late rows that keep coming are left to the next run.
const GENERATIONS_A_RUN: u32 = 8;

/// What an export left in the archive.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// All generations of the window.
    pub(super) generations: Vec<Manifest>,
    /// How many of them this export made.
    pub(super) new: u32,
    /// Bytes of Arrow that were read for them.
    pub(super) arrow_bytes: u64,
    /// Whether, at the last look, the source held no row that the archive does not.
    pub(super) complete: bool,
}

/// Exports what the archive does not hold of a window, until nothing is left.
///
/// On return every row that the source held at the last look is in the archive, with the same hash. Rows that are
/// archived already, and turned up again, are recognised by their position.
pub(super) async fn export(
    road: &Road,
    source: &SourceTable,
    window: Window,
    turn: &mut Turn<'_>,
    work: &Work,
) -> Result<Exported> {
    let rows = road.source_rows(source, window)?;
    let columns = archived_columns(&road.hot()?.schema);
    let mut exported = Exported {
        generations: road.generations(window).await?,
        ..Exported::default()
    };
    for _ in 0..GENERATIONS_A_RUN {
        work.step("comparing", 0);
        let held = rows.fingerprint(&columns).await?;
        if held.rows == 0 || held == total(&exported.generations) {
            exported.complete = true;
            return Ok(exported);
        }
        check_known(window, &exported.generations, &columns)?;
        let attempt = turn.attempt().await?;
        work.step("exporting", held.rows);
        let one = Generation {
            road,
            rows,
            window,
            columns: &columns,
            known: &exported.generations,
            attempt,
        };
        match one.export(work, &mut exported.arrow_bytes).await? {
            // What the source holds beside the fingerprint's rows is archived already.
            None => {
                exported.complete = true;
                return Ok(exported);
            }
            Some(committed) => {
                exported.new += u32::from(matches!(committed, Committed::Won(_)));
                exported.generations = road.generations(window).await?;
            }
        }
    }
    tracing::warn!(dataset = %road.dataset.name, %window, "rows keep coming; the rest is left to the next run");
    Ok(exported)
}

/// Refuses a supplement whose columns or identity do not go with what is archived.
fn check_known(window: Window, known: &[Manifest], columns: &[HashedColumn]) -> Result<()> {
    let Some(first) = known.first() else { return Ok(()) };
    if first.schema.columns != columns {
        return Err(Error::schema(format!(
            "the table has other columns than {} has in the archive: {}",
            first.id(),
            difference(columns, &first.schema.columns)
        ))
        .hint("a window's generations must have the same columns; set the table back for this window"));
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
    async fn export(&self, work: &Work, arrow_bytes: &mut u64) -> Result<Option<Committed>> {
        let started = Instant::now();
        let mut sift = Sift::new(self.known, have_positions(self.columns));
        let query = self.rows.export_query(self.columns);
        let mut stream = ArrowRows::start(self.rows.tier, query)?;
        let mut writer = None;
        let written = self.write(&mut stream, &mut sift, &mut writer, work).await;
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
            self.road.archive.remove_chunks(&id, &manifest.chunks).await?;
        }
        Ok(Some(committed))
    }

    /// Passes the stream's rows through the sieve to a writer, which is made for the first row.
    async fn write(
        &self,
        stream: &mut ArrowRows,
        sift: &mut Sift,
        writer: &mut Option<ChunkWriter>,
        work: &Work,
    ) -> Result<()> {
        let mut before = 0;
        while let Some(batch) = stream.next().await? {
            let kept = sift.sift(&batch)?;
            work.add(batch.num_rows() as u64, stream.bytes() - before);
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
                *writer = Some(ChunkWriter::new(&self.road.archive, self.id()?, self.attempt, schema)?);
            }
            if let Some(writer) = writer {
                writer.write(kept).await?;
            }
        }
        Ok(())
    }

    fn manifest(&self, sift: Sift, chunks: Vec<crate::archive::Chunk>) -> Result<Manifest> {
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
        let scratch = load::Scratch::fill(self.road, self.window, self.known, self.attempt).await?;
        let compared = self.rows.conflicts(&scratch.rows()?, self.columns).await;
        scratch.drop().await?;
        let (rows, some) = compared?;
        if rows == 0 && seen.rows < total(self.known).rows {
            return Ok(());
        }
        let some: Vec<_> = some.iter().map(|(epoch, seq)| format!("{epoch}/{seq}")).collect();
        Err(Error::integrity(format!(
            "{rows} rows of {} bear a position that is archived with other values{}{}; {} rows seen, archived {}",
            self.rows.tier.table(self.rows.table),
            if some.is_empty() { "" } else { ", such as " },
            some.join(", "),
            seen,
            total(self.known)
        ))
        .hint("a row was changed after it was archived; nothing was cleaned; compare both and correct the wrong one"))
    }
}

//! Hot → archive: one generation, the rows of a window that no earlier generation holds.

use std::collections::HashMap;
use std::time::Instant;

use jiff::Timestamp;

use crate::dataset_run::{DatasetRun, SourceTable};
use crate::rows::arrow_rows::ArrowRows;
use crate::rows::columns::have_positions;
use crate::rows::completeness::ListedParts;
use crate::rows::decimals::check_precision;
use crate::rows::row_deduplicator::RowDeduplicator;
use crate::rows::window_rows::Rows;
use crate::window::evolution::window_columns;
use crate::window::holdings::total;
use crate::window::staging::Scratch;
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::{
    ChunkSchema, ChunkWriter, Committed, FORMAT, GenerationId, Manifest, ManifestSchema,
    ManifestSource, Written,
};
use mpsync_clickhouse::PartSet;
use mpsync_core::dataset::Window;
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};
use mpsync_core::progress::Work;

/// The result of one look at the source.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// The generation that this look made, unless another worker was faster.
    pub(crate) made: bool,
    /// Bytes of Arrow that were read.
    pub(crate) arrow_bytes: u64,
    /// Whether every row that the source held at this look was in the archive already, with the same hash.
    pub(crate) complete: bool,
    /// How many rows of the source were read and found in the archive, if it is complete.
    pub(crate) matched: u64,
}

impl Exported {
    /// A look that found nothing that was not archived already.
    fn complete(matched: u64) -> Self {
        Self {
            complete: true,
            matched,
            ..Self::default()
        }
    }
}

/// Looks for rows of a window that these generations do not hold, and makes a generation of them.
///
/// Rows that are archived already, and turned up again in hot, are recognised by their position. When the answer is not
/// `complete`, the window has generations beyond `known`: look again.
pub(crate) async fn export(
    run: &DatasetRun,
    source: &SourceTable,
    window: Window,
    known: &[Manifest],
    window_attempt: &mut WindowAttempt<'_>,
    work: &Work,
) -> Result<Exported> {
    work.step("comparing", 0);
    let rows = run.source_rows(source, window)?;
    let before = run.source_parts(source).await?;
    let mut exported = Exported::default();
    if let Some(parts) = &before
        && let Some(matched) = match parts.rows() {
            0 => Some(0),
            _ => run.proof_cache.archived(window, parts, known),
        }
    {
        return Ok(Exported::complete(matched));
    }
    let listed = rows.listed_parts().await?;
    let columns = window_columns(&rows, known).await?;
    let expected = if known.is_empty() {
        source.rows
    } else {
        let held = rows.fingerprint(&columns).await?;
        if held.rows == 0 || held == total(known) {
            rows.check_read(&listed, held.rows).await?;
            record_archived(run, source, window, before, known, held.rows).await?;
            return Ok(Exported::complete(held.rows));
        }
        held.rows
    };
    if !window_attempt.has_begun() {
        // Another worker may have been at work before the lease was ours.
        window_attempt.attempt().await?;
        if run.generations(window).await? != known {
            return Ok(exported);
        }
    }
    work.step("exporting", expected);
    let one = Generation {
        run,
        rows,
        window,
        number: u32::try_from(known.len())
            .map_err(|_| Error::malformed("a window with more than 2^32 generations"))?,
        columns: &columns,
        known,
        attempt: window_attempt.attempt().await?,
        work,
    };
    let (matched, committed) = one.export(&listed, &mut exported.arrow_bytes).await?;
    match committed {
        // The fingerprints differ because hot holds some of the archived rows and nothing else.
        None => {
            record_archived(run, source, window, before, known, matched).await?;
            exported.complete = true;
            exported.matched = matched;
        }
        Some(Committed::Lost(_)) => {}
        Some(Committed::Won(manifest)) => {
            exported.made = true;
            let generations = [known, &[manifest]].concat();
            record_archived(run, source, window, before, &generations, matched).await?;
        }
    }
    Ok(exported)
}

/// Notes that every row of the window in these parts was found to be archived, if they are still those that were there
/// before the rows were read: parts that are the same before and after a query are the ones that it read.
async fn record_archived(
    run: &DatasetRun,
    source: &SourceTable,
    window: Window,
    before: Option<PartSet>,
    generations: &[Manifest],
    matched: u64,
) -> Result<()> {
    if let Some(parts) = before
        && run.source_parts(source).await?.as_ref() == Some(&parts)
    {
        run.proof_cache
            .record_archived(window, parts, generations, matched);
    }
    Ok(())
}

/// One generation in the making.
pub(crate) struct Generation<'a> {
    pub(crate) run: &'a DatasetRun,
    pub(crate) rows: Rows<'a>,
    pub(crate) window: Window,
    pub(crate) number: u32,
    pub(crate) columns: &'a [HashedColumn],
    /// The generations before it.
    pub(crate) known: &'a [Manifest],
    pub(crate) attempt: u64,
    pub(crate) work: &'a Work,
}

impl Generation<'_> {
    /// The rows of the generations before it, in a table beside hot's.
    async fn scratch(&self) -> Result<Scratch<'_>> {
        let hot = self.run.hot()?;
        Scratch::fill(
            self.run,
            hot,
            self.window,
            self.known,
            self.attempt,
            self.work,
        )
        .await
    }

    fn id(&self) -> GenerationId {
        GenerationId {
            dataset: self.run.dataset.name.clone(),
            window: self.window,
            generation: self.number,
        }
    }

    /// Writes the rows that are not archived, and commits them; no commit if there are none. Returns how many rows of the source
    /// are in the archive then: all that it holds of the window.
    async fn export(
        &self,
        listed: &ListedParts,
        arrow_bytes: &mut u64,
    ) -> Result<(u64, Option<Committed>)> {
        if have_positions(self.columns) {
            let deduplicator = RowDeduplicator::by_position(self.known);
            return self
                .write_new(deduplicator, None, listed, arrow_bytes)
                .await;
        }
        if self.known.is_empty() {
            let deduplicator = RowDeduplicator::by_hash(HashMap::new());
            return self
                .write_new(deduplicator, None, listed, arrow_bytes)
                .await;
        }
        // Rows without a position are recognised by their hash, beside the archived rows themselves.
        let scratch = self.scratch().await?;
        let written = async {
            // The surplus and the rows come from two queries, so that both must read the same parts.
            let listed = self.rows.listed_parts().await?;
            let surplus = self.rows.surplus(&scratch.rows(), self.columns).await?;
            let deduplicator = RowDeduplicator::by_hash(surplus);
            self.write_new(deduplicator, Some(&scratch.rows()), &listed, arrow_bytes)
                .await
        };
        let written = written.await;
        scratch.remove().await?;
        written
    }

    /// Writes what the sieve lets through, and commits it; `None` when that is nothing.
    async fn write_new(
        &self,
        mut deduplicator: RowDeduplicator,
        archived: Option<&Rows<'_>>,
        listed: &ListedParts,
        arrow_bytes: &mut u64,
    ) -> Result<(u64, Option<Committed>)> {
        let started = Instant::now();
        let query = self.rows.export_query(self.columns, archived).await?;
        let mut stream = ArrowRows::start(self.rows.tier, query)?;
        let mut writer = None;
        let written = self
            .write(&mut stream, &mut deduplicator, &mut writer)
            .await;
        *arrow_bytes += stream.bytes();
        let checked = async {
            written?;
            self.check_seen(deduplicator.seen).await?;
            self.check_whole(&deduplicator, archived.is_some(), listed)
                .await
        };
        let (matched, writer) = match (checked.await, writer) {
            (Ok(matched), Some(writer)) => (matched, writer),
            (Ok(matched), None) => return Ok((matched, None)),
            (Err(e), writer) => {
                if let Some(writer) = writer {
                    writer.abort().await;
                }
                return Err(e.context(format!("exporting {}", self.id())));
            }
        };
        let written = writer.finish().await?;
        let rows = deduplicator.kept.rows;
        let manifest = self.manifest(deduplicator, written);
        let id = manifest.id();
        tracing::debug!(generation = %id, attempt = self.attempt, rows, arrow_bytes = stream.bytes(), duration = started.elapsed().as_secs_f64(), "exported");
        let committed = self.run.archive.commit(manifest.clone()).await?;
        if let Committed::Lost(_) = committed {
            self.run
                .archive
                .remove_chunks(&id, &manifest.chunks)
                .await?;
        }
        Ok((matched, Some(committed)))
    }

    /// Checks that the rows that were read are all that the source holds of the window, by an independent count. Returns how many
    /// the source holds.
    async fn check_whole(
        &self,
        deduplicator: &RowDeduplicator,
        only_new: bool,
        listed: &ListedParts,
    ) -> Result<u64> {
        let read = deduplicator.kept.rows + deduplicator.seen.rows;
        if !only_new {
            self.rows.check_read(listed, read).await?;
            return Ok(read);
        }
        // The query left out what is archived: count the rows, and see that all three queries read the same.
        let held = self.rows.count().await?;
        self.rows.check_read(listed, held).await?;
        if self.rows.listed_parts().await? == *listed {
            return Ok(held);
        }
        Err(Error::busy(format!(
            "rows of {} changed while they were compared with the archive",
            self.rows.tier.table(self.rows.table)
        ))
        .with_hint("nothing is lost; the next try compares them again"))
    }

    /// Passes the stream's rows through the sieve to a writer, which is made for the first row.
    pub(crate) async fn write(
        &self,
        stream: &mut ArrowRows,
        deduplicator: &mut RowDeduplicator,
        writer: &mut Option<ChunkWriter>,
    ) -> Result<()> {
        let mut before = 0;
        while let Some(batch) = stream.next().await? {
            check_precision(&batch)?;
            let kept = deduplicator.new_rows(&batch)?;
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
                    time_column: self.run.dataset.time_column.clone(),
                    sorting_key: self.rows.schema.sorting_key.clone(),
                };
                *writer = Some(ChunkWriter::new(
                    &self.run.archive,
                    self.id(),
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

    fn manifest(&self, deduplicator: RowDeduplicator, written: Written) -> Manifest {
        let id = self.id();
        Manifest {
            format: FORMAT,
            writer: concat!("mpsync ", env!("CARGO_PKG_VERSION")).to_owned(),
            dataset: id.dataset,
            window: id.window,
            generation: id.generation,
            revision: 0,
            attempt: self.attempt,
            created_at: Timestamp::now(),
            source: ManifestSource {
                database: self.rows.tier.database().to_owned(),
                table: self.rows.schema.table.clone(),
                server_version: self.run.hot_version.clone(),
            },
            filter: self.run.filter.clone(),
            schema: ManifestSchema {
                columns: self.columns.to_vec(),
                time_column: self.run.dataset.time_column.clone(),
                sorting_key: self.rows.schema.sorting_key.clone(),
            },
            fingerprint: deduplicator.kept,
            column_sums: written.column_sums.to_hex(),
            positions: deduplicator.kept_positions,
            chunks: written.chunks,
        }
    }

    /// Proves that archived rows which turned up again are the archived ones, hash by hash.
    ///
    /// Where all of them are there, their sum says it; of some of them, the archived chunks themselves have to say it.
    async fn check_seen(&self, seen: Fingerprint) -> Result<()> {
        // Without positions, seen means that the hash is archived.
        let told_by_hash = !have_positions(self.columns);
        if seen.rows == 0 || told_by_hash || seen == total(self.known) {
            return Ok(());
        }
        let scratch = self.scratch().await?;
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
            "{rows} rows of {} have a position that is archived with other values{}{}; seen {}, archived {}",
            self.rows.tier.table(self.rows.table),
            if some.is_empty() { "" } else { ", such as " },
            some.join(", "),
            seen,
            total(self.known)
        ))
        .with_hint("a row was changed after it was archived; nothing was cleaned; compare both and correct the wrong one"))
    }
}

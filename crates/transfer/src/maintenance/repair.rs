//! `verify --repair`: damaged chunks are made again from the rows that cold or hot still holds.
//!
//! The manifest says what the rows were: their positions (or, without positions, all rows that no other generation holds) and
//! their fingerprint. Rows of a tier that have that fingerprint are those rows, whatever became of the chunks. They are
//! written as new chunks of a new attempt, under the window's lease; a manifest that names them is put in the place of the one
//! that holds, and what it supersedes goes to quarantine (see [`mpsync_archive`]). What no tier proves to hold is left as it
//! is, and said with the reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::context::TransferContext;
use crate::dataset_run::{DatasetRun, TierTable};
use crate::holder::holder;
use crate::rows::arrow_rows::ArrowRows;
use crate::rows::columns::{check_filter, check_gives, have_positions};
use crate::rows::row_deduplicator::RowDeduplicator;
use crate::rows::window_rows::Rows;
use crate::tasks::TaskId;
use crate::window::export::Generation;
use crate::window::journal::Journal;
use crate::window::proof_cache::ProofCache;
use crate::window::staging::Scratch;
use crate::window::task::JournalVerdict;
use crate::window::window_attempt::WindowAttempt;
use mpsync_archive::{
    Committed, Depth, Finding, FindingKind, GenerationId, Manifest, ManifestSchema, ManifestSource,
    Severity, verify as verify_archive,
};
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::{Dataset, Window};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::fingerprint::Fingerprint;
use mpsync_core::progress::Work;

/// How long another worker's lease is waited for, in times of what it may stay unchanged: longer than it takes for a dead one's to
/// expire.
const BUSY_PATIENCES: f64 = 1.5;
/// How often it is asked for.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// The result of a repair.
#[derive(Debug, Default, Serialize)]
pub struct Repairs {
    /// Generations that were repaired.
    pub repaired: Vec<Repaired>,
    /// Generations that could not be repaired.
    pub unrepaired: Vec<Unrepaired>,
    /// Windows that had halted: they are skipped until an operator retries them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub halted: Vec<TaskId>,
}

/// Something that is whole again.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// The generation, as `dataset window gen n`.
    pub generation: String,
    /// Files that were rewritten.
    pub files: Vec<String>,
    /// From where: `cold`, `hot`, or `manifest`.
    pub from: String,
    /// The revision of the manifest that holds now.
    pub revision: u32,
}

/// Something that could not be repaired.
#[derive(Debug, Serialize)]
pub struct Unrepaired {
    /// The generation, as `dataset window gen n`.
    pub generation: String,
    /// Why not, in words.
    pub reason: String,
}

/// Repairs what these findings are about, window by window, and looks at each such window again: the findings of windows that
/// were touched are replaced by what is found afterwards.
///
/// Every step can be cut off; the same command started again goes on. Nothing is taken away before what replaces it is in
/// place and proven.
pub async fn repair(
    context: &TransferContext,
    depth: Depth,
    findings: &mut Vec<Finding>,
) -> Repairs {
    let mut repairs = Repairs::default();
    let windows: BTreeSet<_> = findings
        .iter()
        .filter(|f| f.kind.severity() == Severity::Damage || f.kind == FindingKind::Superseded)
        .map(|f| (f.generation.dataset.clone(), f.generation.window))
        .collect();
    for (name, window) in windows {
        let Some(dataset) = context.datasets.iter().find(|d| d.name == name) else {
            continue;
        };
        if context.shutdown.is_cancelled() {
            break;
        }
        let repair_run = RepairRun::open(context, dataset, depth).await;
        let mended = repair_run.window(context, window, &mut repairs);
        match context.shutdown.run_until_cancelled(mended).await {
            None => break,
            Some(Ok(now)) => {
                findings
                    .retain(|f| !(f.generation.dataset == name && f.generation.window == window));
                findings.extend(now);
            }
            Some(Err(e)) => repairs.unrepaired.push(Unrepaired {
                generation: format!("{name} {window}"),
                reason: e.to_string(),
            }),
        }
    }
    repairs
}

/// The context of one dataset's repairs.
struct RepairRun {
    run: DatasetRun,
    /// The tiers that cannot be asked, with the reasons.
    shut: Vec<String>,
    depth: Depth,
}

impl RepairRun {
    async fn open(context: &TransferContext, dataset: &Dataset, depth: Depth) -> Self {
        let mut shut = Vec::new();
        let mut tier_table = async |tier: &Tier| match check_table(tier, dataset).await {
            Ok(tier_table) => Some(tier_table),
            Err(e) => {
                shut.push(format!("{}: {}", tier.role(), e.message()));
                None
            }
        };
        let (cold, hot) = (
            tier_table(&context.cold).await,
            tier_table(&context.hot).await,
        );
        let run = DatasetRun {
            dataset: dataset.clone(),
            hot,
            hot_version: String::new(),
            cold,
            archive: context.archive.clone(),
            filter: None,
            holder: holder(),
            progress: context.progress.clone(),
            proof_cache: ProofCache::default(),
        };
        Self { run, shut, depth }
    }

    /// Repairs a window under its lease; gives what is found in it afterwards.
    async fn window(
        &self,
        context: &TransferContext,
        window: Window,
        repairs: &mut Repairs,
    ) -> Result<Vec<Finding>> {
        let run = &self.run;
        let name = &run.dataset.name;
        let work = run.progress.begin(format!("{name} {window}"));
        let mut window_attempt = WindowAttempt::new(run, window, &context.watcher);
        let patience = context.watcher.ttl().mul_f64(BUSY_PATIENCES);
        let begun = begin(&mut window_attempt, patience).await;
        let done = match begun {
            Ok(attempt) => {
                self.mend(window, attempt, &window_attempt, &work, repairs)
                    .await
            }
            Err(e) => Err(e),
        };
        window_attempt
            .end_tended("looked for damage to repair")
            .await;
        let now = done?;
        let journal = Journal::of(&run.archive, name, window);
        if matches!(
            journal.decisive().await?.verdict(),
            JournalVerdict::Halted { .. }
        ) {
            repairs.halted.push(TaskId::new(name.clone(), window));
        }
        Ok(now)
    }

    async fn mend(
        &self,
        window: Window,
        attempt: u64,
        window_attempt: &WindowAttempt<'_>,
        work: &Work,
        repairs: &mut Repairs,
    ) -> Result<Vec<Finding>> {
        let (archive, name) = (&self.run.archive, &self.run.dataset.name);
        // Another worker may have repaired it before the lease was ours.
        let found = verify_archive(archive, name, window, self.depth).await;
        let mut by_generation: BTreeMap<GenerationId, Vec<Finding>> = BTreeMap::new();
        for finding in found {
            let of = by_generation.entry(finding.generation.clone());
            of.or_default().push(finding);
        }
        for (id, found) in by_generation {
            match self
                .generation(&id, &found, attempt, window_attempt, work)
                .await
            {
                Ok(repaired) => repairs.repaired.extend(repaired),
                Err(e) if matches!(e.cause(), Cause::Interrupted) => return Err(e),
                Err(e) => repairs.unrepaired.push(Unrepaired {
                    generation: id.to_string(),
                    reason: e.message(),
                }),
            }
        }
        Ok(verify_archive(archive, name, window, self.depth).await)
    }

    /// Repairs one generation; `None` where nothing of it can be repaired and nothing need be.
    async fn generation(
        &self,
        id: &GenerationId,
        found: &[Finding],
        attempt: u64,
        window_attempt: &WindowAttempt<'_>,
        work: &Work,
    ) -> Result<Option<Repaired>> {
        let archive = &self.run.archive;
        if let Some(finding) = found.iter().find(|f| is_beyond_repair(f.kind)) {
            return Err(Error::integrity(format!(
                "{}; {}",
                finding.text, finding.remedy
            )));
        }
        let has = |wanted: fn(FindingKind) -> bool| found.iter().any(|f| wanted(f.kind));
        if !has(|k| {
            k.is_of_chunk() || matches!(k, FindingKind::SumsDiffer | FindingKind::Superseded)
        }) {
            return Ok(None);
        }
        let holds = archive
            .manifest(id)
            .await?
            .ok_or_else(|| Error::integrity(format!("{id} has no manifest any more")))?;
        let (holds, from) = if has(FindingKind::is_of_chunk) {
            let attempt = archive.free_attempt(id, attempt).await?;
            self.rebuild_chunks(&holds, attempt, window_attempt, work)
                .await?
        } else {
            (holds, "manifest".to_owned())
        };
        archive.settle_sums(id, &holds).await?;
        archive.quarantine(id, &holds).await?;
        let files = found
            .iter()
            .filter(|f| f.kind.is_of_chunk() || f.kind == FindingKind::SumsDiffer);
        let files: BTreeSet<_> = files.filter_map(|f| f.file.clone()).collect();
        Ok(Some(Repaired {
            generation: id.to_string(),
            files: files.into_iter().collect(),
            from,
            revision: holds.revision,
        }))
    }

    /// Makes the chunks of a generation again from the first tier that proves to hold its rows; gives the manifest that
    /// holds then, and the tier.
    async fn rebuild_chunks(
        &self,
        holds: &Manifest,
        attempt: u64,
        window_attempt: &WindowAttempt<'_>,
        work: &Work,
    ) -> Result<(Manifest, String)> {
        let mut reasons = self.shut.clone();
        for tier_table in [&self.run.cold, &self.run.hot].into_iter().flatten() {
            let one = ChunkRebuilder {
                run: &self.run,
                tier_table,
                holds,
                attempt,
                work,
            };
            match one.chunks().await {
                Ok(revised) => {
                    window_attempt.check_held().await?;
                    let committed = self.run.archive.revise(revised.clone()).await?;
                    if let Committed::Lost(_) = committed {
                        self.run
                            .archive
                            .remove_chunks(&holds.id(), &revised.chunks)
                            .await?;
                    }
                    return Ok((
                        committed.manifest().clone(),
                        tier_table.tier.role().to_string(),
                    ));
                }
                Err(e) => reasons.push(format!("{}: {}", tier_table.tier.role(), e.message())),
            }
        }
        Err(Error::integrity(format!(
            "no tier proves to hold its rows ({})",
            reasons.join("; ")
        ))
        .with_hint("put the files back from a copy of the archive"))
    }
}

/// Returns whether rows of a tier cannot repair it: the manifest itself is wrong or missing.
fn is_beyond_repair(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::GenerationMissing
            | FindingKind::ManifestWrong
            | FindingKind::Positions
            | FindingKind::ColumnSums
    )
}

async fn check_table(tier: &Tier, dataset: &Dataset) -> Result<TierTable> {
    let schema = tier.describe_existing(&dataset.table).await?;
    schema.check_transferable()?;
    Ok(TierTable {
        tier: tier.clone(),
        schema,
    })
}

/// Takes the lease, waiting for one whose holder may be dead.
async fn begin(window_attempt: &mut WindowAttempt<'_>, patience: Duration) -> Result<u64> {
    let started = Instant::now();
    loop {
        match window_attempt.attempt().await {
            Err(e) if matches!(e.cause(), Cause::Busy(_)) && started.elapsed() < patience => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Makes the chunks of one generation again from one tier.
struct ChunkRebuilder<'a> {
    run: &'a DatasetRun,
    tier_table: &'a TierTable,
    holds: &'a Manifest,
    attempt: u64,
    work: &'a Work,
}

impl ChunkRebuilder<'_> {
    /// The manifest of new chunks, which are in place. An error where the tier does not hold exactly the rows.
    async fn chunks(&self) -> Result<Manifest> {
        let holds = self.holds;
        let columns = &holds.schema.columns;
        check_gives(&self.tier_table.schema, columns)?;
        check_filter(&self.tier_table.schema, holds.filter.as_ref())?;
        self.work.step("fetching", holds.fingerprint.rows);
        if have_positions(columns) {
            return self
                .write(RowDeduplicator::only(holds.positions.clone()), None)
                .await;
        }
        let mut others = self.run.generations(holds.window).await?;
        others.retain(|m| m.generation != holds.generation);
        if others.is_empty() {
            return self
                .write(RowDeduplicator::by_hash(HashMap::new()), None)
                .await;
        }
        // Rows without a position: those that no other generation holds.
        let scratch = Scratch::fill(
            self.run,
            self.tier_table,
            holds.window,
            &others,
            self.attempt,
            self.work,
        )
        .await?;
        let made = async {
            let surplus = self.rows().surplus(&scratch.rows(), columns).await?;
            self.write(RowDeduplicator::by_hash(surplus), Some(&scratch.rows()))
                .await
        };
        let made = made.await;
        scratch.remove().await?;
        made
    }

    fn rows(&self) -> Rows<'_> {
        Rows {
            tier: &self.tier_table.tier,
            table: &self.tier_table.schema.table,
            schema: &self.tier_table.schema,
            time_column: &self.holds.schema.time_column,
            window: Some(self.holds.window),
            partition: None,
            filter: self.holds.filter.as_ref(),
        }
    }

    async fn write(
        &self,
        mut deduplicator: RowDeduplicator,
        archived: Option<&Rows<'_>>,
    ) -> Result<Manifest> {
        let columns = &self.holds.schema.columns;
        let one = Generation {
            run: self.run,
            rows: self.rows(),
            window: self.holds.window,
            number: self.holds.generation,
            columns,
            known: &[],
            attempt: self.attempt,
            work: self.work,
        };
        let query = self.rows().export_query(columns, archived).await?;
        let mut stream = ArrowRows::start(&self.tier_table.tier, query)?;
        let mut writer = None;
        let written = one.write(&mut stream, &mut deduplicator, &mut writer).await;
        let proven = written.and_then(|()| self.check(deduplicator.kept));
        let written = match (proven, writer) {
            (Ok(()), Some(writer)) => writer.finish().await?,
            (Ok(()), None) => return Err(Error::integrity("it holds none of the rows")),
            (Err(e), writer) => {
                if let Some(writer) = writer {
                    writer.abort().await;
                }
                return Err(e);
            }
        };
        let revised = Manifest {
            revision: self.holds.revision + 1,
            writer: concat!("mpsync ", env!("CARGO_PKG_VERSION")).to_owned(),
            attempt: self.attempt,
            created_at: Timestamp::now(),
            source: ManifestSource {
                database: self.tier_table.tier.database().to_owned(),
                table: self.tier_table.schema.table.clone(),
                server_version: self.tier_table.tier.ping().await?,
            },
            schema: ManifestSchema {
                sorting_key: self.tier_table.schema.sorting_key.clone(),
                ..self.holds.schema.clone()
            },
            column_sums: written.column_sums.to_hex(),
            chunks: written.chunks,
            ..self.holds.clone()
        };
        if revised.is_of_same_rows(self.holds) {
            return Ok(revised);
        }
        let archive = &self.run.archive;
        archive
            .remove_chunks(&self.holds.id(), &revised.chunks)
            .await?;
        Err(Error::integrity(
            "its rows have the manifest's fingerprint and other column checksums",
        ))
    }

    fn check(&self, kept: Fingerprint) -> Result<()> {
        if kept == self.holds.fingerprint {
            return Ok(());
        }
        Err(Error::integrity(format!(
            "it holds {kept} of them, and the manifest says {}",
            self.holds.fingerprint
        )))
    }
}

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

use super::TransferContext;
use super::evidence::Evidence;
use super::export::Generation;
use super::journal::Journal;
use super::road::{Road, Side};
use super::rows::{Rows, check_filter, check_gives, have_positions};
use super::sift::Sift;
use super::staging::Scratch;
use super::stream::ArrowRows;
use super::task::Standing;
use super::tasks::TaskId;
use super::turn::Turn;
use mpsync_archive::{
    Committed, Depth, Finding, FindingKind, GenerationId, Manifest, Schema, Severity, Source,
    verify as verify_archive,
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

/// What a repair came to.
#[derive(Debug, Default, Serialize)]
pub struct Repairs {
    /// What was made whole.
    pub repaired: Vec<Repaired>,
    /// What could not be.
    pub unrepaired: Vec<Unrepaired>,
    /// Windows that had halted: they are left alone until somebody has them tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub halted: Vec<TaskId>,
}

/// Something that is whole again.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// The generation, as `dataset window gen n`.
    pub generation: String,
    /// What was made anew.
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
        let shop = Shop::open(context, dataset, depth).await;
        let mended = shop.window(context, window, &mut repairs);
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

/// What one dataset's repairs work with.
struct Shop {
    road: Road,
    /// The tiers that cannot be asked, with the reasons.
    shut: Vec<String>,
    depth: Depth,
}

impl Shop {
    async fn open(context: &TransferContext, dataset: &Dataset, depth: Depth) -> Self {
        let mut shut = Vec::new();
        let mut side = async |tier: &Tier| match look(tier, dataset).await {
            Ok(side) => Some(side),
            Err(e) => {
                shut.push(format!("{}: {}", tier.role(), e.what()));
                None
            }
        };
        let (cold, hot) = (side(&context.cold).await, side(&context.hot).await);
        let road = Road {
            dataset: dataset.clone(),
            hot,
            hot_version: String::new(),
            cold,
            archive: context.archive.clone(),
            filter: None,
            holder: super::holder(),
            progress: context.progress.clone(),
            evidence: Evidence::default(),
        };
        Self { road, shut, depth }
    }

    /// Repairs a window under its lease; gives what is found in it afterwards.
    async fn window(
        &self,
        context: &TransferContext,
        window: Window,
        repairs: &mut Repairs,
    ) -> Result<Vec<Finding>> {
        let road = &self.road;
        let name = &road.dataset.name;
        let work = road.progress.begin(format!("{name} {window}"));
        let mut turn = Turn::new(road, window, &context.observer);
        let patience = context.observer.patience().mul_f64(BUSY_PATIENCES);
        let begun = begin(&mut turn, patience).await;
        let done = match begun {
            Ok(attempt) => self.mend(window, attempt, &turn, &work, repairs).await,
            Err(e) => Err(e),
        };
        turn.end_tended("looked for damage to repair").await;
        let now = done?;
        let journal = Journal::of(&road.archive, name, window);
        if matches!(
            journal.decisive().await?.standing(),
            Standing::Halted { .. }
        ) {
            repairs.halted.push(TaskId::new(name.clone(), window));
        }
        Ok(now)
    }

    async fn mend(
        &self,
        window: Window,
        attempt: u64,
        turn: &Turn<'_>,
        work: &Work,
        repairs: &mut Repairs,
    ) -> Result<Vec<Finding>> {
        let (archive, name) = (&self.road.archive, &self.road.dataset.name);
        // Somebody else may have repaired it until the lease was ours.
        let found = verify_archive(archive, name, window, self.depth).await;
        let mut by_generation: BTreeMap<GenerationId, Vec<Finding>> = BTreeMap::new();
        for finding in found {
            let of = by_generation.entry(finding.generation.clone());
            of.or_default().push(finding);
        }
        for (id, found) in by_generation {
            match self.generation(&id, &found, attempt, turn, work).await {
                Ok(repaired) => repairs.repaired.extend(repaired),
                Err(e) if matches!(e.cause(), Cause::Interrupted) => return Err(e),
                Err(e) => repairs.unrepaired.push(Unrepaired {
                    generation: id.to_string(),
                    reason: e.what(),
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
        turn: &Turn<'_>,
        work: &Work,
    ) -> Result<Option<Repaired>> {
        let archive = &self.road.archive;
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
            self.make_again(&holds, attempt, turn, work).await?
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
    async fn make_again(
        &self,
        holds: &Manifest,
        attempt: u64,
        turn: &Turn<'_>,
        work: &Work,
    ) -> Result<(Manifest, String)> {
        let mut reasons = self.shut.clone();
        for side in [&self.road.cold, &self.road.hot].into_iter().flatten() {
            let one = Maker {
                road: &self.road,
                side,
                holds,
                attempt,
                work,
            };
            match one.chunks().await {
                Ok(revised) => {
                    turn.check_held().await?;
                    let committed = self.road.archive.revise(revised.clone()).await?;
                    if let Committed::Lost(_) = committed {
                        self.road
                            .archive
                            .remove_chunks(&holds.id(), &revised.chunks)
                            .await?;
                    }
                    return Ok((committed.manifest().clone(), side.tier.role().to_string()));
                }
                Err(e) => reasons.push(format!("{}: {}", side.tier.role(), e.what())),
            }
        }
        Err(Error::integrity(format!(
            "no tier proves to hold its rows ({})",
            reasons.join("; ")
        ))
        .hint("put the files back from a copy of the archive"))
    }
}

/// What no row of a tier can mend: the manifest itself is in question, or gone.
fn is_beyond_repair(kind: FindingKind) -> bool {
    matches!(
        kind,
        FindingKind::GenerationMissing
            | FindingKind::ManifestWrong
            | FindingKind::Positions
            | FindingKind::ColumnSums
    )
}

async fn look(tier: &Tier, dataset: &Dataset) -> Result<Side> {
    let schema = tier.describe_existing(&dataset.table).await?;
    schema.check_transferable()?;
    Ok(Side {
        tier: tier.clone(),
        schema,
    })
}

/// Takes the lease, waiting for one whose holder may be dead.
async fn begin(turn: &mut Turn<'_>, patience: Duration) -> Result<u64> {
    let started = Instant::now();
    loop {
        match turn.attempt().await {
            Err(e) if matches!(e.cause(), Cause::Busy(_)) && started.elapsed() < patience => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Makes the chunks of one generation again from one tier.
struct Maker<'a> {
    road: &'a Road,
    side: &'a Side,
    holds: &'a Manifest,
    attempt: u64,
    work: &'a Work,
}

impl Maker<'_> {
    /// The manifest of new chunks, which are in place. An error where the tier does not hold exactly the rows.
    async fn chunks(&self) -> Result<Manifest> {
        let holds = self.holds;
        let columns = &holds.schema.columns;
        check_gives(&self.side.schema, columns)?;
        check_filter(&self.side.schema, holds.filter.as_ref())?;
        self.work.step("fetching", holds.fingerprint.rows);
        if have_positions(columns) {
            return self.write(Sift::only(holds.positions.clone()), None).await;
        }
        let mut others = self.road.generations(holds.window).await?;
        others.retain(|m| m.generation != holds.generation);
        if others.is_empty() {
            return self.write(Sift::by_hash(HashMap::new()), None).await;
        }
        // Rows without a position: those that no other generation holds.
        let scratch = Scratch::fill(
            self.road,
            self.side,
            holds.window,
            &others,
            self.attempt,
            self.work,
        )
        .await?;
        let made = async {
            let surplus = self.rows().surplus(&scratch.rows(), columns).await?;
            self.write(Sift::by_hash(surplus), Some(&scratch.rows()))
                .await
        };
        let made = made.await;
        scratch.remove().await?;
        made
    }

    fn rows(&self) -> Rows<'_> {
        Rows {
            tier: &self.side.tier,
            table: &self.side.schema.table,
            schema: &self.side.schema,
            time_column: &self.holds.schema.time_column,
            window: Some(self.holds.window),
            partition: None,
            filter: self.holds.filter.as_ref(),
        }
    }

    async fn write(&self, mut sift: Sift, archived: Option<&Rows<'_>>) -> Result<Manifest> {
        let columns = &self.holds.schema.columns;
        let one = Generation {
            road: self.road,
            rows: self.rows(),
            window: self.holds.window,
            number: self.holds.generation,
            columns,
            known: &[],
            attempt: self.attempt,
            work: self.work,
        };
        let query = self.rows().export_query(columns, archived).await?;
        let mut stream = ArrowRows::start(&self.side.tier, query)?;
        let mut writer = None;
        let written = one.write(&mut stream, &mut sift, &mut writer).await;
        let proven = written.and_then(|()| self.check(sift.kept));
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
            source: Source {
                database: self.side.tier.database().to_owned(),
                table: self.side.schema.table.clone(),
                server_version: self.side.tier.ping().await?,
            },
            schema: Schema {
                sorting_key: self.side.schema.sorting_key.clone(),
                ..self.holds.schema.clone()
            },
            column_sums: written.column_sums.to_hex(),
            chunks: written.chunks,
            ..self.holds.clone()
        };
        if revised.is_of_same_rows(self.holds) {
            return Ok(revised);
        }
        let archive = &self.road.archive;
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

//! A sweep: found, printed, carried out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::find::LeftoverSearch;
use super::plan::{KeptItem, Removal, SweepItem, SweepKind, SweepPlan};
use crate::context::TransferContext;
use crate::rows::deletion::stop_deletions;
use crate::window::journal::Journal;
use crate::window::task::{Event, JournalEntry};
use mpsync_archive::Lease;
use mpsync_core::dataset::{DatasetName, TierRole, Window};
use mpsync_core::error::{Cause, Error, Result};

/// The default age of leftovers that a daemon and `mpsync gc` remove: longer than
/// any process may sleep and still wake up.
pub const SWEPT_AGE: Duration = Duration::from_hours(24);
/// Windows that are swept at a time: a dead holder's lease is watched for a minute.
const WINDOWS: usize = 16;

/// The result of a sweep.
#[derive(Debug, Default, Serialize)]
pub struct Sweep {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Leftovers that were removed, or would be.
    pub swept: Vec<SweepItem>,
    /// Leftovers that stay, each with the reason.
    pub kept: Vec<KeptItem>,
    /// Errors while listing or removing.
    pub failed: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Sweep {
    /// How many bytes are free again, or would be. A superseded chunk is none of them: it goes to quarantine.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let freed = self
            .swept
            .iter()
            .filter(|i| i.kind != SweepKind::Superseded);
        freed.filter_map(|item| item.bytes).sum()
    }

    /// How many things of each kind were taken away, or would be.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<SweepKind, u64> {
        let mut kinds = BTreeMap::new();
        for item in &self.swept {
            *kinds.entry(item.kind).or_default() += 1;
        }
        kinds
    }

    /// Adds the doors of replays in a tier, which replays know how to sweep: each with its name and age.
    pub fn add_insert_gates(&mut self, role: TierRole, gates: Result<Vec<(String, Duration)>>) {
        match gates {
            Ok(gates) => {
                let gates = gates.into_iter();
                self.swept
                    .extend(gates.map(|(name, age)| SweepItem::insert_gate(role, &name, age)));
            }
            Err(e) => self.failed.push(e.to_string()),
        }
    }

    /// The command's error, where something could not be looked at or taken away.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        (!self.failed.is_empty()).then(|| {
            let text = format!("{} things could not be swept", self.failed.len());
            Error::new(Cause::Io(std::io::Error::other(text))).with_hint(
                "the rest was; what failed is named above, and the same command tries it again",
            )
        })
    }
}

/// Sweeps what is older than `age`, or says what it would sweep.
///
/// Can be cut off anywhere and repeated. One thing that fails stops no other. An interrupted error where the process is to end
/// before anything was taken away; if it is to end later, the removals until then are reported.
pub async fn gc(context: &TransferContext, age: Duration, dry_run: bool) -> Result<Sweep> {
    let started = Instant::now();
    // Asking the store for its time writes an object.
    let now = if dry_run {
        SystemTime::now()
    } else {
        context.archive.now().await?
    };
    let search = LeftoverSearch { context, now, age };
    let plan = context
        .shutdown
        .run_until_cancelled(search.run())
        .await
        .ok_or_else(|| Error::new(Cause::Interrupted))?;
    let mut sweep = Sweep {
        dry_run,
        kept: plan.kept.clone(),
        failed: plan.failed.clone(),
        ..Sweep::default()
    };
    if dry_run {
        sweep.swept = plan.owned.into_values().flatten().collect();
        sweep.swept.extend(plan.free);
    } else {
        carry_out(context, plan, &mut sweep).await;
    }
    sweep.seconds = started.elapsed().as_secs_f64();
    Ok(sweep)
}

async fn carry_out(context: &TransferContext, plan: SweepPlan, sweep: &mut Sweep) {
    for item in plan.free {
        if context.shutdown.is_cancelled() {
            return;
        }
        let done = remove(context, &item.target).await;
        sweep.record(item, done);
    }
    let windows = plan.owned.into_iter();
    let swept = windows.map(|((dataset, window), items)| async move {
        let done = under_lease(context, &dataset, window, items).await;
        (dataset, window, done)
    });
    let mut swept = futures_util::stream::iter(swept).buffer_unordered(WINDOWS);
    while let Some((dataset, window, done)) = swept.next().await {
        match done {
            Ok(items) => {
                for (item, done) in items {
                    sweep.record(item, done);
                }
            }
            Err(e) if matches!(e.cause(), Cause::Busy(_)) => sweep.kept.push(KeptItem {
                name: format!("{dataset} {window}"),
                reason: e.message(),
            }),
            Err(e) => sweep.failed.push(e.to_string()),
        }
    }
}

impl Sweep {
    fn record(&mut self, item: SweepItem, done: Result<bool>) {
        match done {
            Ok(true) => {
                tracing::debug!(kind = %item.kind, name = item.name, age_seconds = item.age_seconds, "swept");
                self.swept.push(item);
            }
            Ok(false) => self.kept.push(KeptItem {
                name: item.name,
                reason: "a manifest names it now".to_owned(),
            }),
            Err(e) => {
                let e = e.context(format!("sweeping {}", item.name));
                self.failed.push(e.to_string());
            }
        }
    }
}

/// Removes leftovers of attempts at a window under its lease. A busy error if another worker holds it.
async fn under_lease(
    context: &TransferContext,
    dataset: &DatasetName,
    window: Window,
    items: Vec<SweepItem>,
) -> Result<Vec<(SweepItem, Result<bool>)>> {
    let (archive, watcher) = (&context.archive, &context.watcher);
    let holder = crate::holder::holder();
    let acquired = Lease::acquire_watching(archive, dataset, window, &holder, watcher);
    let lease = context
        .shutdown
        .run_until_cancelled(acquired)
        .await
        .ok_or_else(|| Error::new(Cause::Interrupted))??;
    let mut done = Vec::new();
    for item in items {
        let held = lease.check().await;
        let removed = match held {
            Ok(()) => remove(context, &item.target).await,
            Err(e) => Err(e),
        };
        done.push((item, removed));
    }
    // The next attempt need not shut this one out.
    let entry = JournalEntry {
        attempt: lease.attempt,
        at: Timestamp::now(),
        holder,
        event: Event::Tended {
            what: format!("swept {} things that were left behind", done.len()),
        },
    };
    let noted = Journal::of(archive, dataset, window).write(&entry).await;
    if let Err(e) = noted.map(drop).and(lease.release().await) {
        tracing::warn!(%dataset, %window, error = %e, "the end of a sweep could not be noted");
    }
    Ok(done)
}

/// Takes one thing away; `false` where it turned out to be in use.
async fn remove(context: &TransferContext, target: &Removal) -> Result<bool> {
    let archive = &context.archive;
    match target {
        Removal::Leftover(leftover) => archive.remove_leftover(leftover).await,
        Removal::Object(path) => archive.remove(path).await.map(|()| true),
        Removal::Temporary(path) => archive
            .remove_temporaries(vec![path.clone()])
            .await
            .map(|()| true),
        Removal::Upload(upload) => archive.abort_upload(upload).await.map(|()| true),
        Removal::Table(role, name) => {
            let tier = match role {
                TierRole::Hot => &context.hot,
                TierRole::Cold => &context.cold,
            };
            stop_deletions(tier, name).await?;
            tier.drop_table(name).await.map(|()| true)
        }
    }
}

//! Finding objects and tables that no worker owns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use clickhouse::Row;
use jiff::Timestamp;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::Deserialize;

use super::journal::superseded;
use super::plan::{Removal, SweepItem, SweepKind, SweepPlan};
use crate::context::TransferContext;
use crate::tasks::requests::Wish;
use crate::window::journal::Journal;
use crate::window::staging::parse_name;
use mpsync_archive::layout::{
    INTERNAL, leases_root, parse_internal_window, parse_numbered, quarantine_root, requests_folder,
    tasks_root,
};
use mpsync_archive::{Archive, Liveness};
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::{Dataset, DatasetName, Window};
use mpsync_core::error::Result;

/// A journal of no more entries is left alone: there is nothing to gain.
const FEW_ENTRIES: usize = 8;

/// A search for leftovers that are as old as `age` by the clock of `now`.
pub(super) struct LeftoverSearch<'a> {
    pub(super) context: &'a TransferContext,
    pub(super) now: SystemTime,
    pub(super) age: Duration,
}

#[derive(Row, Deserialize)]
struct Aged {
    name: String,
    /// In seconds since 1970, by the server's clock; 0 where it does not know.
    made: u64,
    now: u64,
}

impl LeftoverSearch<'_> {
    fn archive(&self) -> &Archive {
        &self.context.archive
    }

    /// Searches everywhere. A place that cannot be listed is reported in the plan and stops nothing else.
    pub(super) async fn run(&self) -> SweepPlan {
        let mut plan = SweepPlan::default();
        for dataset in &self.context.datasets {
            let name = &dataset.name;
            let found = self.leftovers(name, &mut plan).await;
            record_failure(&mut plan, found, || format!("the files of {name}"));
            let found = self.quarantined(name, &mut plan).await;
            record_failure(&mut plan, found, || format!("the quarantine of {name}"));
            let found = self.numbered(name, &mut plan).await;
            record_failure(&mut plan, found, || format!("the journal of {name}"));
            for tier in [&self.context.hot, &self.context.cold] {
                let found = self.tables(dataset, tier, &mut plan).await;
                record_failure(&mut plan, found, || {
                    format!("{}'s tables of {name}", tier.role())
                });
            }
        }
        let found = self.temporaries(&mut plan).await;
        record_failure(&mut plan, found, || "temporary files".to_owned());
        let found = self.requests(&mut plan).await;
        record_failure(&mut plan, found, || "requests".to_owned());
        plan
    }

    async fn leftovers(&self, dataset: &DatasetName, plan: &mut SweepPlan) -> Result<()> {
        let old = self.archive().old_leftovers(dataset, self.now, self.age);
        for leftover in old.await? {
            let kind = if leftover.superseded {
                SweepKind::Superseded
            } else {
                SweepKind::Orphan
            };
            if leftover.proven {
                plan.record_kept(
                    leftover.file.location.to_string(),
                    "the window's journal says that it was archived, and the manifest is missing: put it back from a copy",
                );
                continue;
            }
            let (window, size) = (leftover.generation.window, leftover.file.size);
            let name = leftover.file.location.to_string();
            let age = self.age_of(&leftover.file);
            let target = Removal::Leftover(Box::new(leftover));
            let item = SweepItem::new(kind, name, age, target).of_bytes(size);
            plan.own(dataset, window, item);
        }
        Ok(())
    }

    /// Chunks in quarantine whose window has left the archive; the others are people's to look at and to delete.
    async fn quarantined(&self, dataset: &DatasetName, plan: &mut SweepPlan) -> Result<()> {
        let root = quarantine_root().join(dataset.as_str());
        let old = self
            .archive()
            .old_objects(&root, self.now, self.age)
            .await?;
        if old.is_empty() {
            return Ok(());
        }
        let held = self.archive().windows(dataset, None).await?;
        let depth = root.parts().count();
        for (object, _) in old {
            let window = object.location.parts().nth(depth);
            let window = window.and_then(|part| parse_internal_window(part.as_ref()));
            if window.is_some_and(|window| !held.contains(&window)) {
                plan.free.push(self.object(SweepKind::Quarantined, &object));
            }
        }
        Ok(())
    }

    fn age_of(&self, object: &ObjectMeta) -> Duration {
        let millis = u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0);
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        self.now.duration_since(modified).unwrap_or_default()
    }

    /// Leases below the highest, and entries of journals that later ones have superseded.
    async fn numbered(&self, dataset: &DatasetName, plan: &mut SweepPlan) -> Result<()> {
        let leases = self.windows(leases_root().join(dataset.as_str())).await?;
        for (window, numbers) in leases {
            let highest = numbers.keys().next_back().copied();
            let old = self.old(numbers, SweepKind::Lease, |number| Some(number) != highest);
            self.take_quiet(dataset, window, old, plan).await?;
        }
        let journals = self.windows(tasks_root().join(dataset.as_str())).await?;
        for (window, numbers) in journals {
            let wanted = |number: u64| numbers.get(&number).is_some_and(|o| self.is_old(o));
            if numbers.len() <= FEW_ENTRIES || !numbers.keys().any(|number| wanted(*number)) {
                continue;
            }
            let journal = Journal::of(self.archive(), dataset, window);
            let gone: BTreeSet<u64> = superseded(&journal.all().await?);
            let old = self.old(numbers, SweepKind::JournalEntry, |number| {
                gone.contains(&number)
            });
            self.take_quiet(dataset, window, old, plan).await?;
        }
        Ok(())
    }

    fn is_old(&self, object: &ObjectMeta) -> bool {
        self.age_of(object) >= self.age
    }

    /// Those of the numbered objects that are wanted and old.
    fn old(
        &self,
        numbers: BTreeMap<u64, ObjectMeta>,
        kind: SweepKind,
        wanted: impl Fn(u64) -> bool,
    ) -> Vec<SweepItem> {
        let old = numbers
            .into_iter()
            .filter(|(number, object)| wanted(*number) && self.is_old(object));
        old.map(|(_, object)| self.object(kind, &object)).collect()
    }

    fn object(&self, kind: SweepKind, object: &ObjectMeta) -> SweepItem {
        let target = Removal::Object(object.location.clone());
        let name = object.location.to_string();
        SweepItem::new(kind, name, self.age_of(object), target).of_bytes(object.size)
    }

    /// Adds items of a window to the plan, unless a worker has its lease.
    async fn take_quiet(
        &self,
        dataset: &DatasetName,
        window: Window,
        items: Vec<SweepItem>,
        plan: &mut SweepPlan,
    ) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let now = Timestamp::try_from(self.now).unwrap_or_else(|_| Timestamp::now());
        let lease = self.archive().view_lease(dataset, window, now).await?;
        match lease.filter(|lease| lease.liveness == Liveness::Beating) {
            Some(lease) => plan.record_kept(
                format!("{dataset} {window}"),
                format!("{} is working on it", lease.holder),
            ),
            None => plan.free.extend(items),
        }
        Ok(())
    }

    /// The numbered objects below a dataset's folder, window by window.
    async fn windows(&self, root: Path) -> Result<BTreeMap<Window, BTreeMap<u64, ObjectMeta>>> {
        let mut windows: BTreeMap<Window, BTreeMap<u64, ObjectMeta>> = BTreeMap::new();
        for object in self.archive().list(&root).await? {
            let parts: Vec<_> = object.location.parts().collect();
            let [.., window, file] = parts.as_slice() else {
                continue;
            };
            let window = parse_internal_window(window.as_ref());
            let number = parse_numbered(file.as_ref());
            if let Some((window, number)) = window.zip(number) {
                windows.entry(window).or_default().insert(number, object);
            }
        }
        Ok(windows)
    }

    /// Tables beside the dataset's own. One that holds a sealed partition is never swept: a sync finishes it or gives it back.
    async fn tables(&self, dataset: &Dataset, tier: &Tier, plan: &mut SweepPlan) -> Result<()> {
        let table = &dataset.table;
        let role = tier.role();
        for found in aged_tables(tier, &format!("{table}_")).await? {
            let name = format!("{role}.{}", found.name);
            let age = Duration::from_secs(found.now.saturating_sub(found.made));
            if found.name.starts_with(&format!("{table}_sealed_")) {
                plan.record_kept(
                    name,
                    "it holds rows of hot: the next sync finishes its cleanup, or gives them back",
                );
            } else if let Some((window, _)) = parse_name(table, &found.name) {
                if found.made == 0 {
                    plan.record_kept(name, "the server does not know how old it is");
                    continue;
                }
                if age < self.age {
                    continue;
                }
                let target = Removal::Table(role, found.name);
                plan.own(
                    &dataset.name,
                    window,
                    SweepItem::new(SweepKind::Table, name, age, target),
                );
            }
        }
        Ok(())
    }

    async fn temporaries(&self, plan: &mut SweepPlan) -> Result<()> {
        let archive = self.archive();
        let root = archive.root().map(std::path::Path::to_path_buf);
        for path in archive.old_temporaries(self.now, self.age).await? {
            let meta = std::fs::metadata(&path).ok();
            let modified = meta.as_ref().and_then(|meta| meta.modified().ok());
            let age = modified.and_then(|at| self.now.duration_since(at).ok());
            let within = root
                .as_deref()
                .and_then(|root| path.strip_prefix(root).ok());
            let name = within.unwrap_or(&path).display().to_string();
            let target = Removal::Temporary(path.clone());
            let item = SweepItem::new(SweepKind::Temporary, name, age.unwrap_or(self.age), target);
            plan.by_place(item.of_bytes(meta.map_or(0, |meta| meta.len())));
        }
        for upload in archive.old_uploads(self.now, self.age).await? {
            let (name, age) = (upload.path.clone(), upload.age);
            let target = Removal::Upload(upload);
            plan.by_place(SweepItem::new(SweepKind::Upload, name, age, target));
        }
        // What a process left that ended while it found out what the store can do.
        let probes = Path::from(INTERNAL).join("probe");
        for (object, _) in archive.old_objects(&probes, self.now, self.age).await? {
            plan.by_place(self.object(SweepKind::Temporary, &object));
        }
        Ok(())
    }

    /// Requests that cannot be read. Those that can wait for a sync, which removes them when they are done.
    async fn requests(&self, plan: &mut SweepPlan) -> Result<()> {
        let archive = self.archive();
        let folder = requests_folder();
        for (object, _) in archive.old_objects(&folder, self.now, self.age).await? {
            let content = archive.read(&object.location).await?;
            let readable = content.is_none_or(|c| serde_json::from_slice::<Wish>(&c).is_ok());
            if !readable {
                plan.free.push(self.object(SweepKind::Request, &object));
            }
        }
        Ok(())
    }
}

fn record_failure(plan: &mut SweepPlan, found: Result<()>, what: impl Fn() -> String) {
    if let Err(e) = found {
        plan.failed
            .push(e.context(format!("looking at {}", what())).to_string());
    }
}

/// Tables whose names begin so, with when each was made.
async fn aged_tables(tier: &Tier, prefix: &str) -> Result<Vec<Aged>> {
    tier.query(
        "SELECT name, toUInt64(toUnixTimestamp(metadata_modification_time)) AS made, toUInt64(toUnixTimestamp(now())) AS now \
         FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String}) ORDER BY name",
    )
    .param("database", tier.database())
    .param("prefix", prefix)
    .fetch_all()
    .await
    .map_err(|e| tier.error(e).context(format!("listing tables named {prefix}*")))
}

//! The plan of a sweep, as a value: found first, printed by `--dry-run`, carried out afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use object_store::path::Path;
use serde::Serialize;

use mpsync_archive::layout::generation_of;
use mpsync_archive::{Leftover, UnfinishedUpload};
use mpsync_core::dataset::{DatasetName, TierRole, Window};

/// The age below which an object that no lease protects stays, whatever age is requested: writing it takes seconds.
const UNOWNED_AGE: Duration = Duration::from_hours(1);

/// The kind of a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepKind {
    /// A file that no manifest names: a chunk of an attempt that did not come to its end.
    Orphan,
    /// A chunk in whose place a repair has put another: it goes to quarantine.
    Superseded,
    /// A chunk in quarantine whose window has left the archive.
    Quarantined,
    /// A partial object that a crash left.
    Temporary,
    /// An upload to a bucket that was broken off between its parts.
    Upload,
    /// A staging table, a comparison table, or a table that keeps an earlier attempt out.
    Table,
    /// A door through which a replay inserted.
    #[serde(rename = "door")]
    InsertGate,
    /// An entry of a journal that later ones have superseded.
    JournalEntry,
    /// A lease below a window's highest.
    Lease,
    /// A request that cannot be read, so that no worker will ever do it.
    Request,
}

impl std::fmt::Display for SweepKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Orphan => "orphan",
            Self::Superseded => "superseded",
            Self::Quarantined => "quarantined",
            Self::Temporary => "temporary",
            Self::Upload => "unfinished upload",
            Self::Table => "table",
            Self::InsertGate => "door",
            Self::JournalEntry => "journal entry",
            Self::Lease => "lease",
            Self::Request => "request",
        })
    }
}

/// One thing that is swept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SweepItem {
    /// Its kind.
    pub kind: SweepKind,
    /// Where it is: a path in the archive, or `hot.trades_stage_…`.
    pub name: String,
    /// How old it is.
    pub age_seconds: u64,
    /// Its size, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The thing itself.
    #[serde(skip)]
    pub(super) target: Removal,
}

/// How an item is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removal {
    Leftover(Box<Leftover>),
    Object(Path),
    Temporary(PathBuf),
    Upload(UnfinishedUpload),
    Table(TierRole, String),
}

impl SweepItem {
    pub(super) fn new(kind: SweepKind, name: String, age: Duration, target: Removal) -> Self {
        Self {
            kind,
            name,
            age_seconds: age.as_secs(),
            bytes: None,
            target,
        }
    }

    /// The door of a replay, which replays sweep themselves.
    pub(super) fn insert_gate(role: TierRole, name: &str, age: Duration) -> Self {
        let target = Removal::Table(role, name.to_owned());
        Self::new(SweepKind::InsertGate, format!("{role}.{name}"), age, target)
    }

    pub(super) fn of_bytes(self, bytes: u64) -> Self {
        Self {
            bytes: Some(bytes),
            ..self
        }
    }
}

/// Something that stays though it looks like rubbish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptItem {
    /// What.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Everything that a sweep removes or keeps.
#[derive(Debug, Default)]
pub(super) struct SweepPlan {
    /// Leftovers that an attempt at a window may own: removed under the window's lease.
    pub(super) owned: BTreeMap<(DatasetName, Window), Vec<SweepItem>>,
    /// Leftovers that are superseded or have no owner.
    pub(super) free: Vec<SweepItem>,
    /// Leftovers that stay.
    pub(super) kept: Vec<KeptItem>,
    /// Places that could not be listed.
    pub(super) failed: Vec<String>,
}

impl SweepPlan {
    pub(super) fn record_kept(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.kept.push(KeptItem {
            name: name.into(),
            reason: reason.into(),
        });
    }

    /// Adds a leftover by its place: attempts at a window own what is in a generation's folder; elsewhere only the age decides.
    pub(super) fn by_place(&mut self, item: SweepItem) {
        match generation_of(&Path::from(item.name.as_str())) {
            Some(id) => self.own(&id.dataset, id.window, item),
            None if item.age_seconds >= UNOWNED_AGE.as_secs() => self.free.push(item),
            None => {}
        }
    }

    pub(super) fn own(&mut self, dataset: &DatasetName, window: Window, item: SweepItem) {
        let key = (dataset.clone(), window);
        self.owned.entry(key).or_default().push(item);
    }
}

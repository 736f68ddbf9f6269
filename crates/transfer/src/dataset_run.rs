//! One dataset on its way: where it is, where it goes, what its tables look like.

use mpsync_archive::{Archive, Manifest, RowFilter};
use mpsync_clickhouse::{PartSet, TableSchema, Tier};
use mpsync_core::dataset::{Dataset, Window};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};
use mpsync_core::progress::Progress;

use super::proof_cache::ProofCache;
use super::rows::Rows;
use super::tasks::TaskId;

/// A tier with the live table of the dataset.
#[derive(Debug, Clone)]
pub(super) struct TierTable {
    /// The tier.
    pub(super) tier: Tier,
    /// The dataset's table in it.
    pub(super) schema: TableSchema,
}

/// What all windows of a dataset share in a run.
#[derive(Debug)]
pub(super) struct DatasetRun {
    /// The dataset.
    pub(super) dataset: Dataset,
    /// Hot; `None` where the archive is the only source.
    pub(super) hot: Option<TierTable>,
    /// The version of hot's server, for manifests.
    pub(super) hot_version: String,
    /// Cold; `None` where the archive is the only target.
    pub(super) cold: Option<TierTable>,
    /// The archive.
    pub(super) archive: Archive,
    /// Which rows are wanted; `None` for all.
    pub(super) filter: Option<RowFilter>,
    /// Who holds leases.
    pub(super) holder: String,
    /// Where rows are counted.
    pub(super) progress: Progress,
    /// What this run has proven.
    pub(super) proof_cache: ProofCache,
}

/// The table and partition from which a window is exported: hot's own, or a sealed one.
#[derive(Debug, Clone)]
pub(super) struct SourceTable {
    /// The table.
    pub(super) table: String,
    /// The partition's id.
    pub(super) partition: String,
    /// The rows of the window in it, as they were counted when the work was planned.
    pub(super) rows: u64,
}

impl DatasetRun {
    /// What every log line of a task bears, whatever the level.
    pub(super) fn task(&self, window: Window) -> tracing::Span {
        let name = &self.dataset.name;
        let id = TaskId::new(name.clone(), window);
        tracing::error_span!("task", %id, dataset = %name, %window)
    }

    /// Hot, for a step that cannot do without.
    pub(super) fn hot(&self) -> Result<&TierTable> {
        self.hot.as_ref().ok_or_else(|| missing("hot"))
    }

    /// Cold, for a step that cannot do without.
    pub(super) fn cold(&self) -> Result<&TierTable> {
        self.cold.as_ref().ok_or_else(|| missing("cold"))
    }

    /// The parts of a source table's partition, where they tell what it holds.
    pub(super) async fn source_parts(&self, source: &SourceTable) -> Result<Option<PartSet>> {
        let hot = self.hot()?;
        hot.tier
            .parts(&hot.schema.engine, &source.table, Some(&source.partition))
            .await
    }

    /// The rows of a window in a source table.
    pub(super) fn source_rows<'a>(
        &'a self,
        source: &'a SourceTable,
        window: Window,
    ) -> Result<Rows<'a>> {
        let hot = self.hot()?;
        Ok(Rows {
            tier: &hot.tier,
            table: &source.table,
            schema: &hot.schema,
            time_column: &self.dataset.time_column,
            window: Some(window),
            partition: Some(&source.partition),
            filter: self.filter.as_ref(),
        })
    }

    /// All rows of a window in a tier's table of the dataset.
    pub(super) fn window_rows<'a>(&'a self, tier_table: &'a TierTable, window: Window) -> Rows<'a> {
        Rows {
            tier: &tier_table.tier,
            table: &tier_table.schema.table,
            schema: &tier_table.schema,
            time_column: &self.dataset.time_column,
            window: Some(window),
            partition: None,
            filter: None,
        }
    }

    /// The generations of a window, all of one schema.
    pub(super) async fn generations(&self, window: Window) -> Result<Vec<Manifest>> {
        let generations = self.archive.generations(&self.dataset.name, window).await?;
        if let Some(pair) = generations
            .windows(2)
            .find(|pair| pair[0].schema.columns != pair[1].schema.columns)
        {
            return Err(Error::schema(format!(
                "{} and {} have different columns: {}",
                pair[0].id(),
                pair[1].id(),
                difference(&pair[0].schema.columns, &pair[1].schema.columns)
            )));
        }
        Ok(generations)
    }
}

fn missing(tier: &str) -> Error {
    Error::usage(format!("this step needs {tier}"))
}

/// The fingerprint of all rows of these generations.
pub(super) fn total(generations: &[Manifest]) -> Fingerprint {
    generations.iter().map(|m| m.fingerprint).sum()
}

/// What tells two column lists apart, for people.
pub(super) fn difference(one: &[HashedColumn], other: &[HashedColumn]) -> String {
    let only = |a: &[HashedColumn], b: &[HashedColumn]| {
        let missing: Vec<_> = a
            .iter()
            .filter(|c| !b.contains(c))
            .map(|c| format!("`{}` {}", c.name, c.type_name))
            .collect();
        if missing.is_empty() {
            "nothing".to_owned()
        } else {
            missing.join(", ")
        }
    };
    format!(
        "only in the former {}; only in the latter {}",
        only(one, other),
        only(other, one)
    )
}

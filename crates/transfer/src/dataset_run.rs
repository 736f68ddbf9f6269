//! One dataset on its way: where it is, where it goes, what its tables look like.

use mpsync_archive::{Archive, Filter, Manifest};
use mpsync_clickhouse::{Parts, TableSchema, Tier};
use mpsync_core::dataset::{Dataset, Window};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};
use mpsync_core::progress::Progress;

use super::evidence::Evidence;
use super::rows::Rows;
use super::tasks::TaskId;

/// A tier with the live table of the dataset.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// The tier.
    pub(super) tier: Tier,
    /// The dataset's table in it.
    pub(super) schema: TableSchema,
}

/// What all windows of a dataset share in a run.
#[derive(Debug)]
pub(super) struct Road {
    /// The dataset.
    pub(super) dataset: Dataset,
    /// Hot; `None` where the archive is the only source.
    pub(super) hot: Option<Side>,
    /// The version of hot's server, for manifests.
    pub(super) hot_version: String,
    /// Cold; `None` where the archive is the only target.
    pub(super) cold: Option<Side>,
    /// The archive.
    pub(super) archive: Archive,
    /// Which rows are wanted; `None` for all.
    pub(super) filter: Option<Filter>,
    /// Who holds leases.
    pub(super) holder: String,
    /// Where rows are counted.
    pub(super) progress: Progress,
    /// What this run has proven.
    pub(super) evidence: Evidence,
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

impl Road {
    /// What every log line of a task bears, whatever the level.
    pub(super) fn task(&self, window: Window) -> tracing::Span {
        let name = &self.dataset.name;
        let id = TaskId::new(name.clone(), window);
        tracing::error_span!("task", %id, dataset = %name, %window)
    }

    /// Hot, for a step that cannot do without.
    pub(super) fn hot(&self) -> Result<&Side> {
        self.hot.as_ref().ok_or_else(|| missing("hot"))
    }

    /// Cold, for a step that cannot do without.
    pub(super) fn cold(&self) -> Result<&Side> {
        self.cold.as_ref().ok_or_else(|| missing("cold"))
    }

    /// The parts of a source table's partition, where they tell what it holds.
    pub(super) async fn source_parts(&self, source: &SourceTable) -> Result<Option<Parts>> {
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
    pub(super) fn window_rows<'a>(&'a self, side: &'a Side, window: Window) -> Rows<'a> {
        Rows {
            tier: &side.tier,
            table: &side.schema.table,
            schema: &side.schema,
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

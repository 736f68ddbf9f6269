//! One dataset on its way: where it is, where it goes, what its tables look like.

use mpsync_archive::{Archive, Manifest, RowFilter};
use mpsync_clickhouse::{PartSet, TableSchema, Tier};
use mpsync_core::dataset::{Dataset, Window};
use mpsync_core::error::{Error, Result};
use mpsync_core::fingerprint::HashedColumn;
use mpsync_core::progress::Progress;

use crate::context::TransferContext;
use crate::holder::holder;
use crate::request::{Goal, TransferRequest};
use crate::rows::columns::check_filter;
use crate::rows::window_rows::Rows;
use crate::tasks::TaskId;
use crate::window::proof_cache::ProofCache;

/// A tier with the live table of the dataset.
#[derive(Debug, Clone)]
pub(crate) struct TierTable {
    /// The tier.
    pub(crate) tier: Tier,
    /// The dataset's table in it.
    pub(crate) schema: TableSchema,
}

impl TierTable {
    /// Whether other replicas may hold rows that this server has not fetched.
    pub(crate) fn is_replicated(&self) -> bool {
        self.schema.engine != "MergeTree" || self.tier.cluster().is_some()
    }
}

/// The context that all windows of a dataset share in a run.
#[derive(Debug)]
pub(crate) struct DatasetRun {
    /// The dataset.
    pub(crate) dataset: Dataset,
    /// Hot; `None` if the archive is the only source.
    pub(crate) hot: Option<TierTable>,
    /// The version of hot's server, for manifests.
    pub(crate) hot_version: String,
    /// Cold; `None` if the archive is the only target.
    pub(crate) cold: Option<TierTable>,
    /// The archive.
    pub(crate) archive: Archive,
    /// Which rows are wanted; `None` for all.
    pub(crate) filter: Option<RowFilter>,
    /// The name of this process in leases and journals.
    pub(crate) holder: String,
    /// Where rows are counted.
    pub(crate) progress: Progress,
    /// The proofs of this run.
    pub(crate) proof_cache: ProofCache,
}

/// The table and partition from which a window is exported: hot's own, or a sealed one.
#[derive(Debug, Clone)]
pub(crate) struct SourceTable {
    /// The table.
    pub(crate) table: String,
    /// The partition's id.
    pub(crate) partition: String,
    /// The rows of the window in it, as they were counted when the work was planned.
    pub(crate) rows: u64,
}

impl DatasetRun {
    /// Describes the dataset's tables, and refuses those that cannot be transferred with proof.
    pub(crate) async fn open(
        context: &TransferContext,
        dataset: &Dataset,
        request: &TransferRequest,
    ) -> Result<Self> {
        let tier_table = async |tier: &Tier| {
            let schema = tier.describe_existing(&dataset.table).await?;
            schema.check_transferable()?;
            Ok::<_, Error>(TierTable {
                tier: tier.clone(),
                schema,
            })
        };
        let mut run = Self {
            dataset: dataset.clone(),
            hot: None,
            hot_version: String::new(),
            cold: None,
            archive: context.archive.clone(),
            filter: request.filter.clone(),
            holder: holder(),
            progress: context.progress.clone(),
            proof_cache: ProofCache::default(),
        };
        if request.goal != Goal::Import {
            let hot = tier_table(&context.hot).await?;
            check_filter(&hot.schema, request.filter.as_ref())?;
            refuse_materialized(&hot.schema)?;
            run.hot_version = context.hot.ping().await?;
            run.hot = Some(hot);
        }
        if request.goal == Goal::Import {
            context.cold.apply_schema(&[dataset]).await?;
        }
        if request.goal != Goal::Export {
            run.cold = Some(tier_table(&context.cold).await?);
        }
        Ok(run)
    }

    /// Returns the span that every log line of a task carries, at every level.
    pub(crate) fn task(&self, window: Window) -> tracing::Span {
        let name = &self.dataset.name;
        let id = TaskId::new(name.clone(), window);
        tracing::error_span!("task", %id, dataset = %name, %window)
    }

    /// Returns hot, for a step that needs it.
    pub(crate) fn hot(&self) -> Result<&TierTable> {
        self.hot.as_ref().ok_or_else(|| missing("hot"))
    }

    /// Returns cold, for a step that needs it.
    pub(crate) fn cold(&self) -> Result<&TierTable> {
        self.cold.as_ref().ok_or_else(|| missing("cold"))
    }

    /// Returns the parts of a source table's partition, if its contents follow from them.
    pub(crate) async fn source_parts(&self, source: &SourceTable) -> Result<Option<PartSet>> {
        let hot = self.hot()?;
        hot.tier
            .parts(&hot.schema.engine, &source.table, Some(&source.partition))
            .await
    }

    /// The rows of a window in a source table.
    pub(crate) fn source_rows<'a>(
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
    pub(crate) fn window_rows<'a>(&'a self, tier_table: &'a TierTable, window: Window) -> Rows<'a> {
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
    pub(crate) async fn generations(&self, window: Window) -> Result<Vec<Manifest>> {
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

/// Refuses a table with columns whose values an insert cannot carry over: cold would compute others, and hot's would be deleted.
fn refuse_materialized(schema: &TableSchema) -> Result<()> {
    let mut columns = schema.columns.iter();
    match columns.find(|column| column.default_kind == "MATERIALIZED") {
        None => Ok(()),
        Some(column) => Err(Error::schema(format!(
            "table {}.{} cannot be transferred: column `{}` is MATERIALIZED, and its values cannot be inserted into cold",
            schema.database, schema.table, column.name
        ))
        .with_hint("make it a DEFAULT column in hot and cold (ALTER TABLE … MODIFY COLUMN): the values that hot holds stay, and are archived")),
    }
}

fn missing(tier: &str) -> Error {
    Error::usage(format!("this step needs {tier}"))
}

/// Describes how two column lists differ.
pub(crate) fn difference(one: &[HashedColumn], other: &[HashedColumn]) -> String {
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

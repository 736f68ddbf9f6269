//! The rows of a window in a table, as SQL: which they are, their fingerprint, their export.

use std::collections::HashMap;
use std::fmt::Write as _;

use clickhouse::Row;
use serde::Deserialize;

use mpsync_archive::RowFilter;
use mpsync_clickhouse::{Statement, TableSchema, Tier, ident, idents, row_hash};
use mpsync_core::dataset::{EPOCH_COLUMN, SEQ_COLUMN, Window};
use mpsync_core::error::Result;
use mpsync_core::fingerprint::{Fingerprint, HashedColumn};

/// The name under which the export query returns each row's hash.
pub(crate) const HASH_COLUMN: &str = "_mpsync_hash";
/// The columns by which a transfer can be filtered.
pub(crate) const EXCHANGE_COLUMN: &str = "exchange";
pub(crate) const SYMBOL_COLUMN: &str = "symbol";

/// A result must be exact or an error: no limit of a user's profile may cut it short in silence.
const EXACT: [(&str, &str); 4] = [
    ("read_overflow_mode", "throw"),
    ("timeout_overflow_mode", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("set_overflow_mode", "throw"),
];

/// How rows come as Arrow: dictionaries as dictionaries, strings as the bytes that they are, nothing compressed (the
/// archive compresses better, and the other end is near), in the table's own order without sorting.
const ARROW: [(&str, &str); 5] = [
    ("output_format_arrow_low_cardinality_as_dictionary", "1"),
    ("output_format_arrow_string_as_string", "0"),
    ("output_format_arrow_compression_method", "none"),
    ("output_format_arrow_fixed_string_as_fixed_byte_array", "1"),
    ("optimize_read_in_order", "1"),
];

/// Bytes of a block of rows, about. Several wait on their way through each window's pipeline, and a block of deep books in
/// the usual number of rows has hundreds of megabytes.
const BLOCK_BYTES: u64 = 2 << 20;
/// Rows of a block at most: half of what is usual.
const BLOCK_ROWS: u64 = 32_768;
/// Rows of a block at least, however wide they are.
const MIN_BLOCK_ROWS: u64 = 64;

/// Rows of one table: those of a window, a partition, a filter, or all.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Where the table is.
    pub(crate) tier: &'a Tier,
    /// The table's name: the dataset's own, a staging table, a sealed one.
    pub(crate) table: &'a str,
    /// The schema of the table; staging and set-aside tables have that of the table that they were made from.
    pub(crate) schema: &'a TableSchema,
    /// The column of the event time.
    pub(crate) time_column: &'a str,
    /// Only the rows of this window.
    pub(crate) window: Option<Window>,
    /// Only the rows of the partition with this id.
    pub(crate) partition: Option<&'a str>,
    /// Only the rows of these exchanges and symbols.
    pub(crate) filter: Option<&'a RowFilter>,
}

#[derive(Row, Deserialize)]
struct Conflicts {
    rows: u64,
    some: Vec<(u64, u64)>,
}

impl Rows<'_> {
    /// The condition that picks the rows; its values are bound by [`Rows::bind`].
    pub(crate) fn condition(&self) -> String {
        let mut conditions = Vec::new();
        if self.partition.is_some() {
            conditions.push("_partition_id = {partition:String}".to_owned());
        }
        if self.window.is_some() {
            let time = ident(self.time_column);
            conditions.push(format!(
                "{time} >= fromUnixTimestamp64Milli({{start:Int64}}, 'UTC') AND {time} < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')"
            ));
        }
        if let Some(filter) = self.filter {
            if !filter.exchanges.is_empty() {
                conditions.push(format!(
                    "has({{exchanges:Array(String)}}, {})",
                    ident(EXCHANGE_COLUMN)
                ));
            }
            if !filter.symbols.is_empty() {
                conditions.push(format!(
                    "has({{symbols:Array(String)}}, {})",
                    ident(SYMBOL_COLUMN)
                ));
            }
        }
        if conditions.is_empty() {
            conditions.push("1".to_owned());
        }
        conditions.join(" AND ")
    }

    /// A query with the values of [`Rows::condition`] and with the settings that make it exact.
    pub(crate) fn bind(&self, sql: &str) -> Statement {
        let mut query = self.tier.query(sql);
        if let Some(partition) = self.partition {
            query = query.param("partition", partition);
        }
        if let Some(window) = self.window {
            query = query
                .param("start", window.start().as_millisecond())
                .param("end", window.end().as_millisecond());
        }
        if let Some(filter) = self.filter {
            query = query
                .param("exchanges", &filter.exchanges)
                .param("symbols", &filter.symbols);
        }
        EXACT.into_iter().fold(query, |query, (name, value)| {
            query.with_setting(name, value)
        })
    }

    pub(crate) fn hash(&self, columns: &[HashedColumn]) -> String {
        row_hash(columns, |name| self.schema.column_type(name).cloned())
    }

    pub(crate) fn context(&self, what: &str) -> String {
        let window = self.window.map(|w| format!(" of {w}")).unwrap_or_default();
        format!("{what} {}{window}", self.tier.table(self.table))
    }

    /// The fingerprint of the rows over these columns.
    pub(crate) async fn fingerprint(&self, columns: &[HashedColumn]) -> Result<Fingerprint> {
        let sql = format!(
            "SELECT count() AS rows, sum({}) AS sum FROM {} WHERE {}",
            self.hash(columns),
            self.tier.table(self.table),
            self.condition()
        );
        let (rows, sum) = self
            .bind(&sql)
            .fetch_one::<(u64, u64)>()
            .await
            .map_err(|e| self.tier.error(e).context(self.context("fingerprinting")))?;
        Ok(Fingerprint { rows, sum })
    }

    /// How many rows there are.
    pub(crate) async fn count(&self) -> Result<u64> {
        self.count_where("1").await
    }

    /// How many of the rows meet a further condition.
    pub(crate) async fn count_where(&self, condition: &str) -> Result<u64> {
        let sql = format!(
            "SELECT count() FROM {} WHERE {} AND ({condition})",
            self.tier.table(self.table),
            self.condition()
        );
        self.bind(&sql).fetch_one::<u64>().await.map_err(|e| {
            self.tier
                .error(e)
                .context(self.context("counting the rows of"))
        })
    }

    /// The rows in the table's order, with each row's hash in a last column: `FORMAT ArrowStream`.
    ///
    /// Where `archived` is given, only the rows of which it has fewer, told by their hash. The server is asked first how wide a
    /// row is, so that blocks are of a bounded size.
    pub(crate) async fn export_query(
        &self,
        columns: &[HashedColumn],
        archived: Option<&Rows<'_>>,
    ) -> Result<Statement> {
        let row_bytes = self.tier.row_bytes(self.table, self.partition).await?;
        let mut sql = format!(
            "SELECT {}, {} AS {HASH_COLUMN} FROM {} WHERE {}",
            idents(columns.iter().map(|c| c.name.as_str())),
            self.hash(columns),
            self.tier.table(self.table),
            self.condition()
        );
        if let Some(archived) = archived {
            // Writing to a String cannot fail.
            let _ = write!(
                sql,
                " AND ({hash} NOT IN (SELECT {theirs} FROM {table}) OR {hash} IN (SELECT hash FROM ({surplus})))",
                hash = self.hash(columns),
                theirs = archived.hash(columns),
                table = archived.tier.table(archived.table),
                surplus = self.surplus_sql(archived, columns),
            );
        }
        if !self.schema.sorting_key.is_empty() {
            // The server's own text of its own key.
            sql.push_str(" ORDER BY ");
            sql.push_str(&self.schema.sorting_key);
        }
        Ok(self.as_arrow(&sql, row_bytes))
    }

    /// A query whose rows come as Arrow, in blocks of a bounded size.
    fn as_arrow(&self, sql: &str, row_bytes: Option<u64>) -> Statement {
        let rows = row_bytes.map_or(BLOCK_ROWS, |bytes| BLOCK_BYTES / bytes.max(1));
        let query = self
            .bind(sql)
            .with_setting(
                "max_block_size",
                rows.clamp(MIN_BLOCK_ROWS, BLOCK_ROWS).to_string(),
            )
            .with_setting("preferred_block_size_bytes", BLOCK_BYTES.to_string());
        ARROW.into_iter().fold(query, |query, (name, value)| {
            query.with_setting(name, value)
        })
    }

    /// The hashes of which there are more rows here than in `archived`, which has at least one, and how many more.
    fn surplus_sql(&self, archived: &Rows<'_>, columns: &[HashedColumn]) -> String {
        format!(
            "SELECT hash, toUInt64(here - there) AS more FROM \
             (SELECT {} AS hash, count() AS here FROM {} WHERE {} GROUP BY hash) AS ours INNER JOIN \
             (SELECT {} AS hash, count() AS there FROM {} GROUP BY hash) AS theirs USING (hash) WHERE here > there",
            self.hash(columns),
            self.tier.table(self.table),
            self.condition(),
            archived.hash(columns),
            archived.tier.table(archived.table),
        )
    }

    /// Of which archived rows there are more here, told by their hash, and how many more.
    pub(crate) async fn surplus(
        &self,
        archived: &Rows<'_>,
        columns: &[HashedColumn],
    ) -> Result<HashMap<u64, u64>> {
        let more = self
            .bind(&self.surplus_sql(archived, columns))
            .fetch_all::<(u64, u64)>()
            .await
            .map_err(|e| {
                self.tier
                    .error(e)
                    .context(self.context("comparing with the archive the rows of"))
            })?;
        Ok(more.into_iter().collect())
    }

    /// The positions of the rows, with their hashes: `FORMAT ArrowStream`, in no order.
    pub(crate) fn positions_query(&self) -> Statement {
        let sql = format!(
            "SELECT {}, {} FROM {} WHERE {}",
            ident(EPOCH_COLUMN),
            ident(SEQ_COLUMN),
            self.tier.table(self.table),
            self.condition()
        );
        self.as_arrow(&sql, None)
    }

    /// Counts the rows whose position `other` holds with another hash, and returns some of them.
    pub(crate) async fn conflicts(
        &self,
        other: &Rows<'_>,
        columns: &[HashedColumn],
    ) -> Result<(u64, Vec<(u64, u64)>)> {
        let position = idents([EPOCH_COLUMN, SEQ_COLUMN]);
        let sql = format!(
            "SELECT count() AS rows, groupArray(5)(({position})) AS some FROM {} WHERE {} \
             AND ({position}) IN (SELECT {position} FROM {other_table}) \
             AND ({position}, {}) NOT IN (SELECT {position}, {} FROM {other_table})",
            self.tier.table(self.table),
            self.condition(),
            self.hash(columns),
            other.hash(columns),
            other_table = other.tier.table(other.table),
        );
        self.bind(&sql)
            .fetch_one::<Conflicts>()
            .await
            .map(|found| (found.rows, found.some))
            .map_err(|e| {
                self.tier
                    .error(e)
                    .context(self.context("comparing with the archive the rows of"))
            })
    }
}

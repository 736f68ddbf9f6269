//! The schema of a generation's rows.

use arrow::datatypes::SchemaRef;

use mpsync_core::fingerprint::HashedColumn;

/// The schema of a generation's rows.
#[derive(Debug, Clone)]
pub struct ChunkSchema {
    /// The schema of the batches, which hold the stored columns and no others.
    ///
    /// Strings may be Binary, or a dictionary of Binary; they are stored as text as long as they are UTF-8.
    pub arrow: SchemaRef,
    /// The same columns with their ClickHouse types.
    pub columns: Vec<HashedColumn>,
    /// The column of the event time.
    pub time_column: String,
    /// The order in which the rows come, as ClickHouse writes it. Nothing is sorted here.
    pub sorting_key: String,
}

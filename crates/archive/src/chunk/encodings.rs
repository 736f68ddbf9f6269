//! How each column is encoded: chosen by its type and by its first values.
//!
//! Measured on a million generated trades in the order of the hot table, zstd 3, row groups of 131,072,
//! dependencies at `opt-level` 2, one of two busy cores; bytes a row and milliseconds for the million:
//!
//! | column | dictionary | plain | delta | byte-stream split | chosen |
//! |---|---|---|---|---|---|
//! | `timestamp` (INT64 ms) | 3.196, 142 | 1.257, 45 | **0.890, 17** | 1.228, 20 | DELTA_BINARY_PACKED |
//! | `created_at` (INT64 ns) | 6.047, 255 | 4.066, 84 | **3.558, 22** | 4.028, 12 | DELTA_BINARY_PACKED |
//! | `stream_seq` (INT64) | 3.188, 238 | 1.188, 85 | **0.666, 25** | 1.074, 25 | DELTA_BINARY_PACKED |
//! | `trade_id` (text) | 1.636, 216 | 0.490, 135 | **0.080, 105** | | DELTA_BYTE_ARRAY |
//! | `symbol` (text, sorted) | **0.005, 47** | 0.007, 49 | 0.008, 63 | | dictionary |
//! | `side` (text) | **0.133, 101** | 0.546, 103 | 0.445, 124 | | dictionary |
//! | `price` (Decimal(38, 18) on a tick) | **1.336, 105** | 1.561, 114 | 1.981, 182 | 5.147, 102 | dictionary |
//! | `quantity` (Decimal(38, 18)) | **2.949, 115** | 3.862, 130 | 4.223, 181 | 5.924, 96 | dictionary |
//! | decimals that never repeat, 6 digits | 10.403, 299 | **9.422, 151** | 9.522, 116 | 8.886, 82 | plain |
//! | decimals that never repeat, 18 digits | 6.411, 182 | **5.367, 118** | 5.045, 98 | 5.008, 76 | plain |
//!
//! Decimals are never split although it is smallest where they do not repeat: DuckDB 2.0 refuses byte-stream split for
//! anything but floats and 32- and 64-bit integers, and an archive that not every tool reads is not worth 6 %.
//!
//! These are the encodings that the library uses. Decimals of more than 18 digits and text that comes as a dictionary are encoded by
//! [`dictionary`](crate::chunk::dictionary) instead, unless they are encrypted: it finds the smallest encoding by a sample of the row group's own values.
//!
//! The lower digits of a decimal on a tick look like noise in binary, which is why neither delta nor split finds them, and
//! why it is the share of distinct values that decides. A first dictionary that overflows costs (trade ids: 0.426 bytes a
//! row instead of 0.080), so the choice is made before the first value is written. All fifteen columns together: 11.7 bytes a
//! row, where the writer's defaults make 25.1 and the engine's own Parquet at the same zstd level 25.5.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, Type as Physical, ZstdLevel};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::SchemaDescriptor;

use mpsync_core::error::Result;

/// The program that writes, as files and manifests name it.
pub(crate) const WRITER: &str = concat!("mpsync ", env!("CARGO_PKG_VERSION"));

/// Values of a column that are sampled.
const SAMPLE: usize = 8192;
/// Text of which at most this share is distinct goes into a dictionary.
const REPEATED_TEXT: f64 = 0.125;
/// Fixed-width values (wide decimals) of which at least this share is distinct do not.
const UNIQUE_FIXED: f64 = 0.875;

/// Returns the properties of a chunk's file; `sample` is its first rows, of the stored schema.
pub(crate) fn properties(
    sample: &RecordBatch,
    sorting_key: &str,
    zstd_level: i32,
    provenance: Vec<KeyValue>,
    encryption: Option<Arc<FileEncryptionProperties>>,
) -> Result<WriterProperties> {
    let leaves = ArrowSchemaConverter::new().convert(sample.schema_ref())?;
    let mut values = Vec::with_capacity(leaves.num_columns());
    for column in sample.columns() {
        push_leaves(column, &mut values);
    }
    let mut builder = WriterProperties::builder()
        .set_created_by(WRITER.into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        // Row groups are cut by the encoder.
        .set_max_row_group_row_count(None)
        .set_sorting_columns(sorting_columns(sorting_key, &leaves))
        .set_key_value_metadata(Some(provenance));
    if let Some(encryption) = encryption {
        builder = builder.with_file_encryption_properties(encryption);
    }
    for index in 0..leaves.num_columns() {
        builder = encode(builder, &leaves, index, values.get(index));
    }
    Ok(builder.build())
}

fn encode(
    builder: WriterPropertiesBuilder,
    leaves: &SchemaDescriptor,
    index: usize,
    values: Option<&ArrayRef>,
) -> WriterPropertiesBuilder {
    let leaf = leaves.column(index);
    let path = leaf.path().clone();
    let distinct = values.and_then(distinct_share);
    let without_dictionary = match leaf.physical_type() {
        Physical::INT32 | Physical::INT64 => Encoding::DELTA_BINARY_PACKED,
        Physical::BYTE_ARRAY if distinct.is_some_and(|share| share > REPEATED_TEXT) => {
            Encoding::DELTA_BYTE_ARRAY
        }
        Physical::FIXED_LEN_BYTE_ARRAY if distinct.is_some_and(|share| share >= UNIQUE_FIXED) => {
            Encoding::PLAIN
        }
        // The encoding after the dictionary, should it overflow.
        Physical::FLOAT | Physical::DOUBLE => {
            return builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
        }
        Physical::BYTE_ARRAY => {
            return builder.set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY);
        }
        _ => return builder,
    };
    builder
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_encoding(path, without_dictionary)
}

/// Collects the arrays of a column's leaves, in the order in which Parquet counts them.
fn push_leaves(column: &ArrayRef, leaves: &mut Vec<ArrayRef>) {
    match column.data_type() {
        DataType::List(_) => push_leaves(column.as_list::<i32>().values(), leaves),
        DataType::LargeList(_) => push_leaves(column.as_list::<i64>().values(), leaves),
        DataType::FixedSizeList(..) => push_leaves(column.as_fixed_size_list().values(), leaves),
        DataType::Struct(_) => {
            for field in column.as_struct().columns() {
                push_leaves(field, leaves);
            }
        }
        DataType::Map(..) => {
            for field in column.as_map().entries().columns() {
                push_leaves(field, leaves);
            }
        }
        _ => leaves.push(ArrayRef::clone(column)),
    }
}

/// Returns the share of distinct values among the first; `None` without values, and for types whose encoding does not depend on it.
fn distinct_share(values: &ArrayRef) -> Option<f64> {
    fn count<T: std::hash::Hash + Eq>(values: impl Iterator<Item = Option<T>>) -> (usize, usize) {
        let (mut distinct, mut all) = (HashSet::new(), 0);
        for value in values.flatten() {
            distinct.insert(value);
            all += 1;
        }
        (distinct.len(), all)
    }
    let values = values.slice(0, values.len().min(SAMPLE));
    let (distinct, all) = match values.data_type() {
        DataType::Utf8 => count(values.as_string::<i32>().iter()),
        DataType::LargeUtf8 => count(values.as_string::<i64>().iter()),
        DataType::Utf8View => count(values.as_string_view().iter()),
        DataType::Binary => count(values.as_binary::<i32>().iter()),
        DataType::LargeBinary => count(values.as_binary::<i64>().iter()),
        DataType::BinaryView => count(values.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => count(values.as_fixed_size_binary().iter()),
        DataType::Decimal128(..) => count(values.as_primitive::<Decimal128Type>().iter()),
        DataType::Decimal256(..) => count(values.as_primitive::<Decimal256Type>().iter()),
        _ => return None,
    };
    #[expect(clippy::cast_precision_loss, reason = "at most SAMPLE")]
    let share = (all > 0).then(|| distinct as f64 / all as f64);
    share
}

/// Returns the leading plain columns of a ClickHouse sorting key, as Parquet writes them.
fn sorting_columns(sorting_key: &str, leaves: &SchemaDescriptor) -> Option<Vec<SortingColumn>> {
    let mut sorted = Vec::new();
    for part in sorting_key.split(',') {
        let part = part.trim();
        let (name, descending) = match part.strip_suffix(" DESC") {
            Some(name) => (name, true),
            None => (part.strip_suffix(" ASC").unwrap_or(part), false),
        };
        let name = name.trim().trim_matches('`');
        let found = (0..leaves.num_columns()).find(|&i| {
            let path = leaves.column(i);
            path.path().parts().len() == 1 && path.name() == name
        });
        // After an expression the order is unknown.
        let Some(column_idx) = found.and_then(|i| i32::try_from(i).ok()) else {
            break;
        };
        sorted.push(SortingColumn {
            column_idx,
            descending,
            nulls_first: false,
        });
    }
    (!sorted.is_empty()).then_some(sorted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use parquet::schema::types::ColumnPath;

    use super::*;
    use crate::chunk::parquet_schema::ParquetSchema;
    use crate::testing::{trades, trades_schema};

    /// Beside the trades: decimals that never repeat, of six digits and of eighteen.
    fn with_worst_case(batch: &RecordBatch) -> RecordBatch {
        use arrow::array::{Array as _, Decimal128Array};
        use rand::{RngExt as _, SeedableRng as _};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut column = |unit: i128| {
            let values = (0..batch.num_rows())
                .map(|_| i128::from(rng.random_range(0..1_000_000_000_000_i64)) * unit);
            Arc::new(
                Decimal128Array::from_iter_values(values)
                    .with_precision_and_scale(38, 18)
                    .unwrap(),
            ) as arrow::array::ArrayRef
        };
        let mut columns: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .zip(batch.columns().iter().cloned())
            .collect();
        columns.push(("short".into(), column(1_000_000_000_000)));
        columns.push(("long".into(), column(1)));
        let _ = columns[0].1.len();
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn the_share_of_distinct_values_decides() {
        let trades = trades(1, 20_000);
        let schema = trades_schema(&trades);
        let stored = ParquetSchema::new(&schema.arrow, &schema.columns).unwrap();
        let batch = with_worst_case(&stored.convert(&trades).unwrap());
        let properties = properties(
            &batch,
            "exchange, toStartOfHour(timestamp), symbol",
            3,
            Vec::new(),
            None,
        )
        .unwrap();
        let chosen = |name: &str| {
            let path = ColumnPath::from(name);
            (
                properties.dictionary_enabled(&path),
                properties.encoding(&path),
            )
        };
        assert_eq!(
            chosen("timestamp"),
            (false, Some(Encoding::DELTA_BINARY_PACKED))
        );
        assert_eq!(
            chosen("trade_id"),
            (false, Some(Encoding::DELTA_BYTE_ARRAY))
        );
        assert_eq!(chosen("long"), (false, Some(Encoding::PLAIN)));
        assert!(chosen("price").0 && chosen("quantity").0 && chosen("symbol").0);
        // After an expression the order is unknown.
        assert_eq!(properties.sorting_columns().unwrap().len(), 1);
    }
}

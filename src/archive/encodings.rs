//! How each column is encoded.

use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, Type as Physical, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::SchemaDescriptor;

use crate::dataset::ColumnType;
use crate::error::Result;

/// Above this many bytes of distinct values in a row group a dictionary no longer pays.
const DICTIONARY_BYTES: usize = 256 << 10;

/// The program that writes, as files and manifests name it.
pub(super) const WRITER: &str = concat!("mpsync ", env!("CARGO_PKG_VERSION"));

/// The properties of a chunk's file. `types` are the ClickHouse types of the columns of `schema`.
pub(super) fn properties(
    schema: &SchemaRef,
    types: &[ColumnType],
    sorting_key: &str,
    zstd_level: i32,
    provenance: Vec<KeyValue>,
) -> Result<WriterProperties> {
    let leaves = ArrowSchemaConverter::new().convert(schema)?;
    let mut builder = WriterProperties::builder()
        .set_created_by(WRITER.into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(None)
        .set_sorting_columns(sorting_columns(sorting_key, &leaves))
        .set_key_value_metadata(Some(provenance));
    for index in 0..leaves.num_columns() {
        let root = leaves.get_column_root_idx(index);
        builder = encode(builder, &leaves, index, types.get(root));
    }
    Ok(builder.build())
}

fn encode(
    builder: WriterPropertiesBuilder,
    leaves: &SchemaDescriptor,
    index: usize,
    column: Option<&ColumnType>,
) -> WriterPropertiesBuilder {
    let leaf = leaves.column(index);
    let path = leaf.path().clone();
    match leaf.physical_type() {
        Physical::INT32 | Physical::INT64 => builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
        Physical::FLOAT | Physical::DOUBLE => {
            builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
        }
        Physical::FIXED_LEN_BYTE_ARRAY => {
            builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
        }
        Physical::BYTE_ARRAY if !matches!(column, Some(ColumnType::LowCardinality(_))) => {
            builder.set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY)
        }
        _ => builder,
    }
}

/// The leading plain columns of a ClickHouse sorting key, as Parquet writes them.
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
        // Behind an expression nothing is known of the order any more.
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

//! The library reads columns of this encoder as if it had written them itself.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, Decimal128Array, DictionaryArray, ListArray, RecordBatch, StringArray,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::column::MAX_DISTINCT;
use crate::chunk::row_group::{Compressors, Group};

/// A row: levels, a price that may be absent, a symbol that may be absent, a quantity.
type Row = (Vec<(i128, i128)>, Option<i128>, Option<u8>, i128);

fn decimals(values: impl IntoIterator<Item = Option<i128>>) -> ArrayRef {
    let values: Decimal128Array = values.into_iter().collect();
    Arc::new(values.with_precision_and_scale(38, 18).unwrap())
}

fn batch(rows: &[Row]) -> RecordBatch {
    let decimal = DataType::Decimal128(38, 18);
    let levels = Fields::from(vec![
        Field::new("price", decimal.clone(), false),
        Field::new("quantity", decimal.clone(), false),
    ]);
    let item = Arc::new(Field::new("item", DataType::Struct(levels.clone()), false));
    let flat = || rows.iter().flat_map(|row| &row.0);
    let sides = StructArray::new(
        levels,
        vec![
            decimals(flat().map(|level| Some(level.0))),
            decimals(flat().map(|level| Some(level.1))),
        ],
        None,
    );
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|row| row.0.len()));
    let books = ListArray::new(Arc::clone(&item), lengths, Arc::new(sides), None);
    let symbols: DictionaryArray<Int32Type> = rows
        .iter()
        .map(|row| {
            row.2
                .map(|n| ["BTC-USDT", "ETH-USDT", "", "süß"][usize::from(n % 4)])
        })
        .collect();
    let symbol = symbols.data_type().clone();
    let schema = Schema::new(vec![
        Field::new("bids", DataType::List(item), false),
        Field::new("best", decimal.clone(), true),
        Field::new("symbol", symbol, true),
        Field::new("quantity", decimal, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(books),
        decimals(rows.iter().map(|row| row.1)),
        Arc::new(symbols),
        decimals(rows.iter().map(|row| Some(row.3))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// A file of one row group, in pieces of so many rows, by this encoder or by the library's.
fn file(batch: &RecordBatch, piece: usize, ours: bool) -> Bytes {
    let level = ZstdLevel::try_new(3).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).unwrap();
    let (mut file, columns) = writer.into_serialized_writer().unwrap();
    let fields = batch.schema_ref().fields().to_vec();
    let writers = columns.create_column_writers(0).unwrap();
    let mut group = Group::new(writers, &fields, file.schema_descr().columns(), ours);
    for offset in (0..batch.num_rows()).step_by(piece) {
        let rows = batch.slice(offset, piece.min(batch.num_rows() - offset));
        group.write(&rows, &fields, 2).unwrap();
    }
    let leaves = group.close(&Compressors::new(3), 2).unwrap();
    let mut row_group = file.next_row_group().unwrap();
    for leaf in leaves {
        leaf.append_to_row_group(&mut row_group).unwrap();
    }
    row_group.close().unwrap();
    file.into_inner().unwrap().into()
}

fn open(file: &Bytes) -> ParquetRecordBatchReaderBuilder<Bytes> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    ParquetRecordBatchReaderBuilder::try_new_with_options(file.clone(), options).unwrap()
}

fn read(reader: ParquetRecordBatchReaderBuilder<Bytes>) -> RecordBatch {
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// Equal values, whether text is in a dictionary or not.
fn assert_same(sent: &RecordBatch, read: &RecordBatch) {
    assert_eq!(sent.num_rows(), read.num_rows());
    for (sent, read) in sent.columns().iter().zip(read.columns()) {
        let plain = |column: &ArrayRef| match column.data_type() {
            DataType::Dictionary(..) => cast(column, &DataType::Utf8).unwrap(),
            _ => Arc::clone(column),
        };
        assert_eq!(&plain(sent), &plain(read));
    }
}

/// Compares the statistics by which a reader skips: bounds and counts of each leaf.
fn assert_same_statistics(one: &ParquetMetaData, other: &ParquetMetaData) {
    let leaves = |data: &ParquetMetaData| data.row_group(0).columns().to_vec();
    for (one, other) in leaves(one).iter().zip(&leaves(other)) {
        let (ours, theirs) = (one.statistics().unwrap(), other.statistics().unwrap());
        let told = one.column_path();
        assert_eq!(ours.min_bytes_opt(), theirs.min_bytes_opt(), "{told}");
        assert_eq!(ours.max_bytes_opt(), theirs.max_bytes_opt(), "{told}");
        assert_eq!(ours.null_count_opt(), theirs.null_count_opt(), "{told}");
        assert_eq!(one.num_values(), other.num_values(), "{told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_values_they_are_read_as_they_came_and_the_statistics_are_the_library_s(
        rows in prop::collection::vec(
            (
                prop::collection::vec((-50_i128..50, -10_i128.pow(37)..10_i128.pow(37)), 0..5),
                prop::option::of(-3_i128..3),
                prop::option::of(any::<u8>()),
                prop_oneof![Just(7_i128), -10_i128.pow(37)..10_i128.pow(37)],
            ),
            1..150,
        ),
        piece in 1_usize..100,
    ) {
        let batch = batch(&rows);
        let (ours, theirs) = (open(&file(&batch, piece, true)), open(&file(&batch, piece, false)));
        assert_same_statistics(ours.metadata(), theirs.metadata());
        assert_same(&batch, &read(ours));
    }
}

#[test]
fn of_many_pages_only_those_of_the_wanted_rows_need_be_read() {
    let rows: Vec<Row> = (0..50_000_i128)
        .map(|n| {
            let symbol = u8::try_from(n / 20_000).unwrap();
            let levels = (0..n % 4).map(|level| (n / 100 - level, level)).collect();
            (
                levels,
                (n % 3 > 0).then_some(n / 50),
                Some(symbol),
                n % 1000,
            )
        })
        .collect();
    let batch = batch(&rows);
    let reader = open(&file(&batch, 7_000, true));
    let pages = reader.metadata().page_index_for_row_group(0);
    assert!((0..5).all(|leaf| pages.num_data_pages(leaf).unwrap() > 1));
    let selection = RowSelection::from(vec![
        RowSelector::skip(19_990),
        RowSelector::select(30),
        RowSelector::skip(20_000),
        RowSelector::select(9_980),
    ]);
    let read = read(reader.with_row_selection(selection));
    let wanted = [batch.slice(19_990, 30), batch.slice(40_020, 9_980)];
    assert_same(&concat_batches(&batch.schema(), &wanted).unwrap(), &read);
}

#[test]
fn decimals_of_too_many_values_for_a_dictionary_are_written_as_they_are() {
    let rows = i128::try_from(MAX_DISTINCT).unwrap() + 5_000;
    let values: Vec<Row> = (0..rows)
        .map(|n| (vec![(n * n, 1)], Some(n % 10), None, n * 7_919 % 1_000_003))
        .collect();
    let batch = batch(&values);
    let reader = open(&file(&batch, 10_000, true));
    let encoded = |leaf: usize| -> Vec<Encoding> {
        reader
            .metadata()
            .row_group(0)
            .column(leaf)
            .encodings()
            .collect()
    };
    let [price, one, best, symbol, quantity] = [0, 1, 2, 3, 4].map(encoded);
    assert!(!price.contains(&Encoding::RLE_DICTIONARY), "{price:?}");
    assert!(
        !quantity.contains(&Encoding::RLE_DICTIONARY),
        "{quantity:?}"
    );
    assert!(one.contains(&Encoding::RLE_DICTIONARY), "{one:?}");
    assert!(best.contains(&Encoding::RLE_DICTIONARY), "{best:?}");
    assert!(symbol.contains(&Encoding::RLE_DICTIONARY), "{symbol:?}");
    assert_same(&batch, &read(reader));
}

#[test]
fn decimals_of_fewer_digits_take_fewer_bytes() {
    let most = 10_i128.pow(20) - 1;
    let values: Decimal128Array = [most, -most, 0, -1, most].into_iter().map(Some).collect();
    let values = values.with_precision_and_scale(20, 2).unwrap();
    let schema = Schema::new(vec![Field::new("n", values.data_type().clone(), false)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(values)]).unwrap();
    let (ours, theirs) = (open(&file(&batch, 2, true)), open(&file(&batch, 2, false)));
    assert_eq!(ours.parquet_schema().column(0).type_length(), 9);
    assert_same_statistics(ours.metadata(), theirs.metadata());
    assert_same(&batch, &read(ours));
}

#[test]
fn columns_of_other_shapes_are_left_to_the_library() {
    let names = StringArray::from(vec!["a", "b"]);
    let item = Arc::new(Field::new("item", DataType::Decimal128(38, 18), true));
    let levels = ListArray::new(
        item,
        OffsetBuffer::from_lengths([1, 1]),
        decimals([Some(1), None]),
        None,
    );
    let batch = RecordBatch::try_from_iter([
        ("name", Arc::new(names) as ArrayRef),
        ("levels", Arc::new(levels)),
    ])
    .unwrap();
    assert_same(&batch, &read(open(&file(&batch, 1, true))));
}

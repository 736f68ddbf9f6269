//! A column chunk's bytes: its dictionary, its pages, and its part of the footer.

use std::ops::Range;

use super::compressor::Zstd;
use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, PageType, Type as Physical};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::column::{DictionaryColumn, Shape};
use super::page_encoding::{DecimalWidth, DictionaryPage, PageEncoding};
use super::rle_bitpack;
use mpsync_core::error::Result;

/// Rows of a page at most, as other writers have it: what a reader of one row has to decode.
const PAGE_ROWS: usize = 20_000;
/// Values of a page at most, about.
const PAGE_VALUES: usize = 1 << 16;

/// A column chunk, ready to be appended to a row group.
pub(crate) struct EncodedColumn {
    bytes: Bytes,
    close: ColumnCloseResult,
}

impl EncodedColumn {
    /// Appends it as the group's next column.
    pub(crate) fn append_to_row_group<W: std::io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        group.append_column(&self.bytes, self.close)
    }
}

/// The rows of a page, and their values.
struct Cut {
    rows: Range<usize>,
    values: Range<usize>,
}

impl DictionaryColumn {
    /// Encodes and compresses the row group's leaf.
    pub(crate) fn close(self, zstd: &mut Zstd) -> Result<EncodedColumn> {
        let Self {
            leaf,
            shape,
            values,
            rows,
        } = self;
        let width = DecimalWidth(usize::try_from(leaf.type_length()).unwrap_or_default());
        let (page_encoding, dictionary) = PageEncoding::of(values, width, zstd)?;
        let mut chunk = ColumnChunkBytes::new(zstd);
        if let Some(page) = dictionary {
            chunk.dictionary(page)?;
        }
        let mut index = ColumnIndexBuilder::new(leaf.physical_type());
        let mut bounds = Vec::new();
        let bytes = |bound| page_encoding.bound_bytes(bound, width);
        for cut in cuts(&shape, rows) {
            let mut body = Vec::new();
            let levels = push_shape(&shape, cut.rows.clone(), &mut body);
            page_encoding.push(cut.values.clone(), width, &mut body);
            chunk.page(&body, levels, cut.rows.len(), page_encoding.encoding())?;
            let bound = page_encoding.bounds(cut.values.clone());
            let (min, max) =
                bound.map_or_else(Default::default, |(min, max)| (bytes(min), bytes(max)));
            index.append(
                bound.is_none(),
                min,
                max,
                signed(levels - cut.values.len()),
                None,
            );
            bounds.extend(bound);
        }
        index.set_boundary_order(boundary_order(&bounds));
        let whole = bounds
            .iter()
            .copied()
            .reduce(|(a, b), (c, d)| (a.min(c), b.max(d)));
        let whole = whole.map(|(min, max)| (bytes(min), bytes(max)));
        let statistics = statistics(&leaf, &page_encoding, chunk.levels, whole);
        let metadata = metadata(&leaf, &chunk, &page_encoding, statistics)?;
        let offset_index = std::mem::take(&mut chunk.offsets).build();
        let bytes = chunk.sink.into_inner()?;
        Ok(EncodedColumn {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: rows as u64,
                metadata,
                bloom_filter: None,
                column_index: Some(index.build()?),
                offset_index: Some(offset_index),
            },
            bytes: bytes.into(),
        })
    }
}

/// Returns the cuts between pages, which lie between rows.
fn cuts(shape: &Shape, all: usize) -> Vec<Cut> {
    let (mut cuts, mut rows, mut values) = (Vec::new(), 0..0, 0..0);
    for row in 0..all {
        rows.end += 1;
        values.end += match shape {
            Shape::Required => 1,
            Shape::Optional(present) => usize::from(present[row]),
            Shape::Listed { lengths, .. } => lengths[row] as usize,
        };
        let full = rows.len() >= PAGE_ROWS || values.len() >= PAGE_VALUES;
        if full || rows.end == all {
            let next = (rows.end..rows.end, values.end..values.end);
            cuts.push(Cut { rows, values });
            (rows, values) = next;
        }
    }
    cuts
}

/// Appends the levels of some rows, which say how the values lie in them. Returns the number of levels: one for each value,
/// and one for each row that has none.
fn push_shape(shape: &Shape, rows: Range<usize>, body: &mut Vec<u8>) -> usize {
    match shape {
        Shape::Required => rows.len(),
        Shape::Optional(present) => {
            let defined: Vec<u32> = present[rows].iter().map(|p| u32::from(*p)).collect();
            push_levels(&defined, body);
            defined.len()
        }
        Shape::Listed { lengths, .. } => {
            let (mut repeated, mut defined) = (Vec::new(), Vec::new());
            for length in &lengths[rows] {
                repeated.push(0);
                repeated.extend((1..*length).map(|_| 1));
                defined.resize(repeated.len(), u32::from(*length > 0));
            }
            push_levels(&repeated, body);
            push_levels(&defined, body);
            defined.len()
        }
    }
}

fn metadata(
    leaf: &ColumnDescPtr,
    chunk: &ColumnChunkBytes<'_>,
    page_encoding: &PageEncoding,
    statistics: Statistics,
) -> Result<ColumnChunkMetaData> {
    let stats = |page_type, encoding, count| PageEncodingStats {
        page_type,
        encoding,
        count: i32::try_from(count).unwrap_or(i32::MAX),
    };
    let mut encodings = vec![page_encoding.encoding()];
    let mut pages = vec![stats(
        PageType::DATA_PAGE,
        page_encoding.encoding(),
        chunk.pages,
    )];
    if chunk.dictionary_offset.is_some() {
        encodings.push(Encoding::PLAIN);
        // Some readers expect it first.
        pages.insert(0, stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
    }
    if leaf.max_def_level() > 0 {
        encodings.push(Encoding::RLE);
    }
    let builder = ColumnChunkMetaData::builder(ColumnDescPtr::clone(leaf))
        .set_compression(Compression::ZSTD(chunk.zstd.level()))
        .set_encodings(encodings)
        .set_page_encoding_stats(pages)
        .set_total_compressed_size(signed(chunk.compressed_bytes))
        .set_total_uncompressed_size(signed(chunk.plain_bytes))
        .set_num_values(signed(chunk.levels))
        .set_data_page_offset(signed(chunk.data_offset.unwrap_or_default()))
        .set_dictionary_page_offset(chunk.dictionary_offset.map(signed))
        .set_statistics(statistics);
    Ok(builder.build()?)
}

/// Returns the statistics of the whole leaf.
fn statistics(
    leaf: &ColumnDescPtr,
    page_encoding: &PageEncoding,
    levels: usize,
    bounds: Option<(Vec<u8>, Vec<u8>)>,
) -> Statistics {
    let (min, max) = bounds
        .map(|(min, max)| (ByteArray::from(min), ByteArray::from(max)))
        .unzip();
    let distinct = match page_encoding {
        PageEncoding::Dictionary { sorted, .. } => Some(sorted.len() as u64),
        PageEncoding::Plain(_) => None,
    };
    let nulls = Some((levels - page_encoding.len()) as u64);
    match leaf.physical_type() {
        Physical::FIXED_LEN_BYTE_ARRAY => Statistics::fixed_len_byte_array(
            min.map(Into::into),
            max.map(Into::into),
            distinct,
            nulls,
            false,
        ),
        _ => Statistics::byte_array(min, max, distinct, nulls, false),
    }
}

/// The chunk's bytes so far, and the sums that its metadata wants.
struct ColumnChunkBytes<'a> {
    sink: TrackedWrite<Vec<u8>>,
    zstd: &'a mut Zstd,
    offsets: OffsetIndexBuilder,
    dictionary_offset: Option<usize>,
    data_offset: Option<usize>,
    pages: usize,
    levels: usize,
    plain_bytes: usize,
    compressed_bytes: usize,
}

impl<'a> ColumnChunkBytes<'a> {
    fn new(zstd: &'a mut Zstd) -> Self {
        Self {
            sink: TrackedWrite::new(Vec::new()),
            zstd,
            offsets: OffsetIndexBuilder::new(),
            dictionary_offset: None,
            data_offset: None,
            pages: 0,
            levels: 0,
            plain_bytes: 0,
            compressed_bytes: 0,
        }
    }

    fn dictionary(&mut self, page: DictionaryPage) -> Result<()> {
        let plain_bytes = page.plain_bytes;
        let page = Page::DictionaryPage {
            buf: page.compressed.into(),
            num_values: unsigned(page.entries),
            encoding: Encoding::PLAIN,
            is_sorted: true,
        };
        let spec = self.write(page, plain_bytes)?;
        self.dictionary_offset = usize::try_from(spec.offset).ok();
        Ok(())
    }

    fn page(&mut self, body: &[u8], levels: usize, rows: usize, encoding: Encoding) -> Result<()> {
        let page = Page::DataPage {
            buf: self.zstd.compressed(body)?.into(),
            num_values: unsigned(levels),
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = self.write(page, body.len())?;
        let offset = usize::try_from(spec.offset).unwrap_or(usize::MAX);
        self.data_offset.get_or_insert(offset);
        self.pages += 1;
        self.levels += levels;
        self.offsets.append_row_count(signed(rows));
        let size = i32::try_from(spec.compressed_size).unwrap_or(i32::MAX);
        self.offsets.append_offset_and_size(signed(offset), size);
        Ok(())
    }

    fn write(&mut self, page: Page, plain_bytes: usize) -> Result<PageWriteSpec> {
        let page = CompressedPage::new(page, plain_bytes);
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.plain_bytes += spec.uncompressed_size;
        self.compressed_bytes += spec.compressed_size;
        Ok(spec)
    }
}

/// Levels of at most 1, with their length before them.
fn push_levels(levels: &[u32], body: &mut Vec<u8>) {
    let start = body.len();
    body.extend_from_slice(&[0; 4]);
    rle_bitpack::encode(levels, 1, body);
    let length = unsigned(body.len() - start - 4);
    body[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn boundary_order(bounds: &[(i128, i128)]) -> BoundaryOrder {
    let ordered = |before: fn(&i128, &i128) -> bool| {
        bounds
            .windows(2)
            .all(|pair| before(&pair[0].0, &pair[1].0) && before(&pair[0].1, &pair[1].1))
    };
    match (ordered(i128::le), ordered(i128::ge)) {
        (true, _) => BoundaryOrder::ASCENDING,
        (false, true) => BoundaryOrder::DESCENDING,
        (false, false) => BoundaryOrder::UNORDERED,
    }
}

/// Sizes within a row group, which is far below any limit.
fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn unsigned(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

//! Footers that are refused, and that those which mpsync writes are not.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, DictionaryArray, Int64Array, ListArray, RecordBatch, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use super::*;

fn file() -> Vec<u8> {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let price = Arc::new(Field::new("price", DataType::Int64, false));
    let levels = StructArray::from(vec![(price, Arc::clone(&numbers))]);
    let item = Arc::new(Field::new("item", levels.data_type().clone(), false));
    let offsets = OffsetBuffer::from_lengths([1, 0, 2]);
    let bids = ListArray::new(item, offsets, Arc::new(levels), None);
    let sides: DictionaryArray<Int32Type> = ["buy", "sell", "buy"].into_iter().collect();
    let batch = RecordBatch::try_from_iter([
        ("n", numbers),
        ("bids", Arc::new(bids) as ArrayRef),
        ("side", Arc::new(sides)),
    ])
    .unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A file of this footer and nothing else.
fn of_footer(footer: &[u8]) -> Vec<u8> {
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [MAGIC, footer, &length, MAGIC].concat()
}

/// A schema in which each element is the only child of the one before.
fn nested(levels: u8) -> Vec<u8> {
    // Field 1 (version): an i32 of 1; field 2: a list of structures.
    let mut footer = vec![0x15, 2, 0x19, 0xFC];
    footer.push(levels);
    for level in 0..levels {
        // Field 4 (name): "a"; field 5 (children), but for the last.
        footer.extend([0x48, 1, b'a']);
        if level + 1 < levels {
            footer.extend([0x15, 2]);
        }
        footer.push(0);
    }
    footer.push(0);
    footer
}

#[test]
fn footers_of_the_writer_pass() {
    let bytes = file();
    check_footer(&bytes).unwrap();
    let bytes = Bytes::from(bytes);
    check_dictionaries(&bytes, 3).unwrap();
    assert!(check_dictionaries(&bytes, 4).is_err());
}

#[test]
fn nesting_is_limited() {
    check_footer(&of_footer(&nested(30))).unwrap();
    let e = check_footer(&of_footer(&nested(127))).unwrap_err();
    assert!(e.to_string().contains("nested too deeply"), "{e}");
    // Structures within structures, where the library would skip them by recursion.
    let deep = [&[0x5C; 5000][..], &[0; 5001]].concat();
    assert!(check_footer(&of_footer(&deep)).is_err());
}

#[test]
fn claims_beyond_the_file_are_refused() {
    // A list of 2^31 schema elements in a few bytes.
    let list = [0x29, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0];
    assert!(check_footer(&of_footer(&list)).is_err());
    for bytes in [&b""[..], b"PAR1", b"PAR1\xff\xff\xff\xffPAR1"] {
        assert!(check_footer(bytes).is_err());
    }
}

proptest! {
    #[test]
    fn damaged_footers_do_not_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = file();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if check_footer(&bytes).is_ok() {
            let bytes = Bytes::from(bytes);
            let _ = guarded(|| check_dictionaries(&bytes, 3));
        }
    }

    #[test]
    fn any_footer_is_refused_or_read(footer in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check_footer(&of_footer(&footer));
    }
}

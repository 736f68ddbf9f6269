//! Decimals that hold more digits than their type declares. Pure.
//!
//! ClickHouse checks the digits of a `Decimal(20, 2)` when it parses text, but not when it casts: 26 digits fit into its 128 bits. Parquet
//! stores as many bytes as the declared precision needs, so that such a value would be written as another number.

use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type};
use arrow::error::ArrowError;

use mpsync_core::error::{Error, Result};

/// Refuses a batch in which a decimal has more digits than its type declares.
///
/// # Errors
///
/// An integrity error that names the column and the value.
pub(crate) fn check_precision(batch: &RecordBatch) -> Result<()> {
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        check(column.as_ref()).map_err(|e| {
            Error::integrity(format!(
                "column `{}` holds a value beyond its declared precision: {e}",
                field.name()
            ))
            .with_hint("nothing was archived or cleaned; correct the value in hot, or give the column a wider type")
        })?;
    }
    Ok(())
}

fn check(array: &dyn Array) -> std::result::Result<(), ArrowError> {
    match array.data_type() {
        DataType::Decimal32(precision, _) => array
            .as_primitive::<Decimal32Type>()
            .validate_decimal_precision(*precision),
        DataType::Decimal64(precision, _) => array
            .as_primitive::<Decimal64Type>()
            .validate_decimal_precision(*precision),
        DataType::Decimal128(precision, _) => array
            .as_primitive::<Decimal128Type>()
            .validate_decimal_precision(*precision),
        DataType::Decimal256(precision, _) => array
            .as_primitive::<Decimal256Type>()
            .validate_decimal_precision(*precision),
        DataType::List(_) => check(array.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => check(array.as_list::<i64>().values().as_ref()),
        DataType::Map(..) => check(array.as_map().entries()),
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .try_for_each(|column| check(column.as_ref())),
        DataType::Dictionary(..) => check(array.as_any_dictionary().values().as_ref()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, ListArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_decimal_beyond_its_declared_precision_is_refused_by_column_and_value() {
        fn decimals(value: i128) -> ArrayRef {
            let array = Decimal128Array::from(vec![Some(1), None, Some(value)]);
            Arc::new(array.with_precision_and_scale(20, 2).unwrap())
        }
        fn nested(value: i128) -> ArrayRef {
            let values = decimals(value);
            let item = Field::new("item", values.data_type().clone(), true);
            let offsets = OffsetBuffer::from_lengths([1, 2]);
            Arc::new(ListArray::new(Arc::new(item), offsets, values, None))
        }
        let (most, beyond) = (99_999_999_999_999_999_999, 100_000_000_000_000_000_000);
        for column in [decimals as fn(i128) -> ArrayRef, nested] {
            let batch = |value| RecordBatch::try_from_iter([("price", column(value))]).unwrap();
            check_precision(&batch(most)).unwrap();
            let e = check_precision(&batch(beyond)).unwrap_err();
            assert_eq!(e.exit_code(), mpsync_core::error::ExitCode::Integrity);
            let text = e.to_string();
            assert!(
                text.contains("`price`") && text.contains("1000000000000000000"),
                "{text}"
            );
        }
    }
}

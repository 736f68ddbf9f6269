//! The types without arguments, a row each: the place to add one.

use arrow_schema::DataType;

use super::definition::ColumnType;

/// A type without arguments.
struct PlainType {
    /// The name that the server gives it.
    name: &'static str,
    column_type: ColumnType,
    /// The Arrow type in which values are sent; `None` for types that messages cannot fill.
    arrow: Option<DataType>,
}

const fn plain(name: &'static str, column_type: ColumnType, arrow: Option<DataType>) -> PlainType {
    PlainType {
        name,
        column_type,
        arrow,
    }
}

const fn int(bits: u16) -> ColumnType {
    ColumnType::Int { bits, signed: true }
}

const fn uint(bits: u16) -> ColumnType {
    ColumnType::Int {
        bits,
        signed: false,
    }
}

static PLAIN_TYPES: [PlainType; 19] = [
    plain("Bool", ColumnType::Bool, Some(DataType::Boolean)),
    plain("Int8", int(8), Some(DataType::Int8)),
    plain("Int16", int(16), Some(DataType::Int16)),
    plain("Int32", int(32), Some(DataType::Int32)),
    plain("Int64", int(64), Some(DataType::Int64)),
    plain("Int128", int(128), None),
    plain("Int256", int(256), None),
    plain("UInt8", uint(8), Some(DataType::UInt8)),
    plain("UInt16", uint(16), Some(DataType::UInt16)),
    plain("UInt32", uint(32), Some(DataType::UInt32)),
    plain("UInt64", uint(64), Some(DataType::UInt64)),
    plain("UInt128", uint(128), None),
    plain("UInt256", uint(256), None),
    plain("Float32", ColumnType::Float32, Some(DataType::Float32)),
    plain("Float64", ColumnType::Float64, Some(DataType::Float64)),
    plain("String", ColumnType::String, Some(DataType::Utf8)),
    plain("Date", ColumnType::Date, Some(DataType::Date32)),
    plain("Date32", ColumnType::Date32, Some(DataType::Date32)),
    plain("UUID", ColumnType::Uuid, None),
];

fn find(column_type: &ColumnType) -> Option<&'static PlainType> {
    PLAIN_TYPES
        .iter()
        .find(|plain| plain.column_type == *column_type)
}

/// Returns the type of this name, if it is one without arguments.
pub(super) fn of_name(name: &str) -> Option<ColumnType> {
    let found = PLAIN_TYPES.iter().find(|plain| plain.name == name)?;
    Some(found.column_type.clone())
}

/// Returns the name of a type without arguments.
pub(super) fn name(column_type: &ColumnType) -> Option<&'static str> {
    find(column_type).map(|plain| plain.name)
}

/// Returns the Arrow type of a type without arguments that messages can fill.
pub(super) fn arrow(column_type: &ColumnType) -> Option<DataType> {
    find(column_type)?.arrow.clone()
}

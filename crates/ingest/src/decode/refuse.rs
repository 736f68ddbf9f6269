//! The making of reasons; only rejected messages come here.

use super::fault::{Fault, Flawed, ValueFlaw, display, excerpt};
use super::plan::{ColumnPlan, ResolvedSource};
use super::rejection::{Reason, ValueLocation};
use super::value::JsonItem;

/// Returns the reason for a value that does not come from a field and is out of its column's range.
#[cold]
pub(super) fn beyond(planned: &ColumnPlan, value: &dyn ToString) -> Reason {
    let field = match planned.source {
        ResolvedSource::StoredAt => "(time of storage)",
        ResolvedSource::Epoch => "(stream epoch)",
        ResolvedSource::Sequence => "(stream sequence)",
        _ => "(count)",
    };
    Reason::OutOfRange(place(planned, field.to_owned(), value.to_string()))
}

/// Returns the location of a column's refused value.
pub(super) fn place(planned: &ColumnPlan, field: String, value: String) -> ValueLocation {
    ValueLocation {
        column: planned.name.clone(),
        column_type: planned.column_type.to_string(),
        field,
        value,
    }
}

/// Returns a time in RFC 3339.
pub(super) fn written(nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(nanos.into()).map_or_else(
        |_| format!("{nanos} ns since 1970"),
        |time| time.to_string(),
    )
}

/// Returns the reason of a message for a fault inside a value.
#[cold]
pub(super) fn reason(
    planned: &ColumnPlan,
    field: &str,
    item: JsonItem<'_>,
    fault: Fault,
) -> Reason {
    let Flawed { what, path, value } = fault.into_inner();
    let field = format!("{}{}", excerpt(field), excerpt(&path));
    let value = value.unwrap_or_else(|| display(item));
    let place = |field| place(planned, field, value);
    match what {
        ValueFlaw::Json(e) => Reason::not_json(e),
        ValueFlaw::Duplicate => Reason::DuplicateField { field },
        ValueFlaw::Full => Reason::BatchFull,
        ValueFlaw::WrongType => Reason::WrongType(place(field)),
        ValueFlaw::Elements => Reason::WrongElements(place(field)),
        ValueFlaw::BadNumber => Reason::BadNumber(place(field)),
        ValueFlaw::ExcessDigits => Reason::ExcessDigits(place(field)),
        ValueFlaw::OutOfRange => Reason::OutOfRange(place(field)),
        ValueFlaw::BadTime => Reason::BadTime(place(field)),
        ValueFlaw::ImplausibleTime => Reason::ImplausibleTime {
            place: place(field),
            expected: "as a number since 1970, be it of seconds, milliseconds, microseconds or nanoseconds, it is not \
                       between 2009 and 2262"
                .to_owned(),
        },
    }
}

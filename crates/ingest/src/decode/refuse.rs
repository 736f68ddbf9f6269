//! Reasons put together: only messages that are rejected come here.

use super::fault::{Fault, Flawed, What, excerpt, shown};
use super::json::JsonError;
use super::plan::{ColumnPlan, Source};
use super::rejection::{Place, Reason};
use super::value::Item;

/// A value that does not come from a field is more than its column holds.
#[cold]
pub(super) fn beyond(planned: &ColumnPlan, value: &dyn ToString) -> Reason {
    let field = match planned.source {
        Source::StoredAt => "(time of storage)",
        Source::Epoch => "(stream epoch)",
        Source::Sequence => "(stream sequence)",
        _ => "(count)",
    };
    Reason::OutOfRange(place(planned, field.to_owned(), value.to_string()))
}

/// Where a column's value was refused.
pub(super) fn place(planned: &ColumnPlan, field: String, value: String) -> Place {
    Place {
        column: planned.name.clone(),
        column_type: planned.column_type.to_string(),
        field,
        value,
    }
}

/// A time as people read it.
pub(super) fn written(nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(nanos.into()).map_or_else(
        |_| format!("{nanos} ns since 1970"),
        |time| time.to_string(),
    )
}

/// The payload is no JSON object.
#[cold]
pub(super) fn not_json(e: JsonError) -> Reason {
    Reason::NotJson {
        what: e.flaw.text(),
        offset: e.offset as usize,
    }
}

/// A field is there twice.
#[cold]
pub(super) fn duplicate(name: &str) -> Reason {
    Reason::DuplicateField {
        field: excerpt(name),
    }
}

/// What a fault inside a value means for the message.
#[cold]
pub(super) fn reason(planned: &ColumnPlan, field: &str, item: Item<'_>, fault: Fault) -> Reason {
    let Flawed { what, path, value } = fault.into_inner();
    let field = format!("{}{}", excerpt(field), excerpt(&path));
    let value = value.unwrap_or_else(|| shown(item));
    let place = |field| place(planned, field, value);
    match what {
        What::Json(e) => not_json(e),
        What::Duplicate => Reason::DuplicateField { field },
        What::Full => Reason::BatchFull,
        What::WrongType => Reason::WrongType(place(field)),
        What::Elements => Reason::WrongElements(place(field)),
        What::BadNumber => Reason::BadNumber(place(field)),
        What::ExcessDigits => Reason::ExcessDigits(place(field)),
        What::OutOfRange => Reason::OutOfRange(place(field)),
        What::BadTime => Reason::BadTime(place(field)),
        What::ImplausibleTime => Reason::ImplausibleTime {
            place: place(field),
            expected: "as a number since 1970, be it of seconds, milliseconds, microseconds or nanoseconds, it is not \
                       between 2009 and 2262"
                .to_owned(),
        },
    }
}

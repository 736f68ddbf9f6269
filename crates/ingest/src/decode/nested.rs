//! Arrays and tuples of any element type, for the columns that are not price levels.

use super::buffers::{elements, offset};
use super::column::Column;
use super::fault::{DecodeContext, Fault, ValueFlaw};
use super::json::Scanner;
use super::value::{JsonItem, JsonKind};

/// Reads an array of elements of any type.
pub(super) fn push_list(
    offsets: &mut Vec<i32>,
    child: &mut Column,
    item: JsonItem<'_>,
    cx: &mut DecodeContext,
) -> Result<(), Fault> {
    if item.kind != JsonKind::Array {
        return Err(ValueFlaw::WrongType.into());
    }
    let mut count = elements(offsets);
    let mut scanner = Scanner::new(item.raw);
    let mut more = scanner.open_array()?;
    let mut index = 0;
    while more {
        push_or_null(child, scanner.value()?.of(item.raw), cx, || {
            format!("[{index}]")
        })?;
        index += 1;
        count += 1;
        more = scanner.more_elements()?;
    }
    offsets.push(offset(count)?);
    Ok(())
}

fn push_or_null(
    child: &mut Column,
    item: JsonItem<'_>,
    cx: &mut DecodeContext,
    path: impl Fn() -> String,
) -> Result<(), Fault> {
    if item.kind == JsonKind::Null {
        return if child.push_null() {
            Ok(())
        } else {
            Err(Fault::from(ValueFlaw::WrongType).of(item).under(&path()))
        };
    }
    child
        .push(item, cx)
        .map_err(|fault| fault.of(item).under(&path()))
}

/// A tuple from an array of exactly its elements, or from an object with exactly its names; what an object lacks is NULL.
pub(super) fn push_tuple(
    names: &[String],
    children: &mut [Column],
    item: JsonItem<'_>,
    cx: &mut DecodeContext,
) -> Result<(), Fault> {
    let mut values: Vec<Option<JsonItem<'_>>> = vec![None; children.len()];
    let mut scanner = Scanner::new(item.raw);
    match item.kind {
        JsonKind::Array => {
            let mut more = scanner.open_array()?;
            let mut index = 0;
            while more {
                let value = scanner.value()?.of(item.raw);
                *values.get_mut(index).ok_or(ValueFlaw::Elements)? = Some(value);
                index += 1;
                more = scanner.more_elements()?;
            }
            if index < values.len() {
                return Err(ValueFlaw::Elements.into());
            }
        }
        JsonKind::Object => {
            let mut more = scanner.open_object()?;
            while more {
                let key = scanner.key()?.of(item.raw);
                let key = key.string(&mut cx.scratch).unwrap_or_default();
                let place = names.iter().position(|name| name == key);
                let value = scanner.value()?.of(item.raw);
                let slot = place.and_then(|place| values.get_mut(place));
                let slot = slot.ok_or(ValueFlaw::Elements)?;
                if slot.replace(value).is_some() {
                    return Err(ValueFlaw::Duplicate.into());
                }
                more = scanner.more_members()?;
            }
        }
        _ => return Err(ValueFlaw::WrongType.into()),
    }
    for ((child, name), value) in children.iter_mut().zip(names).zip(values) {
        match value {
            Some(value) => push_or_null(child, value, cx, || format!(".{name}"))?,
            None if child.push_null() => {}
            None => return Err(ValueFlaw::Elements.into()),
        }
    }
    Ok(())
}

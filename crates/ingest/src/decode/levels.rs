//! Price levels: a book's side as an array of price and quantity.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;

use super::buffers::{elements, inconsistent, offset};
use super::decimals::Decimals;
use super::fault::{DecodeContext, Fault, ValueFlaw};
use super::json::Scanner;
use super::value::{JsonItem, JsonKind};
use mpsync_core::dataset::{BookSide, ColumnType, LevelPart};
use mpsync_core::decimal::Plain;
use mpsync_core::error::Result;

/// A column of type `Array(Tuple(price Decimal, quantity Decimal))`.
#[derive(Debug)]
pub(super) struct Levels {
    offsets: Vec<i32>,
    prices: Decimals,
    quantities: Decimals,
    /// Elements of levels beyond price and quantity, passed over since the last call of [`Levels::take_extras`].
    extras: u64,
}

impl Levels {
    /// Returns levels if the type of the array's elements is a tuple of two decimals, nameless or named so.
    pub(super) fn new(element: &ColumnType) -> Option<Self> {
        let ColumnType::Tuple(fields) = element else {
            return None;
        };
        let [(price_name, price), (quantity_name, quantity)] = &fields[..] else {
            return None;
        };
        let named = |name: &Option<String>, part| {
            name.as_deref()
                .is_none_or(|name| part_of(name) == Some(part))
        };
        if !named(price_name, LevelPart::Price) || !named(quantity_name, LevelPart::Quantity) {
            return None;
        }
        let decimals = |column_type: &ColumnType| match column_type {
            ColumnType::Decimal { precision, scale } => Some(Decimals::new(*precision, *scale)),
            _ => None,
        };
        Some(Self {
            offsets: vec![0],
            prices: decimals(price)?,
            quantities: decimals(quantity)?,
            extras: 0,
        })
    }

    pub(super) fn offsets(&self) -> &[i32] {
        &self.offsets
    }

    /// The values of one part of all levels.
    pub(super) fn part(&self, part: LevelPart) -> &Decimals {
        match part {
            LevelPart::Price => &self.prices,
            LevelPart::Quantity => &self.quantities,
        }
    }

    /// How many elements were passed over since the last call.
    pub(super) fn take_extras(&mut self) -> u64 {
        std::mem::take(&mut self.extras)
    }

    /// Reads an array of levels from the scanner's position.
    pub(super) fn push(
        &mut self,
        scanner: &mut Scanner<'_>,
        cx: &mut DecodeContext,
    ) -> Result<(), Fault> {
        if scanner.token() != Some(b'[') {
            return Err(ValueFlaw::WrongType.into());
        }
        let first = self.prices.len();
        let mut more = scanner.open_array()?;
        while more {
            match self.compact(scanner.rest()) {
                Some(read) => scanner.advance(read),
                None => self.level(scanner, cx).map_err(|fault| {
                    // The price of a level whose quantity is at fault may be there already.
                    fault.under(&format!("[{}]", self.quantities.len() - first))
                })?,
            }
            more = scanner.more_elements()?;
        }
        self.offsets.push(offset(self.prices.len())?);
        Ok(())
    }

    /// A level in the form in which nearly all come, `["price","quantity"]` without white space; how many bytes it
    /// takes. Every other form is left to [`Levels::level`].
    #[inline]
    fn compact(&mut self, rest: &[u8]) -> Option<usize> {
        let rest_of_price = rest.strip_prefix(b"[\"")?;
        let price = Plain::prefix(rest_of_price)?;
        let rest_of_quantity = rest_of_price[price.read()..].strip_prefix(b"\",\"")?;
        let quantity = Plain::prefix(rest_of_quantity)?;
        let after = rest_of_quantity[quantity.read()..].strip_prefix(b"\"]")?;
        let (price, quantity) = (self.prices.fit(price)?, self.quantities.fit(quantity)?);
        self.prices.push_fit(price);
        self.quantities.push_fit(quantity);
        Some(rest.len() - after.len())
    }

    fn level(&mut self, scanner: &mut Scanner<'_>, cx: &mut DecodeContext) -> Result<(), Fault> {
        match scanner.token() {
            Some(b'[') => self.pair(scanner, cx),
            Some(b'{') => self.object(scanner, cx),
            _ => {
                let value = scanner.value()?.of(scanner.text());
                Err(Fault::from(ValueFlaw::WrongType).of(value))
            }
        }
    }

    /// `[price, quantity, …]`: what comes after is passed over and counted.
    fn pair(&mut self, scanner: &mut Scanner<'_>, cx: &mut DecodeContext) -> Result<(), Fault> {
        let start = scanner.offset();
        let mut more = scanner.open_array()?;
        let mut count = 0_u64;
        while more {
            let value = scanner.value()?.of(scanner.text());
            match count {
                0 => push(&mut self.prices, value, cx, "[0]")?,
                1 => push(&mut self.quantities, value, cx, "[1]")?,
                _ => self.extras += 1,
            }
            count += 1;
            more = scanner.more_elements()?;
        }
        if count < 2 {
            return Err(incomplete(JsonKind::Array, scanner, start));
        }
        Ok(())
    }

    /// `{"price": …, "quantity": …}`: other members are passed over and counted.
    fn object(&mut self, scanner: &mut Scanner<'_>, cx: &mut DecodeContext) -> Result<(), Fault> {
        let start = scanner.offset();
        let (mut price, mut quantity) = (None, None);
        let mut more = scanner.open_object()?;
        while more {
            let key = scanner.key()?.of(scanner.text());
            let part = key.string(&mut cx.scratch).and_then(part_of);
            let value = scanner.value()?.of(scanner.text());
            let slot = match part {
                Some(LevelPart::Price) => &mut price,
                Some(LevelPart::Quantity) => &mut quantity,
                None => {
                    self.extras += 1;
                    more = scanner.more_members()?;
                    continue;
                }
            };
            if slot.replace((value, key.raw)).is_some() {
                let twice = Fault::from(ValueFlaw::Duplicate).of(value);
                return Err(twice.under(&format!(".{}", key.raw)));
            }
            more = scanner.more_members()?;
        }
        let (Some((price, price_key)), Some((quantity, quantity_key))) = (price, quantity) else {
            return Err(incomplete(JsonKind::Object, scanner, start));
        };
        push(&mut self.prices, price, cx, &format!(".{price_key}"))?;
        push(
            &mut self.quantities,
            quantity,
            cx,
            &format!(".{quantity_key}"),
        )
    }

    pub(super) fn push_empty(&mut self) {
        self.offsets.extend_from_within(self.offsets.len() - 1..);
    }

    /// The last row's best level among those of a quantity other than zero: the first one of the best price.
    pub(super) fn best(&self, side: BookSide) -> Option<usize> {
        let better = match side {
            BookSide::Bid => Ordering::Greater,
            BookSide::Ask => Ordering::Less,
        };
        let before = self.offsets.len().checked_sub(1)?;
        let levels = elements(&self.offsets[..before])..elements(&self.offsets);
        levels
            .filter(|&level| !self.quantities.is_zero(level))
            .reduce(|best, level| {
                if self.prices.compare(level, best) == better {
                    level
                } else {
                    best
                }
            })
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let kept = elements(&self.offsets);
        self.prices.truncate(kept);
        self.quantities.truncate(kept);
        self.extras = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.offsets[..]) + self.prices.bytes() + self.quantities.bytes()
    }

    pub(super) fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        let DataType::List(item) = data_type else {
            return Err(inconsistent(data_type));
        };
        let DataType::Struct(fields) = item.data_type() else {
            return Err(inconsistent(data_type));
        };
        let parts = vec![self.prices.finish(None)?, self.quantities.finish(None)?];
        let levels = StructArray::try_new(fields.clone(), parts, None)?;
        let mut offsets = Vec::with_capacity(self.offsets.len());
        offsets.push(0);
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, offsets).into());
        let list = ListArray::try_new(item.clone(), offsets, Arc::new(levels), None)?;
        Ok(Arc::new(list))
    }
}

/// Which part of a level a name stands for.
fn part_of(name: &str) -> Option<LevelPart> {
    match name {
        "price" => Some(LevelPart::Price),
        "quantity" | "qty" | "size" | "amount" => Some(LevelPart::Quantity),
        _ => None,
    }
}

/// Returns the fault of a level without its price or quantity, which reaches from `start` to the scanner's position.
fn incomplete(kind: JsonKind, scanner: &Scanner<'_>, start: usize) -> Fault {
    let level = JsonItem {
        kind,
        raw: &scanner.text()[start..scanner.offset()],
    };
    Fault::from(ValueFlaw::Elements).of(level)
}

fn push(
    decimals: &mut Decimals,
    value: JsonItem<'_>,
    cx: &mut DecodeContext,
    path: &str,
) -> Result<(), Fault> {
    decimals
        .push(value, cx)
        .map_err(|fault| fault.of(value).under(path))
}

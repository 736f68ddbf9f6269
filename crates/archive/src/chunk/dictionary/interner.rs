//! Values as numbers: each distinct value once, and of each value its number. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// Numbers that there is room for from the beginning.
const ROOM: usize = 1 << 15;

/// Values in the order in which they came.
#[derive(Debug)]
pub(super) struct Interner<T> {
    known: HashMap<T, u32, RandomState>,
    distinct: Vec<T>,
    numbers: Vec<u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            known: HashMap::default(),
            distinct: Vec::new(),
            numbers: Vec::new(),
        }
    }
}

impl<T: Hash + Ord + Clone> Interner<T> {
    /// Returns the number of a value, which is new or known, without adding the value.
    pub(super) fn number(&mut self, value: T) -> u32 {
        let next = self.distinct.len();
        *self.known.entry(value).or_insert_with_key(|value| {
            self.distinct.push(value.clone());
            // A row group has far fewer values.
            u32::try_from(next).unwrap_or(u32::MAX)
        })
    }

    /// Adds a value by its number.
    pub(super) fn push(&mut self, number: u32) {
        let numbers = &mut self.numbers;
        if numbers.len() == numbers.capacity() {
            // By a quarter rather than twice: a million numbers would hold the room of two.
            numbers.reserve_exact((numbers.len() / 4).max(ROOM));
        }
        numbers.push(number);
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Returns the number of distinct values.
    pub(super) fn distinct(&self) -> usize {
        self.distinct.len()
    }

    /// Returns the values.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.numbers
            .iter()
            .map(|number| &self.distinct[*number as usize])
    }

    /// Returns the distinct values in order, and for each value its index among them.
    pub(super) fn into_sorted(self) -> (Vec<T>, Vec<u32>) {
        let Self {
            known,
            distinct,
            mut numbers,
        } = self;
        drop(known);
        let mut sorted: Vec<(T, u32)> = distinct.into_iter().zip(0_u32..).collect();
        sorted.sort_unstable();
        let mut place = vec![0; sorted.len()];
        for (at, (_, number)) in (0_u32..).zip(&sorted) {
            place[*number as usize] = at;
        }
        for number in &mut numbers {
            *number = place[*number as usize];
        }
        (
            sorted.into_iter().map(|(value, _)| value).collect(),
            numbers,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_there_once_in_order_and_found_by_its_place() {
        let mut interner = Interner::default();
        let values = [30, -10, 30, 20, -10];
        for value in values {
            let number = interner.number(value);
            interner.push(number);
        }
        assert_eq!((interner.len(), interner.distinct()), (5, 3));
        assert!(interner.values().eq(&values));
        let (sorted, places) = interner.into_sorted();
        assert_eq!((sorted, places), (vec![-10, 20, 30], vec![2, 0, 2, 1, 0]));
    }
}

//! Distinct strings, numbered in order of their first appearance.

use std::hash::{BuildHasher, RandomState};

/// Strings that are given numbers from 0: a dictionary array's values, or the names of fields.
#[derive(Debug)]
pub(super) struct Interner {
    /// All strings, one after the other.
    arena: String,
    entries: Vec<Entry>,
    /// A power of two of slots, open addressing: an entry's number plus one, or 0.
    slots: Vec<u32>,
    /// Differs from process to process, so that no publisher can prepare strings that collide.
    seed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    start: usize,
    end: usize,
}

const FIRST_SLOTS: usize = 64;

impl Interner {
    pub(super) fn new() -> Self {
        Self {
            arena: String::new(),
            entries: Vec::new(),
            slots: vec![0; FIRST_SLOTS],
            seed: RandomState::new().hash_one(0_u64),
        }
    }

    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes that it occupies.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len()
            + self.entries.len() * size_of::<Entry>()
            + self.slots.len() * size_of::<u32>()
    }

    /// The string of a number that was given out.
    #[inline]
    pub(super) fn text(&self, index: usize) -> &str {
        let Entry { start, end, .. } = self.entries[index];
        &self.arena[start..end]
    }

    /// All strings, in the order of their numbers.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.text(index))
    }

    /// The number of a string, if it has one.
    #[inline]
    pub(super) fn get(&self, text: &str) -> Option<usize> {
        self.find(text, hash(self.seed, text.as_bytes())).ok()
    }

    /// The number of a string, a new one if need be.
    #[inline]
    pub(super) fn intern(&mut self, text: &str) -> usize {
        let hash = hash(self.seed, text.as_bytes());
        let slot = match self.find(text, hash) {
            Ok(index) => return index,
            Err(slot) => slot,
        };
        let start = self.arena.len();
        self.arena.push_str(text);
        self.entries.push(Entry {
            hash,
            start,
            end: self.arena.len(),
        });
        self.slots[slot] = number(self.entries.len());
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        }
        self.entries.len() - 1
    }

    /// Returns the number of a string, or the slot for it.
    #[inline]
    fn find(&self, text: &str, hash: u64) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = slot_of(hash, mask);
        loop {
            match self.slots[slot] {
                0 => return Err(slot),
                taken => {
                    let index = taken as usize - 1;
                    if self.entries[index].hash == hash && self.text(index) == text {
                        return Ok(index);
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots = vec![0; mask + 1];
        for (index, entry) in self.entries.iter().enumerate() {
            let mut slot = slot_of(entry.hash, mask);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = number(index + 1);
        }
    }

    /// Forgets the strings from number `len` on.
    ///
    /// They are removed from the last one back: the one inserted last is in no other's way.
    pub(super) fn truncate(&mut self, len: usize) {
        let mask = self.slots.len() - 1;
        while self.entries.len() > len
            && let Some(entry) = self.entries.pop()
        {
            let number = number(self.entries.len() + 1);
            let mut slot = slot_of(entry.hash, mask);
            while self.slots[slot] != number {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = 0;
            self.arena.truncate(entry.start);
        }
    }
}

/// Numbers fit 32 bits: an arena of that many strings would have ended the batch long before.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Where a hash would best go: its low bits.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn slot_of(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}

/// Eight bytes at a time, each folded by a multiplication to 128 bits.
#[inline]
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        hash = fold(hash ^ u64::from_le_bytes(*chunk));
        rest = tail;
    }
    let tail = rest
        .iter()
        .fold(0, |word, &byte| word << 8 | u64::from(byte));
    fold(hash ^ tail)
}

#[inline]
#[allow(clippy::cast_possible_truncation)]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0x9E37_79B9_7F4A_7C15;
    (product >> 64) as u64 ^ product as u64
}

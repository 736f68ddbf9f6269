//! The identity of a row: the message that it came from.
//!
//! A *position* is `(stream_epoch, stream_seq)`. The epoch is the JetStream stream's creation time in nanoseconds, or a
//! later number when the stream was found to be rewound; the sequence is JetStream's own.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The incarnation of a stream: nanoseconds since 1970 of its creation, or of the discovery that it was rewound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A row's identity: which message of which incarnation of the stream it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The stream's incarnation.
    pub epoch: Epoch,
    /// JetStream's sequence, from 1.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch.0, self.seq)
    }
}

/// An exact set of positions: a compressed bitmap for each epoch, never a range.
///
/// In JSON: an object from epoch to base64 of the portable Roaring serialization of 64-bit bitmaps
/// (<https://github.com/RoaringBitmap/RoaringFormatSpec>).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PositionSet {
    epochs: BTreeMap<Epoch, RoaringTreemap>,
}

impl PositionSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a position; `false` when it was there already.
    pub fn insert(&mut self, position: Position) -> bool {
        self.epochs
            .entry(position.epoch)
            .or_default()
            .insert(position.seq)
    }

    /// Whether the position is in the set.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.epochs
            .get(&position.epoch)
            .is_some_and(|seqs| seqs.contains(position.seq))
    }

    /// How many positions there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.epochs.values().map(RoaringTreemap::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.epochs.values().all(RoaringTreemap::is_empty)
    }

    /// How many positions both sets hold.
    #[must_use]
    pub fn intersection_len(&self, other: &Self) -> u64 {
        self.epochs
            .iter()
            .filter_map(|(epoch, seqs)| {
                other
                    .epochs
                    .get(epoch)
                    .map(|theirs| seqs.intersection_len(theirs))
            })
            .sum()
    }

    /// Adds all positions of another set.
    pub fn extend(&mut self, other: &Self) {
        for (epoch, seqs) in &other.epochs {
            *self.epochs.entry(*epoch).or_default() |= seqs;
        }
    }

    /// The epochs with the bitmap of their sequences, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = (Epoch, &RoaringTreemap)> {
        self.epochs.iter().map(|(epoch, seqs)| (*epoch, seqs))
    }

    /// All positions, in order.
    pub fn iter(&self) -> impl Iterator<Item = Position> + '_ {
        self.epochs
            .iter()
            .flat_map(|(&epoch, seqs)| seqs.iter().map(move |seq| Position { epoch, seq }))
    }
}

impl FromIterator<Position> for PositionSet {
    fn from_iter<I: IntoIterator<Item = Position>>(positions: I) -> Self {
        let mut set = Self::new();
        for position in positions {
            set.insert(position);
        }
        set
    }
}

impl Serialize for PositionSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded =
            self.epochs
                .iter()
                .filter(|(_, seqs)| !seqs.is_empty())
                .map(|(epoch, seqs)| {
                    let mut bytes = Vec::with_capacity(seqs.serialized_size());
                    // Writing to memory cannot fail.
                    let written = seqs
                        .serialize_into(&mut bytes)
                        .map(|()| STANDARD.encode(bytes));
                    (epoch.0.to_string(), written)
                });
        let mut map = BTreeMap::new();
        for (epoch, text) in encoded {
            map.insert(epoch, text.map_err(serde::ser::Error::custom)?);
        }
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PositionSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        let decode = |(epoch, text): (String, String)| -> Result<_> {
            let number = epoch
                .parse()
                .map_err(|_| Error::malformed(format!("invalid stream epoch `{epoch}`")))?;
            let bytes = STANDARD
                .decode(text)
                .map_err(|e| Error::malformed(format!("positions of {epoch}: {e}")))?;
            let seqs = RoaringTreemap::deserialize_from(bytes.as_slice())
                .map_err(|e| Error::malformed(format!("positions of {epoch}: {e}")))?;
            Ok((Epoch(number), seqs))
        };
        let epochs = map
            .into_iter()
            .map(decode)
            .collect::<Result<_>>()
            .map_err(serde::de::Error::custom)?;
        Ok(Self { epochs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_positions_survives_json_and_tells_members_from_gaps() {
        let at = |epoch, seq| Position {
            epoch: Epoch(epoch),
            seq,
        };
        let set: PositionSet = [at(1, 5), at(1, 6), at(1, u64::MAX), at(7, 5)]
            .into_iter()
            .collect();
        let json = serde_json::to_string(&set).unwrap();
        let back: PositionSet = serde_json::from_str(&json).unwrap();
        assert_eq!(set, back);
        assert_eq!(back.len(), 4);
        assert!(back.contains(at(7, 5)) && !back.contains(at(7, 6)));
        assert_eq!(
            back.iter().collect::<Vec<_>>(),
            [at(1, 5), at(1, 6), at(1, u64::MAX), at(7, 5)]
        );
    }

    #[test]
    fn a_position_twice_is_noticed() {
        let mut set = PositionSet::new();
        let position = Position {
            epoch: Epoch(1),
            seq: 9,
        };
        assert!(set.insert(position));
        assert!(!set.insert(position));
    }
}

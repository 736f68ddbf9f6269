//! The epochs of a stream's sequences. Pure.
//!
//! A stream begins with the epoch of its creation. A server that lost the tail of the stream issues the same sequences
//! again to other messages. A new epoch begins at the first such sequence; the sequences before it keep their epoch. The
//! history is stored in the metadata of the durable consumer, so that it is known when hot holds no row of it.

use std::fmt;

use mpsync_core::dataset::{Epoch, Position};
use mpsync_core::error::{Error, Result};

/// The epochs of a stream, each with its first sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EpochHistory {
    /// Ascending in both; never empty; the first begins at sequence 1.
    spans: Vec<(u64, Epoch)>,
}

impl EpochHistory {
    /// Returns the history of a stream that was never rewound.
    pub(crate) fn new(created: Epoch) -> Self {
        Self {
            spans: vec![(1, created)],
        }
    }

    /// Parses the text that [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::malformed(format!(
                "invalid history of stream epochs `{}`",
                text.escape_debug()
            ))
        };
        let mut spans: Vec<(u64, Epoch)> = Vec::new();
        for part in text.split(',') {
            let (from, epoch) = part.split_once(':').ok_or_else(bad)?;
            let from: u64 = from.parse().map_err(|_| bad())?;
            let epoch = Epoch(epoch.parse().map_err(|_| bad())?);
            let ascends = spans.last().map_or(from == 1, |&(last_from, last)| {
                last_from <= from && last < epoch
            });
            if !ascends {
                return Err(bad());
            }
            spans.push((from, epoch));
        }
        if spans.is_empty() {
            return Err(bad());
        }
        Ok(Self { spans })
    }

    /// Returns the epoch of the stream's creation.
    pub(crate) fn created(&self) -> Epoch {
        self.spans[0].1
    }

    /// Returns the epoch of new messages.
    pub(crate) fn current(&self) -> Epoch {
        self.spans[self.spans.len() - 1].1
    }

    /// Returns the first sequence of the current epoch.
    pub(crate) fn current_from(&self) -> u64 {
        self.spans[self.spans.len() - 1].0
    }

    /// Returns the position of a sequence.
    pub(crate) fn position(&self, seq: u64) -> Position {
        let epoch = self
            .spans
            .iter()
            .rev()
            .find(|(from, _)| *from <= seq)
            .map_or(self.created(), |(_, epoch)| *epoch);
        Position { epoch, seq }
    }

    /// Begins an epoch at a sequence. Spans that would lie wholly behind it are removed: their sequences are issued again.
    ///
    /// `epoch` must be greater than the current one.
    pub(crate) fn begin(&mut self, from: u64, epoch: Epoch) {
        while self.spans.len() > 1 && self.current_from() >= from {
            self.spans.pop();
        }
        if from <= 1 {
            self.spans.clear();
        }
        self.spans.push((from.max(1), epoch));
    }
}

impl fmt::Display for EpochHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (from, epoch)) in self.spans.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{from}:{}", epoch.0)?;
        }
        Ok(())
    }
}

/// The result of comparing a held row with the message that now has its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceCheck {
    /// The message at this sequence has the time of the row.
    Same,
    /// It has another time: the sequence was issued again.
    Other,
    /// The stream ends before it: the sequence will be issued again.
    BeyondEnd,
    /// The stream no longer holds the message: nothing is proved.
    Gone,
}

/// Compares the time of a held row with the stream.
pub(crate) fn check_sequence(
    held_seq: u64,
    held_nanos: i64,
    stream_last_seq: u64,
    message_nanos: Option<i64>,
) -> SequenceCheck {
    if held_seq > stream_last_seq {
        return SequenceCheck::BeyondEnd;
    }
    match message_nanos {
        None => SequenceCheck::Gone,
        Some(nanos) if nanos == held_nanos => SequenceCheck::Same,
        Some(_) => SequenceCheck::Other,
    }
}

impl SequenceCheck {
    /// Returns whether the sequence now belongs to another message than the row's.
    pub(crate) fn is_rewind(self) -> bool {
        matches!(self, Self::Other | Self::BeyondEnd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_before_a_rewind_keep_their_epoch() {
        let mut history = EpochHistory::new(Epoch(100));
        history.begin(51, Epoch(200));
        assert_eq!(history.position(50).epoch, Epoch(100));
        assert_eq!(history.position(51).epoch, Epoch(200));
        assert_eq!(history.current(), Epoch(200));
        assert_eq!(history.current_from(), 51);
        let text = history.to_string();
        assert_eq!(text, "1:100,51:200");
        assert_eq!(EpochHistory::parse(&text).unwrap(), history);
    }

    #[test]
    fn earlier_rewind_replaces_a_later_one() {
        let mut history = EpochHistory::new(Epoch(100));
        history.begin(51, Epoch(200));
        history.begin(40, Epoch(300));
        assert_eq!(history.to_string(), "1:100,40:300");
        history.begin(1, Epoch(400));
        assert_eq!(history.to_string(), "1:400");
        assert_eq!(history.created(), Epoch(400));
    }

    #[test]
    fn invalid_history_is_refused() {
        for text in [
            "", "x", "1", "2:5", "1:5,", "1:5,9:4", "1:5,0:6", "1:-5", "1:5;2:6",
        ] {
            assert!(EpochHistory::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rewind_is_another_time_or_a_missing_tail() {
        assert!(check_sequence(10, 5, 9, None).is_rewind());
        assert!(check_sequence(10, 5, 20, Some(6)).is_rewind());
        assert!(!check_sequence(10, 5, 20, Some(5)).is_rewind());
        assert!(!check_sequence(10, 5, 20, None).is_rewind());
    }
}

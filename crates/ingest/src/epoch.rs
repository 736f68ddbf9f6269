//! Which epoch a stream's sequences belong to. Pure.
//!
//! A stream begins with the epoch of its creation. When a server lost the stream's tail, it issues the same sequences
//! again to other messages; from the first such sequence on a new epoch counts, while the sequences before it keep theirs.
//! So that the history is known when hot holds nothing of it, it is kept in the metadata of the durable consumer.

use std::fmt;

use mpsync_core::dataset::{Epoch, Position};
use mpsync_core::error::{Error, Result};

/// From which sequence on which epoch counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EpochHistory {
    /// Ascending in both; never empty, and the first begins at sequence 1.
    spans: Vec<(u64, Epoch)>,
}

impl EpochHistory {
    /// Of a stream that was never rewound.
    pub(super) fn new(created: Epoch) -> Self {
        Self {
            spans: vec![(1, created)],
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::malformed(format!(
                "`{}` is no history of stream epochs",
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

    /// The epoch of the stream's creation.
    pub(super) fn created(&self) -> Epoch {
        self.spans[0].1
    }

    /// The epoch of new messages.
    pub(super) fn current(&self) -> Epoch {
        self.spans[self.spans.len() - 1].1
    }

    /// From which sequence on the current epoch counts.
    pub(super) fn current_from(&self) -> u64 {
        self.spans[self.spans.len() - 1].0
    }

    /// A sequence as a position.
    pub(super) fn position(&self, seq: u64) -> Position {
        let epoch = self
            .spans
            .iter()
            .rev()
            .find(|(from, _)| *from <= seq)
            .map_or(self.created(), |(_, epoch)| *epoch);
        Position { epoch, seq }
    }

    /// Begins an epoch at a sequence. Spans that would lie wholly behind it are forgotten: their sequences are re-issued.
    ///
    /// `epoch` must be greater than the current one.
    pub(super) fn begin(&mut self, from: u64, epoch: Epoch) {
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

/// What is known about a held row and the message that now bears its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SequenceCheck {
    /// The stream's message at this sequence has the row's time.
    Same,
    /// It has another time: the sequence was issued again.
    Other,
    /// The stream ends before it: the sequence will be issued again.
    BeyondEnd,
    /// The stream no longer holds it: it proves nothing.
    Gone,
}

/// Holds a held row's time against the stream.
pub(super) fn check_sequence(
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
    /// Whether the sequence belongs to another message than the row's.
    pub(super) fn is_rewind(self) -> bool {
        matches!(self, Self::Other | Self::BeyondEnd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewound_stream_keeps_the_epoch_of_what_it_kept() {
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
    fn a_second_rewind_before_the_first_takes_its_place() {
        let mut history = EpochHistory::new(Epoch(100));
        history.begin(51, Epoch(200));
        history.begin(40, Epoch(300));
        assert_eq!(history.to_string(), "1:100,40:300");
        history.begin(1, Epoch(400));
        assert_eq!(history.to_string(), "1:400");
        assert_eq!(history.created(), Epoch(400));
    }

    #[test]
    fn a_damaged_history_is_refused() {
        for text in [
            "", "x", "1", "2:5", "1:5,", "1:5,9:4", "1:5,0:6", "1:-5", "1:5;2:6",
        ] {
            assert!(EpochHistory::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_another_time_or_a_missing_tail_is_a_rewind() {
        assert!(check_sequence(10, 5, 9, None).is_rewind());
        assert!(check_sequence(10, 5, 20, Some(6)).is_rewind());
        assert!(!check_sequence(10, 5, 20, Some(5)).is_rewind());
        assert!(!check_sequence(10, 5, 20, None).is_rewind());
    }
}

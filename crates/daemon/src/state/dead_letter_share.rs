//! Whether an unusual share of messages become dead letters. Pure: times are parameters.
//!
//! Single dead letters are normal: exchanges send odd messages. A share of 1 %, or a reason that has not occurred before, means
//! that a collector or a dataset's definition has changed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use mpsync_ingest::DatasetIngestReport;

/// The length of the window over which dead letters are counted.
const WINDOW_MS: i64 = 15 * 60 * 1000;
/// The interval of the samples that are kept.
const SAMPLE_MS: i64 = 15 * 1000;
/// One dead letter in this many messages is unusual.
const SHARE: u64 = 100;
/// This many dead letters with a new reason are unusual, whatever their share.
const NEW_REASON: u64 = 10;
/// The maximum number of reasons that the text names for each dataset.
const REASONS_MAX: usize = 5;

/// The counters of a dataset at one time.
#[derive(Debug, Clone, Default)]
struct Counters {
    messages: u64,
    by_reason: BTreeMap<String, u64>,
}

/// The counters of all datasets over the last window.
#[derive(Debug, Default)]
pub(crate) struct DeadLetterShare {
    /// Oldest first; the first one is at or before the beginning of the window.
    samples: VecDeque<(i64, BTreeMap<String, Counters>)>,
}

/// The dead letters of a dataset with an unusual number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnusualDeadLetters {
    pub(crate) dataset: String,
    /// The messages in the window, dead letters included.
    pub(crate) messages: u64,
    /// The dead letters in the window by reason, most frequent first.
    pub(crate) by_reason: Vec<(String, u64)>,
}

impl UnusualDeadLetters {
    /// Returns the number of dead letters.
    pub(crate) fn total(&self) -> u64 {
        self.by_reason.iter().map(|(_, n)| n).sum()
    }
}

impl fmt::Display for UnusualDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} messages (",
            self.dataset,
            self.total(),
            self.messages
        )?;
        for (number, (reason, n)) in self.by_reason.iter().take(REASONS_MAX).enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{n} × {reason}")?;
        }
        match self.by_reason.len().saturating_sub(REASONS_MAX) {
            0 => f.write_str(")"),
            more => write!(f, ", {more} more reasons)"),
        }
    }
}

impl DeadLetterShare {
    /// Samples the counters.
    pub(crate) fn sample(&mut self, unix_ms: i64, reports: &[DatasetIngestReport]) {
        // A clock that was set back: samples of the future would never leave the window.
        self.samples.retain(|(at, _)| *at <= unix_ms);
        let is_due = match self.samples.back() {
            Some((last, _)) => unix_ms - last >= SAMPLE_MS,
            None => true,
        };
        if is_due {
            self.samples.push_back((unix_ms, counters(reports)));
        }
        // One sample before the window is its beginning.
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| *at <= unix_ms - WINDOW_MS)
        {
            self.samples.pop_front();
        }
    }

    /// Returns the datasets with an unusual number of dead letters in the last window.
    pub(crate) fn unusual(&self, reports: &[DatasetIngestReport]) -> Vec<UnusualDeadLetters> {
        let none = Counters::default();
        let begin = self.samples.front().map(|(_, counters)| counters);
        let unusual = counters(reports).into_iter().filter_map(|(dataset, now)| {
            let before = begin.and_then(|all| all.get(&dataset)).unwrap_or(&none);
            let messages = now.messages.saturating_sub(before.messages);
            let mut has_new_reason = false;
            let mut by_reason = Vec::new();
            for (reason, count) in now.by_reason {
                let known = before.by_reason.get(&reason).copied().unwrap_or(0);
                let new = count.saturating_sub(known);
                has_new_reason |= known == 0 && new >= NEW_REASON;
                if new > 0 {
                    by_reason.push((reason, new));
                }
            }
            by_reason.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
            let found = UnusualDeadLetters {
                dataset,
                messages,
                by_reason,
            };
            let letters = found.total();
            let is_large_share = letters > 0 && letters.saturating_mul(SHARE) >= messages;
            (is_large_share || has_new_reason).then_some(found)
        });
        unusual.collect()
    }
}

fn counters(reports: &[DatasetIngestReport]) -> BTreeMap<String, Counters> {
    let of_dataset = |report: &DatasetIngestReport| {
        let counters = Counters {
            messages: report.messages,
            by_reason: report.dead_letters.clone(),
        };
        (report.dataset.clone(), counters)
    };
    reports.iter().map(of_dataset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(messages: u64, letters: &[(&str, u64)]) -> Vec<DatasetIngestReport> {
        let letters = letters.iter().map(|(reason, n)| ((*reason).to_owned(), *n));
        vec![DatasetIngestReport {
            dataset: "trades".to_owned(),
            messages,
            dead_letters: letters.collect(),
            ..DatasetIngestReport::default()
        }]
    }

    fn texts(share: &DeadLetterShare, reports: &[DatasetIngestReport]) -> Vec<String> {
        share
            .unusual(reports)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn one_percent_of_the_window_is_unusual() {
        let mut share = DeadLetterShare::default();
        share.sample(0, &report(1_000_000, &[("column price", 500)]));
        let usual = report(1_000_900, &[("column price", 508)]);
        assert_eq!(texts(&share, &usual), [""; 0]);
        let unusual = report(1_000_900, &[("column price", 509)]);
        assert_eq!(
            texts(&share, &unusual),
            ["trades: 9 of 900 messages (9 × column price)"]
        );
    }

    #[test]
    fn the_first_ten_of_a_reason_are_unusual_whatever_their_share() {
        let mut share = DeadLetterShare::default();
        share.sample(0, &report(0, &[]));
        assert_eq!(texts(&share, &report(100_000, &[("no_json", 9)])), [""; 0]);
        assert_eq!(
            texts(&share, &report(100_000, &[("no_json", 10)])),
            ["trades: 10 of 100000 messages (10 × no_json)"]
        );
        // A quarter of an hour later the reason is known, and its share is small.
        for minute in 0..=16 {
            share.sample(minute * 60_000, &report(100_000, &[("no_json", 10)]));
        }
        assert_eq!(
            texts(&share, &report(200_000, &[("no_json", 100)])),
            [""; 0]
        );
        assert!(share.samples.len() <= 17);
    }

    #[test]
    fn all_messages_of_a_first_try_are_unusual_and_grouped_by_reason() {
        let mut share = DeadLetterShare::default();
        share.sample(0, &report(0, &[]));
        let letters = [
            ("column price", 2_997),
            ("column ts", 1_000),
            ("a", 1),
            ("b", 1),
            ("c", 1),
            ("d", 1),
        ];
        assert_eq!(
            texts(&share, &report(4_001, &letters)),
            [
                "trades: 4001 of 4001 messages (2997 × column price, 1000 × column ts, 1 × a, 1 × b, 1 × c, 1 more reasons)"
            ]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_freeze_the_window() {
        let mut share = DeadLetterShare::default();
        share.sample(10_000_000, &report(0, &[]));
        share.sample(0, &report(1_000, &[("x", 100)]));
        assert_eq!(texts(&share, &report(1_000, &[("x", 100)])), [""; 0]);
    }
}

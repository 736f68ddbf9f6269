//! The entries of a window's journal that later ones have superseded. Pure.

use std::collections::{BTreeSet, HashMap};
use std::mem::{Discriminant, discriminant};

use crate::window::task::{Event, JournalEntry};

/// The numbers of the entries that later ones have superseded, from all entries that can be read, in order.
///
/// The remaining entries answer every question: the status of the window, its last proven stage, which attempts may be asleep. They
/// also hold the history of the newest attempt, and the highest number, since no number may be used twice.
pub(super) fn superseded(entries: &[(u64, JournalEntry)]) -> BTreeSet<u64> {
    // The newest of each kind: whatever is asked of a journal is asked of those.
    let mut kept: HashMap<Discriminant<Event>, u64> = HashMap::new();
    for (number, entry) in entries {
        kept.insert(discriminant(&entry.event), *number);
    }
    let attempt = entries.iter().map(|(_, entry)| entry.attempt).max();
    let fence = entries
        .iter()
        .filter(|(_, entry)| entry.event == Event::Fenced)
        .max_by_key(|(_, entry)| entry.attempt);
    let fenced = fence.map_or(0, |(_, entry)| entry.attempt);
    let stays = |number: u64, entry: &JournalEntry| {
        kept.values().any(|kept| *kept == number)
            || fence.is_some_and(|(fence, _)| *fence == number)
            || Some(entry.attempt) == attempt
            || (entry.event.ends_attempt() && entry.attempt >= fenced)
    };
    entries
        .iter()
        .filter(|(number, entry)| !stays(*number, entry))
        .map(|(number, _)| *number)
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rand::RngExt as _;
    use rand::SeedableRng as _;

    use super::*;
    use crate::window::task::{JournalVerdict, Stage, Status, may_be_asleep};

    fn event(kind: u32) -> Event {
        let ended = |status| Event::Ended {
            status,
            error: None,
            hint: None,
        };
        match kind {
            0 => Event::Reached {
                stage: Stage::Archived,
            },
            1 => Event::Reached {
                stage: Stage::Verified,
            },
            2 => Event::Fenced,
            3 => ended(Status::Done),
            4 => ended(Status::Halted),
            5 => Event::Retried,
            6 => Event::Cancelled,
            _ => Event::Tended {
                what: String::new(),
            },
        }
    }

    fn conclusions(entries: &[(u64, JournalEntry)]) -> (Option<Event>, Option<Event>, Vec<u64>) {
        let last = |says: fn(&Event) -> bool| {
            let found = entries.iter().rev().find(|(_, e)| says(&e.event));
            found.map(|(_, e)| e.event.clone())
        };
        let plain: Vec<_> = entries.iter().map(|(_, e)| e.clone()).collect();
        let next = 20;
        (
            last(|e| JournalVerdict::said_by(e).is_some()),
            last(|e| matches!(e, Event::Reached { .. })),
            may_be_asleep(next, &plain),
        )
    }

    #[test]
    fn what_is_left_of_any_journal_says_all_that_the_whole_one_said() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let mut swept = 0;
        for _ in 0..500 {
            let mut attempt = 1;
            let entries: Vec<(u64, JournalEntry)> = (1..rng.random_range(2..40))
                .map(|number| {
                    attempt += u64::from(rng.random_bool(0.3));
                    let entry = JournalEntry {
                        attempt: attempt.min(19),
                        at: Timestamp::UNIX_EPOCH,
                        holder: "h".into(),
                        event: event(rng.random_range(0..8)),
                    };
                    (number, entry)
                })
                .collect();
            let gone = superseded(&entries);
            swept += gone.len();
            let mut left = entries.clone();
            left.retain(|(number, _)| !gone.contains(number));
            assert_eq!(conclusions(&left), conclusions(&entries), "{entries:?}");
            assert_eq!(left.last(), entries.last());
            assert_eq!(superseded(&left).len(), 0, "one sweep is enough");
        }
        assert!(swept > 1000, "{swept}");
    }
}

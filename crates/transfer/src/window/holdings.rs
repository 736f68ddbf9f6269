//! Which generations a tier holds of a window, told by fingerprints. Pure.
//!
//! Fingerprints add up, so that the fingerprint of a window names the generations that make it up: each subset has a sum
//! of its own (two with the same sum would be a collision of 64 bits, or generations of identical rows, between which
//! there is nothing to tell).

use mpsync_archive::Manifest;
use mpsync_core::fingerprint::Fingerprint;

/// Up to how many generations all subsets are tried; beyond it only the first n of them, which is how they are loaded.
const SUBSETS_OF: usize = 16;

/// The fingerprint of all rows of these generations.
pub(crate) fn total(generations: &[Manifest]) -> Fingerprint {
    generations.iter().map(|m| m.fingerprint).sum()
}

/// Which of these generations make up `held`: one flag each, or `None` where no choice of them does.
#[must_use]
pub(crate) fn held_generations(
    held: Fingerprint,
    generations: &[Fingerprint],
) -> Option<Vec<bool>> {
    let count = generations.len();
    // The first n, as a load that was interrupted between generations leaves them.
    let mut sum = Fingerprint::default();
    for n in 0..=count {
        if sum == held {
            return Some((0..count).map(|i| i < n).collect());
        }
        if let Some(next) = generations.get(n) {
            sum = sum + *next;
        }
    }
    if count > SUBSETS_OF {
        return None;
    }
    (0_u32..1 << count)
        .map(|subset| {
            (0..count)
                .map(|i| subset & (1 << i) != 0)
                .collect::<Vec<_>>()
        })
        .find(|chosen| {
            let parts = generations.iter().zip(chosen).filter(|(_, held)| **held);
            parts.map(|(g, _)| *g).sum::<Fingerprint>() == held
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: u64, sum: u64) -> Fingerprint {
        Fingerprint { rows, sum }
    }

    #[test]
    fn the_generations_that_a_tier_holds_follow_from_their_sum() {
        let generations = [of(10, u64::MAX), of(2, 7), of(1, 9)];
        for held in [
            [false, false, false],
            [true, false, false],
            [true, true, true],
            [false, true, false],
            [true, false, true],
        ] {
            let sum = generations
                .iter()
                .zip(held)
                .filter(|(_, h)| *h)
                .map(|(g, _)| *g)
                .sum();
            assert_eq!(held_generations(sum, &generations), Some(held.to_vec()));
        }
        assert_eq!(held_generations(of(11, 3), &generations), None);
        assert_eq!(
            held_generations(of(20, u64::MAX - 1), &generations),
            None,
            "doubled rows"
        );
        assert_eq!(held_generations(of(0, 0), &[]), Some(vec![]));
        assert_eq!(held_generations(of(1, 0), &[]), None);
    }

    #[test]
    fn many_generations_are_recognised_as_far_as_they_were_loaded_in_order() {
        let generations: Vec<_> = (1..=40).map(|n| of(n, n * 1_000_003)).collect();
        let first: Fingerprint = generations[..25].iter().copied().sum();
        let held = held_generations(first, &generations).unwrap();
        assert_eq!(held.iter().filter(|h| **h).count(), 25);
    }
}

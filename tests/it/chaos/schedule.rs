//! The schedule of failures: targets, kinds and times, all derived from a seed.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A process that is killed or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Daemon,
    Engine,
    Nats,
}

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// `kill -9`; after a while it starts again on the same data.
    Kill(Victim, Duration),
    /// `SIGSTOP`, and after a while `SIGCONT`.
    Stall(Victim, Duration),
    /// The daemon is stopped, a second one takes over, and after a while the first one wakes up.
    SecondDaemon(Duration),
}

impl Blow {
    /// Returns the name under which failures of this kind are counted.
    pub(super) fn name(self) -> String {
        match self {
            Self::Kill(victim, _) => format!("kill {victim:?}"),
            Self::Stall(victim, _) => format!("stall {victim:?}"),
            Self::SecondDaemon(_) => "second daemon".into(),
        }
    }
}

/// A blow, and how long everything may run before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) pause: Duration,
    pub(super) blow: Blow,
    /// Whether rows must have landed since the last blow before this one is dealt.
    pub(super) after_progress: bool,
}

/// The steps that follow from a seed.
pub(super) fn schedule(seed: u64, blows: usize) -> Vec<Step> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..blows).map(|_| step(&mut random)).collect()
}

fn step(random: &mut ChaCha8Rng) -> Step {
    // Now and then at once, so that several things are broken at a time.
    let pause = match random.random_range(0..4) {
        0 => Duration::ZERO,
        _ => millis(random, 10, 500),
    };
    let victim = match random.random_range(0..8) {
        0..=3 => Victim::Daemon,
        4..=5 => Victim::Engine,
        _ => Victim::Nats,
    };
    let blow = match random.random_range(0..10) {
        0..=5 => Blow::Kill(victim, millis(random, 0, 200)),
        // Longer than a request may take and than an acknowledgement is waited for.
        6 => Blow::Stall(victim, millis(random, 2_200, 2_800)),
        7..=8 => Blow::Stall(victim, millis(random, 20, 400)),
        _ => Blow::SecondDaemon(millis(random, 0, 300)),
    };
    Step {
        pause,
        blow,
        after_progress: random.random_range(0..3) == 0,
    }
}

fn millis(random: &mut ChaCha8Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from..to))
}

#[test]
fn the_same_seed_makes_the_same_schedule_and_every_blow_is_in_it() {
    let shown = |seed| format!("{:?}", schedule(seed, 60));
    assert_eq!(shown(1), shown(1));
    assert_ne!(shown(1), shown(2));
    let names: std::collections::BTreeSet<String> =
        schedule(1, 60).iter().map(|s| s.blow.name()).collect();
    assert_eq!(names.len(), 7, "{names:?}");
}

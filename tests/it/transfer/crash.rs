//! A process can stop at any instruction.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::support::transfer::World;

/// How often the program is killed in one test.
const KILLS: u32 = 12;

#[test]
fn killing_a_sync_at_any_moment_and_starting_it_again_ends_in_the_same_state() {
    let seed = 20_260_101;
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let arguments = ["sync", "--dataset", "trades", "--cleanup"];
    let world = World::new();
    let mut next = 1;
    let mut fill = |world: &World, hours: std::ops::Range<u64>| {
        for hour in hours {
            world.insert_trades("trades", &format!("2026-01-01 {hour:02}"), next, 2_000);
            next += 2_000;
        }
    };
    // How long it takes undisturbed: the kills are spread over that.
    fill(&world, 0..3);
    let started = Instant::now();
    world.succeed(&arguments);
    let whole = started.elapsed();
    for kill in 0..KILLS {
        // Late rows for windows that were cleaned, and rows for new ones.
        fill(&world, u64::from(kill % 20)..u64::from(kill % 20) + 3);
        let mut child = world.command(&arguments).spawn().unwrap();
        let after = whole.mul_f64(f64::from(random.next_u32()) / f64::from(u32::MAX));
        std::thread::sleep(after.max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it left is swept before, after or while the next one works.
        if kill % 3 == 0 {
            world.succeed(&["gc", "--older-than", "0s"]);
        }
    }
    world.succeed(&arguments);
    let expected = next - 1;
    let counts = world.sql("SELECT count(), uniqExact(stream_epoch, stream_seq), min(stream_seq), max(stream_seq) FROM cold.trades");
    assert_eq!(counts, format!("{expected}\t{expected}\t1\t{expected}"));
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    // What a killed run made for a comparison that no later one needed is left to the sweep.
    world.succeed(&["gc", "--older-than", "0s"]);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

//! Two workers on one archive, killed and stopped at any moment, again and again; some of those that are stopped sleep until
//! the other has taken their window over.
//!
//! The blows follow from a seed, which is printed: `MPSYNC_SEED` repeats one, `MPSYNC_KILLS` makes it longer.

use std::process::Child;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rustix::process::Signal;

use crate::support::transfer::World;
use crate::support::{PATIENCE, signal};

/// Blows where `MPSYNC_KILLS` does not say how many.
const BLOWS: u64 = 50;
/// Of so many blows one puts a worker to sleep until it is overtaken.
const SLEEPERS: u32 = 10;
const ARGUMENTS: [&str; 4] = ["sync", "--dataset", "trades", "--cleanup"];

/// The workers, what was ingested so far, and what comes next.
struct Arena {
    world: World,
    random: ChaCha8Rng,
    workers: [Child; 2],
    next: u64,
    killed: u32,
    stopped: u32,
    overtaken: u32,
}

fn worker(world: &World) -> Child {
    let mut command = world.command(&ARGUMENTS);
    // Its output is not read.
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

impl Arena {
    fn start(seed: u64) -> Self {
        let world = World::with("sync: {lease_seconds: 0.5}");
        Self {
            workers: [worker(&world), worker(&world)],
            world,
            random: ChaCha8Rng::seed_from_u64(seed),
            next: 1,
            killed: 0,
            stopped: 0,
            overtaken: 0,
        }
    }

    fn blows(&self) -> u32 {
        self.killed + self.stopped + self.overtaken
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// Rows for some hours: new ones, and late ones for windows that were archived or cleaned.
    fn ingest(&mut self) {
        for _ in 0..3 {
            let hour = self.below(8);
            let count = 1 + self.below(800);
            let hour = format!("2026-01-01 {hour:02}");
            self.world.insert_trades("trades", &hour, self.next, count);
            self.next += count;
        }
    }

    /// Starts a worker again where it has ended.
    fn tend(&mut self) {
        for one in &mut self.workers {
            if one.try_wait().unwrap().is_some() {
                *one = worker(&self.world);
            }
        }
    }

    fn blow(&mut self) {
        self.tend();
        std::thread::sleep(Duration::from_millis(self.below(450)));
        let victim = usize::try_from(self.below(2)).unwrap();
        if self.workers[victim].try_wait().unwrap().is_some() {
            return;
        }
        if self.blows() % SLEEPERS == SLEEPERS - 1 {
            self.put_to_sleep(victim);
        } else if self.below(5) < 3 {
            self.workers[victim].kill().unwrap();
            self.workers[victim].wait().unwrap();
            self.killed += 1;
        } else {
            let asleep = Duration::from_millis(20 + self.below(400));
            signal(Some(&self.workers[victim]), Signal::STOP);
            std::thread::sleep(asleep);
            signal(Some(&self.workers[victim]), Signal::CONT);
            self.stopped += 1;
        }
    }
}

impl Arena {
    /// Stops a worker that has a window, and lets it go on when the other has taken that window over.
    fn put_to_sleep(&mut self, victim: usize) {
        signal(Some(&self.workers[victim]), Signal::STOP);
        let held = self.world.leases_of(self.workers[victim].id());
        if let Some((folder, _)) = held.first() {
            // So that there is something to be done in it.
            let hour = folder
                .file_name()
                .unwrap()
                .to_string_lossy()
                .replace('T', " ");
            self.world.insert_trades("trades", &hour, self.next, 1);
            self.next += 1;
        }
        let begun = Instant::now();
        while let Some((folder, attempt)) = held.first() {
            if World::highest_lease(folder) > *attempt {
                self.overtaken += 1;
                break;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "no worker takes {} over",
                folder.display()
            );
            let other = &mut self.workers[1 - victim];
            if other.try_wait().unwrap().is_some() {
                *other = worker(&self.world);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(Some(&self.workers[victim]), Signal::CONT);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

#[test]
fn two_workers_that_are_killed_and_stopped_at_any_moment_end_in_the_same_state() {
    let seed = number("MPSYNC_SEED").unwrap_or_else(rand::random);
    let blows = number("MPSYNC_KILLS").unwrap_or(BLOWS);
    println!("MPSYNC_SEED={seed} MPSYNC_KILLS={blows}");
    let mut arena = Arena::start(seed);
    for blow in 0.. {
        if u64::from(arena.blows()) >= blows {
            break;
        }
        if blow % 3 == 0 {
            arena.ingest();
        }
        arena.blow();
    }
    println!(
        "{} killed, {} stopped, {} of them overtaken",
        arena.killed,
        arena.stopped + arena.overtaken,
        arena.overtaken
    );
    for one in &mut arena.workers {
        one.wait().unwrap();
    }
    let world = &arena.world;
    // One at a time: with leases as short as these, two on a busy machine take each other for dead.
    for _ in 0..2 {
        world.succeed(&ARGUMENTS);
    }
    let expected = arena.next - 1;
    let counts = world.sql("SELECT count(), uniqExact(stream_epoch, stream_seq), min(stream_seq), max(stream_seq) FROM cold.trades");
    assert_eq!(counts, format!("{expected}\t{expected}\t1\t{expected}"));
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    // What a killed attempt made for a comparison that its successor did not need is left to the sweep.
    world.succeed(&["gc", "--older-than", "0s"]);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

//! Whatever happens in whatever order, the archive holds what was ever ingested, once, and cold holds the archive.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::support::transfer::World;

const STEPS: u32 = 30;

/// The expected contents of the world.
struct Model {
    world: World,
    random: ChaCha8Rng,
    /// Sequences that were ever ingested.
    ever: BTreeSet<u64>,
    /// Those that hot holds now.
    hot: BTreeSet<u64>,
    history: String,
}

impl Model {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// Rows of these sequences, over three hours; a sequence is always the same row.
    fn ingest(&mut self, seqs: &BTreeSet<u64>) {
        if seqs.is_empty() {
            return;
        }
        let list: Vec<_> = seqs.iter().map(ToString::to_string).collect();
        self.world.sql(&format!(
            "INSERT INTO hot.trades SELECT toDateTime64('2026-01-01 05:00:00', 3, 'UTC') + seq % 3 * 3600 + seq % 60, 'okx', \
             'spot', concat('S', toString(seq % 5)), 'ws', toString(seq), toDecimal128(seq, 18) / 1000, 1.5, 'buy', NULL, NULL, \
             NULL, fromUnixTimestamp64Nano(toInt64(1700000000000000000 + seq), 'UTC'), 77, seq \
             FROM (SELECT toUInt64(arrayJoin([{}])) AS seq)",
            list.join(", ")
        ));
        self.hot.extend(seqs);
        self.ever.extend(seqs);
    }

    fn step(&mut self) {
        let next = self.ever.last().map_or(1, |last| last + 1);
        let count = 1 + self.below(30);
        let choice = self.below(10);
        let _ = write!(self.history, "{choice}/{count} ");
        match choice {
            // New rows, which are late for windows that were archived.
            0..=2 => self.ingest(&(next..next + count).collect()),
            // Rows that ingest brings again after they were cleaned, some of them with new ones.
            3 | 4 => {
                let start = self.below(next);
                let again = self.ever.range(start..start + count);
                let mut seqs: BTreeSet<_> =
                    again.filter(|s| !self.hot.contains(s)).copied().collect();
                if choice == 4 {
                    seqs.insert(next);
                }
                self.ingest(&seqs);
            }
            5 => drop(self.world.succeed(&["export", "--dataset", "trades"])),
            6 => {
                self.world.succeed(&["sync", "--dataset", "trades"]);
                self.check();
            }
            7 => drop(self.world.succeed(&["gc", "--older-than", "0s"])),
            8 => self.damage_and_repair(),
            _ => {
                self.world
                    .succeed(&["sync", "--dataset", "trades", "--cleanup"]);
                self.hot.clear();
                self.check();
            }
        }
    }

    /// Whatever the archive holds is in hot or in cold, too.
    fn damage_and_repair(&mut self) {
        let mut chunks = self.world.files(".parquet");
        chunks.retain(|path| !path.to_string_lossy().contains("quarantine"));
        if chunks.is_empty() {
            return;
        }
        let chosen = self.below(chunks.len() as u64);
        let chunk = &chunks[usize::try_from(chosen).unwrap()];
        let mut bytes = std::fs::read(chunk).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(chunk, bytes).unwrap();
        let repair = ["verify", "--dataset", "trades", "--repair", "--deep"];
        let said = self.world.succeed(&repair);
        assert!(said.contains("repaired from"), "{said} {}", self.history);
    }

    /// After a sync: cold and archive hold each sequence that was ever ingested, once.
    fn check(&self) {
        let told = |table: &str| {
            self.world.sql(&format!(
                "SELECT count(), uniqExact(stream_seq), sum(stream_seq), sum(stream_seq * stream_seq) FROM {table}"
            ))
        };
        let (count, sum) = (self.ever.len(), self.ever.iter().sum::<u64>());
        let squares: u64 = self.ever.iter().map(|s| s * s).sum();
        let expected = format!("{count}\t{count}\t{sum}\t{squares}");
        assert_eq!(told("cold.trades"), expected, "{}", self.history);
        let archived: u64 = self
            .world
            .files("manifest.json")
            .iter()
            .map(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                json["fingerprint"]["rows"].as_u64().unwrap()
            })
            .sum();
        assert_eq!(archived, count as u64, "{}", self.history);
        let left = self.world.number("SELECT count() FROM hot.trades");
        assert_eq!(left, self.hot.len() as u64, "{}", self.history);
    }
}

#[test]
fn the_archive_holds_what_was_ever_ingested_once_and_cold_holds_the_archive() {
    for seed in [1, 20_260_102] {
        println!("seed {seed}");
        let mut model = Model {
            world: World::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            ever: BTreeSet::new(),
            hot: BTreeSet::new(),
            history: format!("seed {seed}: "),
        };
        for _ in 0..STEPS {
            model.step();
        }
        model.ingest(&BTreeSet::from([1_000_000]));
        let world = &model.world;
        world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
        model.hot.clear();
        model.check();
        let world = &model.world;
        world.succeed(&[
            "verify",
            "--dataset",
            "trades",
            "--deep",
            "--against",
            "cold",
        ]);
        assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
        world.sql("TRUNCATE TABLE cold.trades");
        world.succeed(&["import", "--dataset", "trades"]);
        model.check();
    }
}

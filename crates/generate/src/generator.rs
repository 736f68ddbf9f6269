//! The generator: pure, and the same bytes for the same options.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use mpsync_core::error::{Error, Result};

use crate::kind::{DataKind, Moment};
use crate::kinds;
use crate::market::Market;
use crate::message::Message;

/// The options of a [`Generator`].
#[derive(Debug, Clone)]
pub struct GeneratorOptions {
    /// The seed of everything that looks random.
    pub seed: u64,
    /// How many messages in all.
    pub count: u64,
    /// The event time of the first message, in milliseconds since 1970.
    pub start_ms: i64,
    /// Over how much event time the messages spread, in milliseconds.
    pub span_ms: u32,
    /// Which kinds; all when empty. How often one comes is its own: books and trades make up most of a market.
    pub kinds: Vec<DataKind>,
    /// The exchanges: tokens of a subject.
    pub exchanges: Vec<String>,
    /// How many symbols on each exchange.
    pub symbols: u32,
    /// Levels of each side of a book's snapshot.
    pub depth: u32,
}

impl Default for GeneratorOptions {
    /// 100,000 messages of all kinds over the hour from 2025-10-09 08:00 UTC.
    fn default() -> Self {
        Self {
            seed: 1,
            count: 100_000,
            start_ms: 1_759_996_800_000,
            span_ms: 3_600_000,
            kinds: Vec::new(),
            exchanges: ["binance", "okx", "deribit"].map(String::from).into(),
            symbols: 10,
            depth: 20,
        }
    }
}

impl GeneratorOptions {
    fn check(&self) -> Result<()> {
        if self.exchanges.is_empty() || self.symbols == 0 || self.span_ms == 0 {
            return Err(Error::usage(
                "there is nothing to generate: name at least one exchange, one symbol and one minute",
            ));
        }
        let is_token =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        for (place, name) in self.exchanges.iter().enumerate() {
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(Error::usage(format!(
                    "invalid exchange `{}`: lower-case letters, digits, `_` and `-`",
                    name.escape_debug()
                )));
            }
            // Two of one name would make messages of one id.
            if self.exchanges[..place].contains(name) {
                return Err(Error::usage(format!("exchange `{name}` is named twice")));
            }
        }
        Ok(())
    }
}

/// Messages at one moment and of one instrument, as a market in motion sends them.
#[derive(Debug, Default)]
struct Burst {
    left: u32,
    at_ms: i64,
    instrument: usize,
}

/// Makes messages: an iterator of [`GeneratorOptions::count`] of them. Pure.
#[derive(Debug)]
pub struct Generator {
    options: GeneratorOptions,
    rng: ChaCha8Rng,
    market: Market,
    /// Each kind with the sum of the weights up to and with its own.
    kinds: Vec<(u32, DataKind)>,
    burst: Burst,
    made: u64,
}

impl Generator {
    /// Returns a generator at its first message; a usage error if the options make no message.
    pub fn new(options: GeneratorOptions) -> Result<Self> {
        options.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let market = Market::new(&options.exchanges, options.symbols, &mut rng);
        let wanted = |kind: &DataKind| options.kinds.is_empty() || options.kinds.contains(kind);
        let kinds = DataKind::ALL
            .into_iter()
            .filter(wanted)
            .scan(0, |sum, kind| {
                *sum += kind.weight();
                Some((*sum, kind))
            })
            .collect();
        Ok(Self {
            options,
            rng,
            market,
            kinds,
            burst: Burst::default(),
            made: 0,
        })
    }

    fn kind(&mut self) -> DataKind {
        let total = self.kinds.last().map_or(1, |(sum, _)| *sum);
        let drawn = self.rng.random_range(0..total);
        let found = self.kinds.iter().find(|(sum, _)| drawn < *sum);
        found.map_or(DataKind::Orderbook, |(_, kind)| *kind)
    }

    /// When the next event happens by its place among all, without burst or lateness.
    fn steady_ms(&self) -> i64 {
        let offset = u128::from(self.options.span_ms) * u128::from(self.made)
            / u128::from(self.options.count);
        self.options
            .start_ms
            .saturating_add(i64::try_from(offset).unwrap_or(i64::MAX))
    }

    /// Which instrument moves and when: sometimes the same one many times within milliseconds.
    fn moment(&mut self) -> (usize, i64) {
        let steady = self.steady_ms();
        if self.burst.left == 0 {
            if self.rng.random_range(0..150_u32) == 0 {
                self.burst = Burst {
                    left: self.rng.random_range(5..60_u32),
                    at_ms: steady,
                    instrument: self.market.draw(&mut self.rng),
                };
            }
            return (self.market.draw(&mut self.rng), steady);
        }
        self.burst.left -= 1;
        self.burst.at_ms += i64::from(self.rng.random_range(0..5_u32) == 0);
        (self.burst.instrument, self.burst.at_ms.min(steady))
    }

    /// How much later than it happened an event is published: mostly not, now and then seconds, rarely minutes.
    fn lateness_ms(&mut self) -> i64 {
        match self.rng.random_range(0..1000_u32) {
            0 => self.rng.random_range(60_000..600_000_i64),
            1..=3 => self.rng.random_range(1_000..4_500_i64),
            4..=30 => self.rng.random_range(1..500_i64),
            _ => 0,
        }
    }
}

impl Iterator for Generator {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if self.made == self.options.count {
            return None;
        }
        let kind = self.kind();
        let (instrument, ms) = self.moment();
        // A message whose identity is its time comes in order, so that no two have the same.
        let late = if kind.has_own_id() {
            self.lateness_ms()
        } else {
            0
        };
        let moment = Moment {
            event_ms: (ms - late).max(self.options.start_ms),
            sent_ms: ms,
            depth: self.options.depth,
        };
        self.made += 1;
        Some(kinds::message(
            kind,
            &mut self.market,
            instrument,
            moment,
            &mut self.rng,
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.options.count - self.made).ok();
        (left.unwrap_or(usize::MAX), left)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use sha2::{Digest as _, Sha256};

    use super::*;

    fn options(count: u64) -> GeneratorOptions {
        GeneratorOptions {
            count,
            ..GeneratorOptions::default()
        }
    }

    fn made(options: GeneratorOptions) -> Vec<Message> {
        Generator::new(options).unwrap().collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_bytes_and_another_seed_others() {
        let digest = |seed| {
            let mut hash = Sha256::new();
            for message in Generator::new(GeneratorOptions {
                seed,
                ..options(2000)
            })
            .unwrap()
            {
                hash.update(&message.subject);
                hash.update(&message.msg_id);
                hash.update(&message.payload);
            }
            let first: [u8; 8] = hash.finalize()[..8].try_into().unwrap();
            format!("{:016x}", u64::from_be_bytes(first))
        };
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
        // A change of the generated bytes changes this line, and with it the numbers of all measurements.
        assert_eq!(digest(1), "588de27b8dbaf4dd");
    }

    #[test]
    fn every_kind_is_there_and_books_and_trades_are_most_of_it() {
        let mut counts = BTreeMap::new();
        for message in made(options(20_000)) {
            let kind = message.subject.split('.').next().unwrap().to_owned();
            *counts.entry(kind).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 8, "{counts:?}");
        assert!(counts["orderbook"] + counts["trade"] > 18_000, "{counts:?}");
    }

    #[test]
    fn no_message_id_comes_twice_even_where_one_symbol_has_all_the_traffic() {
        for (exchanges, symbols, span_ms) in [(3, 10, 3_600_000), (1, 1, 60_000)] {
            let options = GeneratorOptions {
                exchanges: GeneratorOptions::default().exchanges[..exchanges].to_vec(),
                symbols,
                span_ms,
                ..options(60_000)
            };
            let mut seen = HashSet::new();
            for message in made(options) {
                assert!(seen.insert(message.msg_id.clone()), "{message:?}");
            }
        }
    }

    #[test]
    fn the_subject_says_what_the_payload_says_and_the_time_is_within_the_span() {
        let options = options(20_000);
        let end = options.start_ms + i64::from(options.span_ms);
        let start = options.start_ms;
        let (mut early, mut last) = (0, 0);
        for message in made(options) {
            let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            let parts = ["data_type", "exchange", "market_type", "symbol"]
                .map(|field| payload[field].as_str().unwrap().to_owned());
            assert_eq!(message.subject, parts.join("."));
            assert!(
                message
                    .msg_id
                    .starts_with(&format!("{}:{}:{}:", parts[0], parts[1], parts[3]))
            );
            let ms = payload["ts_ms"].as_i64().unwrap();
            assert!((start..end).contains(&ms), "{payload}");
            early += u32::from(ms < last);
            last = ms;
        }
        assert!(
            early > 100,
            "some events come out of order, here {early} did"
        );
    }

    #[test]
    fn options_without_messages_are_refused() {
        let bad = |options| Generator::new(options).unwrap_err().to_string();
        let e = bad(GeneratorOptions {
            exchanges: vec!["a.b".into()],
            ..options(1)
        });
        assert!(e.contains("invalid exchange `a.b`"), "{e}");
        assert!(
            bad(GeneratorOptions {
                symbols: 0,
                ..options(1)
            })
            .contains("nothing to generate")
        );
        assert_eq!(made(options(0)).len(), 0);
    }
}

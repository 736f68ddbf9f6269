//! Damaged messages: never a panic, never another value than the one that the bytes say.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::messages::{dataset_of, recorded};
use super::{dataset, decoder, meta, reference};

/// Makes a few random changes of the kinds that broken publishers and broken wires make.
fn mutate(payload: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    const LIKELY: &[u8] = br#""\{}[],:.-+eE0123456789 tfnu"#;
    let mut bytes = payload.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        let byte = if rng.random_bool(0.9) {
            LIKELY[rng.random_range(0..LIKELY.len())]
        } else {
            rng.random()
        };
        match rng.random_range(0..6) {
            0 | 1 => bytes[at] = byte,
            2 => bytes.insert(at, byte),
            3 => {
                bytes.remove(at);
            }
            4 => {
                let end = (at + rng.random_range(1..40)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let digits: Vec<_> = (0..bytes.len())
                    .filter(|&i| bytes[i].is_ascii_digit())
                    .collect();
                let digit = digits[rng.random_range(0..digits.len())];
                bytes[digit] = byte;
            }
        }
    }
    bytes
}

fn survive(name: &str, rounds: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut messages = recorded();
    messages.retain(|m| dataset_of(&m.subject) == name && m.payload.get().len() < 1500);
    let dataset = dataset(name);
    let mut decoder = decoder(name);
    let mut kept = Vec::new();
    let mut rejected = 0_u64;
    for seq in 0..rounds as u64 {
        let message = &messages[rng.random_range(0..messages.len())];
        let payload = mutate(message.payload.get().as_bytes(), &mut rng);
        match decoder.append(&meta(&message.subject, seq), &payload) {
            Ok(_) => kept.push((seq, message.subject.clone(), payload)),
            Err(rejection) => {
                assert!(!rejection.to_string().is_empty() && !rejection.reason.label().is_empty());
                rejected += 1;
            }
        }
    }
    assert!(
        kept.len() > rounds / 50 && rejected > rounds as u64 / 10,
        "{} of {rounds}",
        kept.len()
    );
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.num_rows(), kept.len());
    assert_eq!(decoder.counters().rejected, rejected);
    for (row, (seq, subject, payload)) in kept.iter().enumerate() {
        reference::check(&dataset, subject, payload, &batch, row, *seq);
    }
}

#[test]
fn a_damaged_trade_is_rejected_or_is_what_its_bytes_say() {
    survive("trades", 20_000);
}

#[test]
fn a_damaged_book_is_rejected_or_is_what_its_bytes_say() {
    survive("orderbooks", 10_000);
}

#[test]
fn a_damaged_open_interest_is_rejected_or_is_what_its_bytes_say() {
    survive("open_interests", 10_000);
}

#[test]
fn random_bytes_are_rejected() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut decoder = decoder("orderbooks");
    for seq in 0..2000 {
        let mut bytes = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut bytes);
        decoder
            .append(&meta("orderbook.a.b.c", seq), &bytes)
            .unwrap_err();
    }
    assert_eq!(decoder.rows(), 0);
}

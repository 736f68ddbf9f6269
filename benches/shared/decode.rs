//! The decoder alone: payloads lie in memory, batches are taken and dropped; no NATS, no insert.
//!
//! Time is the thread's own on a processor where the system tells it, so that a busy machine does not spoil the numbers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mpsync_core::dataset::{Epoch, Position};
use mpsync_core::error::{Error, Result};
use mpsync_ingest::{Decoder, MessageMeta};

use super::messages::{STORED_AT_MS, dataset, table};

const BATCH_ROWS: usize = 50_000;
const MEASURE_FOR: Duration = Duration::from_secs(2);

/// Decodes the messages again and again for two seconds; returns messages a second.
pub(crate) fn measure(name: &str, messages: &[String]) -> Result<f64> {
    let dataset = dataset(name)?;
    let mut decoder = Decoder::new(dataset, &table(dataset)?)?;
    let batch_rows = BATCH_ROWS.min(50_000_000 / messages[0].len());
    let (mut rows, mut seq) = (0_u64, 0_u64);
    let (start, cpu_start) = (Instant::now(), cpu_nanos());
    while start.elapsed() < MEASURE_FOR {
        for message in messages.iter().cycle().take(batch_rows) {
            seq += 1;
            let meta = MessageMeta {
                subject: "trade.binance.spot.BTC-USDT",
                position: Position {
                    epoch: Epoch(1),
                    seq,
                },
                stored_at_nanos: i64::try_from(STORED_AT_MS * 1_000_000 + seq).unwrap_or(i64::MAX),
            };
            if let Err(rejection) = decoder.append(&meta, message.as_bytes()) {
                return Err(Error::malformed(rejection.to_string()));
            }
            rows += 1;
        }
        black_box(decoder.finish()?);
    }
    let elapsed = match (cpu_start, cpu_nanos()) {
        (Some(from), Some(to)) => Duration::from_nanos(to - from),
        _ => start.elapsed(),
    };
    #[expect(clippy::cast_precision_loss, reason = "a count of two seconds")]
    let rows = rows as f64;
    Ok(rows / elapsed.as_secs_f64())
}

/// How long this thread has been on a processor.
fn cpu_nanos() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

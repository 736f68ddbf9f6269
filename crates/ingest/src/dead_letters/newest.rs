//! The newest dead letters, for a page: a bounded look at the end of their stream, whatever its length.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::filter::DeadLetterFilter;
use super::letter::DeadLetter;
use super::message::parse;
use super::store::{DeadLetterCursor, DeadLetterStore, add};
use crate::source::stream::is_no_message;
use mpsync_core::dataset::{DatasetName, Position};
use mpsync_core::error::{Error, Result};

/// Messages that are asked for at a time.
const AT_A_TIME: usize = 16;
/// Sequences that are looked at beyond those that are wanted: some may have been replayed or discarded.
const FURTHER: u64 = 64;

impl DeadLetterStore {
    /// How many letters there are; `None` where both the stream and the folder have some, since a letter may lie in both.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        let in_stream = self
            .stream
            .as_ref()
            .map_or(0, |stream| stream.cached_info().state.messages);
        match (in_stream, self.filed.len() as u64) {
            (in_stream, 0) => Some(in_stream),
            (0, filed) => Some(filed),
            _ => None,
        }
    }

    /// The letters that were kept last, the newest first, at most `limit` of them, without their bytes. Cancel-safe.
    ///
    /// Where the newest were replayed or discarded, older ones take their places: none only where there are none.
    pub async fn newest(&self, limit: usize) -> Result<Vec<DeadLetter>> {
        let mut found: BTreeMap<(DatasetName, Position), DeadLetter> = BTreeMap::new();
        self.read_back(limit, &mut found).await?;
        if (found.len() as u64) < self.total().unwrap_or(u64::MAX).min(limit as u64) {
            let mut from = Some(DeadLetterCursor::START);
            while let Some(place) = from
                && found.len() < limit
            {
                let some = self
                    .read(place, &DeadLetterFilter::default(), limit)
                    .await?;
                some.dead_letters
                    .into_iter()
                    .for_each(|dead_letter| add(&mut found, without_bytes(dead_letter)));
                from = some.next;
            }
        }
        let mut newest: Vec<DeadLetter> = found.into_values().collect();
        newest.sort_by_key(|dead_letter| std::cmp::Reverse(dead_letter.kept_at));
        newest.truncate(limit);
        Ok(newest)
    }

    async fn read_back(
        &self,
        limit: usize,
        found: &mut BTreeMap<(DatasetName, Position), DeadLetter>,
    ) -> Result<()> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        let first = stream.cached_info().state.first_sequence.max(1);
        let back = (limit as u64).saturating_add(FURTHER);
        let from = self.last_seq.saturating_sub(back).max(first);
        let looks = (from..=self.last_seq).rev().map(|sequence| async move {
            match stream.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(message)),
                Err(e) if is_no_message(&e.kind()) => Ok(None),
                Err(e) => Err(Error::nats(e).context(format!("reading dead letter {sequence}"))),
            }
        });
        let mut looks = futures_util::stream::iter(looks).buffered(AT_A_TIME);
        while found.len() < limit
            && let Some(message) = looks.try_next().await?
        {
            let Some(message) = message else { continue };
            let sequence = message.sequence;
            let kept_at = Timestamp::from_nanosecond(message.time.unix_timestamp_nanos())
                .map_err(|e| Error::malformed(e.to_string()))?;
            match parse(Some(&message.headers), &message.payload, sequence, kept_at) {
                Ok(dead_letter) => {
                    // The later writing counts, and it was found first.
                    let key = (dead_letter.dataset.clone(), dead_letter.position);
                    found
                        .entry(key)
                        .or_insert_with(|| without_bytes(dead_letter));
                }
                Err(e) => tracing::warn!(sequence, error = %e, "not a dead letter"),
            }
        }
        Ok(())
    }
}

fn without_bytes(dead_letter: DeadLetter) -> DeadLetter {
    DeadLetter {
        body: bytes::Bytes::new(),
        ..dead_letter
    }
}

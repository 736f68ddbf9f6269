//! Where dead letters lie: the JetStream stream, read, changed and emptied.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::{DeleteMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::{Letter, LetterFilter};
use crate::config::Config;
use crate::dataset::{DatasetName, Epoch, Position};
use crate::error::{Context as _, Error, Result};
use crate::ingest::dead_letter::{
    ANSWER_TIMEOUT, DATASET_HEADER, DETAIL_HEADER, EPOCH_HEADER, MESSAGE_ID_HEADER, REASON_HEADER,
    SEQUENCE_HEADER, STORED_AT_HEADER, STREAM_HEADER, SUBJECT_HEADER, one_line,
};

/// Bytes of letters that are held at once, about.
const BATCH_BYTES: usize = 32 << 20;
/// How long the next letter may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// The dead letters of a configuration.
pub struct LetterStore {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    stream: Option<Stream>,
    root: String,
    /// The last sequence when it was opened: what comes later is left to the next command.
    last_seq: u64,
}

/// Some letters, and how to go on.
#[derive(Debug)]
pub struct Found {
    /// In the order of their positions, dataset by dataset.
    pub letters: Vec<Letter>,
    /// Where to read on; `None` when that was all.
    pub next: Option<u64>,
}

impl LetterStore {
    /// Connects. A stream that is not there has no letters; it is not made.
    pub async fn open(config: &Config) -> Result<Self> {
        let name = &config.ingest.dead_letter_stream;
        let client = crate::nats::connect(&config.nats).await?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(ANSWER_TIMEOUT)
            .build(client.clone());
        let stream = crate::nats::find_stream(&jetstream, name)
            .await
            .doing(|| format!("opening JetStream stream {name}"))?;
        let last_seq = stream
            .as_ref()
            .map_or(0, |stream| stream.cached_info().state.last_sequence);
        Ok(Self {
            client,
            jetstream,
            stream,
            root: name.to_lowercase(),
            last_seq,
        })
    }

    /// The letters that a filter allows, from a sequence of their stream on (0 for all), at most `limit` of them and
    /// about 32 MiB. Cancel-safe.
    ///
    /// A message of the stream that is no letter is passed over, with a warning.
    pub async fn read(&self, from: u64, filter: &LetterFilter, limit: usize) -> Result<Found> {
        let doing = || format!("reading dead letters of {}", self.root);
        let Some(consumer) = self.consumer(from, filter).await.doing(doing)? else {
            return Ok(Found {
                letters: Vec::new(),
                next: None,
            });
        };
        let mut letters: BTreeMap<(DatasetName, Position), Letter> = BTreeMap::new();
        let mut bytes = 0;
        let mut messages = consumer
            .messages()
            .await
            .map_err(Error::nats)
            .doing(doing)?;
        loop {
            let message = tokio::time::timeout(PATIENCE, messages.next())
                .await
                .map_err(|_| Error::nats("the next letter does not arrive").doing(doing()))?
                .ok_or_else(|| Error::nats("the letters end early").doing(doing()))?
                .map_err(|e| Error::nats(e).doing(doing()))?;
            let info = message.info().map_err(|e| Error::nats(e).doing(doing()))?;
            let (sequence, pending, kept_at) = (info.stream_sequence, info.pending, info.published);
            if sequence > self.last_seq {
                break;
            }
            let kept_at = Timestamp::from_nanosecond(kept_at.unix_timestamp_nanos())
                .map_err(|e| Error::malformed(e.to_string()).doing(doing()))?;
            match parse(
                message.headers.as_ref(),
                &message.payload,
                sequence,
                kept_at,
            ) {
                Ok(letter) if filter.allows(&letter) => {
                    bytes += letter.body.len() + 500;
                    add(&mut letters, letter);
                }
                Ok(_) => {}
                Err(e) => {
                    tracing::warn!(sequence, subject = %message.subject, error = %e, "not a dead letter");
                }
            }
            if pending == 0 || sequence == self.last_seq {
                break;
            }
            if letters.len() >= limit || bytes >= BATCH_BYTES {
                return Ok(Found {
                    letters: letters.into_values().collect(),
                    next: Some(sequence + 1),
                });
            }
        }
        Ok(Found {
            letters: letters.into_values().collect(),
            next: None,
        })
    }

    /// A consumer of the letters; `None` where there is none to come.
    async fn consumer(
        &self,
        from: u64,
        filter: &LetterFilter,
    ) -> Result<Option<jetstream::consumer::Consumer<OrderedConfig>>> {
        let Some(stream) = &self.stream else {
            return Ok(None);
        };
        if self.last_seq == 0 || from > self.last_seq {
            return Ok(None);
        }
        let filter_subject = match filter.datasets.as_slice() {
            [one] => format!("{}.{one}.>", self.root),
            _ => format!("{}.>", self.root),
        };
        let consumer = stream
            .create_consumer(OrderedConfig {
                filter_subject,
                deliver_policy: DeliverPolicy::ByStartSequence {
                    start_sequence: from.max(1),
                },
                ..OrderedConfig::default()
            })
            .await
            .map_err(Error::nats)?;
        let empty = consumer.cached_info().num_pending == 0;
        Ok((!empty).then_some(consumer))
    }

    /// Takes a letter out of its stream. A letter that is gone already is gone.
    pub async fn discard(&self, letter: &Letter) -> Result<()> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        for &sequence in &letter.sequences {
            delete(stream, sequence)
                .await
                .doing(|| format!("deleting dead letter {}", letter.id()))?;
        }
        Ok(())
    }

    /// Writes a letter with a new reason in place of the old one. Ended in between, both are there, and are read as one.
    pub(super) async fn rewrite(&self, letter: &Letter, reason: &str, detail: &str) -> Result<()> {
        let (Some(stream), Some(&last)) = (&self.stream, letter.sequences.last()) else {
            return Ok(());
        };
        let doing = || format!("writing a new reason into dead letter {}", letter.id());
        let mut message = jetstream::message::PublishMessage::build()
            .payload(letter.body.clone())
            .expected_last_subject_sequence(last)
            .header(REASON_HEADER, one_line(reason))
            .header(DETAIL_HEADER, one_line(detail))
            .header(DATASET_HEADER, letter.dataset.as_str())
            .header(SUBJECT_HEADER, one_line(&letter.subject))
            .header(STREAM_HEADER, one_line(&letter.stream))
            .header(EPOCH_HEADER, letter.position.epoch.0.to_string())
            .header(SEQUENCE_HEADER, letter.position.seq.to_string())
            .header(STORED_AT_HEADER, letter.stored_at_nanos.to_string());
        if let Some(id) = &letter.message_id {
            message = message.header(MESSAGE_ID_HEADER, one_line(id));
        }
        let subject = Subject::from(format!("{}.{}", self.root, letter.id()));
        self.jetstream
            .send_publish(subject, message)
            .await
            .map_err(Error::nats)
            .doing(doing)?
            .await
            .map_err(Error::nats)
            .doing(doing)?;
        for &sequence in &letter.sequences {
            delete(stream, sequence).await.doing(doing)?;
        }
        Ok(())
    }
}

async fn delete(stream: &Stream, sequence: u64) -> Result<()> {
    match stream.delete_message(sequence).await {
        Ok(_) => Ok(()),
        Err(e) => match e.kind() {
            DeleteMessageErrorKind::JetStream(refusal)
                if refusal.error_code() == ErrorCode::NO_MESSAGE_FOUND
                    || refusal.to_string().contains("no message found") =>
            {
                Ok(())
            }
            _ => Err(Error::nats(e)),
        },
    }
}

/// Adds a letter; one of the same position is the same letter, whose later writing counts.
fn add(letters: &mut BTreeMap<(DatasetName, Position), Letter>, mut letter: Letter) {
    let key = (letter.dataset.clone(), letter.position);
    if let Some(earlier) = letters.remove(&key) {
        let mut sequences = earlier.sequences;
        sequences.append(&mut letter.sequences);
        letter.sequences = sequences;
    }
    letters.insert(key, letter);
}

/// Reads a letter from its message.
fn parse(
    headers: Option<&HeaderMap>,
    body: &Bytes,
    sequence: u64,
    kept_at: Timestamp,
) -> Result<Letter> {
    let header = |name: &str| {
        headers
            .and_then(|headers| headers.get(name))
            .map(|value| value.as_str().to_owned())
    };
    let needed =
        |name: &str| header(name).ok_or_else(|| Error::malformed(format!("it has no {name}")));
    let number = |name: &str| -> Result<u64> {
        let text = needed(name)?;
        text.parse()
            .map_err(|_| Error::malformed(format!("{name} is `{}`", text.escape_debug())))
    };
    let stored_at = needed(STORED_AT_HEADER)?;
    Ok(Letter {
        dataset: needed(DATASET_HEADER)?.parse()?,
        position: Position {
            epoch: Epoch(number(EPOCH_HEADER)?),
            seq: number(SEQUENCE_HEADER)?,
        },
        stored_at_nanos: stored_at.parse().map_err(|_| {
            Error::malformed(format!(
                "{STORED_AT_HEADER} is `{}`",
                stored_at.escape_debug()
            ))
        })?,
        subject: header(SUBJECT_HEADER).unwrap_or_default(),
        stream: needed(STREAM_HEADER)?,
        message_id: header(MESSAGE_ID_HEADER),
        reason: needed(REASON_HEADER)?,
        detail: header(DETAIL_HEADER).unwrap_or_default(),
        kept_at,
        body: body.clone(),
        sequences: vec![sequence],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (REASON_HEADER, "bad_number"),
            (DATASET_HEADER, "trades"),
            (SUBJECT_HEADER, "trade.okx.spot.X"),
            (STREAM_HEADER, "MARKET_DATA"),
            (EPOCH_HEADER, "7"),
            (SEQUENCE_HEADER, "9"),
            (STORED_AT_HEADER, "1760000000000000000"),
        ] {
            headers.insert(name, value);
        }
        headers
    }

    fn letter(sequence: u64, reason: &str) -> Letter {
        let mut headers = headers();
        headers.insert(REASON_HEADER, reason);
        let body = Bytes::from_static(b"{}");
        parse(Some(&headers), &body, sequence, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_message_without_its_origin_is_no_letter() {
        assert_eq!(letter(3, "bad_number").id(), "trades.7.9");
        let mut broken = headers();
        broken.insert(EPOCH_HEADER, "x");
        let e = parse(Some(&broken), &Bytes::new(), 1, Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(e.to_string().contains("Mpsync-Epoch is `x`"), "{e}");
        assert!(parse(None, &Bytes::new(), 1, Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn a_letter_that_lies_twice_is_one_with_its_later_reason() {
        let mut letters = BTreeMap::new();
        add(&mut letters, letter(3, "bad_number"));
        add(&mut letters, letter(8, "missing"));
        let only: Vec<Letter> = letters.into_values().collect();
        assert_eq!(only.len(), 1);
        assert_eq!(only[0].sequences, [3, 8]);
        assert_eq!(only[0].reason, "missing");
    }
}

//! Where dead letters lie: the JetStream stream, and the folder of those that it refused; read, changed and emptied.

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

use super::{Letter, LetterFilter, LetterFolder};
use crate::dead_letter::{
    ANSWER_TIMEOUT, DATASET_HEADER, DETAIL_HEADER, EPOCH_HEADER, MESSAGE_ID_HEADER, REASON_HEADER,
    SEQUENCE_HEADER, STORED_AT_HEADER, STREAM_HEADER, SUBJECT_HEADER, message_of,
};
use crate::stream::is_no_message;
use mpsync_config::Config;
use mpsync_core::dataset::{DatasetName, Epoch, Position};
use mpsync_core::error::{Context as _, Disposition, Error, Result};

/// Bytes of letters that are held at once, about.
const BATCH_BYTES: usize = 32 << 20;
/// How long the next letter may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// The dead letters of a configuration.
pub struct LetterStore {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) stream: Option<Stream>,
    root: String,
    /// The last sequence when it was opened: what comes later is left to the next command.
    pub(super) last_seq: u64,
    folder: Option<LetterFolder>,
    /// What lay in the folder when it was opened, in order.
    pub(super) filed: Vec<(DatasetName, Position)>,
}

/// Where to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a sequence of the stream.
    Stream(u64),
    /// At a letter of the folder, by its number.
    Folder(usize),
}

impl Place {
    /// Where all letters begin.
    pub const START: Self = Self::Stream(0);
}

/// Some letters, and how to go on.
#[derive(Debug)]
pub struct Found {
    /// In the order of their positions, dataset by dataset.
    pub letters: Vec<Letter>,
    /// Where to read on; `None` when that was all.
    pub next: Option<Place>,
}

impl LetterStore {
    /// Connects. A stream that is not there has no letters; it is not made.
    pub async fn open(config: &Config) -> Result<Self> {
        let name = &config.ingest.dead_letter_stream;
        let client = mpsync_nats::connect(&config.nats).await?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(ANSWER_TIMEOUT)
            .build(client.clone());
        let stream = mpsync_nats::find_stream(&jetstream, name)
            .await
            .doing(|| format!("opening JetStream stream {name}"))?;
        let last_seq = stream
            .as_ref()
            .map_or(0, |stream| stream.cached_info().state.last_sequence);
        let folder = config
            .ingest
            .dead_letter_folder
            .as_ref()
            .map(LetterFolder::new);
        let filed = match &folder {
            Some(folder) => folder.list().await?,
            None => Vec::new(),
        };
        Ok(Self {
            client,
            jetstream,
            stream,
            root: name.to_lowercase(),
            last_seq,
            folder,
            filed,
        })
    }

    /// The letters that a filter allows, from a place on, at most `limit` of them and about 32 MiB: first those of the
    /// stream, then those that lie only in the folder. Cancel-safe.
    ///
    /// What is no letter is passed over, with a warning.
    pub async fn read(&self, from: Place, filter: &LetterFilter, limit: usize) -> Result<Found> {
        match from {
            Place::Stream(from) => self.read_stream(from, filter, limit).await,
            Place::Folder(from) => self.read_folder(from, filter, limit).await,
        }
    }

    /// The folder's first letter, where there is one.
    fn begin_of_folder(&self) -> Option<Place> {
        (!self.filed.is_empty()).then_some(Place::Folder(0))
    }

    fn is_filed(&self, letter: &Letter) -> bool {
        let key = (letter.dataset.clone(), letter.position);
        self.filed.binary_search(&key).is_ok()
    }

    async fn read_folder(&self, from: usize, filter: &LetterFilter, limit: usize) -> Result<Found> {
        let Some(folder) = &self.folder else {
            return Ok(Found {
                letters: Vec::new(),
                next: None,
            });
        };
        let mut letters = Vec::new();
        let mut bytes = 0;
        for (number, (dataset, position)) in self.filed.iter().enumerate().skip(from) {
            if letters.len() >= limit || bytes >= BATCH_BYTES {
                return Ok(Found {
                    letters,
                    next: Some(Place::Folder(number)),
                });
            }
            match folder.read(dataset, *position).await {
                Ok(Some(letter)) if filter.allows(&letter) => {
                    if !self.is_in_stream(&letter).await? {
                        bytes += letter.body.len() + 500;
                        letters.push(letter);
                    }
                }
                Ok(_) => {}
                Err(e) if e.disposition() == Disposition::Reject => {
                    tracing::warn!(error = %e, "not a dead letter");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Found {
            letters,
            next: None,
        })
    }

    /// Whether the stream has the letter too, so that it was read there.
    async fn is_in_stream(&self, letter: &Letter) -> Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let subject = format!("{}.{}", self.root, letter.id());
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(message.sequence <= self.last_seq),
            Err(e) if is_no_message(&e.kind()) => Ok(false),
            Err(e) => Err(Error::nats(e).doing(format!("looking for dead letter {}", letter.id()))),
        }
    }

    async fn read_stream(&self, from: u64, filter: &LetterFilter, limit: usize) -> Result<Found> {
        let doing = || format!("reading dead letters of {}", self.root);
        let Some(consumer) = self.consumer(from, filter).await.doing(doing)? else {
            return Ok(Found {
                letters: Vec::new(),
                next: self.begin_of_folder(),
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
                Ok(mut letter) if filter.allows(&letter) => {
                    bytes += letter.body.len() + 500;
                    letter.filed = self.is_filed(&letter);
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
                    next: Some(Place::Stream(sequence + 1)),
                });
            }
        }
        Ok(Found {
            letters: letters.into_values().collect(),
            next: self.begin_of_folder(),
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

    /// Takes a letter out of where it is kept. A letter that is gone already is gone.
    pub async fn discard(&self, letter: &Letter) -> Result<()> {
        if let Some(stream) = &self.stream {
            for &sequence in &letter.sequences {
                delete(stream, sequence)
                    .await
                    .doing(|| format!("deleting dead letter {}", letter.id()))?;
            }
        }
        self.remove_file(letter).await
    }

    async fn remove_file(&self, letter: &Letter) -> Result<()> {
        match &self.folder {
            Some(folder) if letter.filed => folder.remove(letter).await,
            _ => Ok(()),
        }
    }

    /// Writes a letter with a new reason in place of the old one. Ended in between, both are there, and are read as one.
    pub(super) async fn rewrite(&self, letter: &Letter, reason: &str, detail: &str) -> Result<()> {
        let mut anew = letter.clone();
        anew.reason = reason.to_owned();
        anew.detail = detail.to_owned();
        let (Some(stream), Some(&last)) = (&self.stream, letter.sequences.last()) else {
            return match &self.folder {
                Some(folder) if letter.filed => folder.replace(anew).await,
                _ => Ok(()),
            };
        };
        let doing = || format!("writing a new reason into dead letter {}", letter.id());
        let subject = Subject::from(format!("{}.{}", self.root, letter.id()));
        self.jetstream
            .send_publish(subject, message_of(&anew, last))
            .await
            .map_err(Error::nats)
            .doing(doing)?
            .await
            .map_err(Error::nats)
            .doing(doing)?;
        for &sequence in &letter.sequences {
            delete(stream, sequence).await.doing(doing)?;
        }
        self.remove_file(letter).await
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
pub(super) fn add(letters: &mut BTreeMap<(DatasetName, Position), Letter>, mut letter: Letter) {
    let key = (letter.dataset.clone(), letter.position);
    if let Some(earlier) = letters.remove(&key) {
        let mut sequences = earlier.sequences;
        sequences.append(&mut letter.sequences);
        letter.sequences = sequences;
    }
    letters.insert(key, letter);
}

/// Reads a letter from its message.
pub(super) fn parse(
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
        filed: false,
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

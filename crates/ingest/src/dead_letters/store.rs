//! Where dead letters lie: the JetStream stream, and the folder of those that it refused; read, changed and emptied.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::stream::{DeleteMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, Subject};
use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::filter::DeadLetterFilter;
use super::folder::DeadLetterFolder;
use super::letter::DeadLetter;
use super::message::{message_of, parse};
use super::queue::ANSWER_TIMEOUT;
use crate::source::stream::is_no_message;
use mpsync_config::Config;
use mpsync_core::dataset::{DatasetName, Position};
use mpsync_core::error::{Context as _, Disposition, Error, Result};

/// Bytes of letters that are held at once, about.
const BATCH_BYTES: usize = 32 << 20;
/// How long the next letter may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// The dead letters of a configuration.
pub struct DeadLetterStore {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) stream: Option<Stream>,
    root: String,
    /// The last sequence when it was opened: what comes later is left to the next command.
    pub(super) last_seq: u64,
    folder: Option<DeadLetterFolder>,
    /// What lay in the folder when it was opened, in order.
    pub(super) filed: Vec<(DatasetName, Position)>,
}

/// Where to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterCursor {
    /// At a sequence of the stream.
    Stream(u64),
    /// At a letter of the folder, by its number.
    Folder(usize),
}

impl DeadLetterCursor {
    /// Where all letters begin.
    pub const START: Self = Self::Stream(0);
}

/// Some letters, and how to go on.
#[derive(Debug)]
pub struct DeadLetterPage {
    /// In the order of their positions, dataset by dataset.
    pub dead_letters: Vec<DeadLetter>,
    /// Where to read on; `None` when that was all.
    pub next: Option<DeadLetterCursor>,
}

impl DeadLetterStore {
    /// Connects. A stream that is not there has no letters; it is not made.
    pub async fn open(config: &Config) -> Result<Self> {
        let name = &config.ingest.dead_letter_stream;
        let client = mpsync_nats::connect(&config.nats).await?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(ANSWER_TIMEOUT)
            .build(client.clone());
        let stream = mpsync_nats::find_stream(&jetstream, name)
            .await
            .context(|| format!("opening JetStream stream {name}"))?;
        let last_seq = stream
            .as_ref()
            .map_or(0, |stream| stream.cached_info().state.last_sequence);
        let folder = config
            .ingest
            .dead_letter_folder
            .as_ref()
            .map(DeadLetterFolder::new);
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
    pub async fn read(
        &self,
        from: DeadLetterCursor,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        match from {
            DeadLetterCursor::Stream(from) => self.read_stream(from, filter, limit).await,
            DeadLetterCursor::Folder(from) => self.read_folder(from, filter, limit).await,
        }
    }

    /// The folder's first letter, where there is one.
    fn begin_of_folder(&self) -> Option<DeadLetterCursor> {
        (!self.filed.is_empty()).then_some(DeadLetterCursor::Folder(0))
    }

    fn is_filed(&self, dead_letter: &DeadLetter) -> bool {
        let key = (dead_letter.dataset.clone(), dead_letter.position);
        self.filed.binary_search(&key).is_ok()
    }

    async fn read_folder(
        &self,
        from: usize,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        let Some(folder) = &self.folder else {
            return Ok(DeadLetterPage {
                dead_letters: Vec::new(),
                next: None,
            });
        };
        let mut dead_letters = Vec::new();
        let mut bytes = 0;
        for (number, (dataset, position)) in self.filed.iter().enumerate().skip(from) {
            if dead_letters.len() >= limit || bytes >= BATCH_BYTES {
                return Ok(DeadLetterPage {
                    dead_letters,
                    next: Some(DeadLetterCursor::Folder(number)),
                });
            }
            match folder.read(dataset, *position).await {
                Ok(Some(dead_letter)) if filter.allows(&dead_letter) => {
                    if !self.is_in_stream(&dead_letter).await? {
                        bytes += dead_letter.body.len() + 500;
                        dead_letters.push(dead_letter);
                    }
                }
                Ok(_) => {}
                Err(e) if e.disposition() == Disposition::Reject => {
                    tracing::warn!(error = %e, "not a dead letter");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(DeadLetterPage {
            dead_letters,
            next: None,
        })
    }

    /// Whether the stream has the letter too, so that it was read there.
    async fn is_in_stream(&self, dead_letter: &DeadLetter) -> Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let subject = format!("{}.{}", self.root, dead_letter.id());
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(message.sequence <= self.last_seq),
            Err(e) if is_no_message(&e.kind()) => Ok(false),
            Err(e) => {
                Err(Error::nats(e).context(format!("looking for dead letter {}", dead_letter.id())))
            }
        }
    }

    async fn read_stream(
        &self,
        from: u64,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        let context = || format!("reading dead letters of {}", self.root);
        let Some(consumer) = self.consumer(from, filter).await.context(context)? else {
            return Ok(DeadLetterPage {
                dead_letters: Vec::new(),
                next: self.begin_of_folder(),
            });
        };
        let mut dead_letters: BTreeMap<(DatasetName, Position), DeadLetter> = BTreeMap::new();
        let mut bytes = 0;
        let mut messages = consumer
            .messages()
            .await
            .map_err(Error::nats)
            .context(context)?;
        loop {
            let message = tokio::time::timeout(PATIENCE, messages.next())
                .await
                .map_err(|_| Error::nats("the next letter does not arrive").context(context()))?
                .ok_or_else(|| Error::nats("the letters end early").context(context()))?
                .map_err(|e| Error::nats(e).context(context()))?;
            let info = message
                .info()
                .map_err(|e| Error::nats(e).context(context()))?;
            let (sequence, pending, kept_at) = (info.stream_sequence, info.pending, info.published);
            if sequence > self.last_seq {
                break;
            }
            let kept_at = Timestamp::from_nanosecond(kept_at.unix_timestamp_nanos())
                .map_err(|e| Error::malformed(e.to_string()).context(context()))?;
            match parse(
                message.headers.as_ref(),
                &message.payload,
                sequence,
                kept_at,
            ) {
                Ok(mut dead_letter) if filter.allows(&dead_letter) => {
                    bytes += dead_letter.body.len() + 500;
                    dead_letter.filed = self.is_filed(&dead_letter);
                    add(&mut dead_letters, dead_letter);
                }
                Ok(_) => {}
                Err(e) => {
                    tracing::warn!(sequence, subject = %message.subject, error = %e, "not a dead letter");
                }
            }
            if pending == 0 || sequence == self.last_seq {
                break;
            }
            if dead_letters.len() >= limit || bytes >= BATCH_BYTES {
                return Ok(DeadLetterPage {
                    dead_letters: dead_letters.into_values().collect(),
                    next: Some(DeadLetterCursor::Stream(sequence + 1)),
                });
            }
        }
        Ok(DeadLetterPage {
            dead_letters: dead_letters.into_values().collect(),
            next: self.begin_of_folder(),
        })
    }

    /// A consumer of the letters; `None` where there is none to come.
    async fn consumer(
        &self,
        from: u64,
        filter: &DeadLetterFilter,
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
    pub async fn discard(&self, dead_letter: &DeadLetter) -> Result<()> {
        if let Some(stream) = &self.stream {
            for &sequence in &dead_letter.sequences {
                delete(stream, sequence)
                    .await
                    .context(|| format!("deleting dead letter {}", dead_letter.id()))?;
            }
        }
        self.remove_file(dead_letter).await
    }

    async fn remove_file(&self, dead_letter: &DeadLetter) -> Result<()> {
        match &self.folder {
            Some(folder) if dead_letter.filed => folder.remove(dead_letter).await,
            _ => Ok(()),
        }
    }

    /// Writes a letter with a new reason in place of the old one. Ended in between, both are there, and are read as one.
    pub(super) async fn rewrite(
        &self,
        dead_letter: &DeadLetter,
        reason: &str,
        detail: &str,
    ) -> Result<()> {
        let mut anew = dead_letter.clone();
        anew.reason = reason.to_owned();
        anew.detail = detail.to_owned();
        let (Some(stream), Some(&last)) = (&self.stream, dead_letter.sequences.last()) else {
            return match &self.folder {
                Some(folder) if dead_letter.filed => folder.replace(anew).await,
                _ => Ok(()),
            };
        };
        let context = || format!("writing a new reason into dead letter {}", dead_letter.id());
        let subject = Subject::from(format!("{}.{}", self.root, dead_letter.id()));
        self.jetstream
            .send_publish(subject, message_of(&anew, last))
            .await
            .map_err(Error::nats)
            .context(context)?
            .await
            .map_err(Error::nats)
            .context(context)?;
        for &sequence in &dead_letter.sequences {
            delete(stream, sequence).await.context(context)?;
        }
        self.remove_file(dead_letter).await
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
pub(super) fn add(
    dead_letters: &mut BTreeMap<(DatasetName, Position), DeadLetter>,
    mut dead_letter: DeadLetter,
) {
    let key = (dead_letter.dataset.clone(), dead_letter.position);
    if let Some(earlier) = dead_letters.remove(&key) {
        let mut sequences = earlier.sequences;
        sequences.append(&mut dead_letter.sequences);
        dead_letter.sequences = sequences;
    }
    dead_letters.insert(key, dead_letter);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use mpsync_core::dataset::Epoch;

    fn dead_letter(sequence: u64, reason: &str) -> DeadLetter {
        DeadLetter {
            dataset: "trades".parse().unwrap(),
            position: Position {
                epoch: Epoch(7),
                seq: 9,
            },
            stored_at_nanos: 5,
            subject: "trade.okx.spot.X".into(),
            stream: "MARKET_DATA".into(),
            message_id: None,
            reason: reason.into(),
            detail: String::new(),
            kept_at: Timestamp::UNIX_EPOCH,
            body: Bytes::new(),
            sequences: vec![sequence],
            filed: false,
        }
    }

    #[test]
    fn dead_letter_stored_twice_is_read_once_with_its_later_reason() {
        let mut dead_letters = BTreeMap::new();
        add(&mut dead_letters, dead_letter(3, "bad_number"));
        add(&mut dead_letters, dead_letter(8, "missing"));
        let only: Vec<DeadLetter> = dead_letters.into_values().collect();
        assert_eq!(only.len(), 1);
        assert_eq!(only[0].sequences, [3, 8]);
        assert_eq!(only[0].reason, "missing");
    }
}

//! Messages that cannot be rows: kept with reason, origin and bytes in a stream of their own, before their originals are
//! acknowledged; in a folder where the stream refuses them; held where that refuses them too.
//!
//! A dead letter's subject ends with the position of its original, and it is published only where that subject is empty;
//! its file is named by the position: however often it is tried, and however much later, there is one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, stream::Stream};
use bytes::Bytes;
use jiff::Timestamp;

use crate::dead_letters::folder::DeadLetterFolder;
use crate::dead_letters::letter::DeadLetter;
use crate::dead_letters::message::message_of;
use crate::stats::DatasetStats;
use mpsync_config::{Config, NatsConfig};
use mpsync_core::dataset::{DatasetName, Position};
use mpsync_core::error::{Error, Result, chain};
use mpsync_core::retry::Backoff;

/// How many are published before the first answer is waited for.
const AT_ONCE: usize = 256;
/// For how long the stream is not asked after it gave no answer: each time costs [`ANSWER_TIMEOUT`].
const SILENCE: Duration = Duration::from_secs(30);
/// A message that cannot be a row.
#[derive(Debug, Clone)]
pub(crate) struct RejectedMessage {
    pub(crate) position: Position,
    pub(crate) label: String,
    pub(crate) reason: String,
    pub(crate) subject: String,
    pub(crate) stored_at_nanos: i64,
    pub(crate) message_id: Option<String>,
    pub(crate) body: Bytes,
}

/// Where dead letters are kept: in their stream, or in a folder where that refuses them.
#[derive(Clone)]
pub(crate) struct DeadLetterQueue {
    jetstream: jetstream::Context,
    /// As the market data's, but with the name of this stream.
    nats: NatsConfig,
    /// The stream that the originals are in.
    origin: String,
    folder: Option<DeadLetterFolder>,
    /// Until when the stream is not asked, since it gave no answer.
    silent_until: Arc<Mutex<Option<Instant>>>,
}

/// What a place did not take, and why.
#[derive(Default)]
struct NotStored {
    /// The server said no, and would again: too large, the stream is full.
    refused: Vec<DeadLetter>,
    /// There was no answer: the connection is broken, or publishing is not permitted, which is not answered.
    unanswered: Vec<DeadLetter>,
    why: Option<Error>,
}

impl DeadLetterQueue {
    /// Opens the stream, or makes it.
    pub(crate) async fn open(jetstream: &jetstream::Context, config: &Config) -> Result<Self> {
        let own = NatsConfig {
            stream: config.ingest.dead_letter_stream.clone(),
            ..config.nats.clone()
        };
        let folder = config.ingest.dead_letter_folder.as_ref();
        let dead_letters = Self {
            jetstream: jetstream.clone(),
            nats: own,
            origin: config.nats.stream.clone(),
            folder: folder.map(DeadLetterFolder::new),
            silent_until: Arc::default(),
        };
        dead_letters.ensure().await?;
        Ok(dead_letters)
    }

    async fn ensure(&self) -> Result<Stream> {
        let subjects = [format!("{}.>", self.subject_root())];
        mpsync_nats::ensure_stream(&self.jetstream, &self.nats, &subjects).await
    }

    fn subject_root(&self) -> String {
        self.nats.stream.to_lowercase()
    }

    /// Keeps dead letters; returns when the stream or the folder has them all. Tries for ever: a message is held rather
    /// than lost.
    ///
    /// Cancel-safe: what was kept is found to be there the next time.
    pub(crate) async fn store(
        &self,
        dataset: &DatasetName,
        dead_letters: Vec<RejectedMessage>,
        stats: &DatasetStats,
    ) {
        let mut dead_letters = dead_letters
            .into_iter()
            .map(|l| self.to_dead_letter(dataset, l));
        loop {
            let some: Vec<DeadLetter> = dead_letters.by_ref().take(AT_ONCE).collect();
            let Some(first) = some.first().cloned() else {
                return;
            };
            let labels: Vec<String> = some.iter().map(|l| l.reason.clone()).collect();
            self.store_some(dataset, some, stats).await;
            for label in &labels {
                stats.dead_letter(label);
            }
            if let Some(count) = stats.dead_letters_logged.due(labels.len()) {
                tracing::warn!(
                    %dataset, dead_letters = count, seq = first.position.seq, subject = %first.subject, reason = %first.detail,
                    "messages became dead letters; one of the last is named"
                );
            }
        }
    }

    fn to_dead_letter(&self, dataset: &DatasetName, dead_letter: RejectedMessage) -> DeadLetter {
        DeadLetter {
            dataset: dataset.clone(),
            position: dead_letter.position,
            stored_at_nanos: dead_letter.stored_at_nanos,
            subject: dead_letter.subject,
            stream: self.origin.clone(),
            message_id: dead_letter.message_id,
            reason: dead_letter.label,
            detail: dead_letter.reason,
            kept_at: Timestamp::now(),
            body: dead_letter.body,
            sequences: Vec::new(),
            filed: false,
        }
    }

    async fn store_some(
        &self,
        dataset: &DatasetName,
        dead_letters: Vec<DeadLetter>,
        stats: &DatasetStats,
    ) {
        let (mut dead_letters, mut failed) = (dead_letters, 0);
        loop {
            let mut left = self.try_stream(dead_letters).await;
            // Silence for the first time may be a slow server; without a connection nothing can be acknowledged anyway.
            if failed > 0 && self.is_connected() && !left.unanswered.is_empty() {
                self.stop_asking();
                left.refused.append(&mut left.unanswered);
            }
            let nats = left.why.map(|e| e.to_string());
            dead_letters = left.unanswered;
            let folder = match self
                .try_folder(dataset, left.refused, nats.as_deref(), stats)
                .await
            {
                Ok(()) => None,
                Err((refused, why)) => {
                    dead_letters.extend(refused);
                    Some(why)
                }
            };
            if dead_letters.is_empty() {
                return;
            }
            failed += 1;
            let pause = Backoff::DAEMON.pause(failed, rand::random());
            tracing::warn!(
                %dataset, dead_letters = dead_letters.len(), failed, ?pause, nats, folder,
                "dead letters are refused; their messages are held and not acknowledged"
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// Publishes letters; returns what the stream does not have.
    async fn try_stream(&self, dead_letters: Vec<DeadLetter>) -> NotStored {
        let mut left = NotStored::default();
        if self.is_silent() {
            left.refused = dead_letters;
            left.why = Some(Error::nats("it gave no answer a moment ago"));
            return left;
        }
        let mut answers = Vec::with_capacity(dead_letters.len());
        for dead_letter in dead_letters {
            let subject = format!("{}.{}", self.subject_root(), dead_letter.id());
            let sent = self
                .jetstream
                .send_publish(subject, message_of(&dead_letter, 0))
                .await;
            answers.push((dead_letter, sent));
        }
        let mut lacking = false;
        for (dead_letter, sent) in answers {
            let answer = match sent {
                Ok(answer) => answer.await.map(drop),
                Err(e) => Err(e),
            };
            let Err(e) = answer else { continue };
            match e.kind() {
                // Its subject is not empty: it was kept before.
                PublishErrorKind::WrongLastSequence => continue,
                PublishErrorKind::MaxPayloadExceeded => left.refused.push(dead_letter),
                PublishErrorKind::Other if is_answer(&e) => left.refused.push(dead_letter),
                kind => {
                    lacking |= kind == PublishErrorKind::StreamNotFound;
                    left.unanswered.push(dead_letter);
                }
            }
            left.why = Some(Error::nats(chain(&e)));
        }
        if lacking && let Err(e) = self.ensure().await {
            left.why = Some(e);
        }
        left
    }

    /// Keeps letters in the folder; gives them back with the reason where it cannot.
    async fn try_folder(
        &self,
        dataset: &DatasetName,
        dead_letters: Vec<DeadLetter>,
        nats: Option<&str>,
        stats: &DatasetStats,
    ) -> std::result::Result<(), (Vec<DeadLetter>, String)> {
        let Some(first) = dead_letters.first() else {
            return Ok(());
        };
        let Some(folder) = &self.folder else {
            return Err((dead_letters, "ingest.dead_letter_folder is empty".into()));
        };
        let dead_letter = first.id();
        if let Err(e) = folder.store(dead_letters.clone()).await {
            return Err((dead_letters, e.to_string()));
        }
        stats.dead_letters_in_files.add(dead_letters.len() as u64);
        if let Some(count) = stats.files_logged.due(dead_letters.len()) {
            tracing::warn!(
                %dataset, dead_letters = count, dead_letter, folder = %folder.path().display(), nats,
                "the stream refuses dead letters: they are kept as files, which `mpsync dlq` reads too"
            );
        }
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.jetstream.client().connection_state() == State::Connected
    }

    fn is_silent(&self) -> bool {
        let until = *self.silent();
        until.is_some_and(|until| Instant::now() < until)
    }

    fn stop_asking(&self) {
        *self.silent() = Some(Instant::now() + SILENCE);
    }

    fn silent(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server answered, with a refusal.
fn is_answer(e: &PublishError) -> bool {
    std::error::Error::source(e).is_some_and(<dyn std::error::Error>::is::<jetstream::Error>)
}

/// How long an answer is waited for, by the JetStream context that publishes dead letters and asks for messages.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

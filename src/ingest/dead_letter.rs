//! Messages that cannot be rows: kept with reason, origin and bytes in a stream of their own, before their originals are
//! acknowledged.
//!
//! A dead letter's subject ends with the position of its original, and it is published only where that subject is empty:
//! however often it is tried, and however much later, there is one.

use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, stream::Stream};
use bytes::Bytes;

use super::stats::DatasetStats;
use crate::config::NatsConfig;
use crate::dataset::{DatasetName, Position};
use crate::error::{Context as _, Disposition, Error, Result};
use crate::retry::Backoff;

/// How many are published before the first answer is waited for.
const AT_ONCE: usize = 256;
/// A reason longer than this is cut.
const REASON_CHARS: usize = 1000;

/// Header: a short name of the reason, which does not change.
pub const REASON_HEADER: &str = "Mpsync-Reason";
/// Header: the reason, for people.
pub const DETAIL_HEADER: &str = "Mpsync-Detail";
/// Header: the dataset.
pub const DATASET_HEADER: &str = "Mpsync-Dataset";
/// Header: the original's subject.
pub const SUBJECT_HEADER: &str = "Mpsync-Subject";
/// Header: the original's stream.
pub const STREAM_HEADER: &str = "Mpsync-Stream";
/// Header: the epoch of the original's stream.
pub const EPOCH_HEADER: &str = "Mpsync-Epoch";
/// Header: the original's sequence in its stream.
pub const SEQUENCE_HEADER: &str = "Mpsync-Sequence";
/// Header: when the original was stored, nanoseconds since 1970.
pub const STORED_AT_HEADER: &str = "Mpsync-Stored-At";
/// Header: the original's `Nats-Msg-Id`.
pub const MESSAGE_ID_HEADER: &str = "Mpsync-Message-Id";

/// A message that cannot be a row.
#[derive(Debug, Clone)]
pub(super) struct DeadLetter {
    pub(super) position: Position,
    pub(super) label: String,
    pub(super) reason: String,
    pub(super) subject: String,
    pub(super) stored_at_nanos: i64,
    pub(super) message_id: Option<String>,
    pub(super) body: Bytes,
}

/// The stream of dead letters.
#[derive(Clone)]
pub(super) struct DeadLetters {
    jetstream: jetstream::Context,
    /// As the market data's, but with the name of this stream.
    nats: NatsConfig,
    /// The stream that the originals are in.
    origin: String,
}

impl DeadLetters {
    /// Opens the stream, or makes it.
    pub(super) async fn open(
        jetstream: &jetstream::Context,
        nats: &NatsConfig,
        name: &str,
    ) -> Result<Self> {
        let own = NatsConfig {
            stream: name.to_owned(),
            ..nats.clone()
        };
        let letters = Self {
            jetstream: jetstream.clone(),
            nats: own,
            origin: nats.stream.clone(),
        };
        letters.ensure().await?;
        Ok(letters)
    }

    async fn ensure(&self) -> Result<Stream> {
        let subjects = [format!("{}.>", self.subject_root())];
        crate::nats::ensure_stream(&self.jetstream, &self.nats, &subjects).await
    }

    fn subject_root(&self) -> String {
        self.nats.stream.to_lowercase()
    }

    /// `<stream>.<dataset>.<epoch>.<sequence>`
    fn subject(&self, dataset: &DatasetName, position: Position) -> String {
        format!(
            "{}.{dataset}.{}.{}",
            self.subject_root(),
            position.epoch.0,
            position.seq
        )
    }

    /// Keeps dead letters; returns when the stream has them all. Tries for ever: a message is held rather than lost.
    ///
    /// Cancel-safe: what was published is found to be there the next time.
    pub(super) async fn keep(
        &self,
        dataset: &DatasetName,
        letters: &[DeadLetter],
        stats: &DatasetStats,
    ) -> Result<()> {
        for some in letters.chunks(AT_ONCE) {
            self.publish_until_kept(dataset, some).await?;
            for letter in some {
                stats.dead_letter(&letter.label);
            }
        }
        if let Some(first) = letters.first() {
            tracing::warn!(
                %dataset, letters = letters.len(), seq = first.position.seq, subject = %first.subject,
                reason = %first.reason, "messages became dead letters; the first of them is named"
            );
        }
        Ok(())
    }

    /// As [`crate::retry::retry()`], whose closure cannot be sent between threads.
    async fn publish_until_kept(
        &self,
        dataset: &DatasetName,
        letters: &[DeadLetter],
    ) -> Result<()> {
        let mut failed = 0;
        while let Err(e) = self.publish(dataset, letters).await {
            if e.disposition() != Disposition::Retry {
                return Err(e);
            }
            failed += 1;
            let pause = Backoff::DAEMON.pause(failed, rand::random());
            tracing::warn!(
                %dataset, letters = letters.len(), failed, ?pause, error = %e,
                "dead letters are refused; their messages are held"
            );
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn publish(&self, dataset: &DatasetName, letters: &[DeadLetter]) -> Result<()> {
        let mut answers = Vec::with_capacity(letters.len());
        for letter in letters {
            let subject = self.subject(dataset, letter.position);
            let message = self.message(dataset, letter);
            let answer = self
                .jetstream
                .send_publish(subject, message)
                .await
                .map_err(Error::nats)
                .doing(|| format!("dead letter of message {}", letter.position))?;
            answers.push((letter, answer));
        }
        for (letter, answer) in answers {
            let doing = || format!("dead letter of message {}", letter.position);
            match answer.await {
                Ok(_) => {}
                // Its subject is not empty: it was kept before.
                Err(e) if e.kind() == PublishErrorKind::WrongLastSequence => {}
                Err(e) if e.kind() == PublishErrorKind::StreamNotFound => {
                    self.ensure().await.doing(doing)?;
                    return Err(Error::nats(e).doing(doing()));
                }
                Err(e) => return Err(Error::nats(e).doing(doing())),
            }
        }
        Ok(())
    }

    fn message(&self, dataset: &DatasetName, letter: &DeadLetter) -> PublishMessage {
        let mut message = PublishMessage::build()
            .payload(letter.body.clone())
            .expected_last_subject_sequence(0)
            .header(REASON_HEADER, one_line(&letter.label))
            .header(DETAIL_HEADER, one_line(&letter.reason))
            .header(DATASET_HEADER, dataset.as_str())
            .header(SUBJECT_HEADER, one_line(&letter.subject))
            .header(STREAM_HEADER, self.origin.as_str())
            .header(EPOCH_HEADER, letter.position.epoch.0.to_string())
            .header(SEQUENCE_HEADER, letter.position.seq.to_string())
            .header(STORED_AT_HEADER, letter.stored_at_nanos.to_string());
        if let Some(id) = &letter.message_id {
            message = message.header(MESSAGE_ID_HEADER, one_line(id));
        }
        message
    }
}

/// A header's value has no line ends, and an end.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .take(REASON_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// How long an answer is waited for, by the JetStream context that publishes dead letters and asks for messages.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_break_out_of_its_header() {
        assert_eq!(
            one_line("a\r\nNats-Rollup: all\u{7f}"),
            "a  Nats-Rollup: all "
        );
        assert_eq!(one_line(&"x".repeat(5000)).len(), REASON_CHARS);
    }
}

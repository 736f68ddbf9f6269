//! The stream: how it is acknowledged, its first and last sequence, single messages.

use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{self, ErrorCode};
use jiff::Timestamp;

use mpsync_core::dataset::Epoch;
use mpsync_core::error::{Context as _, Error, Result};

/// How positions are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckMode {
    /// One acknowledgement for all that lie at or below it. Safe only where the consumer can be set back to its floor.
    All,
    /// One for each message.
    Each,
}

impl AckMode {
    /// What this server and this stream allow.
    ///
    /// After a crash a server delivers new messages first and the old unacknowledged ones only when `ack_wait` has passed,
    /// so that one acknowledgement for all would lose the old ones; from 2.14 on a consumer can be set back.
    pub(crate) fn of(client: &async_nats::Client, stream: &Stream) -> Self {
        let retention = stream.cached_info().config.retention;
        let version = client.server_info().version;
        if client.is_server_compatible(2, 14, 0) && retention == RetentionPolicy::Limits {
            return Self::All;
        }
        tracing::info!(
            server = %version, ?retention,
            "acknowledging each message by itself, which is slower: one for a batch needs nats-server 2.14 and limits retention"
        );
        Self::Each
    }

    pub(crate) fn policy(self) -> AckPolicy {
        match self {
            Self::All => AckPolicy::All,
            Self::Each => AckPolicy::Explicit,
        }
    }
}

/// What of a stream a life needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamFacts {
    /// The epoch of its creation.
    pub(crate) created: Epoch,
    /// The lowest sequence that it still holds; one above the last where it is empty.
    pub(crate) first_seq: u64,
    /// When the message of that sequence was stored; `None` where it is empty.
    pub(crate) first_at: Option<Timestamp>,
    /// The last sequence that it issued.
    pub(crate) last_seq: u64,
}

/// Asks the stream.
pub(crate) async fn facts(stream: &Stream) -> Result<StreamFacts> {
    let info = stream
        .get_info()
        .await
        .map_err(Error::nats)
        .context(|| format!("asking for stream {}", stream.cached_info().config.name))?;
    let nanos = info.created.unix_timestamp_nanos();
    Ok(StreamFacts {
        created: Epoch(u64::try_from(nanos).map_err(|_| {
            Error::nats(format!("the stream says that it was created at {nanos} ns"))
        })?),
        first_seq: info.state.first_sequence,
        // An empty stream says the year 1.
        first_at: Timestamp::from_nanosecond(info.state.first_timestamp.unix_timestamp_nanos())
            .ok()
            .filter(|at| *at > Timestamp::UNIX_EPOCH),
        last_seq: info.state.last_sequence,
    })
}

/// When the message at a sequence was stored, nanoseconds since 1970, or `None` where the stream has it no more.
pub(crate) async fn message_nanos(stream: &Stream, seq: u64) -> Result<Option<i64>> {
    match stream.get_raw_message(seq).await {
        Ok(message) => i64::try_from(message.time.unix_timestamp_nanos())
            .map(Some)
            .map_err(|_| Error::nats(format!("message {seq} has a time outside of all years"))),
        Err(e) if is_no_message(&e.kind()) => Ok(None),
        Err(e) => Err(Error::nats(e).context(format!("asking for message {seq}"))),
    }
}

/// Whether the stream answered that it does not have the message.
pub(crate) fn is_no_message(kind: &jetstream::stream::RawMessageErrorKind) -> bool {
    matches!(kind, jetstream::stream::RawMessageErrorKind::NoMessageFound)
        || matches!(kind, jetstream::stream::RawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::NO_MESSAGE_FOUND)
}

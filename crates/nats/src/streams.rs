//! Streams: finding, making and checking them.

use std::fmt;

use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode};

use crate::subjects::{covers, overlaps};
use mpsync_config::NatsConfig;
use mpsync_core::error::{Context as _, Error, Result, chain};

/// The stream of market data, made if it is absent: on disk, without limits, refusing a message id twice within
/// [`NatsConfig::duplicate_window`].
///
/// A stream that is there already is left as it is. It is a [`Cause::Schema`](mpsync_core::error::Cause::Schema) error when it takes
/// nothing of one of `subjects`; what differs without losing a message is logged. Cancel-safe.
pub async fn ensure_stream(
    jetstream: &jetstream::Context,
    config: &NatsConfig,
    subjects: &[String],
) -> Result<Stream> {
    let context = || format!("opening JetStream stream {}", config.stream);
    if let Some(stream) = find_stream(jetstream, &config.stream)
        .await
        .context(context)?
    {
        check(&stream.cached_info().config, config, subjects).context(context)?;
        return Ok(stream);
    }
    let wanted = stream::Config {
        name: config.stream.clone(),
        subjects: subjects.to_vec(),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        duplicate_window: config.duplicate_window,
        allow_direct: true,
        description: Some("market data, ingested by mpsync".into()),
        ..stream::Config::default()
    };
    match jetstream.create_stream(wanted).await {
        Ok(stream) => {
            tracing::info!(stream = %config.stream, subjects = subjects.len(), "stream created");
            Ok(stream)
        }
        // Somebody else made it between the look and the creation.
        Err(e) if is(&e.kind(), ErrorCode::STREAM_NAME_EXIST) => {
            let stream = find_stream(jetstream, &config.stream)
                .await
                .context(context)?
                .ok_or_else(|| Error::nats(chain(&e)).context(context()))?;
            check(&stream.cached_info().config, config, subjects).context(context)?;
            Ok(stream)
        }
        Err(e) if is(&e.kind(), ErrorCode::STREAM_SUBJECT_OVERLAP) => Err(Error::schema(
            "another stream of the server takes some of these subjects already",
        )
        .with_hint(format!(
            "say that stream's name as nats.stream, or give it other subjects than {}",
            subjects.join(", ")
        ))
        .context(context())),
        Err(e) => Err(unavailable(chain(&e)).context(context())),
    }
}

/// The stream, or `None` where the server knows of none by this name. Nothing is made. Cancel-safe.
pub async fn find_stream(jetstream: &jetstream::Context, name: &str) -> Result<Option<Stream>> {
    match jetstream.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(e) => match e.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(refusal)
                if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            jetstream::context::GetStreamErrorKind::InvalidStreamName
            | jetstream::context::GetStreamErrorKind::EmptyName => Err(Error::config(format!(
                "nats.stream: `{}` is no stream name: no spaces, dots or wildcards",
                name.escape_debug()
            ))),
            _ => Err(unavailable(chain(&e))),
        },
    }
}

fn is(kind: &jetstream::context::CreateStreamErrorKind, code: ErrorCode) -> bool {
    matches!(kind, jetstream::context::CreateStreamErrorKind::JetStream(e) if e.error_code() == code)
}

fn unavailable(text: impl fmt::Display) -> Error {
    Error::nats(text).with_hint("does the server run with JetStream (`nats-server --jetstream`)?")
}

/// Says what of an existing stream is not what mpsync would have made.
fn check(found: &stream::Config, config: &NatsConfig, subjects: &[String]) -> Result<()> {
    let stream = config.stream.as_str();
    // A mirror and a stream with sources are filled by the server, whatever their own subjects.
    if found.mirror.is_none() && found.sources.is_none() {
        let taken = |wanted: &str, how: fn(&str, &str) -> bool| {
            found.subjects.iter().any(|own| how(own, wanted))
        };
        let (reached, missed): (Vec<&str>, Vec<&str>) = subjects
            .iter()
            .map(String::as_str)
            .partition(|wanted| taken(wanted, overlaps));
        if !missed.is_empty() {
            return Err(Error::schema(format!(
                "it takes nothing of {}; it takes {}",
                missed.join(", "),
                found.subjects.join(", ")
            ))
            .with_hint(format!(
                "add the subjects to the stream (`nats stream edit {stream} --subjects=...`), or leave their datasets out"
            )));
        }
        for wanted in reached.iter().filter(|wanted| !taken(wanted, covers)) {
            tracing::warn!(
                stream,
                subject = wanted,
                "the stream takes only a part of this subject"
            );
        }
    }
    if found.retention != RetentionPolicy::Limits {
        tracing::warn!(stream, retention = ?found.retention, "the stream forgets messages by other rules than limits");
    }
    if found.storage != StorageType::File {
        tracing::warn!(
            stream,
            "the stream is kept in memory: a restart of the server loses it"
        );
    }
    if found.duplicate_window != config.duplicate_window {
        tracing::info!(
            stream, found = ?found.duplicate_window, configured = ?config.duplicate_window,
            "the stream has another duplicate window"
        );
    }
    Ok(())
}

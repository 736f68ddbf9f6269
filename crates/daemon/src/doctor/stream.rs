//! Checks of NATS and of the stream of market data.

use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use mpsync_config::NatsConfig;
use mpsync_core::error::Error;

use super::diagnosis::{Finding, Findings, Severity};

/// A stream that deletes messages sooner than this leaves no time to repair ingest, in seconds.
const MAX_AGE_MIN_SECONDS: u64 = 24 * 3600;

/// Examines NATS and the stream.
pub(crate) async fn examine(config: &NatsConfig) -> Vec<Finding> {
    let mut findings = Findings::of("nats");
    let client = match mpsync_nats::connect(config).await {
        Ok(client) => client,
        Err(e) => {
            findings.unreachable(&e);
            return findings.into_vec();
        }
    };
    let context = jetstream::new(client);
    if let Err(e) = context.query_account().await {
        findings.unreachable(&Error::nats(e));
        return findings.into_vec();
    }
    findings.ok("connection", "JetStream answers");
    match context.get_stream(&config.stream).await {
        Ok(stream) => examine_stream(&mut findings, &stream.cached_info().config),
        Err(e) => findings.advise(
            Severity::Note,
            "stream",
            format!("cannot read the stream {}: {e}", config.stream),
            "the hot side creates it at its start if it does not exist",
        ),
    }
    findings.into_vec()
}

/// Checks a stream for limits that delete messages before they are ingested.
fn examine_stream(findings: &mut Findings, stream: &Config) {
    let name = &stream.name;
    if stream.retention != RetentionPolicy::Limits {
        findings.advise(
            Severity::Warning,
            "stream",
            format!(
                "{name} has the retention policy {:?}: other consumers can delete messages",
                stream.retention
            ),
            "use a stream with the retention policy Limits",
        );
    }
    if stream.storage == StorageType::Memory {
        findings.advise(
            Severity::Warning,
            "stream",
            format!("{name} is stored in memory: a restart of nats-server loses all messages"),
            "use a stream with file storage",
        );
    }
    findings.ok(
        "stream",
        format!("{name} keeps messages in files until its limits"),
    );
    if stream.max_messages_per_subject > 0 {
        findings.advise(
            Severity::Warning,
            "limits",
            format!(
                "{name} keeps {} messages of each subject: it can delete messages before they are ingested",
                stream.max_messages_per_subject
            ),
            "remove max_msgs_per_subject",
        );
    }
    let age = stream.max_age.as_secs();
    if age > 0 && age < MAX_AGE_MIN_SECONDS {
        findings.advise(
            Severity::Warning,
            "limits",
            format!("{name} deletes messages after {age} seconds, ingested or not"),
            "raise max_age to a day or more, so that an outage of hot can be repaired in time",
        );
    }
    let size = (stream.max_messages > 0).then(|| format!("{} messages", stream.max_messages));
    let bytes = (stream.max_bytes > 0).then(|| format!("{} bytes", stream.max_bytes));
    let limits: Vec<String> = size.into_iter().chain(bytes).collect();
    if !limits.is_empty() {
        let consequence = match stream.discard {
            DiscardPolicy::Old => "beyond that it deletes the oldest messages, ingested or not",
            DiscardPolicy::New => "beyond that it refuses new messages",
        };
        findings.add(
            Severity::Note,
            "limits",
            format!(
                "{name} holds at most {}: {consequence}",
                limits.join(" and ")
            ),
        );
    }
    findings.ok("limits", "no limit deletes messages early");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn severities(stream: Config) -> Vec<(&'static str, Severity)> {
        let mut findings = Findings::of("nats");
        let stream = Config {
            name: "S".to_owned(),
            ..stream
        };
        examine_stream(&mut findings, &stream);
        findings
            .into_vec()
            .iter()
            .map(|f| (f.check, f.severity))
            .collect()
    }

    #[test]
    fn limits_that_delete_messages_early_are_found() {
        let plain = || Config {
            storage: StorageType::File,
            ..Config::default()
        };
        assert_eq!(
            severities(plain()),
            [("stream", Severity::Ok), ("limits", Severity::Ok)]
        );
        let memory = Config {
            storage: StorageType::Memory,
            retention: RetentionPolicy::WorkQueue,
            ..plain()
        };
        assert_eq!(
            severities(memory)[..2],
            [("stream", Severity::Warning), ("stream", Severity::Warning)]
        );
        let short = Config {
            max_age: Duration::from_mins(1),
            max_messages_per_subject: 1,
            ..plain()
        };
        assert_eq!(
            severities(short)[1..],
            [("limits", Severity::Warning), ("limits", Severity::Warning)]
        );
        let bounded = Config {
            max_bytes: 1 << 30,
            max_age: Duration::from_hours(7 * 24),
            ..plain()
        };
        assert_eq!(severities(bounded)[1], ("limits", Severity::Note));
    }
}

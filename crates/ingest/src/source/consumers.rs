//! The durable consumers of a dataset: finding, checking and creating them.

use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use futures_util::TryStreamExt as _;

use crate::writer::gate_name::{Shard, is_shard};
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_nats::overlaps;

/// Metadata key of a durable consumer that was created again: its first sequence.
const BEGAN_KEY: &str = "mpsync-began-at";

/// Returns the name of the durable consumer of a dataset, or of a shard of it.
pub(crate) fn consumer_name(dataset: &Dataset, shard: Option<&str>) -> String {
    match shard {
        Some(shard) => format!("mpsync-{}-{shard}", dataset.name),
        None => format!("mpsync-{}", dataset.name),
    }
}

/// Returns the consumers of a dataset, with their shards.
pub(crate) async fn of_dataset(
    stream: &Stream,
    dataset: &Dataset,
) -> Result<Vec<(Shard, jetstream::consumer::Info)>> {
    let context = || format!("listing the consumers of {}", dataset.name);
    let whole = consumer_name(dataset, None);
    let mut found = Vec::new();
    let mut all = stream.consumers();
    while let Some(info) = all.try_next().await.map_err(Error::nats).context(context)? {
        let shard = match info.name.strip_prefix(&whole) {
            Some("") => None,
            Some(rest) => match rest.strip_prefix('-').filter(|shard| is_shard(shard)) {
                Some(shard) => Some(shard.to_owned()),
                None => continue,
            },
            None => continue,
        };
        found.push((shard, info));
    }
    Ok(found)
}

/// Refuses a consumer that shares subjects with another one of the dataset.
pub(crate) fn disjoint(
    name: &str,
    dataset: &Dataset,
    others: &[(Shard, jetstream::consumer::Info)],
) -> Result<()> {
    for (_, other) in others.iter().filter(|(_, other)| other.name != name) {
        let theirs = filters(&other.config);
        let shared: Vec<String> = dataset
            .subjects
            .iter()
            .filter(|own| theirs.is_empty() || theirs.iter().any(|t| overlaps(t, own)))
            .cloned()
            .collect();
        if !shared.is_empty() {
            return Err(Error::schema(format!(
                "consumer {name} would deliver {}, of which consumer {} delivers {}: their messages would land twice",
                shared.join(", "),
                other.name,
                match theirs.is_empty() {
                    true => "everything".to_owned(),
                    false => theirs.join(", "),
                }
            ))
            .with_hint(format!(
                "give each daemon other ingest.filters; or, if the daemon of {other} is gone for good, delete that consumer \
                 (`nats consumer rm`): its unacknowledged messages are ingested then, and rows that are held are skipped",
                other = other.name
            )));
        }
    }
    Ok(())
}

/// Returns the subjects that a consumer filters, sorted; empty if it delivers all.
pub(crate) fn filters(config: &jetstream::consumer::Config) -> Vec<String> {
    let mut filters = config.filter_subjects.clone();
    if !config.filter_subject.is_empty() {
        filters.push(config.filter_subject.clone());
    }
    filters.sort_unstable();
    filters
}

/// Creates a consumer.
pub(crate) async fn create(stream: &Stream, wanted: pull::Config) -> Result<()> {
    let (consumer, ack_policy) = (wanted.durable_name.clone(), wanted.ack_policy);
    stream.create_consumer(wanted).await.map_err(Error::nats)?;
    tracing::info!(consumer, ?ack_policy, "consumer created");
    Ok(())
}

/// Replaces a consumer by one with the other ack policy, which cannot be changed, beginning at the old one's floor. If it
/// ends in between, the next start creates one that begins at the stream's first message.
pub(crate) async fn recreate(
    stream: &Stream,
    found: &jetstream::consumer::Info,
    mut wanted: pull::Config,
) -> Result<()> {
    let floor = found.ack_floor.stream_sequence;
    tracing::warn!(
        consumer = %found.name, floor, found = ?found.config.ack_policy, wanted = ?wanted.ack_policy,
        "the ack policy has changed since this consumer was created: recreating it from its floor"
    );
    wanted.deliver_policy = DeliverPolicy::ByStartSequence {
        start_sequence: floor + 1,
    };
    wanted.metadata = found.config.metadata.clone();
    wanted.metadata.retain(|key, _| !key.starts_with("_nats."));
    wanted
        .metadata
        .insert(BEGAN_KEY.into(), (floor + 1).to_string());
    stream
        .delete_consumer(&found.name)
        .await
        .map_err(Error::nats)?;
    create(stream, wanted).await
}

/// Refuses a consumer that would lose or double messages; logs other differences. Changes nothing.
///
/// Another ack policy is accepted if the consumer can be recreated without losing messages.
pub(crate) fn check(
    found: &jetstream::consumer::Config,
    wanted: &pull::Config,
    stream: &Stream,
) -> Result<()> {
    let retention = stream.cached_info().config.retention;
    check_against(found, wanted, retention == RetentionPolicy::Limits)
}

fn check_against(
    found: &jetstream::consumer::Config,
    wanted: &pull::Config,
    can_be_recreated: bool,
) -> Result<()> {
    let mut differences = Vec::new();
    if found.deliver_subject.is_some() {
        differences.push("it is a push consumer, and mpsync needs a pull consumer".to_owned());
    }
    // Without a consumer, a stream of another retention drops unacknowledged messages.
    if found.ack_policy != wanted.ack_policy && !can_be_recreated {
        differences.push(format!(
            "its ack_policy is {:?}, and with this server and stream it must be {:?}",
            found.ack_policy, wanted.ack_policy
        ));
    }
    let from_its_floor = matches!(found.deliver_policy, DeliverPolicy::ByStartSequence { start_sequence }
        if found.metadata.get(BEGAN_KEY) == Some(&start_sequence.to_string()));
    if found.deliver_policy != DeliverPolicy::All && !from_its_floor {
        differences.push(format!(
            "its deliver_policy is {:?}, not All",
            found.deliver_policy
        ));
    }
    if found.max_deliver > 0 {
        differences.push(format!(
            "it gives up a message after {} deliveries",
            found.max_deliver
        ));
    }
    let filters = filters(found);
    let mut subjects = wanted.filter_subjects.clone();
    subjects.sort_unstable();
    if filters != subjects {
        differences.push(format!("it filters {filters:?}, not {subjects:?}"));
    }
    if !differences.is_empty() {
        return Err(Error::schema(format!(
            "the consumer exists, but does not fit: {}",
            differences.join("; ")
        ))
        .with_hint("delete the consumer (`nats consumer rm`) while mpsync is stopped: a new one begins at the stream's first message, and rows that are held are skipped; or restore the configuration"));
    }
    if found.max_ack_pending > 0 && found.max_ack_pending < wanted.max_ack_pending {
        // This makes batches smaller, not wrong.
        tracing::warn!(
            found = found.max_ack_pending,
            wanted = wanted.max_ack_pending,
            "the consumer's max_ack_pending is smaller than the batches need; leaving it unchanged"
        );
    }
    if found.ack_wait != wanted.ack_wait {
        tracing::warn!(
            found = ?found.ack_wait, configured = ?wanted.ack_wait,
            "the consumer's ack_wait differs from ingest.ack_wait_seconds; leaving it unchanged"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::consumer::AckPolicy;

    use super::*;

    #[test]
    fn unfit_consumer_is_refused_with_every_difference() {
        let wanted = pull::Config {
            ack_policy: AckPolicy::All,
            filter_subjects: vec!["trade.>".into()],
            max_ack_pending: 1000,
            ..pull::Config::default()
        };
        let mut found = jetstream::consumer::Config {
            ack_policy: AckPolicy::All,
            filter_subject: "trade.>".into(),
            max_ack_pending: 1000,
            max_deliver: -1,
            ..jetstream::consumer::Config::default()
        };
        assert!(check_against(&found, &wanted, false).is_ok());
        found.ack_policy = AckPolicy::Explicit;
        found.filter_subject = "orderbook.>".into();
        let text = check_against(&found, &wanted, false)
            .unwrap_err()
            .to_string();
        for part in ["ack_policy", "orderbook.>"] {
            assert!(text.contains(part), "{text}");
        }
        found.filter_subject = "trade.>".into();
        assert!(check_against(&found, &wanted, true).is_ok());
        found.deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: 7 };
        assert!(check_against(&found, &wanted, true).is_err());
        found.metadata.insert(BEGAN_KEY.into(), "7".into());
        assert!(check_against(&found, &wanted, true).is_ok());
    }
}

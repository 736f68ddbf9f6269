//! The consumers of a dataset: whose they are, whether they fit, and making them.

use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use futures_util::TryStreamExt as _;

use crate::writer::gate_name::{Shard, is_shard};
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_nats::overlaps;

/// Metadata key of a durable consumer that was made anew: the sequence it begins at.
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

/// Refuses a consumer whose subjects another one of the dataset takes too.
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
                "consumer {name} would take {}, of which consumer {} takes {}: their messages would land twice",
                shared.join(", "),
                other.name,
                match theirs.is_empty() {
                    true => "everything".to_owned(),
                    false => theirs.join(", "),
                }
            ))
            .with_hint(format!(
                "give each daemon other ingest.filters; or, where the daemon of {other} is gone for good, delete that consumer \
                 (`nats consumer rm`): what it did not acknowledge is ingested then, and rows that are held are skipped",
                other = other.name
            )));
        }
    }
    Ok(())
}

/// The subjects that a consumer takes; none where it takes all.
pub(crate) fn filters(config: &jetstream::consumer::Config) -> Vec<String> {
    let mut filters = config.filter_subjects.clone();
    if !config.filter_subject.is_empty() {
        filters.push(config.filter_subject.clone());
    }
    filters.sort_unstable();
    filters
}

pub(crate) async fn create(stream: &Stream, wanted: pull::Config) -> Result<()> {
    let (consumer, ack_policy) = (wanted.durable_name.clone(), wanted.ack_policy);
    stream.create_consumer(wanted).await.map_err(Error::nats)?;
    tracing::info!(consumer, ?ack_policy, "consumer created");
    Ok(())
}

/// Makes a consumer anew that acknowledges in the other way, from the old one's floor: a consumer's ack policy cannot be
/// changed. Ended in between, the next start makes one that begins at the stream's first message.
pub(crate) async fn make_anew(
    stream: &Stream,
    found: &jetstream::consumer::Info,
    mut wanted: pull::Config,
) -> Result<()> {
    let floor = found.ack_floor.stream_sequence;
    tracing::warn!(
        consumer = %found.name, floor, found = ?found.config.ack_policy, wanted = ?wanted.ack_policy,
        "the server acknowledges in another way than when this consumer was made: it is made anew from its floor"
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

/// Refuses a consumer that would lose or double something; says what differs otherwise. Nothing is changed silently.
///
/// Another ack policy is no difference where the consumer can be made anew without losing anything.
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
    can_be_made_anew: bool,
) -> Result<()> {
    let mut differences = Vec::new();
    if found.deliver_subject.is_some() {
        differences.push("it pushes, and mpsync pulls".to_owned());
    }
    // Without a consumer, a stream of another retention forgets what nobody has acknowledged.
    if found.ack_policy != wanted.ack_policy && !can_be_made_anew {
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
            "it gives a message up after {} deliveries",
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
            "the consumer is there, but does not fit: {}",
            differences.join("; ")
        ))
        .with_hint("delete the consumer (`nats consumer rm`) while mpsync is stopped: a new one begins at the stream's first message, and rows that are held are skipped; or put the configuration back"));
    }
    if found.max_ack_pending > 0 && found.max_ack_pending < wanted.max_ack_pending {
        // Batches get smaller by that, not wrong.
        tracing::warn!(
            found = found.max_ack_pending,
            wanted = wanted.max_ack_pending,
            "the consumer has a smaller max_ack_pending than the batches need; it is left as it is"
        );
    }
    if found.ack_wait != wanted.ack_wait {
        tracing::warn!(
            found = ?found.ack_wait, configured = ?wanted.ack_wait,
            "the consumer has another ack_wait than ingest.ack_wait_seconds; it is left as it is"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::consumer::AckPolicy;

    use super::*;

    #[test]
    fn a_consumer_that_does_not_fit_is_refused_with_every_difference_named() {
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

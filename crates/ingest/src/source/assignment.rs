//! Which datasets, and which of their subjects, this daemon takes where several share the work. Pure.

use crate::writer::gate_name::{Shard, is_shard};
use mpsync_config::IngestConfig;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Error, Result};
use mpsync_nats::{intersection, is_pattern, overlaps};

/// A dataset, as far as this daemon takes it.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// With those of its subjects that this daemon takes.
    pub(crate) dataset: Dataset,
    /// The name of the part, where it is not all of it.
    pub(crate) shard: Shard,
}

/// What a daemon takes of these datasets.
///
/// Of N shards each takes every Nth dataset, whole: each dataset is one daemon's, whatever N is, and a dataset that
/// changes hands keeps its consumer. Filters cut datasets themselves: what of a dataset's subjects they match is a part of
/// its own, with a consumer of its own.
pub(crate) fn assign_subjects(
    config: &IngestConfig,
    datasets: &[&Dataset],
) -> Result<Vec<Assignment>> {
    let (filters, shard) = (&config.filters, &config.shard_name);
    check(filters, shard.as_deref())?;
    let count = config.shards.max(1) as usize;
    let own = datasets.iter().enumerate();
    let own = own.filter(|(number, _)| number % count == config.shard_index as usize);
    let mut scopes = Vec::new();
    for (_, dataset) in own {
        let mut dataset = (*dataset).clone();
        if !filters.is_empty() {
            let subjects = dataset.subjects.iter();
            dataset.subjects = subjects
                .flat_map(|subject| filters.iter().filter_map(|f| intersection(f, subject)))
                .collect();
        }
        if !dataset.subjects.is_empty() {
            scopes.push(Assignment {
                dataset,
                shard: shard.clone(),
            });
        }
    }
    if scopes.is_empty() && !datasets.is_empty() {
        return Err(Error::config(
            "ingest.shards and ingest.filters leave this daemon nothing of the chosen datasets",
        ));
    }
    Ok(scopes)
}

fn check(filters: &[String], name: Option<&str>) -> Result<()> {
    for (number, filter) in filters.iter().enumerate() {
        if !is_pattern(filter) {
            return Err(Error::config(format!(
                "ingest.filters: `{}` is no pattern of subjects, such as `*.okx.>`",
                filter.escape_debug()
            )));
        }
        if let Some(other) = filters[..number].iter().find(|o| overlaps(o, filter)) {
            return Err(Error::config(format!(
                "ingest.filters: `{other}` and `{filter}` share subjects, and a consumer takes none twice"
            )));
        }
    }
    match name {
        Some(name) if !is_shard(name) => Err(Error::config(format!(
            "ingest.shard_name: `{}` must be lower-case letters and digits, a letter first, at most 32",
            name.escape_debug()
        ))),
        Some(_) if filters.is_empty() => Err(Error::config(
            "ingest.shard_name names ingest.filters, and there are none",
        )),
        None if !filters.is_empty() => Err(Error::config(
            "ingest.filters needs ingest.shard_name: the consumer and the doors of these subjects are called after it",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_config::Config;
    use mpsync_core::dataset::builtin;

    fn config() -> IngestConfig {
        Config::load(None, []).unwrap().ingest
    }

    #[test]
    fn the_shards_of_any_count_take_every_dataset_once() {
        let all: Vec<&Dataset> = builtin().iter().collect();
        for count in 1..=all.len() {
            let mut taken = Vec::new();
            for index in 0..count {
                let mut config = config();
                config.shards = u32::try_from(count).unwrap();
                config.shard_index = u32::try_from(index).unwrap();
                let scopes = assign_subjects(&config, &all).unwrap();
                assert!(scopes.iter().all(|s| s.shard.is_none()));
                taken.extend(scopes.into_iter().map(|s| s.dataset.name));
            }
            taken.sort();
            let mut wanted: Vec<_> = all.iter().map(|d| d.name.clone()).collect();
            wanted.sort();
            assert_eq!(taken, wanted, "{count} shards");
        }
    }

    #[test]
    fn filters_cut_every_dataset_and_must_be_named_and_disjoint() {
        let all: Vec<&Dataset> = builtin().iter().collect();
        let mut config = config();
        config.filters = vec!["*.okx.>".into(), "trade.binance.>".into()];
        assert!(
            assign_subjects(&config, &all)
                .unwrap_err()
                .to_string()
                .contains("shard_name")
        );
        config.shard_name = Some("okx".into());
        let scopes = assign_subjects(&config, &all).unwrap();
        for scope in &scopes {
            assert_eq!(scope.shard.as_deref(), Some("okx"));
            assert!(
                scope
                    .dataset
                    .subjects
                    .iter()
                    .all(|s| s.contains(".okx.") || s.contains(".binance."))
            );
        }
        let trades = scopes
            .iter()
            .find(|s| s.dataset.name.as_str() == "trades")
            .unwrap();
        assert_eq!(trades.dataset.subjects, ["trade.okx.>", "trade.binance.>"]);
        for (filters, name) in [
            (vec!["trade.>", "*.okx.>"], Some("x")),
            (vec!["a b"], Some("x")),
            (vec!["trade.>"], Some("No")),
            (vec!["nothing.>"], Some("x")),
            (vec![], Some("x")),
        ] {
            config.filters = filters.into_iter().map(str::to_owned).collect();
            config.shard_name = name.map(str::to_owned);
            assert!(
                assign_subjects(&config, &all).is_err(),
                "{:?}",
                config.filters
            );
        }
    }
}

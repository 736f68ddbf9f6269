//! Earlier names of keys. They keep working; everything that is displayed uses the current name. Pure.

use std::collections::BTreeMap;

use super::origin::Origin;
use super::problems::Problems;
use super::raw::{RawConfig, RawNode};

/// Earlier names, each with the current name of the key.
const ALIASES: &[(&str, &str)] = &[
    // The name in the system that mpsync replaces.
    ("sync.batch_hours", "sync.max_hours_per_run"),
    ("ingest.filter_name", "ingest.shard_name"),
    ("http.protect_reads", "http.require_token_for_reads"),
    (
        "archive.encryption_old_key_files",
        "archive.decryption_key_files",
    ),
];

/// Returns the current name of a key, or of a key below it.
pub(crate) fn current_name(key: &str) -> String {
    for (alias, name) in ALIASES {
        match key.strip_prefix(alias) {
            Some("") => return (*name).to_owned(),
            Some(below) if below.starts_with('.') => return format!("{name}{below}"),
            _ => {}
        }
    }
    key.to_owned()
}

/// Renames the keys of a file. A key that is set under both names is a mistake.
pub(crate) fn rename(raw: RawConfig, problems: &mut Problems) -> RawConfig {
    let mut renamed = RawConfig::default();
    for (alias, name) in ALIASES {
        let is_set = |key: &str| {
            let value = raw.values.get(key);
            value.is_some_and(|raw_value| raw_value.value != RawNode::Null)
        };
        if is_set(alias) && is_set(name) {
            let origin = raw.sections.get(*alias).cloned();
            let first = raw.sections.get(*name).cloned();
            add_duplicate(
                problems,
                origin.unwrap_or(Origin::Default),
                alias,
                &first.unwrap_or(Origin::Default),
            );
        }
    }
    let is_alias = |key: &String| current_name(key) != **key;
    // The current name overrides the earlier one, unless it has no value.
    let (aliases, names): (BTreeMap<_, _>, BTreeMap<_, _>) =
        raw.values.into_iter().partition(|(key, _)| is_alias(key));
    for (key, raw_value) in aliases {
        renamed.values.insert(current_name(&key), raw_value);
    }
    for (key, raw_value) in names {
        if raw_value.value != RawNode::Null || !renamed.values.contains_key(&key) {
            renamed.values.insert(key, raw_value);
        }
    }
    for (key, origin) in raw.sections {
        renamed.sections.insert(current_name(&key), origin);
    }
    renamed
}

/// Returns the earlier name of a key; the key itself if it has none.
pub(crate) fn earlier_name(key: &str) -> &str {
    let found = ALIASES.iter().find(|(_, name)| *name == key);
    found.map_or(key, |(alias, _)| alias)
}

/// Adds the problem that a key is set under its earlier name, although it is set under its current name as well.
pub(crate) fn add_duplicate(problems: &mut Problems, origin: Origin, alias: &str, first: &Origin) {
    let name = current_name(alias);
    problems.add(
        origin,
        alias,
        format!("this is the earlier name of {name}, which {first} sets; set one of them"),
    );
}

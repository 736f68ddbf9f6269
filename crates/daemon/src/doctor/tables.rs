//! Engines and TTLs of the live tables. Pure.

use mpsync_core::dataset::TierRole;

use super::diagnosis::{Findings, Severity};
use super::ttl;

/// A live table as its server describes it.
#[derive(Debug, Clone)]
pub(crate) struct LiveTable {
    pub(crate) name: String,
    pub(crate) engine: String,
    pub(crate) create_table_query: String,
}

/// Checks the engines and TTLs of live tables. `deletes` is whether mpsync deletes verified rows of this tier.
pub(crate) fn examine(
    findings: &mut Findings,
    role: TierRole,
    wanted: &[&str],
    found: &[LiveTable],
    deletes: bool,
) {
    for name in wanted {
        match found.iter().find(|table| table.name == *name) {
            Some(table) => {
                examine_engine(findings, role, table, deletes);
                examine_ttl(findings, role, table);
            }
            None => findings.advise(
                Severity::Note,
                "tables",
                format!("{name} does not exist"),
                "create the tables with `mpsync schema apply`",
            ),
        }
    }
    findings.ok("tables", format!("{} tables exist", wanted.len()));
    findings.ok("engines", "no engine replaces or replicates rows");
    findings.ok("ttl", "no TTL deletes or changes rows");
}

fn examine_engine(findings: &mut Findings, role: TierRole, table: &LiveTable, deletes: bool) {
    let (name, engine) = (&table.name, table.engine.as_str());
    if !engine.ends_with("MergeTree") {
        findings.advise(
            Severity::Warning,
            "engines",
            format!("{name} has the engine {engine}: its rows cannot be verified by parts"),
            "use a table of the MergeTree family, as `mpsync schema show` prints it",
        );
        return;
    }
    let plain = engine
        .trim_start_matches("Replicated")
        .trim_start_matches("Shared");
    if plain != "MergeTree" {
        findings.advise(
            Severity::Warning,
            "engines",
            format!("{name} has the engine {engine}, whose merges can remove rows"),
            "use MergeTree: mpsync stores each row once and needs no deduplicating engine",
        );
    }
    if plain == engine {
        return;
    }
    if role == TierRole::Hot && deletes {
        findings.advise(
            Severity::Refused,
            "engines",
            format!(
                "{name} has the engine {engine} and sync.cleanup_enabled is true: cleanup through one replica drops rows \
                 that this replica has not fetched yet"
            ),
            "set sync.cleanup_enabled to false, or use a hot table that is not replicated",
        );
    } else {
        findings.add(
            Severity::Note,
            "engines",
            format!("{name} has the engine {engine}"),
        );
    }
}

fn examine_ttl(findings: &mut Findings, role: TierRole, table: &LiveTable) {
    let (name, found) = (&table.name, ttl::of(&table.create_table_query));
    let remove = format!("remove it: ALTER TABLE {name} REMOVE TTL");
    match role {
        TierRole::Hot if found.deletes_rows => findings.advise(
            Severity::Refused,
            "ttl",
            format!("{name} has a TTL that deletes rows, also those that are not archived yet"),
            format!("{remove}; hot_storage.retention_days with sync.cleanup_enabled deletes verified rows only"),
        ),
        TierRole::Cold if found.deletes_rows => findings.advise(
            Severity::Warning,
            "ttl",
            format!("{name} has a TTL that deletes rows: loads of older windows halt, and the archive is not consulted"),
            format!("{remove}; cold_storage.retention_days with sync.retention_enabled deletes verified rows only"),
        ),
        _ => {}
    }
    if found.resets_columns {
        findings.advise(
            Severity::Warning,
            "ttl",
            format!("{name} has a column with a TTL: verification fails when the server resets its values"),
            format!("remove it: ALTER TABLE {name} MODIFY COLUMN … REMOVE TTL"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severities(role: TierRole, engine: &str, clauses: &str, deletes: bool) -> Vec<Severity> {
        let mut findings = Findings::of("hot");
        let table = LiveTable {
            name: "trades".to_owned(),
            engine: engine.to_owned(),
            create_table_query: format!(
                "CREATE TABLE d.trades (`a` DateTime) ENGINE = {engine} ORDER BY a {clauses}"
            ),
        };
        examine(&mut findings, role, &["trades"], &[table], deletes);
        findings
            .into_vec()
            .iter()
            .map(|f| f.severity)
            .filter(|s| *s > Severity::Ok)
            .collect()
    }

    #[test]
    fn deleting_ttls_of_hot_and_cleanup_of_replicas_are_refused() {
        let ttl = "TTL a + toIntervalDay(3)";
        for (role, engine, clauses, deletes, severity) in [
            (TierRole::Hot, "MergeTree", "", true, None),
            (
                TierRole::Hot,
                "MergeTree",
                ttl,
                false,
                Some(Severity::Refused),
            ),
            (
                TierRole::Cold,
                "MergeTree",
                ttl,
                false,
                Some(Severity::Warning),
            ),
            (
                TierRole::Hot,
                "ReplicatedMergeTree",
                "",
                true,
                Some(Severity::Refused),
            ),
            (
                TierRole::Hot,
                "SharedMergeTree",
                "",
                true,
                Some(Severity::Refused),
            ),
            (
                TierRole::Hot,
                "ReplicatedMergeTree",
                "",
                false,
                Some(Severity::Note),
            ),
            (
                TierRole::Cold,
                "ReplicatedMergeTree",
                "",
                true,
                Some(Severity::Note),
            ),
            (
                TierRole::Hot,
                "ReplacingMergeTree",
                "",
                false,
                Some(Severity::Warning),
            ),
            (TierRole::Cold, "Log", "", false, Some(Severity::Warning)),
        ] {
            let found = severities(role, engine, clauses, deletes);
            assert_eq!(
                found,
                Vec::from_iter(severity),
                "{role} {engine} {clauses} {deletes}"
            );
        }
    }

    #[test]
    fn a_missing_table_is_a_note() {
        let mut findings = Findings::of("hot");
        examine(&mut findings, TierRole::Hot, &["trades"], &[], true);
        let found = findings.into_vec();
        assert_eq!(found[0].severity, Severity::Note);
        assert_eq!(found[0].message, "trades does not exist");
    }
}

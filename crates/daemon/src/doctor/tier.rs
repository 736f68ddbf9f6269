//! Checks of a ClickHouse server that stores a tier.

use clickhouse::Row;
use jiff::Timestamp;
use mpsync_clickhouse::Tier;
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::Result;
use serde::Deserialize;

use super::diagnosis::{Finding, Findings, Severity};
use super::settings::effect;
use super::tables::{self, LiveTable};

/// The oldest version of ClickHouse that is supported.
const VERSION_MIN: (u32, u32) = (24, 11);
/// The difference of clocks that is worth a warning, in milliseconds.
const CLOCK_DIFFERENCE_MS: i64 = 2_000;
/// A replica that is this many seconds behind is worth a warning.
const DELAY_SECONDS: u64 = 300;

/// Examines a tier. `deletes` is whether mpsync deletes verified rows of it.
pub(crate) async fn examine(tier: &Tier, datasets: &[Dataset], deletes: bool) -> Vec<Finding> {
    let mut findings = Findings::of(tier.role().to_string());
    let version = match tier.ping().await {
        Ok(version) => version,
        Err(e) => {
            findings.unreachable(&e);
            return findings.into_vec();
        }
    };
    examine_version(&mut findings, &version);
    let wanted: Vec<&str> = datasets.iter().map(|d| d.table.as_str()).collect();
    examine_tables(&mut findings, tier, &wanted, deletes).await;
    examine_policies(&mut findings, tier, &wanted).await;
    examine_settings(&mut findings, tier).await;
    examine_sizes(&mut findings, tier, &wanted).await;
    examine_replicas(&mut findings, tier, &wanted).await;
    examine_clock(&mut findings, tier).await;
    findings.into_vec()
}

async fn all<T>(tier: &Tier, sql: &str) -> Result<Vec<T>>
where
    T: clickhouse::RowOwned + clickhouse::RowRead,
{
    let query = tier.query(sql).param("database", tier.database());
    query.fetch_all().await.map_err(|e| tier.error(e))
}

fn examine_version(findings: &mut Findings, version: &str) {
    let mut numbers = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        findings.advise(
            Severity::Warning,
            "version",
            format!("ClickHouse {version} is older than {major}.{minor}"),
            format!("upgrade ClickHouse to {major}.{minor} or newer"),
        );
    }
    findings.ok("version", format!("ClickHouse {version}"));
}

#[derive(Row, Deserialize)]
struct TableRow {
    name: String,
    engine: String,
    create_table_query: String,
}

async fn examine_tables(findings: &mut Findings, tier: &Tier, wanted: &[&str], deletes: bool) {
    let sql = "SELECT name, engine, create_table_query FROM system.tables WHERE database = {database:String}";
    match all::<TableRow>(tier, sql).await {
        Err(e) => findings.not_possible("tables", &e),
        Ok(rows) => {
            let live = |row: TableRow| LiveTable {
                name: row.name,
                engine: row.engine,
                create_table_query: row.create_table_query,
            };
            let found: Vec<LiveTable> = rows.into_iter().map(live).collect();
            tables::examine(findings, tier.role(), wanted, &found, deletes);
        }
    }
}

#[derive(Row, Deserialize)]
struct PolicyRow {
    short_name: String,
    table: String,
    filter: String,
    applies: bool,
}

/// Row policies hide rows from queries without an error.
async fn examine_policies(findings: &mut Findings, tier: &Tier, wanted: &[&str]) {
    let check = "row policies";
    let exists = "SELECT count() AS n FROM system.tables WHERE database = 'system' AND name = 'row_policies' AND {database:String} != ''";
    match all::<CountRow>(tier, exists).await {
        Ok(rows) if rows.iter().all(|row| row.n == 0) => {
            return findings.ok(check, "the server has no row policies");
        }
        Ok(_) => {}
        Err(e) => return findings.not_possible(check, &e),
    }
    let sql = "SELECT short_name, table, toString(select_filter) AS filter, \
               toBool((apply_to_all AND NOT has(apply_to_except, currentUser())) OR has(apply_to_list, currentUser()) \
                   OR hasAny(apply_to_list, (SELECT groupArray(role_name) FROM system.enabled_roles))) AS applies \
               FROM system.row_policies WHERE database IN ({database:String}, '')";
    let policies = match all::<PolicyRow>(tier, sql).await {
        Ok(policies) => policies,
        Err(e) => return findings.not_possible(check, &e),
    };
    judge_policies(findings, &policies, wanted);
}

fn judge_policies(findings: &mut Findings, policies: &[PolicyRow], wanted: &[&str]) {
    let check = "row policies";
    let concerns =
        |policy: &&PolicyRow| policy.table.is_empty() || wanted.contains(&policy.table.as_str());
    for policy in policies.iter().filter(concerns) {
        let (name, table) = (&policy.short_name, &policy.table);
        if policy.applies {
            findings.advise(
                Severity::Refused,
                check,
                format!(
                    "the row policy {name} on {table} hides rows from mpsync ({})",
                    policy.filter
                ),
                format!(
                    "except the user of mpsync: ALTER ROW POLICY {name} ON {table} TO ALL EXCEPT …"
                ),
            );
        } else {
            findings.advise(
                Severity::Note,
                check,
                format!("the row policy {name} on {table} is for other users"),
                "check that the server lets users without a row policy read all rows (users_without_row_policies_can_read_rows)",
            );
        }
    }
    findings.ok(check, "no row policy on the tables");
}

#[derive(Row, Deserialize)]
struct CountRow {
    n: u64,
}

#[derive(Row, Deserialize)]
struct SettingRow {
    name: String,
    value: String,
}

async fn examine_settings(findings: &mut Findings, tier: &Tier) {
    let check = "settings";
    let sql = "SELECT name, value FROM system.settings WHERE changed AND {database:String} != ''";
    match all::<SettingRow>(tier, sql).await {
        Err(e) => findings.not_possible(check, &e),
        Ok(rows) => {
            for SettingRow { name, value } in rows {
                if let Some((severity, reason)) = effect(&name, &value) {
                    findings.advise(
                        severity,
                        check,
                        format!("the profile of the user sets {name} = {value}: {reason}"),
                        format!("remove {name} from the settings profile of the user"),
                    );
                }
            }
            findings.ok(check, "no changed setting affects results");
        }
    }
}

#[derive(Row, Deserialize)]
struct PartitionRow {
    table: String,
    partition: String,
    bytes: u64,
}

/// The server refuses to drop tables and partitions above a size.
async fn examine_sizes(findings: &mut Findings, tier: &Tier, wanted: &[&str]) {
    let check = "drop limits";
    let limits = "SELECT name, toString(value) AS value FROM system.server_settings \
                  WHERE name IN ('max_table_size_to_drop', 'max_partition_size_to_drop') AND {database:String} != ''";
    let limits = match all::<SettingRow>(tier, limits).await {
        Ok(rows) => rows,
        Err(e) => return findings.not_possible(check, &e),
    };
    let limits = limits
        .iter()
        .filter_map(|row| row.value.parse::<u64>().ok());
    let Some(limit) = limits.filter(|limit| *limit > 0).min() else {
        return findings.ok(check, "the server has no limit");
    };
    let sql = "SELECT table, partition_id AS partition, sum(bytes_on_disk) AS bytes FROM system.parts \
               WHERE active AND database = {database:String} GROUP BY table, partition ORDER BY bytes DESC LIMIT 1000";
    let partitions = match all::<PartitionRow>(tier, sql).await {
        Ok(partitions) => partitions,
        Err(e) => return findings.not_possible(check, &e),
    };
    for row in partitions {
        // Near the limit, late rows may push it over.
        if row.bytes > limit / 10 * 8 && wanted.contains(&row.table.as_str()) {
            findings.advise(
                Severity::Warning,
                check,
                format!(
                    "partition {} of {} has {} bytes, and the server refuses to drop more than {limit} bytes",
                    row.partition, row.table, row.bytes
                ),
                "raise max_table_size_to_drop and max_partition_size_to_drop of the server, or use smaller partitions",
            );
        }
    }
    findings.ok(
        check,
        format!("no partition is near the limit of {limit} bytes"),
    );
}

#[derive(Row, Deserialize)]
struct ReplicaRow {
    table: String,
    is_readonly: bool,
    delay: u64,
}

async fn examine_replicas(findings: &mut Findings, tier: &Tier, wanted: &[&str]) {
    let check = "replicas";
    let sql = "SELECT table, toBool(is_readonly) AS is_readonly, absolute_delay AS delay FROM system.replicas \
               WHERE database = {database:String}";
    let replicas = match all::<ReplicaRow>(tier, sql).await {
        Ok(replicas) => replicas,
        Err(e) => return findings.not_possible(check, &e),
    };
    for replica in replicas
        .iter()
        .filter(|r| wanted.contains(&r.table.as_str()))
    {
        let (table, delay) = (&replica.table, replica.delay);
        if replica.is_readonly {
            findings.advise(
                Severity::Warning,
                check,
                format!("the replica of {table} is read-only: inserts fail"),
                "restore the connection to Keeper, then SYSTEM RESTART REPLICA",
            );
        } else if delay > DELAY_SECONDS {
            findings.advise(
                Severity::Warning,
                check,
                format!("the replica of {table} is {delay} seconds behind"),
                "look at system.replication_queue for the cause",
            );
        }
    }
    findings.ok(check, "no replica is read-only or behind");
}

#[derive(Row, Deserialize)]
struct ClockRow {
    now_ms: i64,
}

async fn examine_clock(findings: &mut Findings, tier: &Tier) {
    let check = "clock";
    let before = Timestamp::now().as_millisecond();
    let sql = "SELECT toUnixTimestamp64Milli(now64(3)) AS now_ms WHERE {database:String} != ''";
    let clock = all::<ClockRow>(tier, sql).await;
    let after = Timestamp::now().as_millisecond();
    match clock {
        Err(e) => findings.not_possible(check, &e),
        Ok(rows) => {
            let difference = rows.first().map_or(0, |row| {
                // Within the request any time is right.
                row.now_ms - row.now_ms.clamp(before, after)
            });
            if difference.abs() > CLOCK_DIFFERENCE_MS {
                findings.advise(
                    Severity::Warning,
                    check,
                    format!("the clock of the server differs from that of this machine by {difference} ms"),
                    "synchronize both clocks with NTP",
                );
            }
            findings.ok(check, format!("the difference is {difference} ms"));
        }
    }
}

/// Returns whether a tier's rows are deleted with these settings.
pub(crate) fn deletes(role: TierRole, sync: &mpsync_config::SyncConfig) -> bool {
    match role {
        TierRole::Hot => sync.cleanup_enabled,
        TierRole::Cold => sync.retention_enabled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_policies_that_hide_rows_are_refused() {
        let policy = |table: &str, applies| PolicyRow {
            short_name: "hidden".to_owned(),
            table: table.to_owned(),
            filter: "symbol = 'x'".to_owned(),
            applies,
        };
        for (table, applies, severity) in [
            ("trades", true, Severity::Refused),
            // A policy on all tables of the database.
            ("", true, Severity::Refused),
            ("trades", false, Severity::Note),
            ("other", true, Severity::Ok),
        ] {
            let mut findings = Findings::of("hot");
            judge_policies(&mut findings, &[policy(table, applies)], &["trades"]);
            let found = findings.into_vec();
            assert_eq!(found[0].severity, severity, "{table} {applies}");
        }
    }

    #[test]
    fn old_versions_are_found() {
        for (version, severity) in [
            ("24.10.1.1", Severity::Warning),
            ("24.11.1.1", Severity::Ok),
            ("26.7.2.1", Severity::Ok),
        ] {
            let mut findings = Findings::of("hot");
            examine_version(&mut findings, version);
            assert_eq!(findings.into_vec()[0].severity, severity, "{version}");
        }
    }
}

//! Insert gates that aborted replays left behind.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mpsync_clickhouse::{Tier, ident};
use mpsync_core::error::{Context as _, Result};

/// The least age of an abandoned gate: a replay in real time may run for days.
const AGE_MIN: Duration = Duration::from_hours(7 * 24);

/// Drops the replay gates in a tier that are older than `age`, and than a week in any case; returns their
/// names and ages. Drops a table before its view: a gate without its view would lose rows silently.
pub async fn sweep_insert_gates(
    tier: &Tier,
    age: Duration,
    dry_run: bool,
) -> Result<Vec<(String, Duration)>> {
    let found = tier
        .query(
            "SELECT name FROM system.tables WHERE database = {database:String} \
             AND engine IN ('Null', 'MaterializedView') AND match(name, '_replay_[0-9]{13}(_mv)?$') ORDER BY name",
        )
        .param("database", tier.database())
        .fetch_all::<String>()
        .await
        .map_err(|e| tier.error(e).context(format!("listing the insert gates of replays in {}", tier.role())))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut old = Vec::new();
    for name in found {
        // The number of a gate is its creation time.
        let Some(made) = made_at(&name) else { continue };
        let since = now.saturating_sub(made);
        if since < age.max(AGE_MIN) {
            continue;
        }
        if !dry_run {
            let cluster = tier.cluster();
            let on_cluster =
                cluster.map_or_else(String::new, |c| format!(" ON CLUSTER {}", ident(c)));
            let sql = format!("DROP TABLE IF EXISTS {}{on_cluster}", tier.table(&name));
            let dropped = tier.execute(&sql).await;
            dropped.context(|| format!("dropping the insert gate {name}"))?;
        }
        old.push((name, since));
    }
    Ok(old)
}

fn made_at(name: &str) -> Option<Duration> {
    let name = name.strip_suffix("_mv").unwrap_or(name);
    let (_, millis) = name.rsplit_once("_replay_")?;
    millis.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_name_contains_its_creation_time() {
        let made = Some(Duration::from_secs(1_700_000_000));
        assert_eq!(made_at("trades_replay_1700000000000"), made);
        assert_eq!(made_at("trades_replay_1700000000000_mv"), made);
        assert_eq!(made_at("trades"), None);
    }
}

//! Doors that replays left which did not come to their end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mpsync_clickhouse::{Tier, ident};
use mpsync_core::error::{Context as _, Result};

/// A door at least so old is nobody's: a replay in real time may go on for days.
const AGE_MIN: Duration = Duration::from_hours(7 * 24);

/// Drops the doors in a tier that were made longer ago than `age`, and than a week in any case; gives their names and ages. The
/// table comes before its view: a door without its view would swallow rows in silence.
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
        .map_err(|e| tier.error(e).context(format!("listing the doors of replays in {}", tier.role())))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut old = Vec::new();
    for name in found {
        // A door's number is when it was made.
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
            dropped.context(|| format!("sweeping the door {name}"))?;
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
    fn a_door_says_when_it_was_made() {
        let made = Some(Duration::from_secs(1_700_000_000));
        assert_eq!(made_at("trades_replay_1700000000000"), made);
        assert_eq!(made_at("trades_replay_1700000000000_mv"), made);
        assert_eq!(made_at("trades"), None);
    }
}

//! A schedule by cron, told over HTTP and kept over restarts.

use std::time::Duration;

use jiff::Timestamp;

use super::both_ready;
use crate::http::json;
use crate::support::daemon::World;
use crate::support::until;

const BOTH: [&str; 4] = ["--mode", "both", "--dataset", "trades"];

#[tokio::test]
async fn a_cron_expression_is_followed_told_and_not_repeated_by_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::start(&["trades"], &[]).await;
    let archive = folder.path().join("archive");
    world.set("MPSYNC__ARCHIVE__PATH", archive.to_str().expect("UTF-8"));
    let port = world.clickhouse.port().to_string();
    world.set("MPSYNC__COLD_STORAGE__CLICKHOUSE_HTTP_PORT", &port);
    let cold =
        mpsync_clickhouse::Tier::new(mpsync_core::dataset::TierRole::Cold, &world.config().cold);
    cold.apply_schema(&[crate::support::daemon::dataset("trades")])
        .await
        .expect("the tables are made");
    // Once a year, and not soon: there was no run before, so the first one starts at once.
    let year = Timestamp::now().strftime("%-m").to_string();
    let month = year.parse::<u32>().expect("a month") % 12 + 1;
    world.set("MPSYNC__SYNC__CRON", &format!("0 0 15 {month} *"));
    let mut daemon = world.daemon(&BOTH);
    let [address, _] = both_ready(&daemon).await;
    until("the first run", async || {
        json(&address, "/stats")["sync"]["last"]["ok"] == true
    })
    .await;
    let sync = json(&address, "/stats")["sync"].clone();
    assert_eq!(sync["schedule"], format!("cron 0 0 15 {month} * (UTC)"));
    let next: Timestamp = sync["next_at"]
        .as_str()
        .expect("a moment")
        .parse()
        .expect("a moment");
    let text = next.strftime("%-m-%d %H:%M").to_string();
    assert_eq!(text, format!("{month}-15 00:00"), "{sync}");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.ended().await;
    // A restart repeats nothing, and remembers.
    let again = world.daemon(&BOTH);
    let [address, _] = both_ready(&again).await;
    until("the schedule", async || {
        json(&address, "/stats")["sync"]["next_at"].is_string()
    })
    .await;
    let remembered = json(&address, "/stats")["sync"].clone();
    assert_eq!(remembered["last"]["started_at"], sync["last"]["started_at"]);
    let next: Timestamp = remembered["next_at"]
        .as_str()
        .expect("a moment")
        .parse()
        .expect("one");
    let far = next.duration_since(Timestamp::now());
    assert!(
        far > jiff::SignedDuration::try_from(Duration::from_hours(24)).expect("a day"),
        "{far}"
    );
}

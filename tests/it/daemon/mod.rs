//! Whole daemons on real servers: as they are configured, stopped, cut off from a server, and looked at.

mod configured;
mod embedded;
mod schedule;
mod stopped;
mod sweep;

use serde_json::Value;

use crate::http::{ask, json};
use crate::support::daemon::Daemon;
use crate::support::until;

/// Hours between two syncs in these tests: two seconds.
const OFTEN: &str = "0.00055";

/// Where a daemon of both sides listens, hot first, once it is ready.
async fn both_ready(daemon: &Daemon) -> [String; 2] {
    let mut found = Vec::new();
    until("both doors", async || {
        found = daemon.http().await;
        found.len() == 2
    })
    .await;
    until("readiness", async || {
        ask(&found[0], "GET", "/ready", "", "").0 == 200
    })
    .await;
    [found[0].clone(), found[1].clone()]
}

/// The value of one sample of `/metrics`.
fn metric(address: &str, sample: &str) -> Option<f64> {
    let (status, text) = ask(address, "GET", "/metrics", "", "");
    assert_eq!(status, 200, "{text}");
    text.lines()
        .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

/// Waits until `/stats` is as wanted.
async fn until_stats(address: &str, what: &str, mut holds: impl FnMut(&Value) -> bool) {
    until(what, async || holds(&json(address, "/stats"))).await;
}

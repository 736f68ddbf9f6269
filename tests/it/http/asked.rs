//! A daemon with two hours of trades that is asked over HTTP.

use std::path::Path;
use std::time::Instant;

use async_nats::jetstream;
use serde_json::{Value, json as document};

use super::{ask, json, world};
use crate::support::daemon::{Daemon, World};
use crate::support::nats::publish;
use crate::support::trades::trade;
use crate::support::{PATIENCE, until};

/// Trades below this number are in the first hour, those from it on in the next.
pub(crate) const NEXT_HOUR: u64 = 400_000;
pub(crate) const FIRST: &str = "trades@20251009T080000Z-20251009T090000Z";
pub(crate) const SECOND: &str = "trades@20251009T090000Z-20251009T100000Z";
pub(crate) const DAY: &str = "from=2025-10-09T00:00:00Z&to=2025-10-10T00:00:00Z";

/// A daemon, and the token that it takes.
pub(crate) struct Asked<'a> {
    world: &'a World,
    pub(crate) address: String,
    _daemon: Daemon,
}

impl<'a> Asked<'a> {
    /// Of these sides, which syncs only when it is asked to; ready.
    pub(crate) async fn start(world: &'a World, mode: &str) -> Self {
        let daemon = world.daemon(&["--mode", mode, "--dataset", "trades"]);
        let address = daemon.http().await[0].clone();
        until("readiness", async || {
            ask(&address, "GET", "/ready", "", "").0 == 200
        })
        .await;
        Self {
            world,
            address,
            _daemon: daemon,
        }
    }

    /// Returns the answer of a route; repeats the request if the archive was too slow for it on a busy machine.
    pub(crate) fn get(&self, path: &str) -> Value {
        let begun = Instant::now();
        loop {
            let answer = json(&self.address, path);
            let error = answer["error"].as_str().unwrap_or_default();
            if !error.contains("has not answered within") || begun.elapsed() > PATIENCE {
                return answer;
            }
        }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let headers = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
            self.world.token()
        );
        let (status, text) = ask(&self.address, "POST", path, &headers, &body.to_string());
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"));
        (status, value)
    }

    /// Asks for a sync and waits for its end.
    pub(crate) async fn sync(&self) {
        let last = || self.get("/stats")["sync"]["last"]["started_at"].clone();
        until("a run that is over", async || last() != Value::Null).await;
        let before = last();
        assert_eq!(self.post("/sync", &document!({})).0, 202);
        until("another run's end", async || last() != before).await;
    }

    pub(crate) fn ids(&self, query: &str) -> Vec<String> {
        let page = self.get(&format!("/transfer-tasks?{query}"));
        let tasks = page["tasks"].as_array().unwrap_or_else(|| panic!("{page}"));
        tasks
            .iter()
            .map(|t| t["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Stage and rows of each window of the day.
    pub(crate) fn windows(&self) -> Vec<(String, u64)> {
        let answer = self.get(&format!("/windows?{DAY}"));
        let windows = answer["windows"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"));
        let facts = |w: &Value| {
            (
                w["stage"].as_str().unwrap().to_owned(),
                w["rows"].as_u64().unwrap(),
            )
        };
        windows.iter().map(facts).collect()
    }

    pub(crate) async fn until_windows(&self, wanted: &[(&str, u64)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(stage, rows)| ((*stage).to_owned(), *rows))
            .collect();
        until(&format!("{wanted:?}"), async || self.windows() == wanted).await;
    }
}

/// Both tiers, an archive, and a schedule that runs once, at the start.
pub(crate) async fn seldom(archive: &Path) -> World {
    let mut world = world(archive).await;
    world.set("MPSYNC__SYNC__INTERVAL_HOURS", "10");
    world
}

/// Publishes so many trades in either hour, and waits until hot has them.
pub(crate) async fn two_hours(world: &World, jetstream: &jetstream::Context, rows: u64) {
    publish(jetstream, (0..rows).map(trade)).await;
    publish(jetstream, (NEXT_HOUR..NEXT_HOUR + rows).map(trade)).await;
    world.until_rows("trades", 2 * rows).await;
}

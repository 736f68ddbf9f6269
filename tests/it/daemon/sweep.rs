//! A daemon sweeps by itself what broken-off runs left, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{OFTEN, both_ready, metric, until_stats};
use crate::http::{json, world};
use crate::support::daemon::{Daemon, World};
use crate::support::nats::publish;
use crate::support::trades::trade;
use crate::support::until;

const BOTH: [&str; 4] = ["--mode", "both", "--dataset", "trades"];
const GENERATION: &str = "trades/date=2025-10-09/hour=08/gen=0";
const INTERVAL: &str = "MPSYNC__SYNC__GC_INTERVAL_HOURS";

/// Has a file look as old as two days.
fn age(path: &Path) {
    let file = std::fs::File::options().write(true).open(path);
    let then = SystemTime::now() - Duration::from_hours(48);
    file.expect("a file")
        .set_modified(then)
        .expect("it has a time");
}

fn write_old(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, "half").expect("a file");
    age(path);
}

/// The files of a folder with their bytes.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(folder).expect("a folder");
    let files = files.map(|file| file.expect("a file").path());
    files
        .map(|path| (path.clone(), std::fs::read(path).expect("bytes")))
        .collect()
}

/// Waits until cold holds so many rows: then the archive does.
async fn until_in_cold(world: &World, rows: u64) {
    let count = "SELECT count() FROM marketprism_cold.trades";
    until(&format!("{rows} rows in cold"), async || {
        world.ask::<u64>(count).await[0] == rows
    })
    .await;
}

/// A daemon that has brought trades 0 to 99 all the way.
async fn settled(world: &World) -> (Daemon, String) {
    let daemon = world.daemon(&BOTH);
    let [address, _] = both_ready(&daemon).await;
    publish(&world.nats.jetstream().await, (0..100).map(trade)).await;
    until_in_cold(world, 100).await;
    (daemon, address)
}

fn runs(address: &str, result: &str) -> f64 {
    let sample = format!("mpsync_gc_runs_total{{result=\"{result}\"}}");
    metric(address, &sample).expect("a counter")
}

/// Waits until so many more sweeps have ended like this.
async fn until_sweeps(address: &str, result: &str, more: f64) {
    let before = runs(address, result);
    until(&format!("{more} sweeps: {result}"), async || {
        runs(address, result) >= before + more
    })
    .await;
}

#[tokio::test]
async fn a_daemon_removes_old_leftovers_and_keeps_chunks_of_manifests() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let mut world = world(&archive).await;
    world.set(INTERVAL, OFTEN);
    let (daemon, address) = settled(&world).await;
    let generation = archive.join(GENERATION);
    let kept = content(&generation);
    assert!(kept.len() >= 3, "{:?}", kept.keys());
    // What is named is as old as what is not.
    for path in kept.keys() {
        age(path);
    }
    let young = generation.join("part-00001-a0.parquet");
    std::fs::write(&young, "half").expect("a file");
    let orphan = generation.join("part-00000-a0.parquet");
    let temporary = archive.join("_mpsync/probe/123");
    for path in [&orphan, &temporary] {
        write_old(path);
    }
    until("what is old is gone", async || {
        !orphan.exists() && !temporary.exists()
    })
    .await;
    until_sweeps(&address, "ok", 2.0).await;
    let mut left = content(&generation);
    assert_eq!(left.remove(&young).as_deref(), Some(&b"half"[..]));
    assert_eq!(left, kept);
    for (sample, swept) in [
        ("mpsync_gc_swept_total", 2.0),
        ("mpsync_gc_swept_bytes_total", 8.0),
    ] {
        assert_eq!(metric(&address, sample), Some(swept), "{sample}");
    }
    assert!(metric(&address, "mpsync_gc_last_success_timestamp_seconds").is_some());
    let told = daemon.lines("garbage collection completed");
    let bytes: u64 = told.iter().filter_map(|line| line["bytes"].as_u64()).sum();
    assert_eq!(bytes, 8, "{told:?}");
    let what = |kind: &str| {
        told.iter()
            .any(|line| line["kinds"].to_string().contains(kind))
    };
    assert!(what("1 orphan") && what("1 temporary"), "{told:?}");
}

#[tokio::test]
async fn a_restart_repeats_no_sweep_and_an_interval_of_nothing_means_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let mut world = world(&archive).await;
    let (mut daemon, address) = settled(&world).await;
    until_stats(&address, "the first sweep", |stats| {
        stats["sync"]["last_sweep"]["ok"] == true
    })
    .await;
    let first = json(&address, "/stats")["sync"]["last_sweep"].clone();
    daemon.signal(rustix::process::Signal::TERM);
    daemon.ended().await;
    let orphan = archive.join(GENERATION).join("part-00000-a0.parquet");
    write_old(&orphan);
    for interval in ["24", "0"] {
        world.set(INTERVAL, interval);
        let mut again = world.daemon(&BOTH);
        let [address, _] = both_ready(&again).await;
        until("two syncs of this daemon", async || {
            metric(&address, "mpsync_sync_runs_total{result=\"ok\"}") >= Some(2.0)
        })
        .await;
        let last = json(&address, "/stats")["sync"]["last_sweep"].clone();
        if interval == "24" {
            assert_eq!(last, first);
        } else {
            assert!(last.is_null(), "{last}");
        }
        assert!(runs(&address, "ok") + runs(&address, "failed") < 1.0);
        again.signal(rustix::process::Signal::TERM);
        again.ended().await;
        // No record of a sweep is left.
        let _ = std::fs::remove_file(archive.join("_mpsync/last-sweep.json"));
    }
    assert!(orphan.exists());
}

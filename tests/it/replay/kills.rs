//! Replays that are killed, or asked to end, at random moments, and started again until they are done.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Archived, command, lines};
use crate::support::nats::NatsServer;

/// Random moments that can be had again: `MPSYNC_SEED` says which.
fn moments() -> ChaCha8Rng {
    let seed = std::env::var("MPSYNC_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    println!("MPSYNC_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// Runs a replay until it comes to its end; by then it was ended at least once. Each run may last longer than the one before:
/// on a machine where the first ones end before they have begun, later ones come further.
async fn ended_again_and_again(
    settings: &[(String, String)],
    arguments: &[&str],
    rng: &mut ChaCha8Rng,
) {
    let mut ended = 0;
    loop {
        let mut child = command(settings, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let length = Duration::from_millis(rng.random_range(450..1400));
        let deadline = Instant::now() + length.mul_f64(1.1_f64.powi(ended));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                break None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        match status {
            Some(status) if status.success() => break,
            Some(status) => panic!("{arguments:?}: {status}"),
            None if rng.random() => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            None => {
                let pid =
                    rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                child.wait().unwrap();
            }
        }
        ended += 1;
        // A run of hours, by then.
        assert!(ended < 100, "it makes no progress");
    }
    assert!(ended > 0, "{arguments:?} was never ended");
}

/// As fast as makes it last some seconds, with a place to continue at.
fn resumed<'a>(place: &'a str, into: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "replay",
        "--speed",
        "1500",
        "--from",
        "2025-01-01",
        "--checkpoint",
        place,
    ];
    [&usual[..], into].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_at_random_moments_the_runs_together_are_the_whole_once() {
    let archived = Archived::of(20_000).await;
    let whole = archived.lines("whole.jsonl", &["--from", "2025-01-01"]);
    let mut rng = moments();
    let stream = NatsServer::start().await;
    let settings = archived.settings_of(&stream.url(), "first");
    let file = archived.file("resumed.jsonl");
    for (place, target) in [
        ("file.place", vec!["--into", "jsonl", "--file", &file]),
        ("stream.place", vec!["--into", "jetstream", "--into-live"]),
    ] {
        let place = archived.file(place);
        ended_again_and_again(&settings, &resumed(&place, &target), &mut rng).await;
    }
    assert!(
        lines(&file) == whole,
        "{} lines, not {}",
        lines(&file).len(),
        whole.len()
    );
    let jetstream = stream.jetstream().await;
    let name = mpsync_config::Config::load(None, settings)
        .unwrap()
        .nats
        .stream;
    let mut found = jetstream.get_stream(name).await.unwrap();
    assert_eq!(
        found.info().await.unwrap().state.messages,
        whole.len() as u64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_lines_of_rows_hold_everything_once_however_often_the_replay_is_killed() {
    let archived = Archived::of(20_000).await;
    let mut rng = moments();
    let of_trades = ["--dataset", "trades"];
    let whole = archived.file("whole.csv");
    let csv = |file: &str| {
        let into = [
            "replay",
            "--into",
            "csv",
            "--from",
            "2025-01-01",
            "--file",
            file,
        ];
        super::succeed(&archived.settings, &[&into[..], &of_trades].concat());
    };
    csv(&whole);
    let file = archived.file("resumed.csv");
    let place = archived.file("csv.place");
    let into = [&["--into", "csv", "--file", &file][..], &of_trades].concat();
    ended_again_and_again(&archived.settings, &resumed(&place, &into), &mut rng).await;
    assert!(
        lines(&file) == lines(&whole),
        "{} lines",
        lines(&file).len()
    );

    let place = archived.file("tables.place");
    let into = ["--into", "clickhouse", "--table", "{table}_killed"];
    ended_again_and_again(&archived.settings, &resumed(&place, &into), &mut rng).await;
    for dataset in mpsync_core::dataset::builtin() {
        let fingerprint = async |table: &str| {
            let sql = format!(
                "SELECT concat(toString(count()), ' ', toString(sum(cityHash64(tuple(*))))) FROM first.{table} \
                 WHERE timestamp >= '2025-01-01'"
            );
            archived.sql(&sql).await
        };
        let killed = fingerprint(&format!("{}_killed", dataset.table)).await;
        assert_eq!(
            killed,
            fingerprint(&dataset.table).await,
            "{}",
            dataset.name
        );
    }
    let gates = "SELECT toString(count()) FROM system.tables WHERE name LIKE '%\\_replay\\_%'";
    assert_eq!(
        archived.sql(gates).await,
        "0",
        "a door of a killed replay is there"
    );
}

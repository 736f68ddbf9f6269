//! How much one scheduled run takes.

use std::io::{BufRead as _, BufReader};

use crate::support::transfer::World;

/// One run of the schedule, to its end; its last line.
fn scheduled_run(world: &World) -> String {
    let token = world.archive().with_file_name("token");
    let arguments = ["run", "--mode", "cold", "--dataset", "trades"];
    let listen = ["--hot-listen", "--cold-listen"].map(|side| [side, "127.0.0.1:0"]);
    let mut daemon = world
        .command(&[&arguments[..], &listen.concat()].concat())
        .arg("--token-file")
        .arg(token)
        .spawn()
        .unwrap();
    let log = BufReader::new(daemon.stderr.take().unwrap());
    let line = log
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("sync completed") || line.contains("sync failed"));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    line.expect("a run")
}

#[test]
fn a_scheduled_run_takes_the_oldest_hours_up_to_the_batch_and_a_person_gets_everything() {
    let world = World::bare("sync: {max_hours_per_run: 2, interval_hours: 10}");
    for tier in ["hot", "cold"] {
        world.succeed(&["schema", "apply", "--tier", tier]);
    }
    for hour in 0..7 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 0{hour}"),
            1 + hour * 1_000,
            100,
        );
    }
    let hours = || -> Vec<u64> {
        let manifests = world.files("gen=0/manifest.json");
        let hour = |path: &std::path::PathBuf| {
            let text = path.to_string_lossy().into_owned();
            let (_, rest) = text.split_once("hour=").unwrap();
            rest[..2].parse().unwrap()
        };
        manifests.iter().map(hour).collect()
    };
    assert!(scheduled_run(&world).contains("sync completed"));
    assert_eq!(hours(), [0, 1]);
    // Late rows of what is archived take nobody's place, and neither does what halted.
    world.insert_trades("trades", "2026-01-01 00", 50_000, 10);
    world.insert_trades("trades", "2026-01-01 02", 2_001, 1);
    assert!(scheduled_run(&world).contains("sync failed"));
    assert_eq!(hours(), [0, 1, 3]);
    assert_eq!(world.files("gen=1/manifest.json").len(), 1);
    assert!(scheduled_run(&world).contains("sync failed"));
    assert_eq!(hours(), [0, 1, 3, 4, 5]);
    let said = world.fail(3, &["sync", "--dataset", "trades"]);
    assert!(said.contains("2026-01-01T02"), "{said}");
    assert_eq!(hours(), [0, 1, 3, 4, 5, 6]);
}

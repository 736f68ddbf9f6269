//! Everything that can be killed or stopped is, again and again, under load; then every message of the stream is in hot
//! once, with the values that were published, or is one dead letter.
//!
//! The schedule follows from a seed, which is printed: `MPSYNC_SEED` repeats one, `MPSYNC_KILLS` makes it longer (`just
//! soak`). Time budget: 90 seconds on two idle cores for the 60 blows of `just test`.

mod check;
mod load;
mod schedule;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::load::{DATASETS, Load};
use self::schedule::{Blow, Step, Victim, schedule};
use crate::support::clickhouse::ClickHouse;
use crate::support::daemon::{Daemon, World};
use crate::support::nats::NatsServer;
use crate::support::{PATIENCE, until};

/// Blows where `MPSYNC_KILLS` does not say how many.
const BLOWS: usize = 60;
/// Of this many at most the load is as heavy as it gets; a longer run must not fill the disk.
const HEAVY_UPTO: usize = 100;

/// The servers, the daemon, and those that were asleep while it took over.
struct Arena {
    world: World,
    daemon: Daemon,
    woken: Vec<Daemon>,
    dealt: BTreeMap<String, u32>,
    /// How often a daemon ended by itself: at its start, since a server was down, or because another took over.
    ended: u32,
}

impl Arena {
    async fn start() -> Self {
        let (nats, clickhouse) = tokio::join!(NatsServer::start_syncing(), ClickHouse::start());
        let tables: Vec<&str> = DATASETS.split(',').collect();
        let settings = [
            ("MPSYNC__HOT_STORAGE__BATCH_SIZE", "300"),
            ("MPSYNC__HOT_STORAGE__FLUSH_INTERVAL", "0.1"),
            // Both shorter than the longest stalls.
            ("MPSYNC__HOT_STORAGE__REQUEST_TIMEOUT_SECONDS", "2"),
            ("MPSYNC__INGEST__ACK_WAIT_SECONDS", "2"),
        ];
        let world = World::of(nats, clickhouse, &tables, &settings).await;
        let output = world.run(&["--drain", "--dataset", DATASETS]).await;
        assert!(
            output.status.success(),
            "the stream is made: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            daemon: world.daemon(&["--dataset", DATASETS]),
            world,
            woken: Vec::new(),
            dealt: BTreeMap::new(),
            ended: 0,
        }
    }

    async fn deal(&mut self, step: &Step) {
        *self.dealt.entry(step.blow.name()).or_default() += 1;
        match step.blow {
            Blow::Kill(Victim::Daemon, down) => {
                self.daemon.signal_if_alive(Signal::KILL).ok();
                self.daemon.ended().await;
                tokio::time::sleep(down).await;
                self.daemon = self.start_daemon();
            }
            Blow::Kill(Victim::Engine, down) => {
                self.world.clickhouse.kill();
                tokio::time::sleep(down).await;
                self.world.clickhouse.launch().await;
            }
            Blow::Kill(Victim::Nats, down) => {
                self.world.nats.kill();
                tokio::time::sleep(down).await;
                self.world.nats.launch().await;
            }
            Blow::Stall(victim, asleep) => {
                self.signal(victim, Signal::STOP);
                tokio::time::sleep(asleep).await;
                self.signal(victim, Signal::CONT);
            }
            Blow::SecondDaemon(asleep) => self.let_another_take_over(asleep).await,
        }
    }

    fn start_daemon(&self) -> Daemon {
        self.world.daemon(&["--dataset", DATASETS])
    }

    fn signal(&self, victim: Victim, signal: Signal) {
        match victim {
            // It may just have ended by itself.
            Victim::Daemon => drop(self.daemon.signal_if_alive(signal)),
            Victim::Engine => self.world.clickhouse.signal(signal),
            Victim::Nats => self.world.nats.signal(signal),
        }
    }

    /// The first daemon sleeps until the second one has begun, or could not, and a while longer.
    async fn let_another_take_over(&mut self, asleep: Duration) {
        self.signal(Victim::Daemon, Signal::STOP);
        let mut second = self.start_daemon();
        until("the second daemon to begin", async || {
            second.log().contains("\"ingesting\"") || second.status().is_some()
        })
        .await;
        tokio::time::sleep(asleep).await;
        let first = std::mem::replace(&mut self.daemon, second);
        first.signal_if_alive(Signal::CONT).ok();
        self.woken.push(first);
    }

    /// Starts the daemon again where it has ended, as a service manager does, and forgets those that were superseded.
    fn tend(&mut self) {
        if self.daemon.status().is_some() {
            self.ended += 1;
            check_last_words(&self.daemon);
            self.daemon = self.start_daemon();
        }
        self.woken.retain_mut(|daemon| {
            let ended = daemon.status().is_some();
            if ended {
                check_last_words(daemon);
            }
            !ended
        });
    }

    /// How many rows have landed, where the engine answers.
    async fn landed(&self) -> Option<u64> {
        let tables = DATASETS
            .split(',')
            .map(|table| format!("SELECT count() AS rows FROM marketprism_hot.{table}"));
        let sql = tables.collect::<Vec<_>>().join(" UNION ALL ");
        let sum = format!("SELECT sum(rows) FROM ({sql})");
        self.world.hot().query(&sum).fetch_one::<u64>().await.ok()
    }

    /// Waits until rows have landed.
    async fn progress(&mut self) {
        let begun = Instant::now();
        let mut before = None;
        loop {
            self.tend();
            let now = self.landed().await;
            if before.is_some() && now > before {
                return;
            }
            before = before.or(now);
            assert!(
                begun.elapsed() < PATIENCE,
                "nothing lands any more; the daemon says:\n{}",
                self.daemon.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends all daemons in order, then lands what is left.
    async fn drain(&mut self) {
        for daemon in std::iter::once(&mut self.daemon).chain(&mut self.woken) {
            daemon.signal_if_alive(Signal::TERM).ok();
            daemon.ended().await;
        }
        // Nothing stalls any more, and each request may take what it needs.
        self.world
            .set("MPSYNC__HOT_STORAGE__REQUEST_TIMEOUT_SECONDS", "300");
        for _ in 0..2 {
            let output = self.world.run(&["--drain", "--dataset", DATASETS]).await;
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// A daemon that has begun goes on whatever happens, unless another one took over.
fn check_last_words(daemon: &Daemon) {
    let log = daemon.log();
    assert!(
        !log.contains("\"ingesting\"") || log.contains("superseded session"),
        "a daemon ended though it had begun:\n{log}"
    );
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")),
    )
}

#[tokio::test]
async fn whatever_is_killed_or_stopped_every_message_is_in_hot_once_with_its_values() {
    let seed = number("MPSYNC_SEED").unwrap_or_else(rand::random);
    let blows = number("MPSYNC_KILLS").map_or(BLOWS, |n| usize::try_from(n).expect("fewer"));
    println!("MPSYNC_SEED={seed} MPSYNC_KILLS={blows}");
    let begun = Instant::now();
    let mut arena = Arena::start().await;
    let pause = Duration::from_millis(if blows > HEAVY_UPTO { 60 } else { 15 });
    let load = Load::start(arena.world.nats.jetstream().await, seed, pause);
    for (n, step) in (1..).zip(schedule(seed, blows)) {
        if step.after_progress {
            arena.progress().await;
        }
        tokio::time::sleep(step.pause).await;
        arena.tend();
        arena.deal(&step).await;
        if n % 50 == 0 {
            println!("{n} blows after {:.0?}", begun.elapsed());
        }
    }
    let acknowledged = load.stop().await;
    arena.progress().await;
    arena.drain().await;
    println!(
        "{:?}; daemons that ended by themselves: {}; {} messages after {:.1?}",
        arena.dealt,
        arena.ended,
        acknowledged.len(),
        begun.elapsed()
    );
    check::all(&mut arena.world, &acknowledged).await;
    println!("checked after {:.1?}", begun.elapsed());
}

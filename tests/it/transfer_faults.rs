//! Whichever call to ClickHouse or to the archive's store fails, and however, a transfer that is started again ends in the
//! same state: no row lost, none doubled, nothing cleaned before it was proven. So does what leaves cold and the archive for its
//! age: what is to stay is there, once, and all else is gone.
//!
//! The first call fails, then the second, and so on until a run makes fewer calls. Each fails in one way of three, which follows
//! from a seed that is printed: `MPSYNC_SEED` repeats one, and `MPSYNC_FAULTS=all` makes each fail in every way. The library is
//! driven in this process, over one engine, with an archive in memory. Time budget: 75 seconds each on two idle cores.

mod ground;
mod place;
mod shelf;

use std::fmt::Debug;
use std::time::Instant;

use futures_util::future::join_all;
use mpsync_archive::Depth;
use mpsync_core::error::{Cause, ExitCode};
use mpsync_transfer::{Against, TimeRange, TransferRequest};

use self::ground::{Faults, Ground};
use self::place::{Place, Scenario};
use self::shelf::{Leaving, Shelf};
use crate::support::PATIENCE;
use crate::support::breaker::Fault as Broken;
use crate::support::clickhouse::ClickHouse;
use mpsync_testkit::StoreFault as Failed;

/// More calls than any run makes: who gets here never ends.
const MOST_CALLS: u64 = 1000;
/// How many runs of one kind go on side by side: a lease that was not given back is waited for.
const LANES: usize = 2;

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server(Broken),
    Store(Failed),
}

const SERVER: [Kind; 3] = [
    Kind::Server(Broken::Before),
    Kind::Server(Broken::After),
    Kind::Server(Broken::Last),
];
const STORE: [Kind; 3] = [
    Kind::Store(Failed::Before),
    Kind::Store(Failed::After),
    Kind::Store(Failed::Last),
];

impl Kind {
    fn nth(self, nth: u64) -> Faults {
        match self {
            Self::Server(fault) => Faults::Server(fault, nth),
            Self::Store(fault) => Faults::Store(fault, nth),
        }
    }

    /// Whether the process ends with the call.
    fn is_last(self) -> bool {
        matches!(self, Self::Server(Broken::Last) | Self::Store(Failed::Last))
    }
}

/// A scene whose calls are broken: its start, its request, and the conditions that hold whenever a run ends.
trait Scene {
    /// Returns the ground of the scene.
    fn ground(&self) -> &Ground;
    /// Puts everything back to where it begins.
    async fn prepare(&self);
    /// Returns the request to run.
    fn request(&self) -> TransferRequest;
    /// Holds whenever a run ends.
    async fn check_that_nothing_is_lost(&self, what: &str);
    /// Starts the same work again, without faults, and checks the end of it.
    async fn finish(&self, what: &str);
}

/// A run whose Nth call fails, and what must be true whenever it ends; whether it came to that call.
async fn broken_run(scene: &impl Scene, kind: Kind, nth: u64, what: &str) -> bool {
    scene.prepare().await;
    let attempt = scene.ground().attempt(kind.nth(nth));
    let request = scene.request();
    let run = mpsync_transfer::run(&attempt.context, &request);
    let ended = async {
        if kind.is_last() {
            tokio::select! {
                report = run => Some(report),
                // Nothing of the process is left.
                () = attempt.failed.cancelled() => None,
            }
        } else {
            Some(run.await)
        }
    };
    let report = tokio::time::timeout(PATIENCE, ended)
        .await
        .unwrap_or_else(|_| panic!("{what}: the run does not end"));
    scene.ground().disarm();
    if let Some(mut report) = report
        && let Some(e) = report.take_failure()
    {
        assert!(
            !matches!(e.cause(), Cause::Integrity(_)),
            "{what}: a call that failed is not wrong data: {e}"
        );
        assert!(attempt.failed.is_cancelled(), "{what}: {e}");
    }
    scene.check_that_nothing_is_lost(what).await;
    attempt.failed.is_cancelled()
}

/// The `first` call fails, then that `LANES` later, and so on, each in the next way of these; gives how many a run makes.
async fn break_calls(scene: &impl Scene, name: &str, kinds: &[Kind], first: u64, seed: u64) -> u64 {
    for nth in (first..MOST_CALLS).step_by(LANES) {
        let turn = nth.wrapping_add(seed) % kinds.len() as u64;
        let kind = kinds[usize::try_from(turn).expect("few")];
        let what = format!("{name}: {kind:?} call {nth}");
        let was_broken = broken_run(scene, kind, nth, &what).await;
        scene.finish(&what).await;
        if !was_broken {
            return nth - 1;
        }
    }
    panic!("a run makes more than {MOST_CALLS} calls");
}

/// Breaks every call of these scenarios, in several lanes side by side, each in a scene of its own.
async fn break_every_call<V: Copy + Debug, S: Scene>(
    scenarios: &[V],
    scene: impl AsyncFn(V, &str) -> S,
) {
    let seed = std::env::var("MPSYNC_SEED").map_or_else(
        |_| rand::random::<u64>(),
        |seed| seed.parse().expect("MPSYNC_SEED is a number"),
    );
    println!("MPSYNC_SEED={seed}");
    let all = std::env::var("MPSYNC_FAULTS").is_ok_and(|faults| faults == "all");
    let began = Instant::now();
    let scene = &scene;
    let mut lanes = Vec::new();
    for scenario in scenarios.iter().copied() {
        for kinds in [SERVER, STORE] {
            let each = if all {
                kinds.chunks(1)
            } else {
                kinds.chunks(3)
            };
            for (kinds, first) in each.flat_map(|kinds| (1..=LANES as u64).map(move |n| (kinds, n)))
            {
                let kinds = kinds.to_vec();
                lanes.push(async move {
                    let scene = scene(scenario, &format!("{first}_{kinds:?}")).await;
                    let name = format!("{scenario:?}");
                    let calls = break_calls(&scene, &name, &kinds, first, seed).await;
                    let after = began.elapsed();
                    println!("{scenario:?} {kinds:?}: calls up to {calls}, after {after:.1?}");
                    calls
                });
            }
        }
    }
    for calls in join_all(lanes).await {
        assert!(calls > 10, "{calls} are too few calls to be true");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_a_transfer_started_again_ends_in_the_same_state() {
    let engine = ClickHouse::start_in_memory().await;
    let scenarios = [Scenario::Fresh, Scenario::Late, Scenario::Import];
    let place = async |scenario, name: &str| Place::new(&engine, scenario, name).await;
    break_every_call(&scenarios, place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_what_is_past_its_retention_is_gone_in_the_end_and_all_else_is_whole()
{
    let engine = ClickHouse::start_in_memory().await;
    let shelf = async |leaving, name: &str| Shelf::new(&engine, leaving, name).await;
    break_every_call(&[Leaving::Both, Leaving::Archive], shelf).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_a_check_says_that_it_is_not_complete() {
    let engine = ClickHouse::start_in_memory().await;
    let place = Place::new(&engine, Scenario::Late, "verify").await;
    place.prepare().await;
    place.finish("nothing fails").await;
    for kind in SERVER.into_iter().chain(STORE) {
        if kind.is_last() {
            continue;
        }
        let mut told = 0;
        for nth in 1.. {
            let what = format!("{kind:?} call {nth}");
            assert!(nth < MOST_CALLS, "{what}: it never ends");
            let attempt = place.ground().attempt(kind.nth(nth));
            let against = Against {
                tier: attempt.context.cold.clone(),
                may_lack_before: None,
            };
            let datasets = &attempt.context.datasets;
            let archive = &attempt.context.archive;
            let range = TimeRange::default();
            let checked = mpsync_transfer::verify(
                archive,
                datasets,
                range,
                Depth::Deep,
                Some(&against),
                1,
                &mpsync_core::progress::Progress::default(),
            )
            .await;
            place.ground().disarm();
            let failure = match checked {
                Ok(report) => report.failure(),
                Err(e) => Some(e),
            };
            if let Some(e) = &failure {
                assert_eq!(e.exit_code(), ExitCode::Failed, "{what}: {e}");
                told += 1;
            }
            if !attempt.failed.is_cancelled() {
                assert!(failure.is_none(), "{what}: {failure:?}");
                // The HTTP client itself repeats a request of which it knows that nothing was sent.
                assert!(
                    told * 2 > nth,
                    "{kind:?}: {told} of {} were reported",
                    nth - 1
                );
                break;
            }
        }
    }
}

//! Replays of generated archives, on a clock that the test drives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{TimestampMillisecondType, TimestampNanosecondType, UInt64Type};
use jiff::Timestamp;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::run::run_by;
use crate::target::message::OutboundMessage;
use crate::time_source::TimeSource;
use mpsync_archive::ArchiveConfig;
use mpsync_archive::{Archive, GenerationId};
use mpsync_core::dataset::{Dataset, Window, builtin};
use mpsync_core::progress::Progress;
use mpsync_testkit::archive::{manifest, small, trades, write};

/// A target that records messages and their times.
#[derive(Debug)]
pub struct Record {
    pub(crate) sent: Vec<Sent>,
    clock: TimeSource,
    /// Pauses of the target, by the number of the message that they precede.
    stalls: BTreeMap<usize, Duration>,
    /// Stops the replay after so many messages.
    end_at: Option<(usize, CancellationToken)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    at: Duration,
    subject: String,
    msg_id: String,
    payload: String,
}

impl Record {
    pub(crate) fn send(&mut self, message: OutboundMessage<'_>) {
        if let (Some(stall), TimeSource::Driven(now)) =
            (self.stalls.get(&self.sent.len()), &self.clock)
        {
            *now.lock().unwrap() += *stall;
        }
        self.sent.push(Sent {
            at: self.clock.elapsed(),
            subject: message.subject.to_owned(),
            msg_id: message.msg_id.to_owned(),
            payload: String::from_utf8(message.payload.to_vec()).unwrap(),
        });
        if let Some((_, token)) = self.end_at.as_ref().filter(|(n, _)| self.sent.len() >= *n) {
            token.cancel();
        }
    }
}

/// A generated archive and its rows.
struct Made {
    folder: tempfile::TempDir,
    archive: Archive,
    rows: RecordBatch,
}

/// The distribution of rows over files.
#[derive(Debug, Clone)]
struct Split {
    chunk_rows: u64,
    row_group_rows: u64,
    generations: u32,
    minutes: i64,
    seed: u64,
}

impl Split {
    fn simple() -> Self {
        Self {
            chunk_rows: 1_000_000,
            row_group_rows: 100_000,
            generations: 1,
            minutes: 60,
            seed: 1,
        }
    }
}

fn pick(rows: &RecordBatch, is_one: impl Fn(usize) -> bool) -> RecordBatch {
    let mask: BooleanArray = (0..rows.num_rows()).map(|row| Some(is_one(row))).collect();
    filter_record_batch(rows, &mask).unwrap()
}

fn event_ms(rows: &RecordBatch) -> Vec<i64> {
    let times = rows.column_by_name("timestamp").unwrap();
    times
        .as_primitive::<TimestampMillisecondType>()
        .values()
        .to_vec()
}

/// Writes the trades of an hour, in windows and generations by `split`.
async fn made(seed: u64, rows: usize, split: &Split) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let config = ArchiveConfig {
        chunk_rows: split.chunk_rows,
        row_group_rows: split.row_group_rows,
        ..small(folder.path())
    };
    let archive = Archive::open(&config).await.unwrap();
    let rows = trades(seed, rows);
    let times = event_ms(&rows);
    let mut rng = ChaCha8Rng::seed_from_u64(split.seed);
    let generations: Vec<u32> = times
        .iter()
        .map(|_| rng.random_range(0..split.generations))
        .collect();
    let hour = mpsync_testkit::archive::id(0)
        .window
        .start()
        .as_millisecond();
    let span = split.minutes * 60_000;
    for start in (hour..hour + 3_600_000).step_by(usize::try_from(span).unwrap()) {
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        let window = Window::new(time(start), time(start + span)).unwrap();
        for number in 0..split.generations {
            let part = pick(&rows, |row| {
                (start..start + span).contains(&times[row]) && generations[row] == number
            });
            if part.num_rows() == 0 {
                continue;
            }
            let id = GenerationId {
                dataset: "trades".parse().unwrap(),
                window,
                generation: number,
            };
            let chunks = write(&archive, &id, 1, &part).await.unwrap();
            let manifest = manifest(&id, 1, &part, chunks);
            archive.commit(manifest).await.unwrap();
        }
    }
    Made {
        folder,
        archive,
        rows,
    }
}

fn datasets() -> Vec<Dataset> {
    let trades = builtin().iter().find(|d| d.name.as_str() == "trades");
    vec![trades.unwrap().clone()]
}

/// Replays by a clock that advances only by sleeps and `stalls`.
async fn replayed(
    archive: &Archive,
    options: &ReplayOptions,
    stalls: BTreeMap<usize, Duration>,
    end_at: Option<usize>,
) -> (Vec<Sent>, ReplayReport) {
    let clock = TimeSource::Driven(Arc::new(Mutex::new(Duration::ZERO)));
    let shutdown = CancellationToken::new();
    let mut target = Target::Record(Record {
        sent: Vec::new(),
        clock: clock.clone(),
        stalls,
        end_at: end_at.map(|n| (n, shutdown.clone())),
    });
    let datasets = datasets();
    let report = run_by(
        &clock,
        archive,
        &datasets,
        options,
        &mut target,
        &Progress::default(),
        &shutdown,
    )
    .await
    .unwrap();
    match target {
        Target::Record(record) => (record.sent, report),
        _ => unreachable!(),
    }
}

async fn stream(made: &Made, options: &ReplayOptions) -> Vec<Sent> {
    replayed(&made.archive, options, BTreeMap::new(), None)
        .await
        .0
}

/// Returns the sequences in this order, from the rows themselves.
fn expected(rows: &RecordBatch, order: StreamOrder) -> Vec<u64> {
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let events = event_ms(rows);
    let collected = column("collected_at").as_primitive::<TimestampMillisecondType>();
    let stored = column("created_at").as_primitive::<TimestampNanosecondType>();
    let seqs = column("stream_seq").as_primitive::<UInt64Type>();
    let mut keys: Vec<(i64, u64)> = (0..rows.num_rows())
        .map(|row| {
            let rank = match order {
                StreamOrder::Event => events[row] * 1_000_000,
                StreamOrder::Arrival if collected.is_valid(row) => collected.value(row) * 1_000_000,
                StreamOrder::Arrival => stored.value(row),
                StreamOrder::Position => 0,
            };
            (rank, seqs.value(row))
        })
        .collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, seq)| seq).collect()
}

fn seqs(sent: &[Sent]) -> Vec<u64> {
    let seq = |sent: &Sent| sent.msg_id.split('-').next_back().unwrap().parse().unwrap();
    sent.iter().map(seq).collect()
}

fn splits() -> impl Strategy<Value = Split> {
    (
        100_u64..3000,
        50_u64..1500,
        1_u32..4,
        0_usize..4,
        any::<u64>(),
    )
        .prop_map(
            |(chunk_rows, row_group_rows, generations, minutes, seed)| Split {
                chunk_rows,
                row_group_rows,
                generations,
                minutes: [5, 10, 30, 60][minutes],
                seed,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn however_rows_fall_into_chunks_and_however_little_memory_there_is_the_stream_is_the_same(
        split in splits(), memory in prop::sample::select(vec![1_usize, 200 << 10, 96 << 20]), seed in 0_u64..1000,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let whole = made(seed, 2500, &Split::simple()).await;
            let made = made(seed, 2500, &split).await;
            for order in [StreamOrder::Event, StreamOrder::Arrival, StreamOrder::Position] {
                let plain = stream(&whole, &ReplayOptions { order, ..ReplayOptions::default() }).await;
                assert_eq!(seqs(&plain), expected(&made.rows, order), "{order}");
                let split = stream(&made, &ReplayOptions { order, memory, ..ReplayOptions::default() }).await;
                assert!(split == plain, "{order}");
                let unverified = ReplayOptions { order, memory, verify: false, ..ReplayOptions::default() };
                assert!(stream(&made, &unverified).await == plain, "{order}");
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_far_more_rows_than_the_memory_holds_becomes_files_that_are_merged_in_steps() {
    let made = made(5, 15_000, &Split::simple()).await;
    let options = ReplayOptions {
        memory: 1,
        ..ReplayOptions::default()
    };
    let found = stream(&made, &options).await;
    assert_eq!(seqs(&found), expected(&made.rows, StreamOrder::Event));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_order_it_has_it_goes_on_where_it_was_ended() {
    let folder = tempfile::tempdir().unwrap();
    let split = Split {
        chunk_rows: 700,
        minutes: 10,
        generations: 2,
        ..Split::simple()
    };
    let made = made(3, 9000, &split).await;
    for order in [
        StreamOrder::Event,
        StreamOrder::Arrival,
        StreamOrder::Position,
    ] {
        let options = ReplayOptions {
            order,
            checkpoint: Some(folder.path().join(order.name())),
            ..ReplayOptions::default()
        };
        let whole = stream(
            &made,
            &ReplayOptions {
                order,
                ..ReplayOptions::default()
            },
        )
        .await;
        let mut all = Vec::new();
        for end_at in [1500, 2100, usize::MAX] {
            let (sent, report) =
                replayed(&made.archive, &options, BTreeMap::new(), Some(end_at)).await;
            assert_eq!(report.interrupted, end_at < usize::MAX, "{order}");
            all.extend(sent);
        }
        assert!(all == whole, "{order}: {} of {}", all.len(), whole.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_sent_when_due_and_a_stall_is_caught_up() {
    let made = made(7, 600, &Split::simple()).await;
    let options = ReplayOptions {
        speed: Speed::Times(10.0),
        ..ReplayOptions::default()
    };
    let mut events = event_ms(&made.rows);
    events.sort_unstable();
    let due: Vec<Duration> = events
        .iter()
        .map(|ms| Duration::from_millis(u64::try_from(ms - events[0]).unwrap()) / 10)
        .collect();
    // Shorter waits are skipped.
    let early = Duration::from_millis(1);
    let (sent, _) = replayed(&made.archive, &options, BTreeMap::new(), None).await;
    assert_eq!(sent.len(), due.len());
    for (sent, due) in sent.iter().zip(&due) {
        assert!(
            sent.at <= *due && sent.at + early > *due,
            "{:?} is not {due:?}",
            sent.at
        );
    }
    // A target that stalls for a minute: overdue messages leave at once, and the pace is met again.
    let stall = Duration::from_mins(1);
    let (stalled, _) = replayed(
        &made.archive,
        &options,
        BTreeMap::from([(100, stall)]),
        None,
    )
    .await;
    let over = sent[100].at + stall;
    for (at, (late, on_time)) in stalled.iter().zip(&sent).enumerate() {
        let expected = if at < 100 {
            on_time.at
        } else {
            on_time.at.max(over)
        };
        assert!(
            late.at <= expected.max(due[at]) && late.at + early > expected,
            "message {at}"
        );
    }
    assert_eq!(stalled.last().unwrap().at, sent.last().unwrap().at);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrival_order_is_paced_by_the_collectors_clock() {
    let made = made(7, 300, &Split::simple()).await;
    let options = ReplayOptions {
        order: StreamOrder::Arrival,
        speed: Speed::Times(1.0),
        ..ReplayOptions::default()
    };
    let (sent, report) = replayed(&made.archive, &options, BTreeMap::new(), None).await;
    assert!(sent.is_sorted_by_key(|sent| sent.at));
    let events = event_ms(&made.rows);
    let (first, last) = report.span.unwrap();
    assert_eq!(first.as_millisecond(), *events.iter().min().unwrap());
    assert_eq!(last.as_millisecond(), *events.iter().max().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_replay_reads_only_needed_pages() {
    let made = made(
        11,
        20_000,
        &Split {
            row_group_rows: 4000,
            ..Split::simple()
        },
    )
    .await;
    let whole = stream(&made, &ReplayOptions::default()).await;
    let options = ReplayOptions {
        exchanges: vec!["okx_spot".into()],
        symbols: vec!["ETH-USDT".into()],
        verify: false,
        ..ReplayOptions::default()
    };
    let (some, report) = replayed(&made.archive, &options, BTreeMap::new(), None).await;
    let wanted: Vec<Sent> = whole
        .iter()
        .filter(|sent| {
            sent.subject.starts_with("trade.okx_spot.") && sent.subject.ends_with(".ETH-USDT")
        })
        .map(|sent| Sent {
            at: Duration::ZERO,
            ..sent.clone()
        })
        .collect();
    assert!(!wanted.is_empty() && some == wanted);
    assert!(report.bytes_read * 2 < report.archive_bytes, "{report:?}");
    let verified = ReplayOptions {
        verify: true,
        ..options
    };
    let (again, report) = replayed(&made.archive, &verified, BTreeMap::new(), None).await;
    assert!(again == wanted);
    assert_eq!(report.bytes_read, report.archive_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_chunk_is_damage_verified_or_not() {
    let made = made(
        4,
        3000,
        &Split {
            chunk_rows: 1000,
            ..Split::simple()
        },
    )
    .await;
    let files = made.archive.list(&"trades".into()).await.unwrap();
    let mut chunks = files
        .iter()
        .filter(|f| f.location.extension() == Some("parquet"));
    let path = made
        .folder
        .path()
        .join(chunks.next().unwrap().location.as_ref());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    for (verify, symbols) in [
        (true, Vec::new()),
        (false, Vec::new()),
        (false, vec!["BTC-USDT".to_owned()]),
    ] {
        let options = ReplayOptions {
            verify,
            symbols,
            skip_damaged: true,
            ..ReplayOptions::default()
        };
        let (sent, report) = replayed(&made.archive, &options, BTreeMap::new(), None).await;
        assert_eq!(report.skipped.len(), 1, "{report:?}");
        assert_eq!(report.skipped[0].rows, Some(1000));
        assert!(!sent.is_empty() && sent.len() <= 2000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_replay_begins_again_with_ids_of_its_own_until_it_is_ended() {
    let made = made(2, 1500, &Split::simple()).await;
    let options = ReplayOptions {
        endless: true,
        ..ReplayOptions::default()
    };
    let (sent, report) = replayed(&made.archive, &options, BTreeMap::new(), Some(4000)).await;
    assert!(report.interrupted && sent.len() >= 4000);
    for (at, sent) in sent.iter().enumerate() {
        let first = &sent.msg_id;
        let parts = first.split('-').count();
        assert_eq!(parts, if at < 1500 { 2 } else { 3 }, "{first}");
    }
    let ids: std::collections::HashSet<_> = sent.iter().map(|sent| &sent.msg_id).collect();
    assert_eq!(ids.len(), sent.len());
}

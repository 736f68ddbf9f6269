//! How fast messages become rows of hot, and what the parts of the way could do alone, side by side: `just bench ingest`.
//!
//! `just bench ingest trades` measures trades only; `RUNS=5` repeats more often than three times. Servers of its own run on
//! free ports and share the machine with what is measured, as in the small deployment that mpsync is made for.

mod fetch;
mod insert;
mod servers;
#[path = "../shared/mod.rs"]
mod shared;

use async_nats::jetstream;
use async_nats::jetstream::consumer::AckPolicy;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use mpsync_clickhouse::Tier;
use mpsync_config::Config;
use mpsync_core::dataset::TierRole;
use mpsync_core::error::{Error, Result};

use fetch::Took;
use insert::EndToEnd;
use servers::{Engine, Nats};
use shared::messages::{book, dataset, trade};

/// Messages of one kind, as many as make a measurement.
struct Workload {
    name: &'static str,
    dataset: &'static str,
    subject: &'static str,
    messages: Vec<String>,
    count: u64,
}

fn workloads() -> Vec<Workload> {
    let books = |name, depth, count| Workload {
        name,
        dataset: "orderbooks",
        subject: "orderbook.binance.spot.BTC-USDT",
        messages: (0..200).map(|i| book(i, depth)).collect(),
        count,
    };
    vec![
        Workload {
            name: "trades",
            dataset: "trades",
            subject: "trade.binance.spot.BTC-USDT",
            messages: (0..1000).map(trade).collect(),
            count: 1_000_000,
        },
        books("books of 20 levels", 20, 200_000),
        books("books of 200 levels", 200, 25_000),
    ]
}

#[tokio::main]
async fn main() {
    if let Err(e) = run().await {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

async fn run() -> Result<()> {
    let wanted = std::env::args()
        .skip(1)
        .find(|a| !a.starts_with('-'))
        .unwrap_or_default();
    let runs = match std::env::var("RUNS") {
        Ok(text) => text.parse().map_err(|_| Error::usage("RUNS is a number"))?,
        Err(_) => 3,
    };
    let folder = tempfile::tempdir()?;
    let nats = Nats::start(folder.path())?;
    let engine = Engine::start(folder.path())?;
    let settings = [(
        "MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT".to_owned(),
        engine.port.clone(),
    )];
    let hot = Tier::new(TierRole::Hot, &Config::load(None, settings)?.hot);
    hot.apply_schema(&[dataset("trades")?, dataset("orderbooks")?])
        .await?;
    let client = async_nats::connect(&nats.url).await.map_err(Error::nats)?;
    let bench = Bench {
        nats,
        engine,
        hot,
        jetstream: jetstream::new(client),
        runs,
    };
    for workload in workloads().iter().filter(|w| w.name.starts_with(&wanted)) {
        bench.measure(workload).await?;
    }
    Ok(())
}

struct Bench {
    nats: Nats,
    engine: Engine,
    hot: Tier,
    jetstream: jetstream::Context,
    runs: usize,
}

impl Bench {
    /// All measurements of a workload in turn, again and again, so that whatever else the machine does meets each of them.
    async fn measure(&self, workload: &Workload) -> Result<()> {
        let count = workload.count;
        let dataset = dataset(workload.dataset)?;
        fetch::fill(&self.jetstream, workload.subject, &workload.messages, count).await?;
        let bodies = insert::bodies(dataset, workload.subject, &workload.messages, count)?;
        let (mut all, mut filtered, mut each) = (Vec::new(), Vec::new(), Vec::new());
        let (mut inserts, mut decodes, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let bytes = workload.messages[0].len();
            let fetch =
                |policy, filter| fetch::fetch(&self.jetstream, policy, filter, count, bytes);
            all.push(fetch(AckPolicy::All, "").await?);
            filtered.push(fetch(AckPolicy::All, &dataset.subjects[0]).await?);
            each.push(fetch(AckPolicy::Explicit, "").await?);
            inserts.push(insert::insert(&self.hot, dataset, &bodies, &self.engine).await?);
            decodes.push(shared::decode::measure(
                workload.dataset,
                &workload.messages,
            )?);
            let end = insert::end_to_end(
                &self.hot,
                dataset,
                &self.nats,
                &self.engine,
                &self.jetstream,
                count,
            );
            ends.push(end.await?);
        }
        let fetches = [
            ("(a) fetch, one ack a batch", all),
            ("(a) the same, with mpsync's filter", filtered),
            ("(a) fetch, one ack a message", each),
        ];
        self.print(workload, &fetches, &inserts, &decodes, &ends);
        Ok(())
    }

    fn print(
        &self,
        workload: &Workload,
        fetches: &[(&str, Vec<Took>)],
        inserts: &[Took],
        decodes: &[f64],
        ends: &[EndToEnd],
    ) {
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let (count, bytes) = (workload.count as f64, workload.messages[0].len() as f64);
        let base = count / median(fetches[0].1.iter().map(|t| t.secs));
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header([
            workload.name,
            "messages/s",
            "of (a)",
            "MB/s",
            "CPU s a million",
            "of whom",
        ]);
        let mut row = |what: &str, rate: f64, cpu: Option<f64>, whom: &str| {
            table.add_row([
                what.to_owned(),
                format!("{rate:.0}"),
                format!("{:.2}", rate / base),
                format!("{:.0}", rate * bytes / 1e6),
                cpu.map_or_else(String::new, |secs| format!("{:.2}", secs / count * 1e6)),
                whom.to_owned(),
            ]);
        };
        let of = |took: &[Took]| {
            (
                count / median(took.iter().map(|t| t.secs)),
                Some(median(took.iter().map(|t| t.cpu_secs))),
            )
        };
        let ends_took: Vec<Took> = ends.iter().map(|e| e.took).collect();
        for (what, took) in fetches {
            let (rate, cpu) = of(took);
            row(what, rate, cpu, "the client");
        }
        let (rate, cpu) = of(inserts);
        row("(b) insert of ready bodies", rate, cpu, "the engine");
        row(
            "(c) decode on one core",
            median(decodes.iter().copied()),
            None,
            "",
        );
        let (rate, cpu) = of(&ends_took);
        row("(d) mpsync end to end", rate, cpu, "mpsync");
        let of_server = |secs: fn(&EndToEnd) -> f64| Some(median(ends.iter().map(secs)));
        row("", rate, of_server(|e| e.nats_cpu_secs), "nats-server");
        row("", rate, of_server(|e| e.engine_cpu_secs), "the engine");
        let peak = ends.iter().map(|e| e.peak_megabytes).fold(0.0, f64::max);
        let slowest = count / ends_took.iter().map(|t| t.secs).fold(0.0, f64::max);
        let fastest = count / ends_took.iter().map(|t| t.secs).fold(f64::MAX, f64::min);
        println!("{table}\n");
        println!(
            "{count} messages of {bytes} bytes, medians of {} runs; (d) from {slowest:.0} to {fastest:.0} messages/s, \
             peak memory of mpsync {peak:.0} MB\n",
            self.runs
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

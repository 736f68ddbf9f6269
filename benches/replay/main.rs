//! How fast an archive becomes messages again: `just bench replay`.
//!
//! A day of trades of 50 symbols is archived in hourly windows, as a sync would do it. Then, in turn and several times:
//!
//! - `mpsync replay --into null`: everything but the sending;
//! - prepared payloads, published with the client library into JetStream with one shared reply inbox and 10,000 acknowledgements
//!   outstanding, which is the most that a publisher can do;
//! - `mpsync replay --into jetstream` of the same messages;
//! - core publishing of prepared payloads into a stream that listens, and `mpsync replay --into core`, with what got lost.
//!
//! `messages=5000000` are in the archive, of which `publish=500000` are published; `symbols=50`, `runs=3` and
//! `memory=96M` change the rest. Medians are printed. nats-server runs on a free port and shares the machine.

mod archive;
mod publish;
#[path = "../ingest/servers.rs"]
#[expect(dead_code, reason = "the engine is not measured here")]
mod servers;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use mpsync_core::error::{Context as _, Error, Result};
use serde_json::Value;

use publish::Stream;
use servers::{Nats, Process, mpsync};

/// How often a child's memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What is measured.
struct Sizes {
    messages: u64,
    publish: u64,
    symbols: u64,
    runs: usize,
    memory: String,
}

impl Sizes {
    fn read(words: &[String]) -> Result<Self> {
        let text = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
        let number = |name: &str, usual: u64| match text(name) {
            Some(given) => given
                .parse()
                .map_err(|_| Error::usage(format!("{name} takes a number"))),
            None => Ok(usual),
        };
        Ok(Self {
            messages: number("messages=", 5_000_000)?,
            publish: number("publish=", 500_000)?,
            symbols: number("symbols=", 50)?.max(1),
            runs: usize::try_from(number("runs=", 3)?.max(1)).unwrap_or(1),
            memory: text("memory=").unwrap_or("96M").to_owned(),
        })
    }
}

/// What one run took.
#[derive(Debug, Clone, Copy)]
struct Took {
    messages: u64,
    secs: f64,
    /// Of the publisher alone.
    cpu_secs: f64,
    peak_megabytes: f64,
    /// Messages that were sent and are not in the stream.
    lost: u64,
}

#[tokio::main]
async fn main() {
    if let Err(e) = run().await {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

async fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let sizes = Sizes::read(&words)?;
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("archive");
    let made = archive::make(&place, sizes.messages, sizes.symbols).await?;
    println!(
        "{} trades of {} symbols in {} chunks, {} bytes\n",
        made.rows, sizes.symbols, made.chunks, made.bytes
    );
    let nats = Nats::start(folder.path())?;
    let part = archive::time_of(sizes.publish, made.rows);
    let prepared = publish::prepare(&lines(folder.path(), &place, &part)?)?;
    let mut results: Vec<(&str, Vec<Took>)> = [
        "(a) mpsync to null",
        "(b) raw, JetStream, acknowledged",
        "(c) mpsync to JetStream",
        "(d) raw, core into a stream",
        "(e) mpsync, core into a stream",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    for _ in 0..sizes.runs {
        let null = ["--into", "null", "--memory-limit", &sizes.memory];
        results[0].1.push(replay(&place, &nats, &null)?);
        let stream = Stream::new(&nats).await?;
        results[1].1.push(stream.publish(&prepared).await?);
        let stream = Stream::new(&nats).await?;
        let into = ["--into", "jetstream", "--to", &part];
        results[2]
            .1
            .push(stream.count(replay(&place, &nats, &into)?).await?);
        let stream = Stream::new(&nats).await?;
        results[3].1.push(stream.publish_core(&prepared).await?);
        let stream = Stream::new(&nats).await?;
        let into = ["--into", "core", "--to", &part];
        results[4]
            .1
            .push(stream.count(replay(&place, &nats, &into)?).await?);
        stream.delete().await?;
    }
    print(&mut results);
    Ok(())
}

fn settings(place: &Path, nats: &Nats) -> [(&'static str, String); 2] {
    [
        ("MPSYNC__ARCHIVE__PATH", place.display().to_string()),
        ("MPSYNC__NATS__URL", nats.url.clone()),
    ]
}

/// The messages as lines, which are what is published without mpsync.
fn lines(folder: &Path, place: &Path, to: &str) -> Result<String> {
    let file = folder.join("messages.jsonl");
    let output = mpsync()
        .args([
            "replay", "--log", "warn", "--into", "jsonl", "--to", to, "--file",
        ])
        .arg(&file)
        .env("MPSYNC__ARCHIVE__PATH", place)
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::usage(format!("mpsync replay failed: {text}")));
    }
    Ok(std::fs::read_to_string(file)?)
}

/// A replay as it is used: a process of its own.
fn replay(place: &Path, nats: &Nats, into: &[&str]) -> Result<Took> {
    let child = mpsync()
        .args([
            "replay",
            "--log",
            "warn",
            "--output",
            "json",
            "--dataset",
            "trades",
        ])
        .args([
            "--stream",
            publish::NAME,
            "--subject",
            "{subject}",
            "--into-live",
        ])
        .args(into)
        .envs(settings(place, nats))
        .stdout(Stdio::piped())
        .spawn()
        .context(|| "starting mpsync")?;
    let mut process = Process(child);
    let (mut peak_megabytes, mut cpu_secs) = (0.0_f64, 0.0_f64);
    while process.0.try_wait()?.is_none() {
        // Both only grow; what comes after the last look is lost, which is a hundredth of a second.
        peak_megabytes = peak_megabytes.max(process.peak_megabytes());
        cpu_secs = cpu_secs.max(process.cpu_secs());
        std::thread::sleep(LOOK);
    }
    let mut text = String::new();
    if let Some(mut out) = process.0.stdout.take() {
        std::io::Read::read_to_string(&mut out, &mut text)?;
    }
    let report: Value = serde_json::from_str(&text)
        .map_err(|e| Error::malformed(format!("mpsync replay said no report: {e}")))?;
    Ok(Took {
        messages: report["messages"].as_u64().unwrap_or(0),
        secs: report["seconds"].as_f64().unwrap_or(f64::NAN),
        cpu_secs,
        peak_megabytes,
        lost: 0,
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn print(results: &mut [(&str, Vec<Took>)]) {
    let rate = |took: &Took| took.messages as f64 / took.secs;
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "",
        "messages",
        "messages/s",
        "of (b)",
        "a CPU second",
        "peak MB",
        "lost",
    ]);
    for (_, all) in results.iter_mut() {
        all.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    }
    let median = |all: &[Took]| all[all.len() / 2];
    let raw = rate(&median(&results[1].1));
    for (name, all) in results.iter() {
        let took = median(all);
        table.add_row([
            (*name).to_owned(),
            took.messages.to_string(),
            format!("{:.0}", rate(&took)),
            format!("{:.2}", rate(&took) / raw),
            format!("{:.0}", took.messages as f64 / took.cpu_secs),
            format!("{:.0}", took.peak_megabytes),
            took.lost.to_string(),
        ]);
    }
    println!("{table}");
}

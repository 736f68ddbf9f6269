//! `mpsync replay`: wire, run, print.

use std::io::Write as _;

use async_nats::jetstream;
use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;

use super::archive::check_not_empty;
use super::context::CommandContext;
use super::replay_target::{ReplayDestination, destination, subject_template, table};
use super::selection::time_range;
use crate::cli::{Output, ReplayArgs, ReplayId, ReplayOrder, ReplayTarget};
use crate::output::{is_closed_pipe, outln};
use crate::progress::{Shown, during};
use mpsync_archive::Archive;
use mpsync_core::dataset::{Dataset, select};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::progress::Progress;
use mpsync_replay::{
    self, CoreTarget, FileFormat, FileTarget, JetStreamTarget, MessageId, ReplayOptions,
    ReplayPlan, ReplayReport, RowTarget, Speed, StreamOrder, TableSink, TableTarget, Target,
};

pub(super) async fn run(context: &CommandContext, args: &ReplayArgs) -> Result<()> {
    let live_stream = &context.config.nats.stream;
    let options = options(args, live_stream)?;
    let datasets: Vec<Dataset> = select(&context.datasets, &args.selection.datasets)?
        .into_iter()
        .cloned()
        .collect();
    let to = destination(args, live_stream, &datasets, &context.datasets)?;
    if !args.dry_run {
        to.check_live(args, live_stream)?;
    }
    let archive = Archive::open_read_only(&context.config.archive).await?;
    if args.dry_run {
        let plan = mpsync_replay::plan(&archive, &datasets, &options).await?;
        return show_plan(context.output, &plan, &options, &to);
    }
    let is_stdout = args.into.is_file() && args.file.as_os_str() == "-";
    let mut target = if args.into.takes_rows() {
        rows(context, args, &archive, &datasets, &options).await?
    } else {
        messages(context, args, to).await?
    };
    let progress = Progress::default();
    let run = mpsync_replay::run(
        &archive,
        &datasets,
        &options,
        &mut target,
        &progress,
        &context.shutdown,
    );
    let report = match during(Shown::messages(context.display, &progress), run).await {
        // The reader of standard output has ended, as with `| head`.
        Err(e) if is_stdout && is_closed_pipe(&e) => return Ok(()),
        done => done?,
    };
    if report.messages == 0 && !report.interrupted && report.skipped.is_empty() {
        check_not_empty(context, &archive).await?;
    }
    // Standard output is for one thing.
    if is_stdout {
        let _ = writeln!(std::io::stderr(), "{}", summary(&report));
    } else {
        print(context.output, &report)?;
    }
    if report.interrupted && !options.endless {
        let e = Error::new(Cause::Interrupted)
            .context(format!("{} messages replayed", HumanCount(report.messages)));
        return Err(match &options.checkpoint {
            Some(_) => e.with_hint("run the same command again to continue"),
            None => e,
        });
    }
    Ok(())
}

fn order(order: ReplayOrder) -> StreamOrder {
    match order {
        ReplayOrder::Event => StreamOrder::Event,
        ReplayOrder::Arrival => StreamOrder::Arrival,
        ReplayOrder::Position => StreamOrder::Position,
    }
}

fn options(args: &ReplayArgs, live_stream: &str) -> Result<ReplayOptions> {
    let range = time_range(&args.selection, Timestamp::now())?;
    let speed: Speed = args.speed.parse()?;
    if args.checkpoint.is_some() && args.into == ReplayTarget::Null {
        return Err(Error::usage(
            "--checkpoint cannot be used with --into null, which stores nothing",
        ));
    }
    if args.checkpoint.is_some()
        && [&args.selection.from, &args.selection.to]
            .into_iter()
            .flatten()
            .any(|t| t.contains("ago") || t.contains("now"))
    {
        return Err(Error::usage(
            "--checkpoint requires fixed times in --from and --to: relative times differ at the next start",
        ));
    }
    Ok(ReplayOptions {
        from: range.from,
        to: range.to,
        exchanges: args.exchange.clone(),
        symbols: args.symbol.clone(),
        subject: subject_template(args, live_stream),
        message_id: match args.msg_id {
            ReplayId::Position => MessageId::Position,
            ReplayId::Publisher => MessageId::Publisher,
        },
        order: order(args.order),
        speed,
        endless: args.endless,
        shift_to_now: args.shift_to_now,
        checkpoint: args.checkpoint.clone(),
        skip_damaged: args.skip_damaged,
        verify: !args.no_verify,
        memory: usize::try_from(args.memory_limit).unwrap_or(usize::MAX),
    })
}

/// Rejects flags that a target of rows does not support.
fn check_rows(args: &ReplayArgs, datasets: &[Dataset]) -> Result<()> {
    let flags = [
        (args.subject.is_some(), "--subject"),
        (args.shift_to_now, "--shift-to-now"),
        (args.endless, "--loop"),
    ];
    if let Some((_, flag)) = flags.iter().find(|(is_set, _)| *is_set) {
        return Err(Error::usage(format!(
            "{flag} requires a target of messages: rows are written unchanged, once"
        )));
    }
    if args.into != ReplayTarget::Clickhouse && datasets.len() != 1 {
        return Err(Error::usage(
            "a file of rows holds one dataset, because datasets differ in their columns",
        )
        .with_hint("select one with --dataset"));
    }
    Ok(())
}

async fn rows(
    context: &CommandContext,
    args: &ReplayArgs,
    archive: &Archive,
    datasets: &[Dataset],
    options: &ReplayOptions,
) -> Result<Target> {
    check_rows(args, datasets)?;
    let format = match args.into {
        ReplayTarget::Csv => FileFormat::Csv,
        ReplayTarget::Arrow => FileFormat::Arrow,
        ReplayTarget::Parquet => FileFormat::Parquet,
        _ => return tables(context, args, archive, datasets, options).await,
    };
    let rows = RowTarget::file(&args.file, format)?;
    if args.checkpoint.is_some() && !rows.can_resume() {
        return Err(Error::usage(
            "Arrow and Parquet files are written in one pass and cannot be continued",
        )
        .with_hint("remove --checkpoint, or use --into csv"));
    }
    Ok(Target::Rows(Box::new(rows)))
}

async fn tables(
    context: &CommandContext,
    args: &ReplayArgs,
    archive: &Archive,
    datasets: &[Dataset],
    options: &ReplayOptions,
) -> Result<Target> {
    let plan = mpsync_replay::plan(archive, datasets, options).await?;
    let mut tables = Vec::new();
    for (dataset, stream) in datasets.iter().zip(&plan.streams) {
        let table = table(args, dataset);
        let target = TableTarget {
            tier: context.tier(args.tier),
            table,
        };
        tables.push(TableSink::open(&target, dataset, &stream.schemas).await?);
    }
    if args.table.as_ref().is_some_and(|t| !t.contains("{table}")) && tables.len() > 1 {
        return Err(
            Error::usage("--table names one table for several datasets").with_hint(
                "use a name with {table} in it, such as '{table}_again', or select one dataset",
            ),
        );
    }
    Ok(Target::Rows(Box::new(RowTarget::tables(tables))))
}

async fn messages(
    context: &CommandContext,
    args: &ReplayArgs,
    to: ReplayDestination,
) -> Result<Target> {
    let mut config = context.config.nats.clone();
    Ok(match to {
        ReplayDestination::Null | ReplayDestination::Clickhouse { .. } => Target::Null,
        ReplayDestination::File { file } => Target::File(FileTarget::open(&file)?),
        ReplayDestination::Core { .. } => {
            Target::Core(CoreTarget::new(mpsync_nats::connect(&config).await?))
        }
        ReplayDestination::JetStream {
            stream, subjects, ..
        } => {
            config.stream = stream;
            let client = mpsync_nats::connect(&config).await?;
            mpsync_nats::ensure_stream(&jetstream::new(client.clone()), &config, &subjects).await?;
            Target::JetStream(Box::new(
                JetStreamTarget::new(client, args.in_flight as usize).await?,
            ))
        }
    })
}

/// Returns how many seconds a replay of this plan takes at the requested speed; `None` without a limit.
fn duration_seconds(plan: &ReplayPlan, options: &ReplayOptions) -> Option<f64> {
    let (first, last) = plan.span()?;
    let first = options.from.map_or(first, |from| from.max(first));
    let last = options.to.map_or(last, |to| to.min(last));
    match options.speed {
        Speed::Max => None,
        Speed::Times(times) => Some(last.duration_since(first).as_secs_f64().max(0.0) / times),
    }
}

fn show_plan(
    output: Output,
    plan: &ReplayPlan,
    options: &ReplayOptions,
    to: &ReplayDestination,
) -> Result<()> {
    let seconds = duration_seconds(plan, options);
    if output == Output::Json {
        return json(&serde_json::json!({
            "plan": plan, "rows": plan.rows(), "bytes": plan.bytes(), "span": plan.span(), "seconds": seconds, "target": to,
        }));
    }
    for stream in plan.streams.iter().filter(|stream| stream.chunks > 0) {
        outln!(
            "{:<20} {:>6} windows {:>6} chunks {:>14} rows {:>12}",
            stream.dataset.as_str(),
            stream.windows,
            stream.chunks,
            HumanCount(stream.rows).to_string(),
            HumanBytes(stream.bytes).to_string()
        );
    }
    outln!(
        "at most {} messages from {} of {}",
        HumanCount(plan.rows()),
        HumanBytes(plan.bytes()),
        HumanBytes(plan.archive_bytes)
    );
    if let Some((first, last)) = plan.span() {
        let duration = match seconds {
            None => "as fast as the target accepts them".to_owned(),
            Some(seconds) => format!("in {seconds:.0} s"),
        };
        outln!("from {first} to {last}, {duration}");
    }
    outln!("{to}");
    Ok(())
}

fn print(output: Output, report: &ReplayReport) -> Result<()> {
    match output {
        Output::Json => json(report),
        Output::Text => {
            outln!("{}", summary(report));
            Ok(())
        }
    }
}

fn json(document: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(document).map_err(|e| Error::malformed(e.to_string()))?;
    outln!("{text}");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn summary(report: &ReplayReport) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "{} messages, {} of payload in {:.1} s ({:.0} a second)",
        HumanCount(report.messages),
        HumanBytes(report.payload_bytes),
        report.seconds,
        report.messages as f64 / report.seconds.max(1e-9)
    );
    let mut line = |line: String| {
        let _ = write!(text, "\n{line}");
    };
    if report.duplicates > 0 {
        line(format!(
            "  {} of them existed already",
            HumanCount(report.duplicates)
        ));
    }
    for (dataset, messages) in &report.by_dataset {
        line(format!(
            "  {dataset:<20} {:>14}",
            HumanCount(*messages).to_string()
        ));
    }
    if let Some((first, last)) = report.span {
        line(format!("event time {first} to {last}"));
    }
    line(format!(
        "read {} of {} in the archive",
        HumanBytes(report.bytes_read),
        HumanBytes(report.archive_bytes)
    ));
    for skipped in &report.skipped {
        line(format!("skipped {}: {}", skipped.what, skipped.why));
    }
    text
}

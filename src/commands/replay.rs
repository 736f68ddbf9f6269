//! `mpsync replay`: wire, run, print.

use async_nats::jetstream;
use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::CommandContext;
use super::replay_target::{ReplayDestination, destination, subject_template, table};
use super::transfer::range;
use crate::cli::{Output, ReplayArgs, ReplayId, ReplayOrder, ReplayTarget};
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
    let shown = CancellationToken::new();
    let show = tokio::spawn(crate::progress::show(progress.clone(), shown.clone()));
    let done = mpsync_replay::run(
        &archive,
        &datasets,
        &options,
        &mut target,
        &progress,
        &context.shutdown,
    )
    .await;
    shown.cancel();
    show.await.map_err(std::io::Error::other)?;
    let report = done?;
    // Standard output is for one thing.
    if is_stdout {
        eprintln!("{}", summary(&report));
    } else {
        print(context.output, &report)?;
    }
    if report.interrupted && !options.endless {
        let e = Error::new(Cause::Interrupted)
            .context(format!("replaying, after {} messages", report.messages));
        return Err(match &options.checkpoint {
            Some(_) => e.with_hint("the same command continues there"),
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
    let range = range(&args.selection, Timestamp::now())?;
    let speed: Speed = args.speed.parse()?;
    if args.checkpoint.is_some() && args.into == ReplayTarget::Null {
        return Err(Error::usage(
            "a replay into nowhere has no place to continue at: leave --checkpoint away",
        ));
    }
    if args.checkpoint.is_some()
        && [&args.selection.from, &args.selection.to]
            .into_iter()
            .flatten()
            .any(|t| t.contains("ago") || t.contains("now"))
    {
        return Err(Error::usage(
            "with --checkpoint, --from and --to must be fixed times: those that move with the clock are other ones at the next start",
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

/// What cannot be with a target of rows.
fn check_rows(args: &ReplayArgs, datasets: &[Dataset]) -> Result<()> {
    let flags = [
        (args.subject.is_some(), "--subject"),
        (args.shift_to_now, "--shift-to-now"),
        (args.endless, "--loop"),
    ];
    if let Some((_, flag)) = flags.iter().find(|(is_set, _)| *is_set) {
        return Err(Error::usage(format!(
            "{flag} is for targets of messages: rows go out as they are, once"
        )));
    }
    if args.into != ReplayTarget::Clickhouse && datasets.len() != 1 {
        return Err(
            Error::usage("a file of rows holds one dataset: each has columns of its own")
                .with_hint("say which one with --dataset"),
        );
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
        return Err(
            Error::usage("such a file is written in one go and cannot be continued")
                .with_hint("leave --checkpoint away, or replay into csv"),
        );
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
                "say a name with {table} in it, such as '{table}_again', or one --dataset",
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

/// How many seconds a replay of this plan takes at the pace that is asked for; `None` where there is none.
fn lasts(plan: &ReplayPlan, options: &ReplayOptions) -> Option<f64> {
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
    let lasts = lasts(plan, options);
    if output == Output::Json {
        return json(&serde_json::json!({
            "plan": plan, "rows": plan.rows(), "bytes": plan.bytes(), "span": plan.span(), "seconds": lasts, "target": to,
        }));
    }
    for stream in plan.streams.iter().filter(|stream| stream.chunks > 0) {
        println!(
            "{:<20} {:>6} windows {:>6} chunks {:>14} rows {:>12}",
            stream.dataset.as_str(),
            stream.windows,
            stream.chunks,
            HumanCount(stream.rows).to_string(),
            HumanBytes(stream.bytes).to_string()
        );
    }
    println!(
        "at most {} messages from {} of {}",
        HumanCount(plan.rows()),
        HumanBytes(plan.bytes()),
        HumanBytes(plan.archive_bytes)
    );
    if let Some((first, last)) = plan.span() {
        let lasts = match lasts {
            None => "as fast as the target takes them".to_owned(),
            Some(seconds) => format!("in {seconds:.0} s"),
        };
        println!("from {first} to {last}, {lasts}");
    }
    println!("{to}");
    Ok(())
}

fn print(output: Output, report: &ReplayReport) -> Result<()> {
    match output {
        Output::Json => json(report),
        Output::Text => {
            println!("{}", summary(report));
            Ok(())
        }
    }
}

fn json(document: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(document).map_err(|e| Error::malformed(e.to_string()))?;
    println!("{text}");
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
            "  {} of them were there already",
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

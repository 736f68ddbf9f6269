//! `mpsync generate`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use async_nats::jetstream;

use super::CommandContext;
use crate::cli::{GenerateArgs, Output};
use mpsync_config::Environment;
use mpsync_core::dataset::{Dataset, select};
use mpsync_core::error::{Cause, Context as _, Error, Result};
use mpsync_generate::{
    DataKind, Generator, GeneratorOptions, Message, MessageWriter, PublishOptions, PublishReport,
    publish, read_messages,
};

/// How many repeats a person is shown.
const SHOWN: usize = 20;

type Messages = Box<dyn Iterator<Item = Result<Message>> + Send>;

pub(super) async fn run(context: &CommandContext, args: &GenerateArgs) -> Result<()> {
    let datasets = select(&context.datasets, &args.datasets)?;
    let messages = messages(args, &datasets)?;
    match &args.to {
        Some(path) => write(context, messages, path),
        None => send(context, args, &datasets, messages).await,
    }
}

/// Messages of the given files, or made ones.
fn messages(args: &GenerateArgs, datasets: &[&Dataset]) -> Result<Messages> {
    if args.from.is_empty() {
        return Ok(Box::new(Generator::new(options(args, datasets)?)?.map(Ok)));
    }
    // All files are opened before the first message of one is sent.
    let files = args
        .from
        .iter()
        .map(|path| read_messages(path))
        .collect::<Result<Vec<_>>>()?;
    Ok(Box::new(files.into_iter().flatten()))
}

fn options(args: &GenerateArgs, datasets: &[&Dataset]) -> Result<GeneratorOptions> {
    let mut kinds = Vec::new();
    for dataset in datasets {
        match dataset
            .subjects
            .iter()
            .find_map(|s| DataKind::of_subject(s))
        {
            Some(kind) => kinds.push(kind),
            // A dataset of the user's own is only a mistake when it was asked for.
            None if args.datasets.is_empty() => {}
            None => {
                let known: Vec<_> = DataKind::ALL.iter().map(|k| k.data_type()).collect();
                return Err(Error::usage(format!(
                    "messages of dataset `{}` cannot be generated",
                    dataset.name
                ))
                .with_hint(format!(
                    "subjects that can be: {}; others can be published from a file with --from",
                    known.join(", ")
                )));
            }
        }
    }
    let start_ms = match args.start {
        Some(start) => start.as_millisecond(),
        None => jiff::Timestamp::now().as_millisecond() - 2 * 3_600_000,
    };
    Ok(GeneratorOptions {
        seed: args.seed,
        count: args.count,
        start_ms,
        span_ms: args.span_minutes.saturating_mul(60_000),
        kinds,
        exchanges: args.exchanges.clone(),
        symbols: args.symbols,
        depth: args.depth,
    })
}

fn write(context: &CommandContext, messages: Messages, path: &Path) -> Result<()> {
    let is_stdout = path == Path::new("-");
    let doing = || {
        if is_stdout {
            "writing to standard output".to_owned()
        } else {
            format!("writing {}", path.display())
        }
    };
    let out: Box<dyn Write> = if is_stdout {
        Box::new(std::io::stdout().lock())
    } else {
        Box::new(File::create(path).context(doing)?)
    };
    let mut writer = MessageWriter::new(BufWriter::with_capacity(1 << 20, out));
    let mut written = 0_u64;
    for message in messages {
        if context.shutdown.is_cancelled() {
            return Err(Error::new(Cause::Interrupted).context(doing()));
        }
        match writer.write(&message?) {
            // Whoever reads standard output may have enough: `| head`.
            Err(e) if is_stdout && is_broken_pipe(&e) => return Ok(()),
            done => done.context(doing)?,
        }
        written += 1;
    }
    writer.finish().context(doing)?;
    if !is_stdout {
        match context.output {
            Output::Text => println!("{written} messages in {}", path.display()),
            Output::Json => println!("{}", serde_json::json!({"written": written, "file": path})),
        }
    }
    Ok(())
}

fn is_broken_pipe(e: &Error) -> bool {
    matches!(e.cause(), Cause::Io(e) if e.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn send(
    context: &CommandContext,
    args: &GenerateArgs,
    datasets: &[&Dataset],
    messages: Messages,
) -> Result<()> {
    let config = &context.config.nats;
    if context.config.environment == Environment::Production && !args.yes {
        return Err(Error::usage(
            "the environment is production, where generated messages would become rows",
        )
        .with_hint("--yes allows it; --to FILE writes the messages to a file"));
    }
    let client = mpsync_nats::connect(config).await?;
    let subjects: Vec<String> = datasets.iter().flat_map(|d| d.subjects.clone()).collect();
    let jetstream = jetstream::new(client.clone());
    if !args.into_live {
        check_is_empty(&jetstream, &config.stream).await?;
    }
    let stream = mpsync_nats::ensure_stream(&jetstream, config, &subjects).await?;
    let options = PublishOptions {
        in_flight: args.in_flight as usize,
        rate: args.rate,
        after_sequence: stream.cached_info().state.last_sequence,
        shutdown: context.shutdown.clone(),
    };
    let report = publish(&client, messages, &options).await?;
    print(context.output, &config.stream, &report)
}

/// Fails if the stream contains messages: ingest would store the generated ones among them.
async fn check_is_empty(jetstream: &jetstream::Context, name: &str) -> Result<()> {
    // Errors are left to the creation of the stream, which explains them.
    let Ok(stream) = jetstream.get_stream(name).await else {
        return Ok(());
    };
    match stream.cached_info().state.messages {
        0 => Ok(()),
        messages => Err(Error::usage(format!(
            "the stream {name} contains {messages} messages already, among which ingest would store the generated ones"
        ))
        .with_hint("--into-live allows it; nats.stream names another stream")),
    }
}

fn print(output: Output, stream: &str, report: &PublishReport) -> Result<()> {
    if output == Output::Json {
        let text = serde_json::to_string(report)
            .map_err(|e| Error::malformed(format!("the report: {e}")))?;
        println!("{text}");
        return Ok(());
    }
    let total = report.total;
    println!(
        "{} messages published to {stream} in {:.1} s, {} bytes, {} repeats refused by JetStream",
        total.published, report.seconds, total.bytes, total.duplicates
    );
    for (data_type, counts) in &report.by_data_type {
        println!(
            "  {data_type:<18} {:>10} published {:>8} repeats",
            counts.published, counts.duplicates
        );
    }
    for repeat in report.duplicates_named.iter().take(SHOWN) {
        println!(
            "  repeat: {} (first at sequence {})",
            repeat.msg_id, repeat.first_sequence
        );
    }
    if total.duplicates > SHOWN as u64 {
        println!("  and more: --output json names up to 10,000");
    }
    Ok(())
}

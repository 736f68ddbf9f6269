//! `mpsync inspect`: wire, run, print.

use std::path::Path as FilePath;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::context::CommandContext;
use super::selection::time_range;
use crate::cli::{InspectArgs, InspectWhat, Output};
use crate::output::{out, outln};
use mpsync_archive::{Archive, Manifest, layout};
use mpsync_core::dataset::{Window, select};
use mpsync_core::error::{Context as _, Error, Result};
use mpsync_replay::{DatasetContents, DayContents, Hour, inspect};

pub(super) async fn run(context: &CommandContext, args: &InspectArgs) -> Result<()> {
    let archive = Archive::open_read_only(&context.config.archive).await?;
    match &args.what {
        None => contents(context, args, &archive).await,
        Some(InspectWhat::Chunk { path, rows }) => {
            chunk(context.output, &archive, path, *rows).await
        }
        Some(InspectWhat::Manifest { path }) => manifest(context.output, &archive, path).await,
    }
}

async fn contents(context: &CommandContext, args: &InspectArgs, archive: &Archive) -> Result<()> {
    let range = time_range(&args.selection, Timestamp::now())?;
    let range = match (range.from, range.to) {
        (None, None) => None,
        (from, to) => Some(Window::new(
            from.unwrap_or(Timestamp::MIN),
            to.unwrap_or(Timestamp::MAX),
        )?),
    };
    let mut all = Vec::new();
    for dataset in select(&context.datasets, &args.selection.datasets)? {
        all.push(inspect(archive, &dataset.name, range, args.ratio).await?);
    }
    if context.output == Output::Json {
        return json(&serde_json::json!({ "datasets": all }));
    }
    outln!("{}", table(&all, args.days));
    for dataset in all.iter().filter(|d| args.calendar && d.total.windows > 0) {
        out!("\n{}", calendar(dataset));
    }
    for dataset in &all {
        for gap in &dataset.gaps {
            outln!(
                "{}: no data from {} to {}",
                dataset.dataset,
                gap.from,
                gap.to
            );
        }
    }
    Ok(())
}

fn table(all: &[DatasetContents], days: bool) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "dataset",
        "from",
        "to",
        "windows",
        "generations",
        "chunks",
        "rows",
        "bytes",
        "bytes a row",
        "ratio",
        "gaps",
    ]);
    let counts = |c: &DayContents| {
        [
            HumanCount(c.windows).to_string(),
            HumanCount(c.generations).to_string(),
            HumanCount(c.chunks).to_string(),
            HumanCount(c.rows).to_string(),
            HumanBytes(c.bytes).to_string(),
            c.bytes
                .checked_div(c.rows)
                .map_or_else(|| "–".to_owned(), |n| n.to_string()),
            c.ratio()
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.1}")),
        ]
    };
    for dataset in all.iter().filter(|d| d.total.windows > 0) {
        let time = |t: Option<Timestamp>| t.map_or_else(String::new, |t| t.to_string());
        let head = [
            dataset.dataset.to_string(),
            time(dataset.span.map(|s| s.start())),
            time(dataset.span.map(|s| s.end())),
        ];
        table.add_row(
            head.into_iter()
                .chain(counts(&dataset.total))
                .chain([dataset.gaps.len().to_string()]),
        );
        for (day, of_day) in dataset.days.iter().filter(|_| days) {
            let head = [String::new(), day.clone(), String::new()];
            table.add_row(
                head.into_iter()
                    .chain(counts(of_day))
                    .chain([String::new()]),
            );
        }
    }
    table
}

/// Renders a calendar: a line a day, a sign an hour.
fn calendar(dataset: &DatasetContents) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "{} (█ complete, ▒ partial, · empty, digit: number of generations)\n            0     6     12    18\n",
        dataset.dataset
    );
    let mut before: Option<Timestamp> = None;
    for (day, hours) in &dataset.calendar {
        let start = format!("{day}T00:00:00Z").parse::<Timestamp>().ok();
        let missing = before.zip(start).map_or(0, |(before, start)| {
            start.duration_since(before).as_hours() / 24 - 1
        });
        match missing {
            ..=0 => {}
            1 => text.push_str("            1 day without data\n"),
            days => {
                let _ = writeln!(text, "            {days} days without data");
            }
        }
        before = start;
        let signs: String = hours.iter().copied().map(sign).collect();
        let _ = writeln!(text, "{day}  {signs}");
    }
    text
}

fn sign(hour: Hour) -> char {
    match (hour.covered_seconds, hour.generations) {
        (0, _) => '·',
        (_, 2..) => char::from_digit(hour.generations.min(9), 10).unwrap_or('9'),
        (3600.., _) => '█',
        _ => '▒',
    }
}

/// Returns the path within the archive of an object given by its path on disk or within the archive.
fn key(archive: &Archive, path: &FilePath) -> Path {
    let within = archive.root().and_then(|root| {
        let absolute = std::fs::canonicalize(path).ok()?;
        absolute
            .strip_prefix(std::fs::canonicalize(root).ok()?)
            .ok()
            .map(FilePath::to_path_buf)
    });
    within
        .as_deref()
        .unwrap_or(path)
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .collect()
}

async fn read(archive: &Archive, path: &Path) -> Result<bytes::Bytes> {
    archive.read(path).await?.ok_or_else(|| {
        Error::usage(format!("there is no {path} in the archive"))
            .with_hint("give a path such as trades/date=2026-01-01/hour=05/gen=0/manifest.json")
    })
}

async fn chunk(output: Output, archive: &Archive, path: &FilePath, rows: usize) -> Result<()> {
    let key = key(archive, path);
    let context = || format!("reading {key}");
    let bytes = read(archive, &key).await?;
    let options = archive.reader_options_at(&key).await?;
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)
        .map_err(|e| Error::integrity(format!("it is not readable Parquet: {e}")))
        .context(context)?;
    let total = builder.metadata().file_metadata().num_rows();
    let names: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let reader = builder
        .with_limit(rows)
        .build()
        .map_err(Error::from)
        .context(context)?;
    let options = FormatOptions::default().with_null("NULL");
    let mut found: Vec<Vec<String>> = Vec::new();
    for batch in reader {
        let batch = batch.map_err(Error::from).context(context)?;
        let columns = batch
            .columns()
            .iter()
            .map(without_zone)
            .collect::<Result<Vec<_>>>()?;
        let columns = columns
            .iter()
            .map(|c| ArrayFormatter::try_new(c, &options))
            .collect::<Result<Vec<_>, _>>()?;
        found.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()),
        );
    }
    if output == Output::Json {
        let rows: Vec<_> = found
            .into_iter()
            .map(|row| {
                names
                    .iter()
                    .cloned()
                    .zip(row)
                    .collect::<std::collections::BTreeMap<_, _>>()
            })
            .collect();
        return json(
            &serde_json::json!({ "chunk": key.as_ref(), "total_rows": total, "rows": rows }),
        );
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(names);
    table.add_rows(found);
    outln!("{table}\n{total} rows in {key}");
    Ok(())
}

/// Shows times in UTC: without a time zone database Arrow cannot format times of a named zone.
fn without_zone(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let numbers = cast(column, &DataType::Int64)?;
            Ok(cast(&numbers, &DataType::Timestamp(*unit, None))?)
        }
        _ => Ok(Arc::clone(column)),
    }
}

async fn manifest(output: Output, archive: &Archive, path: &FilePath) -> Result<()> {
    let key = key(archive, path);
    let id = layout::parse_manifest(&key).ok_or_else(|| {
        Error::usage(format!("{key} is not the path of a manifest"))
            .with_hint("give a path such as trades/date=2026-01-01/hour=05/gen=0/manifest.json")
    })?;
    let manifest = Manifest::from_json(&read(archive, &key).await?, &id)?;
    if output == Output::Json {
        return json(&manifest);
    }
    outln!(
        "{id}, written by {} at {} (attempt {})",
        manifest.writer,
        manifest.created_at,
        manifest.attempt
    );
    let source = &manifest.source;
    outln!(
        "from {}.{}, ClickHouse {}",
        source.database,
        source.table,
        source.server_version
    );
    if let Some(filter) = &manifest.filter {
        outln!(
            "only exchanges [{}], symbols [{}]",
            filter.exchanges.join(", "),
            filter.symbols.join(", ")
        );
    }
    outln!(
        "fingerprint {}; {} positions; {}",
        manifest.fingerprint,
        manifest.positions.len(),
        HumanBytes(manifest.bytes())
    );
    outln!(
        "sorted by {}; event time in {}",
        manifest.schema.sorting_key,
        manifest.schema.time_column
    );
    for column in &manifest.schema.columns {
        outln!("  {:<22} {}", column.name, column.type_name);
    }
    for chunk in &manifest.chunks {
        let key = chunk.key_id.as_ref();
        outln!(
            "{} {} rows, {}, {} to {}, sha256 {}{}",
            chunk.file,
            HumanCount(chunk.rows),
            HumanBytes(chunk.bytes),
            chunk.min_time,
            chunk.max_time,
            chunk.sha256,
            key.map_or_else(String::new, |key| format!(", encrypted with the key {key}"))
        );
    }
    Ok(())
}

fn json(document: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(document).map_err(|e| Error::malformed(e.to_string()))?;
    outln!("{text}");
    Ok(())
}

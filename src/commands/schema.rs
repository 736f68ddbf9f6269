//! `mpsync schema show|apply|check`: wire, run, print.

use std::path::Path;

use jiff::Timestamp;

use super::context::CommandContext;
use crate::cli::{Output, SchemaAction, SchemaArgs, SchemaCheckArgs, SchemaTarget};
use crate::output::outln;
use mpsync_clickhouse::TableSchema;
use mpsync_core::dataset::select;
use mpsync_core::error::{Error, Result};
use mpsync_generate::read_messages;
use mpsync_ingest::{SampleCheck, SampleReport};

pub(super) async fn run(context: &CommandContext, args: &SchemaArgs) -> Result<()> {
    match &args.action {
        SchemaAction::Show(target) => show(context, target),
        SchemaAction::Apply(target) => apply(context, target).await,
        SchemaAction::Check(args) => check(context, args).await,
    }
}

fn show(context: &CommandContext, target: &SchemaTarget) -> Result<()> {
    let tier = context.tier(target.tier);
    for dataset in select(&context.datasets, &target.datasets)? {
        outln!("{};\n", tier.create_table_sql(dataset)?);
    }
    Ok(())
}

async fn apply(context: &CommandContext, target: &SchemaTarget) -> Result<()> {
    let tier = context.tier(target.tier);
    let datasets = select(&context.datasets, &target.datasets)?;
    tier.apply_schema(&datasets).await?;
    let tables: Vec<_> = datasets.iter().map(|d| &d.table).collect();
    match context.output {
        Output::Text => outln!(
            "{} tables in {} of {}",
            tables.len(),
            tier.database(),
            tier.role()
        ),
        Output::Json => outln!(
            "{}",
            serde_json::json!({"database": tier.database(), "tables": tables})
        ),
    }
    Ok(())
}

async fn check(context: &CommandContext, args: &SchemaCheckArgs) -> Result<()> {
    let mut tables = Vec::new();
    for dataset in select(&context.datasets, &args.datasets)? {
        let table = match args.tier {
            Some(role) => context.tier(role).describe_existing(&dataset.table).await?,
            None => TableSchema::of_ddl(dataset)?,
        };
        tables.push((dataset.clone(), table));
    }
    let now = i64::try_from(Timestamp::now().as_nanosecond())
        .map_err(|_| Error::config("the clock of this machine is not between 1678 and 2262"))?;
    let mut check = SampleCheck::new(tables, now)?;
    for path in &args.sample {
        let path = match path.as_os_str() == "-" {
            true => Path::new("/dev/stdin"),
            false => path,
        };
        for message in read_messages(path)? {
            let message = message?;
            check.add(&message.subject, &message.payload)?;
        }
    }
    let report = check.report();
    match context.output {
        Output::Text => print_check(&report),
        Output::Json => {
            let json =
                serde_json::to_string(&report).map_err(|e| Error::malformed(e.to_string()))?;
            outln!("{json}");
        }
    }
    report.verdict()
}

fn print_check(report: &SampleReport) {
    for d in &report.datasets {
        let letters: u64 = d.dead_letters.values().map(|seen| seen.messages).sum();
        outln!(
            "{}: {} messages, {} rows, {letters} dead letters, {} numbers rounded",
            d.dataset,
            d.messages,
            d.rows,
            d.rounded
        );
        for (name, seen) in &d.unknown_fields {
            outln!(
                "  no column for field `{name}`: {} messages, such as {}",
                seen.messages,
                seen.example
            );
        }
        for (reason, seen) in &d.dead_letters {
            outln!(
                "  {reason}: {} messages, such as: {}",
                seen.messages,
                seen.example
            );
        }
        if !d.unfilled_columns.is_empty() {
            outln!("  no field for columns {}", d.unfilled_columns.join(", "));
        }
    }
    for (subject, seen) in &report.foreign_subjects {
        outln!(
            "no dataset for subject {subject}: {} messages, such as {}",
            seen.messages,
            seen.example
        );
    }
}

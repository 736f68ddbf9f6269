//! `mpsync run`: ingest into hot until a signal, or until everything is drained.

use super::Context;
use crate::cli::{Mode, Output, RunArgs};
use crate::dataset::{TierRole, select};
use crate::error::Result;
use crate::ingest::{self, Options};

pub(super) async fn run(context: &Context, args: &RunArgs) -> Result<()> {
    let Mode::Hot = args.mode;
    let datasets = select(&context.datasets, &args.datasets)?;
    let options = Options {
        drain: args.drain,
        // One stream for all datasets, whichever of them this process ingests.
        stream_subjects: context
            .datasets
            .iter()
            .flat_map(|d| d.subjects.clone())
            .collect(),
        ..Options::default()
    };
    let report = ingest::run(
        &context.config,
        &datasets,
        context.tier(TierRole::Hot),
        context.shutdown.clone(),
        options,
    )
    .await?;
    match context.output {
        Output::Json => println!("{}", serde_json::json!({"datasets": report.datasets})),
        Output::Text => {
            for d in report.datasets.iter().filter(|d| d.messages > 0) {
                println!(
                    "{}: {} messages, {} rows, {} held already, {} dead letters",
                    d.dataset,
                    d.messages,
                    d.rows,
                    d.already_held,
                    d.dead_letters.values().sum::<u64>()
                );
            }
        }
    }
    Ok(())
}

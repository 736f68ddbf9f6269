//! `mpsync demo`: the whole pipeline on this machine.

use super::context::CommandContext;
use crate::cli::{DemoArgs, Output};
use crate::demo::{Demo, DemoOptions};
use crate::output::outln;
use mpsync_core::error::{Context as _, Error, Result};

pub(super) async fn run(context: &CommandContext, args: &DemoArgs) -> Result<()> {
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context(|| "creating a temporary folder")?),
    };
    let folder = args
        .data
        .clone()
        .or_else(|| temporary.as_ref().map(|t| t.path().to_owned()));
    let options = DemoOptions {
        folder: folder.ok_or_else(|| Error::usage("the demo needs a folder"))?,
        messages: args.messages.clone(),
        generate: args.generate,
        seed: args.seed,
    };
    let program = std::env::current_exe().context(|| "locating this program's executable")?;
    let demo = Demo::start(
        &program,
        options,
        context.datasets.clone(),
        context.config.clone(),
    )
    .await?;
    let done = demo.run(&context.shutdown).await;
    if let Ok(report) = &done {
        match context.output {
            Output::Text => outln!("{}", report.table()),
            Output::Json => outln!("{}", demo.json(report)?),
        }
        if args.keep {
            if context.output == Output::Text {
                outln!("\n{}\nPress Ctrl-C to stop.", demo.how_to_look());
            }
            context.shutdown.cancelled().await;
        }
    }
    let audited = done.and_then(|report| report.audit());
    demo.stop().await?;
    audited
}

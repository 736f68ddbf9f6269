//! `mpsync run`: the daemon until a signal, or ingest until everything is drained.

use std::pin::pin;

use super::{CommandContext, embedded, flag};
use crate::cli::{Mode, Output, RunArgs};
use mpsync_config::Flag;
use mpsync_core::dataset::{TierRole, select};
use mpsync_core::error::{Cause, Error, Result};
use mpsync_ingest::IngestOptions;

/// The flags that say what the configuration says too.
pub(super) fn flags(args: &RunArgs) -> impl Iterator<Item = Flag> {
    let text = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    let hosts = (!args.allowed_hosts.is_empty()).then(|| args.allowed_hosts.join(","));
    [
        flag("--hot-listen", "http.hot_listen", text(args.hot_listen)),
        flag("--cold-listen", "http.cold_listen", text(args.cold_listen)),
        flag("--token-file", "http.token_file", args.token_file.clone()),
        flag("--allow-host", "http.allow_hosts", hosts),
    ]
    .into_iter()
    .flatten()
}

pub(super) async fn run(mut context: CommandContext, args: &RunArgs) -> Result<()> {
    let manager = mpsync_daemon::ServiceManager::default();
    super::reload::on_hangup(&context, manager.clone())?;
    let mode = args.mode.unwrap_or(match context.config.engine.embedded {
        true => Mode::Both,
        false => Mode::Hot,
    });
    if args.drain && args.mode.is_some_and(|mode| mode != Mode::Hot) {
        return Err(Error::usage(
            "--drain is for --mode hot: only ingest has an end",
        ));
    }
    let Some(mut engine) = embedded::start(&mut context).await? else {
        return with_servers(&context, args, mode, manager).await;
    };
    let done = {
        let mut running = pin!(with_servers(&context, args, mode, manager));
        tokio::select! {
            done = &mut running => done,
            died = engine.ended() => {
                context.shutdown.cancel();
                // What it says now follows from that.
                let _: Result<()> = running.await;
                return Err(died);
            }
        }
    };
    engine.stop().await?;
    done
}

/// With both tiers' servers there.
async fn with_servers(
    context: &CommandContext,
    args: &RunArgs,
    mode: Mode,
    manager: mpsync_daemon::ServiceManager,
) -> Result<()> {
    match args.drain {
        true => drain(context, args).await,
        false => serve(context, args, mode, manager).await,
    }
}

async fn serve(
    context: &CommandContext,
    args: &RunArgs,
    mode: Mode,
    manager: mpsync_daemon::ServiceManager,
) -> Result<()> {
    let datasets = select(&context.datasets, &args.datasets)?;
    let options = mpsync_daemon::DaemonOptions {
        mode: match mode {
            Mode::Hot => mpsync_daemon::Mode::Hot,
            Mode::Cold => mpsync_daemon::Mode::Cold,
            Mode::Both => mpsync_daemon::Mode::Both,
        },
        manager,
        live: context.live.watch(),
    };
    let owned = datasets.into_iter().cloned().collect();
    let shutdown = context.shutdown.clone();
    mpsync_daemon::run(&context.config, &context.datasets, owned, options, shutdown).await?;
    ended(context)
}

async fn drain(context: &CommandContext, args: &RunArgs) -> Result<()> {
    let datasets = select(&context.datasets, &args.datasets)?;
    let options = IngestOptions {
        drain: true,
        // One stream for all datasets, whichever of them this process ingests.
        stream_subjects: context
            .datasets
            .iter()
            .flat_map(|d| d.subjects.clone())
            .collect(),
        ..IngestOptions::default()
    };
    let report = mpsync_ingest::run(
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
    ended(context)
}

/// In order, but not because there was nothing left to do: the exit code tells a supervisor which signal it was.
fn ended(context: &CommandContext) -> Result<()> {
    if context.shutdown.is_cancelled() {
        return Err(Error::new(Cause::Interrupted));
    }
    Ok(())
}

//! `mpsync run`: the daemon until a signal, or ingest until everything is drained.

use super::{Context, flag};
use crate::cli::{Mode, Output, RunArgs};
use crate::config::Flag;
use crate::dataset::{TierRole, select};
use crate::error::{Cause, Error, Result};
use crate::ingest::{self, Options};
use crate::{daemon, http};

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

pub(super) async fn run(context: &Context, args: &RunArgs) -> Result<()> {
    let manager = daemon::ServiceManager::default();
    super::reload::on_hangup(context, manager.clone())?;
    let datasets = select(&context.datasets, &args.datasets)?;
    if !args.drain {
        let owned = datasets.into_iter().cloned().collect();
        let options = daemon::Options {
            mode: match args.mode {
                Mode::Hot => http::Mode::Hot,
                Mode::Cold => http::Mode::Cold,
                Mode::Both => http::Mode::Both,
            },
            manager,
            live: context.live.watch(),
        };
        let shutdown = context.shutdown.clone();
        daemon::run(&context.config, &context.datasets, owned, options, shutdown).await?;
        return ended(context);
    }
    if args.mode != Mode::Hot {
        return Err(Error::usage(
            "--drain is for --mode hot: only ingest has an end",
        ));
    }
    let options = Options {
        drain: true,
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
    ended(context)
}

/// In order, but not because there was nothing left to do: the exit code tells a supervisor which signal it was.
fn ended(context: &Context) -> Result<()> {
    if context.shutdown.is_cancelled() {
        return Err(Error::new(Cause::Interrupted));
    }
    Ok(())
}

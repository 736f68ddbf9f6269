//! The target of a replay in words, and the guard of the stream that this configuration ingests.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::{ReplayArgs, ReplayTarget};
use mpsync_core::dataset::{Dataset, TierRole};
use mpsync_core::error::{Error, Result};
use mpsync_replay::{StreamOrder, WireForm};

/// The target of a replay, for `--dry-run`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum ReplayDestination {
    /// A JetStream stream.
    JetStream {
        stream: String,
        subjects: Vec<String>,
        /// Whether this configuration ingests it.
        is_live: bool,
    },
    /// Subjects of NATS.
    Core {
        subjects: Vec<String>,
        /// Whether the stream that this configuration ingests stores some of them.
        is_live: bool,
    },
    /// A file or standard output (`-`).
    File { file: PathBuf },
    /// Tables of a tier.
    Clickhouse { tier: TierRole, tables: Vec<String> },
    /// Nothing.
    Null,
}

/// Returns the template of subjects. Messages for another stream than the live one get its name as the first token: a
/// subject belongs to one stream only, and ingest must not receive them.
pub(super) fn subject_template(args: &ReplayArgs, live_stream: &str) -> Option<String> {
    let other = args
        .stream
        .as_ref()
        .filter(|stream| args.into == ReplayTarget::Jetstream && *stream != live_stream);
    args.subject
        .clone()
        .or_else(|| other.map(|stream| format!("{stream}.{{subject}}")))
}

/// Returns the target of a replay of `selected`; `ingested` are all datasets of the configuration.
pub(super) fn destination(
    args: &ReplayArgs,
    live_stream: &str,
    selected: &[Dataset],
    ingested: &[Dataset],
) -> Result<ReplayDestination> {
    let subjects = || subjects(args, live_stream, selected);
    let is_ingested = |subjects: &[String]| {
        ingested
            .iter()
            .flat_map(|dataset| &dataset.subjects)
            .any(|live| subjects.iter().any(|s| mpsync_nats::overlaps(s, live)))
    };
    Ok(match args.into {
        ReplayTarget::Jetstream => {
            let subjects = subjects()?;
            let stream = args.stream.as_deref().unwrap_or(live_stream);
            ReplayDestination::JetStream {
                stream: stream.to_owned(),
                is_live: stream == live_stream || is_ingested(&subjects),
                subjects,
            }
        }
        ReplayTarget::Core => {
            let subjects = subjects()?;
            ReplayDestination::Core {
                is_live: is_ingested(&subjects),
                subjects,
            }
        }
        ReplayTarget::Jsonl | ReplayTarget::Csv | ReplayTarget::Arrow | ReplayTarget::Parquet => {
            ReplayDestination::File {
                file: args.file.clone(),
            }
        }
        ReplayTarget::Clickhouse => ReplayDestination::Clickhouse {
            tier: args.tier,
            tables: selected.iter().map(|d| table(args, d)).collect(),
        },
        ReplayTarget::Null => ReplayDestination::Null,
    })
}

/// Returns the table of a dataset's rows.
pub(super) fn table(args: &ReplayArgs, dataset: &Dataset) -> String {
    match &args.table {
        Some(template) => template.replace("{table}", &dataset.table),
        None => dataset.table.clone(),
    }
}

/// Returns the subject patterns of the messages of these datasets.
fn subjects(args: &ReplayArgs, live_stream: &str, selected: &[Dataset]) -> Result<Vec<String>> {
    let template = subject_template(args, live_stream);
    let mut subjects = Vec::new();
    for dataset in selected {
        let subject =
            WireForm::new(dataset, template.as_deref(), StreamOrder::Event)?.stream_subject();
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    Ok(subjects)
}

impl ReplayDestination {
    /// Fails if this configuration ingests the target and the operator has not allowed that.
    pub(super) fn check_live(&self, args: &ReplayArgs, live_stream: &str) -> Result<()> {
        let is_live = matches!(
            self,
            Self::JetStream { is_live: true, .. } | Self::Core { is_live: true, .. }
        );
        if !is_live || args.into_live {
            return Ok(());
        }
        Err(Error::usage(format!(
            "this replay would publish to {live_stream}, the stream that this configuration ingests: every message \
             would become a row again, in hot, archive and cold"
        ))
        .with_hint(
            "name another stream, such as --stream REPLAYED, or other subjects with --subject; --into-live allows it",
        ))
    }
}

impl std::fmt::Display for ReplayDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let live = |is_live: bool| match is_live {
            true => " (ingested by this configuration: needs --into-live)",
            false => "",
        };
        match self {
            Self::JetStream {
                stream,
                subjects,
                is_live,
            } => write!(
                f,
                "into the JetStream stream {stream}, subjects {}{}",
                subjects.join(", "),
                live(*is_live)
            ),
            Self::Core { subjects, is_live } => write!(
                f,
                "to the NATS subjects {}{}",
                subjects.join(", "),
                live(*is_live)
            ),
            Self::File { file } if file.as_os_str() == "-" => f.write_str("to standard output"),
            Self::File { file } => write!(f, "into the file {}", file.display()),
            Self::Clickhouse { tier, tables } => {
                write!(f, "into tables of {tier}: {}", tables.join(", "))
            }
            Self::Null => f.write_str("to no target"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};
    use mpsync_core::dataset::builtin;

    fn args(flags: &[&str]) -> ReplayArgs {
        let line = [&["mpsync", "replay"], flags].concat();
        match Cli::parse_from(line).command {
            Command::Replay(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn checked(flags: &[&str]) -> (ReplayDestination, bool) {
        let args = args(flags);
        let all: Vec<Dataset> = builtin().to_vec();
        let trades: Vec<Dataset> = all
            .iter()
            .filter(|d| d.name.as_str() == "trades")
            .cloned()
            .collect();
        let to = destination(&args, "MARKET_DATA", &trades, &all).unwrap();
        let is_allowed = to.check_live(&args, "MARKET_DATA").is_ok();
        (to, is_allowed)
    }

    #[test]
    fn only_the_ingested_stream_needs_the_flag() {
        for (flags, expected) in [
            (&[][..], false),
            (&["--into-live"], true),
            (&["--stream", "MARKET_DATA"], false),
            (&["--stream", "REPLAYED"], true),
            (&["--subject", "again.{subject}"], false),
            (&["--stream", "REPLAYED", "--subject", "{subject}"], false),
            (
                &["--stream", "REPLAYED", "--subject", "again.{symbol}"],
                true,
            ),
            (&["--stream", "REPLAYED", "--subject", "{symbol}"], false),
            (&["--into", "core"], false),
            (&["--into", "core", "--subject", "again.{subject}"], true),
            (&["--into", "jsonl"], true),
            (&["--into", "clickhouse"], true),
            (&["--into", "null"], true),
        ] {
            let (to, is_allowed) = checked(flags);
            assert_eq!(is_allowed, expected, "{flags:?}: {to}");
        }
    }

    #[test]
    fn another_stream_gets_its_name_before_the_subjects() {
        let (to, _) = checked(&["--stream", "REPLAYED"]);
        assert_eq!(
            to.to_string(),
            "into the JetStream stream REPLAYED, subjects REPLAYED.trade.>"
        );
        let (live, _) = checked(&[]);
        assert_eq!(
            live.to_string(),
            "into the JetStream stream MARKET_DATA, subjects trade.> (ingested by this configuration: needs --into-live)"
        );
        assert_eq!(
            checked(&["--into", "clickhouse", "--table", "{table}_again"]).0,
            ReplayDestination::Clickhouse {
                tier: TierRole::Hot,
                tables: vec!["trades_again".into()]
            }
        );
    }
}

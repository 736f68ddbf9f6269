//! `mpsync tasks`

use clap::{Args, Subcommand};

use super::Selection;
use mpsync_transfer::tasks::TaskId;
use mpsync_transfer::{Stage, Status};

/// `mpsync tasks`
#[derive(Debug, Args)]
pub struct TasksArgs {
    /// What to do
    #[command(subcommand)]
    pub action: TasksAction,
}

/// What to do with transfers.
#[derive(Debug, Subcommand)]
pub enum TasksAction {
    /// List them, the latest window first
    List(TaskListArgs),
    /// Show one with its history
    Show {
        /// The task, as `tasks list` names it
        task: TaskId,
    },
    /// Have one tried again by the next sync: one that halted, or was cancelled
    Retry {
        /// The tasks, as `tasks list` names them
        #[arg(required = true)]
        tasks: Vec<TaskId>,
    },
    /// End one at its next step, and have it passed over until it is retried
    Cancel {
        /// The tasks, as `tasks list` names them
        #[arg(required = true)]
        tasks: Vec<TaskId>,
    },
    /// Ask for a transfer: the next `mpsync sync`, or the daemon, does it
    Submit(SubmitArgs),
}

/// `mpsync tasks list`
#[derive(Debug, Args)]
pub struct TaskListArgs {
    /// Of which windows
    #[command(flatten)]
    pub selection: Selection,
    /// Only at this stage
    #[arg(long, value_enum)]
    pub stage: Option<Stage>,
    /// Only in this state
    #[arg(long, value_enum)]
    pub status: Option<Status>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Those after this one
    #[arg(long, value_name = "TASK")]
    pub after: Option<TaskId>,
}

/// `mpsync tasks submit`
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The dataset, or the kind of data as the subjects name it, such as `trade`
    #[arg(long, value_name = "NAME")]
    pub data_type: String,
    /// Only these exchanges: such a transfer records its filter and is never the ground for cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub exchange: Vec<String>,
    /// Only these symbols: such a transfer records its filter and is never the ground for cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub symbol: Vec<String>,
    /// From this event time on: RFC 3339, a date, or `6h ago`
    #[arg(long, value_name = "TIME")]
    pub start: String,
    /// Up to this event time, exclusive
    #[arg(long, value_name = "TIME")]
    pub end: String,
}

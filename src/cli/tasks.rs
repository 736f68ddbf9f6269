//! `mpsync tasks`

use clap::{Args, Subcommand};

use super::Selection;
use mpsync_transfer::tasks::TaskId;
use mpsync_transfer::{Stage, Status};

/// `mpsync tasks`
#[derive(Debug, Args)]
pub struct TasksArgs {
    /// The action
    #[command(subcommand)]
    pub action: TasksAction,
}

/// An action on transfers.
#[derive(Debug, Subcommand)]
pub enum TasksAction {
    /// List transfers, the latest window first
    List(TaskListArgs),
    /// Show a transfer with its history
    Show {
        /// The task, by its name in `tasks list`
        task: TaskId,
    },
    /// Let the next sync try a halted or cancelled transfer again
    Retry {
        /// The tasks, by their names in `tasks list`
        #[arg(required = true)]
        tasks: Vec<TaskId>,
    },
    /// Stop a transfer at its next step, and skip it until it is retried
    Cancel {
        /// The tasks, by their names in `tasks list`
        #[arg(required = true)]
        tasks: Vec<TaskId>,
    },
    /// Request a transfer, which the next `mpsync sync` or the daemon runs
    Submit(SubmitArgs),
}

/// `mpsync tasks list`
#[derive(Debug, Args)]
pub struct TaskListArgs {
    /// The windows
    #[command(flatten)]
    pub selection: Selection,
    /// Only at this stage
    #[arg(long, value_enum)]
    pub stage: Option<Stage>,
    /// Only in this state
    #[arg(long, value_enum)]
    pub status: Option<Status>,
    /// The maximum number of tasks
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Only the tasks after this one
    #[arg(long, value_name = "TASK")]
    pub after: Option<TaskId>,
}

/// `mpsync tasks submit`
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The dataset, or the kind of data in the subjects, such as `trade`
    #[arg(long, alias = "data-type", value_name = "NAME")]
    pub dataset: String,
    /// Only these exchanges: the transfer records the filter and never justifies cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub exchange: Vec<String>,
    /// Only these symbols: the transfer records the filter and never justifies cleanup
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub symbol: Vec<String>,
    /// The first event time: RFC 3339, a date, or `6h ago`
    #[arg(long, alias = "start", value_name = "TIME")]
    pub from: String,
    /// The end of the event times, exclusive
    #[arg(long, alias = "end", value_name = "TIME")]
    pub to: String,
}

//! Hot windows → chunks → archive → cold → proof → cleanup.
//!
//! `export`, `import`, `sync` and the daemon are one machine driven to different stages. What is due is planned from
//! hot's own partitions ([`plan()`]); every window is driven in rounds that ask the data anew, until a round finds nothing
//! to do: that round is the proof. State is facts: a process can stop at any instruction, and the same command started
//! again ends in the same state.

mod cleanup;
mod context;
mod dataset_run;
mod holder;
mod maintenance;
mod plan;
mod report;
mod request;
mod retention;
mod rows;
mod run;
mod runner;
mod serialize;
pub mod tasks;
mod time_range;
mod window;

pub use context::TransferContext;
pub use holder::holder;
pub use maintenance::gc::plan::{KeptItem, SweepItem, SweepKind};
pub use maintenance::gc::run::{SWEPT_AGE, Sweep, gc};
pub use maintenance::repair::{Repaired, Repairs, Unrepaired, repair};
pub use maintenance::verify::{Against, VerifyReport, verify};
pub use plan::transfer_plan::{
    Cleanup, CleanupPolicy, Due, KeepReason, PlannedPartition, PlannedWindow, TransferPlan,
};
pub use report::{
    DatasetTransferReport, PartitionReport, TransferReport, WindowReport, describe_plan,
};
pub use request::{Goal, RunTrigger, TransferRequest, stays_in_hot};
pub use retention::plan::{ExpiryReport, ExpiryTier, PlannedExpiry, Retention};
pub use run::{plan, run};
pub use tasks::requests::{OpenRequest, Wish, dataset_of, open_requests, submit};
pub use tasks::window_status::{
    HotObservations, WindowStage, WindowStatus, WindowStatusReader, gap_before, held_in_hot,
};
pub use time_range::{TimeRange, parse_age, parse_time};
pub use window::task::{Event, JournalEntry, Stage, Status};

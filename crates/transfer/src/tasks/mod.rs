//! Transfer tasks for operators: list, status, retry, cancel.
//!
//! All of it is read from the archive, so that it is the same wherever it is asked. A window is a task as soon as a
//! worker held its lease or an entry is in its journal. Windows of hot that no worker has touched yet are in no list; `sync
//! --dry-run` names them.
//!
//! A task that halted, since data was found not to be what it was proven to be, is not tried again by the schedule nor by
//! a plain `mpsync sync`, but by `tasks retry` and by a person who names its time (`--from`, `--to`). A cancelled one is
//! skipped by every worker until it is retried. Everything else is tried again by the next sync.

mod id;
mod operations;
pub(crate) mod requests;
mod state;
pub(crate) mod window_status;

pub use id::TaskId;
pub use operations::{Page, TaskFilter, TaskHistory, cancel, list, retry, show};
pub use state::{HistoryEntry, Task};

//! The command line: clap types only.

mod config;
mod dead_letters;
mod doctor;
mod generate;
mod health;
mod replay;
mod root;
mod run;
mod schema;
mod tasks;
mod transfer;

pub use config::{ConfigAction, ConfigArgs};
pub use dead_letters::{DeadLetterSelection, DeadLettersAction, DeadLettersArgs};
pub use doctor::DoctorArgs;
pub use generate::{DemoArgs, GenerateArgs};
pub use health::HealthArgs;
pub use replay::{InspectArgs, InspectWhat, ReplayArgs, ReplayId, ReplayOrder, ReplayTarget};
pub use root::{Cli, Command, GlobalArgs, Output, ProgressMode};
pub use run::{EngineArgs, Mode, RunArgs};
pub use schema::{SchemaAction, SchemaArgs, SchemaCheckArgs, SchemaTarget};
pub use tasks::{SubmitArgs, TaskListArgs, TasksAction, TasksArgs};
pub use transfer::{GcArgs, Selection, TransferArgs, VerifyArgs};

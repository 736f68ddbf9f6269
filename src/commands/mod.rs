//! The commands, a thin file each: wire, run, print.

mod archive;
mod config;
mod confirm;
mod context;
mod dead_letters;
mod demo;
mod dispatch;
mod doctor;
mod embedded;
mod engine;
mod gc;
mod generate;
mod health;
mod inspect;
mod load;
mod man;
mod reload;
mod replay;
mod replay_target;
mod run;
mod schema;
mod selection;
mod tasks;
mod transfer;
mod verify;

pub use context::CommandContext;
pub use dispatch::{confine, run_command};
pub use load::load;

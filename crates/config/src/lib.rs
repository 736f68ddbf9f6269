//! The configuration: flags, environment and a YAML file become one checked [`Config`].
//!
//! Precedence, strongest first: flag, environment (`MPSYNC__SECTION__KEY`), file, default. The keys `nats.url`,
//! `hot_storage.clickhouse_host` and so on are those of the system that mpsync replaces.
//!
//! ```
//! use mpsync_config::Config;
//!
//! let environment = [("MPSYNC__SYNC__GRACE_MINUTES".to_owned(), "30".to_owned())];
//! let config = Config::load(None, environment)?;
//! assert_eq!(config.sync.grace.as_secs(), 30 * 60);
//! # Ok::<(), mpsync_core::error::Error>(())
//! ```
//!
//! # A new key
//!
//! A new key is a field of its section's struct (below `sections/`, or of the crate that the section configures) and a line in
//! that section's `read`, which states the type, the default and the permitted values, and `.live()` if a reload changes it.
//! Environment variables, `config show` and the report of mistakes follow from that. A test checks that
//! `config/tiered_storage_config.yaml.example` names every key with its default. A renamed key also needs a line in
//! `reading/aliases.rs`.

mod config;
mod live;
mod reading;
mod sections;
mod sources;
#[cfg(test)]
mod tests;

pub use config::{Config, Environment};
pub use live::{LiveConfig, Reloaded};
pub use reading::bytes::parse_bytes;
pub use reading::origin::Origin;
pub use reading::overlay::Flag;
pub use reading::problems::{Problem, Problems};
pub use reading::settings::{Setting, Settings};
pub use sections::engine::EngineConfig;
pub use sections::http::HttpConfig;
pub use sections::ingest::{BatchLimits, BatchOverride, IngestConfig};
pub use sections::logging::{LogFormat, LogRotation, LoggingConfig, TracesConfig};
pub use sections::nats::{NatsAuth, NatsConfig};
pub use sections::schedule::{CronExpression, SyncSchedule};
pub use sections::sync::SyncConfig;
pub use sources::{Sources, environment};

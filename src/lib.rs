//! Tiered storage for market data.
//!
//! ```text
//! NATS JetStream ──ingest──▶ hot ClickHouse ──transfer──▶ archive (zstd Parquet) ──▶ cold ClickHouse
//! ```
//!
//! Dependencies run one way: `main → commands → {daemon, demo} → http → {ingest, transfer, replay, generate, engine} →
//! {clickhouse, archive, dataset, nats} → {access, connections, servers, config, error, retry, progress}`. See `ARCHITECTURE.md` for the vocabulary and the invariants.

pub mod access;
pub mod archive;
pub mod cli;
pub mod clickhouse;
pub mod commands;
pub mod config;
pub mod connections;
pub mod daemon;
pub mod dataset;
pub mod demo;
pub mod engine;
pub mod error;
pub mod generate;
pub mod http;
pub mod ingest;
pub mod logging;
pub mod nats;
pub mod progress;
pub mod replay;
pub mod retry;
pub mod servers;
pub mod transfer;

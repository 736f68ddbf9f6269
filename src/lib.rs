//! mpsync: tiered storage for market data.

pub mod clickhouse;
pub mod commands;
pub mod engine;
pub mod error;

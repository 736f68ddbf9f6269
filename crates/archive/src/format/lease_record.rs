//! The lease as it lies in the archive.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::printable::printable;
use super::process::Process;
use mpsync_core::error::{Error, Result};

/// A lease as it lies in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Its number: the attempt.
    pub attempt: u64,
    /// The holder, for display.
    pub holder: String,
    /// A random number that only one acquisition can have written.
    pub(crate) nonce: String,
    /// The holder's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Process>,
    /// When it was acquired, by the holder's clock; for display only.
    pub acquired_at: Timestamp,
    /// The most milliseconds that it stays unchanged while the holder works; `None` in leases of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "patience_ms")]
    pub(crate) ttl_ms: Option<u64>,
    /// A number that grows while the holder works.
    #[serde(rename = "beat")]
    pub heartbeat: u64,
    /// Whether the holder is done.
    pub released: bool,
}

impl LeaseRecord {
    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.ttl_ms.map(Duration::from_millis)
    }

    pub(crate) fn to_json(&self) -> Result<Bytes> {
        let mut json = serde_json::to_vec(self).map_err(|e| Error::malformed(e.to_string()))?;
        json.push(b'\n');
        Ok(json.into())
    }

    /// Reads a lease; `None` for anything that is not one.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        let mut record: Self = serde_json::from_slice(json).ok()?;
        record.holder = printable(&record.holder).into_owned();
        Some(record)
    }
}

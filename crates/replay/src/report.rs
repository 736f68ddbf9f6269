//! The report of a replay.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// A part of the archive that could not be read and was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The chunk or the window.
    pub what: String,
    /// Its number of rows, if known.
    pub rows: Option<u64>,
    /// The cause.
    pub why: String,
}

/// The outcome of a replay.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReplayReport {
    /// Messages that the target accepted in this run.
    pub messages: u64,
    /// Those of them that the target had already.
    pub duplicates: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Messages by dataset.
    pub by_dataset: BTreeMap<String, u64>,
    /// The earliest and the latest event time, as stored in the archive.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Bytes of chunks that were read.
    pub bytes_read: u64,
    /// Bytes of all chunks of the selected datasets.
    pub archive_bytes: u64,
    /// Damage that was skipped.
    pub skipped: Vec<Damage>,
    /// Whether it resumed at a checkpoint.
    pub resumed: bool,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Seconds from the first read of the archive to the last acknowledgement.
    pub seconds: f64,
}

//! Whether the holder of a lease is alive, as one process sees it on its own clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use object_store::path::Path;

use crate::format::layout::leases_folder;
use crate::format::lease_record::LeaseRecord;
use crate::format::process::Process;
use crate::store::archive::Archive;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::Result;

/// Whether the holder of a lease looks alive, for display. A worker that wants the window watches it with a [`LeaseWatcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It was written within its TTL, by the store's clock and ours.
    Beating,
    /// It was not released, and not written for longer than that.
    Silent,
    /// It was not released, and its process has ended.
    Gone,
    /// It was released.
    Released,
}

/// A lease as of one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// Its number: the attempt.
    pub attempt: u64,
    /// The holder, or the last one.
    pub holder: String,
    /// When it was acquired, by the holder's clock.
    pub acquired_at: Timestamp,
    /// Whether the holder looks alive.
    pub liveness: Liveness,
}

impl Archive {
    /// Returns the highest lease of a window, as of `now`; `None` if no worker ever held one, or it cannot be read.
    pub async fn view_lease(
        &self,
        dataset: &DatasetName,
        window: Window,
        now: Timestamp,
    ) -> Result<Option<LeaseView>> {
        let mut objects = self
            .list_folder(&leases_folder(dataset, window))
            .await?
            .objects;
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        let Some(newest) = objects.pop() else {
            return Ok(None);
        };
        let Some(record) = self
            .read(&newest.location)
            .await?
            .as_deref()
            .and_then(LeaseRecord::parse)
        else {
            return Ok(None);
        };
        let age_ms = now.as_millisecond() - newest.last_modified.timestamp_millis();
        let ttl = record.ttl().unwrap_or(LeaseWatcher::TTL);
        let patience_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let liveness = if record.released {
            Liveness::Released
        } else if record.process.as_ref().is_some_and(Process::is_gone) {
            Liveness::Gone
        } else if age_ms > patience_ms {
            Liveness::Silent
        } else {
            Liveness::Beating
        };
        Ok(Some(LeaseView {
            attempt: record.attempt,
            holder: record.holder,
            acquired_at: record.acquired_at,
            liveness,
        }))
    }
}

/// The verdict of a watcher on a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseVerdict {
    /// The next number may be taken.
    Free,
    /// It changed while it was watched.
    Alive,
    /// Not watched for long enough: it expires after this time unless it changes.
    Unknown(Duration),
}

/// The observations of leases by one process, on its own clock. Keep one for as long as the process runs.
#[derive(Debug, Clone)]
pub struct LeaseWatcher {
    pub(super) ttl: Duration,
    seen: Arc<Mutex<HashMap<Path, SeenLease>>>,
}

#[derive(Debug)]
struct SeenLease {
    number: u64,
    content: Bytes,
    since: Instant,
    changed: bool,
}

impl Default for LeaseWatcher {
    fn default() -> Self {
        Self::new(Self::TTL)
    }
}

impl LeaseWatcher {
    /// How long a lease may stay unchanged by default.
    pub const TTL: Duration = Duration::from_mins(1);

    /// Returns a watcher with another TTL. The TTL is written into the leases that are acquired with it, which send a heartbeat
    /// twelve times within it, and holds for every worker that watches them.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            seen: Arc::default(),
        }
    }

    /// Returns how long this process's own leases may stay unchanged before they count as expired.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn heartbeat_interval(&self) -> Duration {
        self.ttl / 12
    }

    /// Judges the highest lease of a folder by one reading.
    pub(super) fn check(
        &self,
        folder: &Path,
        number: u64,
        content: &Bytes,
        now: Instant,
    ) -> LeaseVerdict {
        // An unreadable lease does not prove that the window is free; it expires like any other.
        let record = LeaseRecord::parse(content);
        let promised = record.as_ref().and_then(LeaseRecord::ttl);
        let ttl = promised.unwrap_or(self.ttl);
        if let Some(record) = record
            && (record.released || record.process.as_ref().is_some_and(Process::is_gone))
        {
            return LeaseVerdict::Free;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get_mut(folder) {
            Some(seen) if seen.number == number && seen.content == *content => {
                let unchanged = now.saturating_duration_since(seen.since);
                match ttl.checked_sub(unchanged) {
                    None | Some(Duration::ZERO) => LeaseVerdict::Free,
                    Some(_) if seen.changed => LeaseVerdict::Alive,
                    Some(left) => LeaseVerdict::Unknown(left),
                }
            }
            known => {
                let changed = known.is_some();
                seen.insert(
                    folder.clone(),
                    SeenLease {
                        number,
                        content: content.clone(),
                        since: now,
                        changed,
                    },
                );
                if changed {
                    LeaseVerdict::Alive
                } else {
                    LeaseVerdict::Unknown(ttl)
                }
            }
        }
    }

    pub(super) fn forget(&self, folder: &Path) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(folder);
    }
}

//! Leases: who works on a window now, and the number of the attempt.
//!
//! A lease is a numbered object, created only if absent; the highest number holds, and is the attempt. While it works the
//! holder writes its own object again and again with a growing *beat*; when it is done it writes *released*. Whoever wants
//! the window watches number and beat on its own monotonic clock (the clocks of hosts differ): what did not change for
//! what its holder promised (`sync.lease_seconds`) has expired, and the next number is free to take.
//!
//! A holder that slept and wakes up does no harm: its attempt's number is in the name of all that it makes, and a higher
//! one has shut its doors. So a lease saves double work; it is not what keeps data whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use object_store::path::Path;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::layout::{leases_folder, numbered_file};
use super::process::Process;
use super::store::{Archive, CreateOutcome};
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// A lease as it lies in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Its number: the attempt.
    pub attempt: u64,
    /// Who holds it, for people.
    pub holder: String,
    /// What only one acquisition can have written.
    nonce: String,
    /// The holder's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    /// When it was acquired, by the holder's clock; for people only.
    pub acquired_at: Timestamp,
    /// For how many milliseconds at most it stays unchanged while the holder works; none in leases of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "patience_ms")]
    ttl_ms: Option<u64>,
    /// Grows while the holder works.
    #[serde(rename = "beat")]
    pub heartbeat: u64,
    /// Whether the holder is done.
    pub released: bool,
}

impl LeaseRecord {
    fn ttl(&self) -> Option<Duration> {
        self.ttl_ms.map(Duration::from_millis)
    }

    fn to_json(&self) -> Result<Bytes> {
        let mut json = serde_json::to_vec(self).map_err(|e| Error::malformed(e.to_string()))?;
        json.push(b'\n');
        Ok(json.into())
    }
}

/// Whether the holder of a lease looks alive, for people: who wants the window watches it, see [`Observer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It was written within the time that its holder promised, by the store's clock and ours.
    Beating,
    /// It was not given back, and not written for longer than that.
    Silent,
    /// It was not given back, and its process is gone.
    Gone,
    /// It was given back.
    Released,
}

/// A lease as one look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// Its number: the attempt.
    pub attempt: u64,
    /// Who holds it, or held it.
    pub holder: String,
    /// When it was taken, by the holder's clock.
    pub acquired_at: Timestamp,
    /// Whether the holder looks alive.
    pub liveness: Liveness,
}

impl Archive {
    /// The highest lease of a window, as it looks at `now`; `None` where nobody ever held one, or it cannot be read.
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
            .and_then(parse)
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

/// What an observer thinks of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseVerdict {
    /// The next number may be taken.
    Free,
    /// It changed while it was watched.
    Alive,
    /// Not watched for long enough: it expires after this time, unless it changes.
    Unknown(Duration),
}

/// What one process has seen of leases, and when, on its own clock. Keep one for as long as the process runs.
#[derive(Debug, Clone)]
pub struct LeaseWatcher {
    ttl: Duration,
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
    /// How long a lease may stay unchanged where nothing else is said.
    pub const TTL: Duration = Duration::from_mins(1);

    /// An observer with another patience. It is written into the leases that are taken with it, whose beat comes twelve times
    /// within it, and holds for whoever watches them.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            seen: Arc::default(),
        }
    }

    /// How long this process's own leases may stay unchanged before they count as expired.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    fn heartbeat_interval(&self) -> Duration {
        self.ttl / 12
    }

    /// One look at the highest lease of a folder.
    fn check(&self, folder: &Path, number: u64, content: &Bytes, now: Instant) -> LeaseVerdict {
        // An unreadable lease is nobody's word that it is free; it expires like any other.
        let record: Option<LeaseRecord> = serde_json::from_slice(content).ok();
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

    fn forget(&self, folder: &Path) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(folder);
    }
}

/// A lease that is held: this process may work on the window, under this attempt's number.
///
/// It beats by itself until it is released or dropped; dropping releases it, too, if the runtime lives long enough.
#[derive(Debug)]
pub struct Lease {
    /// The attempt: goes into the name of all that is made under this lease.
    pub attempt: u64,
    archive: Archive,
    folder: Path,
    stop: CancellationToken,
    lost: CancellationToken,
    heartbeating: Option<JoinHandle<Result<()>>>,
}

impl Lease {
    /// Takes the lease of a window; a busy error when somebody else holds it.
    ///
    /// Takes no time where the window is free, where its last holder released it, and where that was a process of this
    /// host that is gone. Otherwise the lease that is there is watched until it changes (seconds, where its holder is
    /// alive) or has expired. Cancel-safe: a lease that was just created is released, or expires.
    pub async fn acquire(
        archive: &Archive,
        dataset: &DatasetName,
        window: Window,
        holder: &str,
    ) -> Result<Self> {
        let watcher = LeaseWatcher::default();
        Self::acquire_watching(archive, dataset, window, holder, &watcher).await
    }

    /// As [`Lease::acquire`], with what an observer has already seen.
    pub async fn acquire_watching(
        archive: &Archive,
        dataset: &DatasetName,
        window: Window,
        holder: &str,
        watcher: &LeaseWatcher,
    ) -> Result<Self> {
        let mut told = false;
        loop {
            match Self::attempt_at(archive, dataset, window, holder, watcher).await? {
                AcquireOutcome::Held(lease) => return Ok(lease),
                AcquireOutcome::Busy(e) => return Err(e),
                AcquireOutcome::Unknown { left, other } => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!(
                            %dataset, %window, holder = %other, ttl = ?left,
                            "the window has a lease; watching whether its holder is alive"
                        );
                    }
                    let pause = watcher.heartbeat_interval() / 5;
                    tokio::time::sleep(pause.min(left).max(Duration::from_millis(1))).await;
                }
            }
        }
    }

    /// One look, without waiting: a busy error also where it is not yet known whether the holder is alive. For those who
    /// pass by again, with the same observer.
    pub async fn try_acquire(
        archive: &Archive,
        dataset: &DatasetName,
        window: Window,
        holder: &str,
        watcher: &LeaseWatcher,
    ) -> Result<Self> {
        match Self::attempt_at(archive, dataset, window, holder, watcher).await? {
            AcquireOutcome::Held(lease) => Ok(lease),
            AcquireOutcome::Busy(e) => Err(e),
            AcquireOutcome::Unknown { other, .. } => Err(busy(dataset, window, &other)),
        }
    }

    async fn attempt_at(
        archive: &Archive,
        dataset: &DatasetName,
        window: Window,
        holder: &str,
        watcher: &LeaseWatcher,
    ) -> Result<AcquireOutcome> {
        let folder = leases_folder(dataset, window);
        let highest = archive.latest(&folder).await?;
        if let Some((number, content)) = &highest {
            let other = name_of(content);
            match watcher.check(&folder, *number, content, Instant::now()) {
                LeaseVerdict::Free => {}
                LeaseVerdict::Alive => {
                    return Ok(AcquireOutcome::Busy(busy(dataset, window, &other)));
                }
                LeaseVerdict::Unknown(left) => return Ok(AcquireOutcome::Unknown { left, other }),
            }
        }
        let record = LeaseRecord {
            attempt: highest.map_or(0, |(number, _)| number) + 1,
            holder: holder.to_owned(),
            nonce: format!("{:032x}", rand::rng().random::<u128>()),
            process: Process::current(),
            acquired_at: Timestamp::now(),
            ttl_ms: u64::try_from(watcher.ttl.as_millis()).ok(),
            heartbeat: 0,
            released: false,
        };
        let path = folder.clone().join(numbered_file(record.attempt));
        if archive.create(&path, record.to_json()?).await? == CreateOutcome::Exists {
            // A store that repeats requests can answer so to the one that won.
            let there = archive.read(&path).await?;
            let winner = there.as_deref().and_then(parse);
            if winner.as_ref().is_none_or(|w| w.nonce != record.nonce) {
                let other = there.as_deref().map_or_else(String::new, name_of);
                return Ok(AcquireOutcome::Busy(busy(dataset, window, &other)));
            }
        }
        watcher.forget(&folder);
        tracing::debug!(%dataset, %window, attempt = record.attempt, "lease acquired");
        Ok(AcquireOutcome::Held(Self::start(
            archive.clone(),
            folder,
            record,
            watcher.heartbeat_interval(),
        )))
    }

    fn start(archive: Archive, folder: Path, record: LeaseRecord, interval: Duration) -> Self {
        let attempt = record.attempt;
        let stop = CancellationToken::new();
        let lost = CancellationToken::new();
        let beating = tokio::spawn(heartbeat(
            archive.clone(),
            folder.clone(),
            record,
            interval,
            stop.clone(),
            lost.clone(),
        ));
        Self {
            attempt,
            archive,
            folder,
            stop,
            lost,
            heartbeating: Some(beating),
        }
    }

    /// Cancelled when somebody else was found to have taken the window over.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// A busy error when somebody else has taken the window over: asks the archive.
    pub async fn check(&self) -> Result<()> {
        match self.archive.highest(&self.folder).await? {
            Some(number) if number > self.attempt => {
                self.lost.cancel();
                Err(taken_over(&self.folder, self.attempt, number))
            }
            _ => Ok(()),
        }
    }

    /// Gives the window up, so that the next one need not wait.
    pub async fn release(mut self) -> Result<()> {
        self.stop.cancel();
        match self.heartbeating.take() {
            Some(beating) => beating.await.map_err(std::io::Error::other)?,
            None => Ok(()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

enum AcquireOutcome {
    Held(Lease),
    Busy(Error),
    Unknown { left: Duration, other: String },
}

/// Writes the lease again and again until it is stopped, and then once more as released.
async fn heartbeat(
    archive: Archive,
    folder: Path,
    mut record: LeaseRecord,
    interval: Duration,
    stop: CancellationToken,
    lost: CancellationToken,
) -> Result<()> {
    let path = folder.clone().join(numbered_file(record.attempt));
    while !lost.is_cancelled() {
        let stopped = tokio::time::timeout(interval, stop.cancelled())
            .await
            .is_ok();
        if lost.is_cancelled() {
            break;
        }
        record.heartbeat += 1;
        record.released = stopped;
        let written = archive.overwrite(&path, record.to_json()?).await;
        if stopped {
            return written;
        }
        // A beat that fails is no reason to stop: the next may come through, and the lease only saves double work.
        if let Err(e) = written {
            tracing::warn!(lease = %path, error = %e, "the lease could not be renewed");
        }
        match archive.highest(&folder).await {
            Ok(Some(number)) if number > record.attempt => {
                tracing::warn!(lease = %path, by = number, "the lease was taken over");
                lost.cancel();
            }
            Ok(_) => {}
            Err(e) => tracing::warn!(lease = %path, error = %e, "the lease could not be looked at"),
        }
    }
    Ok(())
}

fn parse(json: &[u8]) -> Option<LeaseRecord> {
    serde_json::from_slice(json).ok()
}

fn name_of(json: impl AsRef<[u8]>) -> String {
    parse(json.as_ref()).map_or_else(|| "somebody unknown".to_owned(), |record| record.holder)
}

fn busy(dataset: &DatasetName, window: Window, other: &str) -> Error {
    Error::busy(format!("{dataset} {window} is being worked on by {other}"))
        .with_hint("wait until it is done; a holder that died is passed over when its lease has expired (sync.lease_seconds)")
}

fn taken_over(folder: &Path, ours: u64, theirs: u64) -> Error {
    Error::busy(format!(
        "{folder}: attempt {theirs} has taken over from this one, {ours}"
    ))
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;

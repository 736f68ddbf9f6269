//! Leases: which worker works on a window, and the number of its attempt, which is the fencing token.
//!
//! A lease is a numbered object, created only if absent; the highest number counts, and is the attempt. While it works the
//! holder writes its own object again and again with a growing heartbeat; when it is done it writes *released*. A worker that
//! wants the window watches number and heartbeat on its own monotonic clock (the clocks of hosts differ): a lease that did not
//! change for its TTL (`sync.lease_seconds`) has expired, and the next number is free.
//!
//! A holder that slept and wakes up does no harm: its attempt's number is in the name of everything that it writes, and a higher
//! number has fenced it. So a lease saves double work; the integrity of data does not depend on it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use object_store::path::Path;
use rand::RngExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lease_watcher::{LeaseVerdict, LeaseWatcher};
use crate::format::layout::{leases_folder, numbered_file};
use crate::format::lease_record::LeaseRecord;
use crate::format::process::Process;
use crate::store::archive::Archive;
use crate::store::backend::CreateOutcome;
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// A lease that is held: this process may work on the window, under this attempt's number.
///
/// It sends heartbeats until it is released or dropped; dropping releases it, too, if the runtime lives long enough.
#[derive(Debug)]
pub struct Lease {
    /// The attempt, which is part of the name of everything that is written under this lease.
    pub attempt: u64,
    archive: Archive,
    folder: Path,
    stop: CancellationToken,
    lost: CancellationToken,
    heartbeating: Option<JoinHandle<Result<()>>>,
}

impl Lease {
    /// Acquires the lease of a window; a busy error if another worker holds it.
    ///
    /// Returns at once if the window is free, if its last holder released it, or if that was a process of this host that has
    /// ended. Otherwise the existing lease is watched until it changes (seconds, if its holder is alive) or has expired.
    ///
    /// # Cancel safety
    ///
    /// A lease that was just created is released, or expires.
    pub async fn acquire(
        archive: &Archive,
        dataset: &DatasetName,
        window: Window,
        holder: &str,
    ) -> Result<Self> {
        let watcher = LeaseWatcher::default();
        Self::acquire_watching(archive, dataset, window, holder, &watcher).await
    }

    /// Acquires the lease as [`Lease::acquire`] does, with the observations of a watcher.
    pub async fn acquire_watching(
        archive: &Archive,
        dataset: &DatasetName,
        window: Window,
        holder: &str,
        watcher: &LeaseWatcher,
    ) -> Result<Self> {
        let mut is_reported = false;
        loop {
            match Self::attempt_at(archive, dataset, window, holder, watcher).await? {
                AcquireOutcome::Held(lease) => return Ok(lease),
                AcquireOutcome::Busy(e) => return Err(e),
                AcquireOutcome::Unknown { left, other } => {
                    if !std::mem::replace(&mut is_reported, true) {
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

    /// Tries once, without waiting: a busy error also if it is not yet known whether the holder is alive. For callers that try
    /// again later, with the same watcher.
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
            // A store that repeats requests can answer so to the winner.
            let there = archive.read(&path).await?;
            let winner = there.as_deref().and_then(LeaseRecord::parse);
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

    /// Returns a token that is cancelled when another worker was found to have taken over the window.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Checks in the archive that the lease is still held; a busy error if another worker has taken over the window.
    pub async fn check(&self) -> Result<()> {
        match self.archive.highest(&self.folder).await? {
            Some(number) if number > self.attempt => {
                self.lost.cancel();
                Err(taken_over(&self.folder, self.attempt, number))
            }
            _ => Ok(()),
        }
    }

    /// Releases the window, so that the next worker need not wait.
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
        // A failed heartbeat does not end the work: the next may succeed, and the lease only saves double work.
        if let Err(e) = written {
            tracing::warn!(lease = %path, error = %e, "the lease could not be renewed");
        }
        match archive.highest(&folder).await {
            Ok(Some(number)) if number > record.attempt => {
                tracing::warn!(lease = %path, by = number, "the lease was taken over");
                lost.cancel();
            }
            Ok(_) => {}
            Err(e) => tracing::warn!(lease = %path, error = %e, "the lease could not be checked"),
        }
    }
    Ok(())
}

fn name_of(json: impl AsRef<[u8]>) -> String {
    LeaseRecord::parse(json.as_ref())
        .map_or_else(|| "an unknown worker".to_owned(), |record| record.holder)
}

fn busy(dataset: &DatasetName, window: Window, other: &str) -> Error {
    Error::busy(format!("{dataset} {window} is being worked on by {other}")).with_hint(
        "wait until it is done; the lease of a dead holder expires after sync.lease_seconds",
    )
}

fn taken_over(folder: &Path, ours: u64, theirs: u64) -> Error {
    Error::busy(format!(
        "{folder}: attempt {theirs} has taken over from this one, {ours}"
    ))
}

#[cfg(test)]
mod tests;

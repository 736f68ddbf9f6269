//! A turn at a window: its lease, taken when there is something to do, and its journal.

use jiff::Timestamp;

use super::road::Road;
use super::task::{Entry, Event, Stage, Status};
use crate::archive::layout::{numbered_file, tasks_folder};
use crate::archive::{Lease, Observer};
use crate::dataset::Window;
use crate::error::{Cause, Disposition, Error, Result};

/// One run's turn at a window.
///
/// The lease is taken for the first step that changes something: to look harms nobody, and most windows of most runs
/// need no more than a look.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    road: &'a Road,
    window: Window,
    observer: &'a Observer,
    lease: Option<Lease>,
    reached: Stage,
}

impl<'a> Turn<'a> {
    /// A turn that has not begun.
    pub(super) fn new(road: &'a Road, window: Window, observer: &'a Observer) -> Self {
        Self {
            road,
            window,
            observer,
            lease: None,
            reached: Stage::Planned,
        }
    }

    /// Whether the lease is held.
    pub(super) fn has_begun(&self) -> bool {
        self.lease.is_some()
    }

    /// The number of the attempt; takes the lease where it is not held. A busy error where somebody else holds it.
    pub(super) async fn attempt(&mut self) -> Result<u64> {
        if let Some(lease) = &self.lease {
            return Ok(lease.attempt);
        }
        let Road {
            archive,
            dataset,
            holder,
            ..
        } = self.road;
        let lease =
            Lease::try_acquire(archive, &dataset.name, self.window, holder, self.observer).await?;
        let attempt = lease.attempt;
        self.lease = Some(lease);
        Ok(attempt)
    }

    /// Notes that a stage was proven. Where nothing was changed there is nothing to note.
    pub(super) async fn reached(&mut self, stage: Stage) -> Result<()> {
        if stage > self.reached {
            self.reached = stage;
            self.note(Event::Reached { stage }).await?;
        }
        Ok(())
    }

    /// Writes to the journal, if the lease is held.
    pub(super) async fn note(&self, event: Event) -> Result<()> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let entry = Entry {
            attempt: lease.attempt,
            at: Timestamp::now(),
            holder: self.road.holder.clone(),
            event,
        };
        let mut json = serde_json::to_vec(&entry).map_err(|e| Error::malformed(e.to_string()))?;
        json.push(b'\n');
        let folder = tasks_folder(&self.road.dataset.name, self.window);
        self.road
            .archive
            .create_numbered(&folder, json)
            .await
            .map(drop)
    }

    /// All entries of the window's journal that can be read, in order.
    ///
    /// One that cannot be read is history lost and nothing else: an attempt whose end is unknown is taken for asleep.
    pub(super) async fn journal(&self) -> Result<Vec<Entry>> {
        let folder = tasks_folder(&self.road.dataset.name, self.window);
        let mut entries = Vec::new();
        for number in self.road.archive.numbers(&folder).await? {
            let path = folder.clone().join(numbered_file(number));
            let entry = self.road.archive.read(&path).await?;
            match entry.as_deref().map(serde_json::from_slice::<Entry>) {
                Some(Ok(entry)) => entries.push(entry),
                Some(Err(e)) => tracing::warn!(%path, error = %e, "unreadable journal entry"),
                None => {}
            }
        }
        Ok(entries)
    }

    /// Ends the turn: says how in the journal, and gives the lease back.
    ///
    /// Where a request was left without an answer the attempt is not said to have ended, since it may still take effect:
    /// the next attempt shuts it out first.
    pub(super) async fn end(mut self, error: Option<&Error>) {
        let in_doubt = error.is_some_and(|e| match e.cause() {
            Cause::Transport(_) | Cause::Interrupted => true,
            Cause::Server { .. } => e.disposition() == Disposition::Retry,
            _ => false,
        });
        if !in_doubt {
            let ended = Event::Ended {
                status: if error.is_some() {
                    Status::Halted
                } else {
                    Status::Done
                },
                error: error.map(ToString::to_string),
            };
            if let Err(e) = self.note(ended).await {
                tracing::warn!(window = %self.window, error = %e, "the end of an attempt could not be noted");
            }
        }
        if let Some(lease) = self.lease.take()
            && let Err(e) = lease.release().await
        {
            tracing::warn!(window = %self.window, error = %e, "the lease could not be given back; it will expire");
        }
    }
}

//! A turn at a window: its lease, taken when there is something to do, and its journal.

use jiff::Timestamp;

use crate::dataset_run::DatasetRun;
use crate::window::journal::Journal;
use crate::window::task::{Event, JournalEntry, JournalVerdict, Stage, Status};
use mpsync_archive::{Lease, LeaseWatcher};
use mpsync_core::dataset::Window;
use mpsync_core::error::{Cause, Disposition, Error, Result};

/// One run's turn at a window.
///
/// The lease is taken for the first step that changes something: looking changes nothing, and most windows of most runs
/// need no more than a look.
#[derive(Debug)]
pub(crate) struct WindowAttempt<'a> {
    run: &'a DatasetRun,
    window: Window,
    watcher: &'a LeaseWatcher,
    journal: Journal,
    lease: Option<Lease>,
    reached: Stage,
    /// Up to which number the journal is known to hold no word of a person.
    seen: u64,
}

impl<'a> WindowAttempt<'a> {
    /// A turn that has not begun.
    pub(crate) fn new(run: &'a DatasetRun, window: Window, watcher: &'a LeaseWatcher) -> Self {
        Self {
            run,
            window,
            watcher,
            journal: Journal::of(&run.archive, &run.dataset.name, window),
            lease: None,
            reached: Stage::Planned,
            seen: 0,
        }
    }

    /// Whether the lease is held.
    pub(crate) fn has_begun(&self) -> bool {
        self.lease.is_some()
    }

    /// The number of the attempt, for the next step that changes something; takes the lease where it is not held. A busy
    /// error if another worker holds it, and an error if an operator has cancelled the window: this is the safe point.
    pub(crate) async fn attempt(&mut self) -> Result<u64> {
        let attempt = match &self.lease {
            Some(lease) => lease.attempt,
            None => {
                let DatasetRun {
                    archive,
                    dataset,
                    holder,
                    ..
                } = self.run;
                let (name, watcher) = (&dataset.name, self.watcher);
                let lease = Lease::try_acquire(archive, name, self.window, holder, watcher).await?;
                self.lease.insert(lease).attempt
            }
        };
        if self.is_cancelled().await? {
            return Err(Error::new(Cause::Cancelled(format!(
                "{} {} was cancelled",
                self.run.dataset.name, self.window
            ))));
        }
        Ok(attempt)
    }

    /// Whether what was found has to be looked at again: it would halt, and no worker was kept out while it was found, so that it may
    /// be half of what another is doing.
    pub(crate) fn is_premature(&self, error: &Error) -> bool {
        halts(error) && !self.has_begun()
    }

    /// A busy error if another worker has taken the window over since: asked of the archive, right before a step that is
    /// not to be done twice.
    pub(crate) async fn check_held(&self) -> Result<()> {
        match &self.lease {
            Some(lease) => lease.check().await,
            None => Ok(()),
        }
    }

    /// Whether a person has cancelled the window, as far as the journal was not looked through before.
    async fn is_cancelled(&mut self) -> Result<bool> {
        if self.journal.highest().await? == self.seen {
            return Ok(false);
        }
        let newest = self.journal.decisive().await?;
        let cancelled = newest.verdict() == JournalVerdict::Cancelled;
        if !cancelled {
            self.seen = newest.highest;
        }
        Ok(cancelled)
    }

    /// Notes that a stage was proven. Where nothing was changed there is nothing to note.
    pub(crate) async fn reached(&mut self, stage: Stage) -> Result<()> {
        if stage > self.reached {
            self.reached = stage;
            self.record(Event::Reached { stage }).await?;
        }
        Ok(())
    }

    /// Writes to the journal, if the lease is held.
    pub(crate) async fn record(&mut self, event: Event) -> Result<()> {
        let Some(lease) = &self.lease else {
            return Ok(());
        };
        let entry = JournalEntry {
            attempt: lease.attempt,
            at: Timestamp::now(),
            holder: self.run.holder.clone(),
            event,
        };
        let number = self.journal.write(&entry).await?;
        // Entries that another process wrote before it are read before the next step.
        if number == self.seen + 1 {
            self.seen = number;
        }
        Ok(())
    }

    /// All entries of the window's journal that can be read, in order.
    pub(crate) async fn journal(&self) -> Result<Vec<JournalEntry>> {
        let entries = self.journal.all().await?;
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Ends a turn that only looked after what is there: how the window stands is as it was.
    pub(crate) async fn end_tended(mut self, what: &str) {
        let event = Event::Tended {
            what: what.to_owned(),
        };
        if let Err(e) = self.record(event).await {
            tracing::warn!(window = %self.window, error = %e, "the end of an attempt could not be noted");
        }
        self.release().await;
    }

    async fn release(&mut self) {
        if let Some(lease) = self.lease.take()
            && let Err(e) = lease.release().await
        {
            tracing::warn!(window = %self.window, error = %e, "the lease could not be given back; it will expire");
        }
    }

    /// Ends the turn: says how in the journal, and gives the lease back. What was found is returned; a busy error in place
    /// of one that halts, if another worker was at work meanwhile.
    ///
    /// Where a request was left without an answer the attempt is not said to have ended, since it may still take effect:
    /// the next attempt shuts it out first.
    pub(crate) async fn end<T>(mut self, found: Result<T>) -> Result<T> {
        let found = match found {
            Err(e) if halts(&e) => Err(self.judged(e).await),
            found => found,
        };
        let error = found.as_ref().err();
        let in_doubt = error.is_some_and(|e| match e.cause() {
            Cause::Transport(_) | Cause::Interrupted => true,
            Cause::Server { .. } => e.disposition() == Disposition::Retry,
            _ => false,
        });
        if error.is_none()
            && !self.has_begun()
            && let Err(e) = self.settle().await
        {
            tracing::warn!(window = %self.window, error = %e, "that it is done could not be noted");
        }
        if !in_doubt
            && self.has_begun()
            && let Err(e) = self.record_end(error).await
        {
            tracing::warn!(window = %self.window, error = %e, "the end of an attempt could not be noted");
        }
        self.release().await;
        found
    }

    /// Returns a mismatch as found, if no other worker could change anything meanwhile: an attempt that slept and was overtaken
    /// compares old reads with another's changes. The mismatch is recorded even if nothing had been changed yet, or no operator would
    /// see it.
    async fn judged(&mut self, found: Error) -> Error {
        if let Err(overtaken) = self.check_held().await {
            tracing::warn!(window = %self.window, error = %found, "a difference that was found after the window had been taken over says nothing");
            return overtaken;
        }
        if let Err(e) = self.attempt().await {
            tracing::warn!(window = %self.window, error = %e, "that it halted may not be noted");
        }
        found
    }

    /// Begins, to note its end, where nothing was to be changed and the journal's last word is of a failure, of an attempt
    /// that broke off, or of an operator that retries it: or it would stand there for ever.
    async fn settle(&mut self) -> Result<()> {
        let newest = self.journal.decisive().await?;
        let done = |event: &Event| {
            matches!(
                event,
                Event::Ended {
                    status: Status::Done,
                    ..
                }
            )
        };
        let last = newest.entries.last();
        if last.is_none_or(|(_, last)| done(&last.event))
            || newest.verdict() == JournalVerdict::Cancelled
        {
            return Ok(());
        }
        self.attempt().await?;
        match self.reached {
            Stage::Planned => Ok(()),
            stage => self.record(Event::Reached { stage }).await,
        }
    }

    /// The end of an attempt does not end a person's word: a window that was cancelled on the way stays so.
    async fn record_end(&mut self, error: Option<&Error>) -> Result<()> {
        let ended = |status| Event::Ended {
            status,
            error: error.map(Error::message),
            hint: error.and_then(Error::hint).map(ToOwned::to_owned),
        };
        let status = match (self.is_cancelled().await?, error) {
            (true, _) => Status::Cancelled,
            (false, None) => Status::Done,
            (false, Some(e)) => Status::after(e),
        };
        let before = self.seen;
        self.record(ended(status)).await?;
        if status != Status::Cancelled && self.seen == before && self.was_cancelled_late().await? {
            self.record(ended(Status::Cancelled)).await?;
        }
        Ok(())
    }

    /// Whether a person cancelled the window just before its end was noted.
    async fn was_cancelled_late(&self) -> Result<bool> {
        let seen = self.seen;
        let newest = self.journal.newest(|number, _| number <= seen).await?;
        Ok(newest
            .entries
            .iter()
            .any(|(number, entry)| *number > seen && entry.event == Event::Cancelled))
    }
}

fn halts(error: &Error) -> bool {
    Status::after(error) == Status::Halted
}

//! A window's journal: numbered entries, the newest of which say how the window stands.

use object_store::path::Path;

use crate::window::task::{JournalEntry, JournalVerdict};
use mpsync_archive::layout::{numbered_file, tasks_folder};
use mpsync_archive::{Archive, printable};
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::{Cause, Error, Result};

/// The journal of one window.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    archive: Archive,
    folder: Path,
}

/// The newest entries of a journal, the newest first, as far back as they were wanted.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// The highest number; 0 where there is no entry.
    pub(crate) highest: u64,
    /// The entries that can be read, with their numbers.
    pub(crate) entries: Vec<(u64, JournalEntry)>,
}

impl Newest {
    /// Returns whether the window may be worked on.
    pub(crate) fn verdict(&self) -> JournalVerdict {
        self.entries
            .iter()
            .find_map(|(_, entry)| JournalVerdict::said_by(&entry.event))
            .unwrap_or(JournalVerdict::Open)
    }
}

impl Journal {
    /// The journal of a window.
    pub(crate) fn of(archive: &Archive, dataset: &DatasetName, window: Window) -> Self {
        Self {
            archive: archive.clone(),
            folder: tasks_folder(dataset, window),
        }
    }

    /// Writes an entry and gives its number.
    pub(crate) async fn write(&self, entry: &JournalEntry) -> Result<u64> {
        let mut json = serde_json::to_vec(entry).map_err(|e| Error::malformed(e.to_string()))?;
        json.push(b'\n');
        self.archive.create_numbered(&self.folder, json).await
    }

    /// All entries that can be read, in order.
    ///
    /// One that cannot be read is history lost and nothing else: an attempt whose end is unknown is taken for asleep.
    pub(crate) async fn all(&self) -> Result<Vec<(u64, JournalEntry)>> {
        let mut newest = self.newest(|_, _| false).await?.entries;
        newest.reverse();
        Ok(newest)
    }

    /// The newest entries, until `enough` says of one that none before it is wanted.
    pub(crate) async fn newest(
        &self,
        mut enough: impl FnMut(u64, &JournalEntry) -> bool,
    ) -> Result<Newest> {
        let numbers = self.archive.numbers(&self.folder).await?;
        let mut newest = Newest {
            highest: numbers.last().copied().unwrap_or(0),
            entries: Vec::new(),
        };
        for number in numbers.into_iter().rev() {
            let path = self.path(number);
            let entry = match self.archive.read(&path).await {
                Ok(entry) => entry,
                // Too large, or not a file: mpsync did not write it.
                Err(e) if matches!(e.cause(), Cause::Integrity(_)) => {
                    tracing::warn!(%path, error = %e, "unreadable journal entry");
                    continue;
                }
                Err(e) => return Err(e),
            };
            match entry.as_deref().map(serde_json::from_slice::<JournalEntry>) {
                Some(Ok(entry)) => {
                    let entry = entry.map_text(|text| printable(text).into_owned());
                    let last = enough(number, &entry);
                    newest.entries.push((number, entry));
                    if last {
                        break;
                    }
                }
                Some(Err(e)) => {
                    let text = e.to_string();
                    tracing::warn!(%path, error = %printable(&text), "unreadable journal entry");
                }
                None => {}
            }
        }
        Ok(newest)
    }

    /// The newest entries down to the one that says whether the window may be worked on.
    pub(crate) async fn decisive(&self) -> Result<Newest> {
        self.newest(|_, entry| JournalVerdict::said_by(&entry.event).is_some())
            .await
    }

    /// The highest number; 0 where there is no entry.
    pub(crate) async fn highest(&self) -> Result<u64> {
        Ok(self.archive.highest(&self.folder).await?.unwrap_or(0))
    }

    /// Where an entry lies.
    fn path(&self, number: u64) -> Path {
        self.folder.clone().join(numbered_file(number))
    }
}

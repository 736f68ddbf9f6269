//! Numbered objects: created only if absent, the highest number counts.

use bytes::Bytes;
use object_store::path::Path;

use crate::format::layout::{numbered_file, parse_numbered};
use crate::store::archive::Archive;
use crate::store::backend::CreateOutcome;
use mpsync_core::error::{Error, Result};

/// How often other workers may take the next number before it is an error.
const TRIES: u32 = 1000;

impl Archive {
    /// Writes an entry under the next free number of a folder and returns the number.
    ///
    /// After an error the entry may or may not exist; repeating the call may write it twice, which is harmless for entries
    /// that state a status.
    pub async fn create_numbered(&self, folder: &Path, json: impl Into<Bytes>) -> Result<u64> {
        let json = json.into();
        let mut number = self.highest(folder).await?.unwrap_or(0);
        for _ in 0..TRIES {
            number += 1;
            let path = folder.clone().join(numbered_file(number));
            if self.create(&path, json.clone()).await? == CreateOutcome::Yes {
                return Ok(number);
            }
        }
        Err(Error::busy(format!(
            "other workers took {TRIES} numbers in a row in {folder}"
        )))
    }

    /// Returns the entry of the highest number, with its number; `None` for a folder without entries.
    pub async fn latest(&self, folder: &Path) -> Result<Option<(u64, Bytes)>> {
        let Some(number) = self.highest(folder).await? else {
            return Ok(None);
        };
        let path = folder.clone().join(numbered_file(number));
        match self.read(&path).await? {
            Some(json) => Ok(Some((number, json))),
            None => Err(Error::integrity(format!(
                "{path} was listed and is missing: another program removes files here"
            ))),
        }
    }

    /// Returns all numbers of a folder, in order.
    pub async fn numbers(&self, folder: &Path) -> Result<Vec<u64>> {
        let objects = self.list_folder(folder).await?.objects;
        let mut numbers: Vec<u64> = objects
            .iter()
            .filter_map(|object| parse_numbered(object.location.filename()?))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns the highest number of a folder.
    pub async fn highest(&self, folder: &Path) -> Result<Option<u64>> {
        Ok(self.numbers(folder).await?.last().copied())
    }
}

//! Submitted transfer requests: one object each in the archive, so that it outlives the process that accepted it, and any
//! worker can carry it out. The next routine sync does it and removes it; doing it twice changes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use object_store::path::Path;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::time_range::TimeRange;
use mpsync_archive::layout::requests_folder;
use mpsync_archive::{Archive, RowFilter};
use mpsync_core::dataset::{Dataset, DatasetName, Window};
use mpsync_core::error::{Error, Result};

/// A requested transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The dataset.
    pub dataset: DatasetName,
    /// The span of event time: every window that has any moment of it.
    pub window: Window,
    /// Only these exchanges, where not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<String>,
    /// Only these symbols, where not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<String>,
    /// When it was asked for, by the asker's clock; for people only.
    pub at: Timestamp,
}

impl Wish {
    /// The span as a range.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        TimeRange {
            from: Some(self.window.start()),
            to: Some(self.window.end()),
        }
    }

    /// The filter, where only a part of the rows is wanted.
    #[must_use]
    pub fn filter(&self) -> Option<RowFilter> {
        let all = self.exchanges.is_empty() && self.symbols.is_empty();
        (!all).then(|| RowFilter {
            exchanges: self.exchanges.clone(),
            symbols: self.symbols.clone(),
        })
    }
}

/// A request that no worker has carried out yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenRequest {
    /// Its name.
    pub id: String,
    /// The request.
    #[serde(flatten)]
    pub wish: Wish,
}

/// The dataset of a name, or of a kind of data as its subjects name it (`trade`); an error names those that exist.
pub fn dataset_of<'a>(datasets: &'a [Dataset], name: &str) -> Result<&'a Dataset> {
    let is_of_kind = |d: &&Dataset| {
        let mut subjects = d.subjects.iter();
        subjects.any(|s| s.split('.').next() == Some(name))
    };
    if let Some(dataset) = datasets.iter().find(|d| d.name.as_str() == name) {
        return Ok(dataset);
    }
    let mut of_kind = datasets.iter().filter(is_of_kind);
    match (of_kind.next(), of_kind.next()) {
        (Some(dataset), None) => Ok(dataset),
        _ => {
            let known: Vec<_> = datasets.iter().map(|d| d.name.as_str()).collect();
            Err(Error::usage(format!(
                "`{}` is not a dataset, nor the kind of data of one",
                name.escape_debug()
            ))
            .with_hint(format!("datasets: {}", known.join(", "))))
        }
    }
}

/// Leaves a wish for the next routine sync; gives its name.
///
/// After an error it is open whether the wish was left; leaving it twice changes nothing.
pub async fn submit(archive: &Archive, wish: &Wish) -> Result<String> {
    let mut json = serde_json::to_vec(wish).map_err(|e| Error::malformed(e.to_string()))?;
    json.push(b'\n');
    let when = wish.at.strftime("%Y%m%dT%H%M%SZ");
    let id = format!("{when}-{:08x}", rand::rng().random::<u32>());
    // Where it is there already, the store repeated our own request.
    archive.create(&path(&id), json.into()).await?;
    Ok(id)
}

/// Lists the requests that no worker has carried out yet, oldest first. A request that cannot be read is skipped and logged.
pub async fn open_requests(archive: &Archive) -> Result<Vec<OpenRequest>> {
    let mut open = BTreeMap::new();
    for object in archive.list_folder(&requests_folder()).await?.objects {
        let Some(id) = object
            .location
            .filename()
            .and_then(|f| f.strip_suffix(".json"))
        else {
            continue;
        };
        let content = archive.read(&object.location).await?;
        match content.as_deref().map(serde_json::from_slice::<Wish>) {
            Some(Ok(wish)) => drop(open.insert(id.to_owned(), wish)),
            Some(Err(e)) => {
                tracing::warn!(request = id, error = %e, "a request that cannot be read");
            }
            // Another worker has carried it out in the meantime.
            None => {}
        }
    }
    Ok(open
        .into_iter()
        .map(|(id, wish)| OpenRequest { id, wish })
        .collect())
}

/// Removes a wish that was done.
pub(crate) async fn remove(archive: &Archive, id: &str) -> Result<()> {
    archive.remove(&path(id)).await
}

fn path(id: &str) -> Path {
    requests_folder().join(format!("{id}.json"))
}

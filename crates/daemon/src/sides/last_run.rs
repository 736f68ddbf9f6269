//! The results of the last sync and of the last garbage collection, stored in the archive: any process determines missed runs of a
//! cron expression, and the next garbage collection, from them.

use object_store::path::Path;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::runs::{SweepRun, SyncRun};
use mpsync_archive::Archive;
use mpsync_archive::layout::INTERNAL;

/// A run whose result is stored.
pub(crate) trait StoredRun: Serialize + DeserializeOwned {
    /// The name of the object in the archive's internal folder.
    const OBJECT: &str;
    /// The name of the run, for the log.
    const NAME: &str;
}

impl StoredRun for SyncRun {
    const OBJECT: &str = "last-sync.json";
    const NAME: &str = "sync";
}

impl StoredRun for SweepRun {
    const OBJECT: &str = "last-sweep.json";
    const NAME: &str = "sweep";
}

fn path<R: StoredRun>() -> Path {
    Path::from(INTERNAL).join(R::OBJECT)
}

/// Returns the result of the last complete run; `None` if there was none, or it cannot be read.
pub(crate) async fn read<R: StoredRun>(archive: &Archive) -> Option<R> {
    let read = archive.read(&path::<R>()).await;
    let json = read.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "cannot read the time of the last {}", R::NAME);
        None
    })?;
    serde_json::from_slice(&json).ok()
}

/// Stores the result of a run.
pub(crate) async fn write<R: StoredRun>(archive: &Archive, run: &R) {
    let Ok(json) = serde_json::to_vec(run) else {
        return;
    };
    if let Err(e) = archive.overwrite(&path::<R>(), json.into()).await {
        tracing::warn!(error = %e, "cannot store the result of the {}", R::NAME);
    }
}

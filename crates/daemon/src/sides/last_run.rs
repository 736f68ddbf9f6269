//! When a sync and a sweep last ran, written down beside the archive: what a cron expression's catch-up, and the next sweep, are
//! told by, whichever process ran.

use object_store::path::Path;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{SweepRun, SyncRun};
use mpsync_archive::Archive;
use mpsync_archive::layout::INTERNAL;

/// A run that is written down.
pub(super) trait Noted: Serialize + DeserializeOwned {
    /// The object in the archive's own folder.
    const OBJECT: &str;
    /// What ran.
    const WHAT: &str;
}

impl Noted for SyncRun {
    const OBJECT: &str = "last-sync.json";
    const WHAT: &str = "sync";
}

impl Noted for SweepRun {
    const OBJECT: &str = "last-sweep.json";
    const WHAT: &str = "sweep";
}

fn path<R: Noted>() -> Path {
    Path::from(INTERNAL).join(R::OBJECT)
}

/// The last run of all that was due; `None` where there was none, or nobody can say.
pub(super) async fn read<R: Noted>(archive: &Archive) -> Option<R> {
    let read = archive.read(&path::<R>()).await;
    let json = read.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "when a {} last ran is not known", R::WHAT);
        None
    })?;
    serde_json::from_slice(&json).ok()
}

/// Writes down that it ran.
pub(super) async fn write<R: Noted>(archive: &Archive, run: &R) {
    let Ok(json) = serde_json::to_vec(run) else {
        return;
    };
    if let Err(e) = archive.overwrite(&path::<R>(), json.into()).await {
        tracing::warn!(error = %e, "that a {} ran could not be written down", R::WHAT);
    }
}

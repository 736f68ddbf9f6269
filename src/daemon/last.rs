//! When a sync last ran, written down beside the archive: what a cron expression's catch-up is told by, whichever process ran.

use object_store::path::Path;

use crate::archive::Archive;
use crate::archive::layout::INTERNAL;
use crate::http::SyncRun;

fn path() -> Path {
    Path::from(INTERNAL).join("last-sync.json")
}

/// The last run of all that was due; `None` where there was none, or nobody can say.
pub(super) async fn read(archive: &Archive) -> Option<SyncRun> {
    let read = archive.read(&path()).await;
    let json = read.unwrap_or_else(|e| {
        tracing::warn!(error = %e, "when a sync last ran is not known");
        None
    })?;
    serde_json::from_slice(&json).ok()
}

/// Writes down that it ran.
pub(super) async fn write(archive: &Archive, run: &SyncRun) {
    let Ok(json) = serde_json::to_vec(run) else {
        return;
    };
    if let Err(e) = archive.overwrite(&path(), json.into()).await {
        tracing::warn!(error = %e, "that a sync ran could not be written down");
    }
}

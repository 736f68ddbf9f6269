//! The archive that a command expects to contain something.

use super::context::CommandContext;
use mpsync_archive::Archive;
use mpsync_core::error::{Error, Result};

/// Fails if the archive contains no window of any dataset, which a wrong path looks like. For commands that found nothing to do.
pub(super) async fn check_not_empty(context: &CommandContext, archive: &Archive) -> Result<()> {
    for dataset in &context.datasets {
        if !archive.windows(&dataset.name, None).await?.is_empty() {
            return Ok(());
        }
    }
    let config = &context.config;
    let key = match config.archive.place.folder() {
        Some(_) => "archive.path",
        None => "archive.url",
    };
    let origin = config.settings.origin(key);
    Err(
        Error::config(format!("the archive in {} is empty", config.archive.place)).with_hint(
            format!("check {key} (origin: {origin}); `mpsync config show` prints all paths"),
        ),
    )
}

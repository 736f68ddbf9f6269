//! Whether the archived files of a window are whole, right before rows are removed that rest on them.

use crate::dataset_run::DatasetRun;
use mpsync_archive::{Depth, FindingKind, Severity, verify};
use mpsync_core::dataset::{TierRole, Window};
use mpsync_core::error::{Error, Result};

/// Checks that the archive returns every byte of the window's generations as their manifests name it. Returns why the check is
/// not complete, if some file could not be read.
///
/// This is the check of `mpsync verify`, so that a finding of it blocks the removal for as long as it stands. Chunks that this
/// run has read already are not read a second time; a later run reads them.
///
/// # Errors
///
/// An integrity error if a file is missing or damaged.
pub(crate) async fn check_archive(
    run: &DatasetRun,
    window: Window,
    tier: TierRole,
) -> Result<Option<String>> {
    let generations = run.archive.generations(&run.dataset.name, window).await?;
    let depth = if run.proof_cache.are_whole(&generations) {
        Depth::Quick
    } else {
        Depth::Bytes
    };
    for finding in verify(&run.archive, &run.dataset.name, window, depth).await {
        if finding.kind == FindingKind::SumsDiffer {
            // An attempt that lost a race was cut off after it had written its own; the manifest says what belongs there.
            let manifest = generations.iter().find(|m| m.id() == finding.generation);
            if let Some(manifest) = manifest {
                run.archive
                    .settle_sums(&finding.generation, manifest)
                    .await?;
                continue;
            }
        }
        match finding.kind.severity() {
            Severity::Info => {}
            Severity::Unknown => return Ok(Some(finding.to_string())),
            Severity::Damage => {
                let file = finding.file.as_deref().unwrap_or_default();
                return Err(Error::integrity(format!(
                    "{} {file}: {}; {tier} keeps its rows",
                    finding.generation, finding.text
                ))
                .with_hint(finding.remedy));
            }
        }
    }
    for manifest in &generations {
        for chunk in &manifest.chunks {
            run.proof_cache
                .record_whole_chunk(manifest, &chunk.file, &chunk.sha256);
        }
    }
    Ok(None)
}

/// The same, for rows of hot: a check that is not complete is an error that another run may get past.
pub(crate) async fn check_before_removal(run: &DatasetRun, window: Window) -> Result<()> {
    match check_archive(run, window, TierRole::Hot).await? {
        None => Ok(()),
        Some(unknown) => Err(std::io::Error::other(format!(
            "{window} is not removed from hot, since its archived files could not all be read: {unknown}"
        ))
        .into()),
    }
}

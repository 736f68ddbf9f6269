//! What an archive holds, as its manifests say it.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::Serialize;

use crate::archive::Archive;
use crate::dataset::{DatasetName, Window};
use crate::error::Result;

/// Windows whose manifests are read at a time.
const READS: usize = 16;

/// What the archive holds of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetContents {
    /// The dataset.
    pub dataset: DatasetName,
    /// The start of the first window and the end of the last one.
    pub span: Option<Window>,
    /// All its days together.
    #[serde(flatten)]
    pub total: DayContents,
    /// By the date on which a window starts, in UTC.
    pub days: BTreeMap<String, DayContents>,
    /// The spans between windows that no window covers. Nothing may have happened in them.
    pub gaps: Vec<Gap>,
}

/// What the archive holds of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DayContents {
    /// Windows.
    pub windows: u64,
    /// Generations.
    pub generations: u64,
    /// Chunks.
    pub chunks: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
}

/// A span of time without a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The end of the window before.
    pub from: Timestamp,
    /// The start of the window after.
    pub to: Timestamp,
}

/// Reads the manifests of a dataset's windows, those that touch `range` where one is given.
///
/// A damaged manifest is an error that names it.
pub async fn inspect(
    archive: &Archive,
    dataset: &DatasetName,
    range: Option<Window>,
) -> Result<DatasetContents> {
    let windows = archive.windows(dataset, range).await?;
    let mut contents = DatasetContents {
        dataset: dataset.clone(),
        span: None,
        total: DayContents::default(),
        days: BTreeMap::new(),
        gaps: gaps(&windows),
    };
    let mut read = futures_util::stream::iter(windows)
        .map(|window| async move {
            Ok::<_, crate::error::Error>((window, archive.generations(dataset, window).await?))
        })
        .buffered(READS);
    while let Some((window, manifests)) = read.try_next().await? {
        let span = contents.span.unwrap_or(window);
        contents.span = Some(Window::new(
            span.start().min(window.start()),
            span.end().max(window.end()),
        )?);
        let day = contents
            .days
            .entry(window.start().strftime("%Y-%m-%d").to_string())
            .or_default();
        for counts in [day, &mut contents.total] {
            counts.windows += 1;
            counts.generations += manifests.len() as u64;
            counts.chunks += manifests.iter().map(|m| m.chunks.len() as u64).sum::<u64>();
            counts.rows += manifests.iter().map(|m| m.fingerprint.rows).sum::<u64>();
            counts.bytes += manifests
                .iter()
                .map(crate::archive::Manifest::bytes)
                .sum::<u64>();
        }
    }
    Ok(contents)
}

/// What lies between windows, which come in order of their starts and may overlap.
fn gaps(windows: &[Window]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut covered: Option<Timestamp> = None;
    for window in windows {
        if let Some(from) = covered.filter(|end| *end < window.start()) {
            gaps.push(Gap {
                from,
                to: window.start(),
            });
        }
        covered = Some(covered.map_or(window.end(), |end| end.max(window.end())));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_lie_where_no_window_is_and_overlapping_windows_leave_none() {
        let windows: Vec<Window> = [
            "2026-01-01",
            "2026-01-01T05",
            "2026-01-02T00",
            "2026-01-02T03",
        ]
        .iter()
        .map(|w| w.parse().unwrap())
        .collect();
        let expected = Gap {
            from: "2026-01-02T01:00:00Z".parse().unwrap(),
            to: "2026-01-02T03:00:00Z".parse().unwrap(),
        };
        assert_eq!(gaps(&windows), [expected]);
        assert_eq!(gaps(&[]), []);
    }
}

//! The contents of an archive, from its manifests.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::Serialize;

use crate::read::chunk::uncompressed_bytes;
use mpsync_archive::{Archive, Manifest};
use mpsync_core::dataset::{DatasetName, Window};
use mpsync_core::error::Result;

/// Windows whose manifests are read concurrently.
const READS: usize = 16;
const HOUR_SECS: i64 = 3600;

/// The contents of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetContents {
    /// The dataset.
    pub dataset: DatasetName,
    /// The start of the first window and the end of the last one.
    pub span: Option<Window>,
    /// The sum of all days.
    #[serde(flatten)]
    pub total: DayContents,
    /// By the date on which a window starts, in UTC.
    pub days: BTreeMap<String, DayContents>,
    /// The spans between windows that no window covers. There may have been no messages in them.
    pub gaps: Vec<Gap>,
    /// The 24 hours, in UTC, of each day that a window touches.
    pub calendar: BTreeMap<String, Vec<Hour>>,
}

/// The coverage of an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// Seconds of it that windows cover.
    pub covered_seconds: u32,
    /// Generations of the window that has the most.
    pub generations: u32,
}

/// The contents of a day.
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
    /// Bytes of their values before compression, as Parquet encodes them; 0 unless requested.
    pub uncompressed_bytes: u64,
}

impl DayContents {
    /// Returns the compression ratio, if it was requested.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
    pub fn ratio(&self) -> Option<f64> {
        (self.bytes > 0 && self.uncompressed_bytes > 0)
            .then(|| self.uncompressed_bytes as f64 / self.bytes as f64)
    }
}

/// A span of time without a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The end of the window before.
    pub from: Timestamp,
    /// The start of the window after.
    pub to: Timestamp,
}

/// Reads the manifests of a dataset's windows, or of those that touch `range`; `with_ratio` also reads
/// the footer of every chunk.
///
/// # Errors
///
/// A damaged manifest is an error that names it.
pub async fn inspect(
    archive: &Archive,
    dataset: &DatasetName,
    range: Option<Window>,
    with_ratio: bool,
) -> Result<DatasetContents> {
    let windows = archive.windows(dataset, range).await?;
    let mut contents = DatasetContents {
        dataset: dataset.clone(),
        span: None,
        total: DayContents::default(),
        days: BTreeMap::new(),
        gaps: gaps(&windows),
        calendar: BTreeMap::new(),
    };
    let mut read = futures_util::stream::iter(windows)
        .map(|window| async move {
            let manifests = archive.generations(dataset, window).await?;
            let bytes = match with_ratio {
                true => uncompressed(archive, &manifests).await?,
                false => 0,
            };
            Ok::<_, mpsync_core::error::Error>((window, manifests, bytes))
        })
        .buffered(READS);
    while let Some((window, manifests, uncompressed_bytes)) = read.try_next().await? {
        mark(&mut contents.calendar, window, manifests.len());
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
                .map(mpsync_archive::Manifest::bytes)
                .sum::<u64>();
            counts.uncompressed_bytes += uncompressed_bytes;
        }
    }
    Ok(contents)
}

async fn uncompressed(archive: &Archive, manifests: &[Manifest]) -> Result<u64> {
    let mut bytes = 0;
    for manifest in manifests {
        for chunk in &manifest.chunks {
            bytes += uncompressed_bytes(archive, &manifest.id(), chunk).await?;
        }
    }
    Ok(bytes)
}

/// Adds a window to the calendar.
fn mark(calendar: &mut BTreeMap<String, Vec<Hour>>, window: Window, generations: usize) {
    let (mut at, end) = (window.start().as_second(), window.end().as_second());
    while at < end {
        let next = (at.div_euclid(HOUR_SECS) + 1) * HOUR_SECS;
        let covered = u32::try_from(next.min(end) - at).unwrap_or(0);
        if let Ok(time) = Timestamp::from_second(at) {
            let day = calendar
                .entry(time.strftime("%Y-%m-%d").to_string())
                .or_insert_with(|| vec![Hour::default(); 24]);
            let number = usize::try_from(at.rem_euclid(24 * HOUR_SECS) / HOUR_SECS).unwrap_or(0);
            let hour = &mut day[number];
            // Windows of different widths can overlap.
            hour.covered_seconds = (hour.covered_seconds + covered).min(3600);
            hour.generations = hour
                .generations
                .max(u32::try_from(generations).unwrap_or(u32::MAX));
        }
        at = next;
    }
}

/// Returns the gaps between windows, which come in order of their starts and may overlap.
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
    fn calendar_has_the_coverage_of_every_hour() {
        let mut calendar = BTreeMap::new();
        mark(&mut calendar, "2026-01-01T05".parse().unwrap(), 3);
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let late = Window::new(time("2026-01-01T23:30:00Z"), time("2026-01-02T00:10:00Z"));
        mark(&mut calendar, late.unwrap(), 1);
        let hour = |day: &str, hour: usize| calendar[day][hour];
        assert_eq!(hour("2026-01-01", 4), Hour::default());
        assert_eq!(
            hour("2026-01-01", 5),
            Hour {
                covered_seconds: 3600,
                generations: 3
            }
        );
        assert_eq!(hour("2026-01-01", 23).covered_seconds, 1800);
        assert_eq!(hour("2026-01-02", 0).covered_seconds, 600);
    }

    #[test]
    fn gaps_are_between_windows_and_overlapping_windows_have_none() {
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

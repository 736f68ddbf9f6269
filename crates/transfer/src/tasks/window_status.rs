//! How every window of some days stands: what hot holds of it, what the archive holds, what its journal says.
//!
//! A generation never changes, and of a journal only the newest number does: what was read once is kept, and a second look costs
//! listings.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::state::Enough;
use crate::plan::hot_inventory::hours;
use crate::plan::partitioning::{CalendarUnit, Partitioning, cut};
use crate::window::journal::Journal;
use crate::window::task::{Event, JournalVerdict, Stage, Status};
use mpsync_archive::Archive;
use mpsync_archive::layout::{GenerationId, parse_internal_window, tasks_root};
use mpsync_clickhouse::{Tier, ident};
use mpsync_core::dataset::{Dataset, DatasetName, Window};
use mpsync_core::error::{Cause, Error, Result};

/// Windows that are read at a time.
const AT_A_TIME: usize = 16;
/// Of how many windows what was read is kept: all of a year of eight datasets, about.
const KEPT_MAX: usize = 100_000;

/// How far a window has come, as a calendar shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum WindowStage {
    /// Hot holds rows of it that are not in the archive.
    Hot,
    /// Every row that hot held is in the archive.
    Archived,
    /// The archive's rows are in cold.
    Loaded,
    /// Hot, the archive's manifests and cold were found to be the same.
    Verified,
    /// Hot no longer holds it.
    Cleaned,
    /// Data was found not to be what it was proven to be; nothing is deleted until an operator retries it.
    Halted,
    /// The stream dropped messages of it before they were read.
    Gap,
}

/// One window of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowStatus {
    /// The dataset.
    pub dataset: DatasetName,
    /// The window.
    pub window: Window,
    /// How far it has come.
    pub stage: WindowStage,
    /// Rows of it, as far as they are counted; `None` where its manifest cannot be read.
    pub rows: Option<u64>,
    /// Generations in the archive.
    pub generations: u64,
}

/// Observations outside of the archive, dataset by dataset.
#[derive(Debug, Clone, Default)]
pub struct HotObservations {
    /// Rows that hot holds, window by window.
    pub in_hot: BTreeMap<DatasetName, Vec<(Window, u64)>>,
    /// Spans of which the stream dropped messages before they were read.
    pub gaps: BTreeMap<DatasetName, Vec<Window>>,
}

/// The facts of one window.
#[derive(Debug, Clone, Copy, Default)]
struct WindowFacts {
    hot_rows: u64,
    archived_rows: u64,
    generations: u64,
    /// A manifest that cannot be read.
    damaged: bool,
    /// Messages of it are lost.
    torn: bool,
    word: JournalWord,
}

/// The conclusion of a journal.
#[derive(Debug, Clone, Copy, Default)]
struct JournalWord {
    stage: Option<Stage>,
    halted: bool,
}

impl WindowFacts {
    /// `None` where there is nothing to show: a journal without any row.
    fn stage(&self) -> Option<WindowStage> {
        let proven = match self.word.stage {
            Some(Stage::Archived) => Some(WindowStage::Archived),
            Some(Stage::Loaded) => Some(WindowStage::Loaded),
            Some(Stage::Verified) => Some(WindowStage::Verified),
            Some(Stage::Cleaned) => Some(WindowStage::Cleaned),
            Some(Stage::Planned) | None => None,
        };
        let late = self.hot_rows > 0
            && (self.hot_rows > self.archived_rows || proven == Some(WindowStage::Cleaned));
        if self.word.halted || self.damaged {
            Some(WindowStage::Halted)
        } else if self.torn {
            Some(WindowStage::Gap)
        } else if late {
            Some(WindowStage::Hot)
        } else {
            proven.or((self.generations > 0).then_some(WindowStage::Archived))
        }
    }

    fn rows(&self) -> Option<u64> {
        (!self.damaged).then_some(self.archived_rows.max(self.hot_rows))
    }
}

/// Marks the windows that a gap touches within the span; hours of which nothing is there become windows of their own.
fn tear(facts: &mut BTreeMap<Window, WindowFacts>, gap: Window, span: Window) {
    let Some(torn) = gap.intersection(&span) else {
        return;
    };
    let mut at = torn.start();
    while at < torn.end() {
        let Ok(hour) = CalendarUnit::Hour.window_at(at) else {
            return;
        };
        let mut there = false;
        for (_, facts) in facts
            .iter_mut()
            .filter(|(window, _)| window.intersection(&hour).is_some())
        {
            facts.torn = true;
            there = true;
        }
        if !there {
            facts.entry(hour).or_default().torn = true;
        }
        at = hour.end();
    }
}

/// A cache of what was read from the archive. Keep one for as long as the process runs.
#[derive(Debug, Default)]
pub struct WindowStatusReader {
    rows: Mutex<HashMap<GenerationId, u64>>,
    words: Mutex<HashMap<(DatasetName, Window), (u64, JournalWord)>>,
}

impl WindowStatusReader {
    /// Every window of these datasets that has any moment of the span, dataset by dataset in order of time.
    ///
    /// A manifest that cannot be read makes its window a halted one; an archive that does not answer is an error.
    pub async fn windows(
        &self,
        archive: &Archive,
        datasets: &[DatasetName],
        span: Window,
        seen: &HotObservations,
    ) -> Result<Vec<WindowStatus>> {
        let mut all = Vec::new();
        for dataset in datasets {
            let mut facts = self.archived(archive, dataset, span).await?;
            for (window, rows) in seen.in_hot.get(dataset).into_iter().flatten() {
                if window.intersection(&span).is_some() {
                    facts.entry(*window).or_default().hot_rows += rows;
                }
            }
            for (window, word) in self.journals(archive, dataset, span).await? {
                facts.entry(window).or_default().word = word;
            }
            for gap in seen.gaps.get(dataset).into_iter().flatten() {
                tear(&mut facts, *gap, span);
            }
            all.extend(facts.into_iter().filter_map(|(window, facts)| {
                Some(WindowStatus {
                    dataset: dataset.clone(),
                    window,
                    stage: facts.stage()?,
                    rows: facts.rows(),
                    generations: facts.generations,
                })
            }));
        }
        Ok(all)
    }

    async fn archived(
        &self,
        archive: &Archive,
        dataset: &DatasetName,
        span: Window,
    ) -> Result<BTreeMap<Window, WindowFacts>> {
        let ids = archive.generation_ids(dataset, span).await?;
        let reads = ids.into_iter().map(|id| async move {
            let rows = self.rows(archive, &id).await?;
            Ok::<_, Error>((id.window, rows))
        });
        let mut reads = futures_util::stream::iter(reads).buffer_unordered(AT_A_TIME);
        let mut facts: BTreeMap<Window, WindowFacts> = BTreeMap::new();
        while let Some((window, rows)) = reads.try_next().await? {
            let of_window = facts.entry(window).or_default();
            of_window.generations += 1;
            of_window.archived_rows += rows.unwrap_or(0);
            of_window.damaged |= rows.is_none();
        }
        Ok(facts)
    }

    /// The rows of a generation; `None` where its manifest cannot be read.
    async fn rows(&self, archive: &Archive, id: &GenerationId) -> Result<Option<u64>> {
        if let Some(rows) = cached(&self.rows, id) {
            return Ok(Some(rows));
        }
        match archive.manifest(id).await {
            Ok(Some(manifest)) => {
                store(&self.rows, id.clone(), manifest.fingerprint.rows);
                Ok(Some(manifest.fingerprint.rows))
            }
            Ok(None) => Ok(None),
            Err(e) if matches!(e.cause(), Cause::Malformed(_) | Cause::Integrity(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn journals(
        &self,
        archive: &Archive,
        dataset: &DatasetName,
        span: Window,
    ) -> Result<Vec<(Window, JournalWord)>> {
        let folder = tasks_root().join(dataset.as_str());
        let windows = archive.list_folder(&folder).await?.common_prefixes;
        let windows: Vec<Window> = windows
            .iter()
            .filter_map(|path| parse_internal_window(path.filename()?))
            .filter(|window| window.intersection(&span).is_some())
            .collect();
        let reads = windows.into_iter().map(|window| async move {
            let word = self.word(archive, dataset, window).await?;
            Ok::<_, Error>((window, word))
        });
        futures_util::stream::iter(reads)
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await
    }

    async fn word(
        &self,
        archive: &Archive,
        dataset: &DatasetName,
        window: Window,
    ) -> Result<JournalWord> {
        let journal = Journal::of(archive, dataset, window);
        let key = (dataset.clone(), window);
        if let Some((number, word)) = cached(&self.words, &key)
            && journal.highest().await? == number
        {
            return Ok(word);
        }
        let mut enough = Enough::default();
        let newest = journal.newest(|_, entry| enough.with(entry)).await?;
        let word = JournalWord {
            stage: proven(newest.entries.iter().map(|(_, entry)| &entry.event)),
            halted: matches!(newest.verdict(), JournalVerdict::Halted { .. }),
        };
        store(&self.words, key, (newest.highest, word));
        Ok(word)
    }
}

/// Returns the last proven stage, from the newest events on. A window that a later attempt found to differ counts as archived until it is
/// proven anew.
fn proven<'a>(newest: impl Iterator<Item = &'a Event>) -> Option<Stage> {
    let mut doubted = false;
    for event in newest {
        match event {
            Event::Reached { stage } if doubted => return Some((*stage).min(Stage::Archived)),
            Event::Reached { stage } => return Some(*stage),
            Event::Ended {
                status: Status::Halted,
                ..
            } => doubted = true,
            // What was archived has left the archive, and cold before it.
            Event::Expired => return None,
            Event::Ended { .. }
            | Event::Tended { .. }
            | Event::Fenced
            | Event::Retried
            | Event::Cancelled => {}
        }
    }
    None
}

fn cached<K: std::hash::Hash + Eq, V: Copy>(all: &Mutex<HashMap<K, V>>, key: &K) -> Option<V> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(key).copied()
}

fn store<K: std::hash::Hash + Eq, V>(all: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= KEPT_MAX {
        all.clear();
    }
    all.insert(key, value);
}

/// Counts the rows that hot holds of a dataset, by the windows into which a transfer cuts it. A missing table holds none.
///
/// The server's list of parts answers it; rows are read only where hot's partitions are coarser than windows.
pub async fn held_in_hot(hot: &Tier, dataset: &Dataset) -> Result<Vec<(Window, u64)>> {
    let Some(schema) = hot.describe(&dataset.table).await? else {
        return Ok(Vec::new());
    };
    let (time, table) = (&dataset.time_column, &schema.table);
    let name = format!("{}.{table}", schema.database);
    let of_hot = Partitioning::parse(&schema.partition_key, time, &name)?;
    let of_cold = Partitioning::parse(&dataset.partition.cold, time, &name)?;
    let unit = cut(of_hot, of_cold);
    let partitions = hot.partitions(table).await?;
    let mut held: BTreeMap<Window, u64> = BTreeMap::new();
    if of_hot.0 == Some(unit) {
        for partition in &partitions {
            if let Some(window) = of_hot.span(&partition.value)? {
                *held.entry(window).or_default() += partition.rows;
            }
        }
    } else {
        let ids: Vec<_> = partitions.into_iter().map(|p| p.id).collect();
        for facts in hours(hot, table, time, &ids, unit).await? {
            let at = Timestamp::from_millisecond(facts.min_ms)
                .map_err(|e| Error::malformed(e.to_string()))?;
            *held.entry(unit.window_at(at)?).or_default() += facts.rows;
        }
    }
    Ok(held.into_iter().collect())
}

/// From when to when messages are missing that were stored before a moment and dropped: since the last row that was stored before
/// it. At most a month; the moment alone where hot knows no such row.
///
/// Reads one column of the table.
pub async fn gap_before(hot: &Tier, dataset: &Dataset, before: Timestamp) -> Result<Window> {
    let at = before.as_millisecond();
    let sql = format!(
        "SELECT maxOrNull(toUnixTimestamp64Milli(toDateTime64({}, 3))) FROM {} WHERE toUnixTimestamp64Milli(created_at) < {{before:Int64}}",
        ident(&dataset.time_column),
        hot.table(&dataset.table)
    );
    let last = hot
        .query(&sql)
        .param("before", at)
        .fetch_one::<Option<i64>>()
        .await
        .map_err(|e| {
            hot.error(e)
                .context(format!("looking where {} was torn", dataset.name))
        })?;
    let month = SignedDuration::from_hours(31 * 24).as_millis();
    let earliest = i64::try_from(i128::from(at) - month).unwrap_or(i64::MIN);
    let from = last.unwrap_or(at - 1).clamp(earliest, at - 1);
    let moment = |ms| Timestamp::from_millisecond(ms).map_err(|e| Error::malformed(e.to_string()));
    Window::new(moment(from)?, moment(at)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_shown_by_what_was_proven_of_it_and_by_what_was_not() {
        let facts = |hot_rows, archived_rows, stage, halted| WindowFacts {
            hot_rows,
            archived_rows,
            generations: u64::from(archived_rows > 0),
            damaged: false,
            torn: false,
            word: JournalWord { stage, halted },
        };
        for (facts, shown) in [
            (facts(0, 0, None, false), None),
            (facts(0, 0, Some(Stage::Planned), false), None),
            (facts(5, 0, None, false), Some(WindowStage::Hot)),
            (facts(0, 5, None, false), Some(WindowStage::Archived)),
            (
                facts(5, 5, Some(Stage::Archived), false),
                Some(WindowStage::Archived),
            ),
            (
                facts(5, 5, Some(Stage::Loaded), false),
                Some(WindowStage::Loaded),
            ),
            (
                facts(5, 5, Some(Stage::Verified), false),
                Some(WindowStage::Verified),
            ),
            (
                facts(0, 5, Some(Stage::Cleaned), false),
                Some(WindowStage::Cleaned),
            ),
            // Late rows, before and after the cleanup; a transfer of one exchange only.
            (
                facts(6, 5, Some(Stage::Verified), false),
                Some(WindowStage::Hot),
            ),
            (
                facts(1, 5, Some(Stage::Cleaned), false),
                Some(WindowStage::Hot),
            ),
            (
                facts(9, 5, Some(Stage::Verified), true),
                Some(WindowStage::Halted),
            ),
        ] {
            assert_eq!(facts.stage(), shown, "{facts:?}");
        }
        let torn = WindowFacts {
            torn: true,
            ..facts(5, 5, Some(Stage::Verified), false)
        };
        assert_eq!(torn.stage(), Some(WindowStage::Gap));
        let damaged = WindowFacts {
            damaged: true,
            ..facts(5, 5, Some(Stage::Verified), false)
        };
        assert_eq!(
            (damaged.stage(), damaged.rows()),
            (Some(WindowStage::Halted), None)
        );
    }

    #[test]
    fn what_was_found_to_differ_counts_as_archived_until_it_is_proven_anew() {
        let reached = |stage| Event::Reached { stage };
        let halted = Event::Ended {
            status: Status::Halted,
            error: None,
            hint: None,
        };
        let verified = reached(Stage::Verified);
        for (newest, stage) in [
            (vec![&verified], Some(Stage::Verified)),
            (vec![&halted, &verified], Some(Stage::Archived)),
            (
                vec![&Event::Retried, &halted, &verified],
                Some(Stage::Archived),
            ),
            (
                vec![&verified, &Event::Retried, &halted, &verified],
                Some(Stage::Verified),
            ),
            (vec![&Event::Fenced], None),
        ] {
            assert_eq!(proven(newest.into_iter()), stage);
        }
    }

    #[test]
    fn a_gap_tears_the_windows_that_it_touches_and_shows_hours_of_which_nothing_is_there() {
        let window = |text: &str| text.parse::<Window>().unwrap();
        let held = WindowFacts {
            hot_rows: 1,
            ..WindowFacts::default()
        };
        let mut facts = BTreeMap::from([
            (window("2026-01-01T05"), held),
            (window("2026-01-01T06"), held),
        ]);
        let gap = window("2026-01-01T06:10:00Z_2026-01-01T08:20:00Z");
        tear(&mut facts, gap, window("2026-01-01"));
        let stages: Vec<_> = facts.values().map(|f| f.stage().unwrap()).collect();
        assert_eq!(
            stages,
            [
                WindowStage::Hot,
                WindowStage::Gap,
                WindowStage::Gap,
                WindowStage::Gap
            ]
        );
        tear(&mut facts, gap, window("2026-01-02"));
        assert_eq!(facts.len(), 4);
    }
}

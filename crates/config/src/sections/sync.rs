//! `sync:`

use std::time::Duration;

use super::schedule::{CronExpression, SyncSchedule};
use crate::reading::section::Section;

/// The schedule of transfers and their limits.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// When runs begin.
    pub schedule: SyncSchedule,
    /// The maximum hours of data that one scheduled run archives, for each dataset.
    pub max_hours_per_run: u32,
    /// Whether verified windows are deleted from hot.
    pub cleanup_enabled: bool,
    /// Whether data past its retention is deleted from cold and from the archive; by default as [`Self::cleanup_enabled`].
    pub retention_enabled: bool,
    /// How long a verified window stays in hot before it is deleted.
    pub cleanup_delay: Duration,
    /// The time from the start of one garbage collection to the next; `None` for none.
    pub gc_interval: Option<Duration>,
    /// The time after its end at which a window is exported at the earliest, because of late data.
    pub grace: Duration,
    /// The number of windows that are transferred at the same time.
    pub max_concurrent_transfers: usize,
    /// How long a worker's lease may stay unchanged before another worker takes over its window.
    pub lease: Duration,
}

/// The upper limit of times, in hours: a hundred years.
const HOURS_MAX: f64 = 876_600.0;

impl SyncConfig {
    pub(crate) fn read(s: &mut Section<'_>) -> Self {
        let cleanup_enabled = s.key("cleanup_enabled").live().flag(false);
        Self {
            schedule: schedule(s),
            max_hours_per_run: s.key("max_hours_per_run").live().integer(24, 1..=u32::MAX),
            cleanup_enabled,
            retention_enabled: s.key("retention_enabled").live().flag(cleanup_enabled),
            cleanup_delay: s
                .key("cleanup_delay_hours")
                .live()
                .hours(24.0, 0.0..=HOURS_MAX),
            gc_interval: Some(
                s.key("gc_interval_hours")
                    .live()
                    .hours(24.0, 0.0..=HOURS_MAX),
            )
            .filter(|interval| !interval.is_zero()),
            grace: s.key("grace_minutes").live().minutes(10.0, 0.0..=HOURS_MAX),
            max_concurrent_transfers: s
                .key("max_concurrent_transfers")
                .live()
                .integer(2, 1..=1024),
            lease: s.key("lease_seconds").seconds(60.0, 0.5..=86_400.0),
        }
    }
}

fn schedule(s: &mut Section<'_>) -> SyncSchedule {
    let interval = s.key("interval_hours").live().hours(1.0, 0.0..=HOURS_MAX);
    let Some(cron) = cron(s) else {
        return SyncSchedule::Every(interval);
    };
    if let Some(origin) = s.origin_of("interval_hours") {
        s.wrong(
            "cron",
            format!("set cron or interval_hours, not both; {origin} sets interval_hours"),
        );
    }
    SyncSchedule::Cron(cron)
}

fn cron(s: &mut Section<'_>) -> Option<CronExpression> {
    let allowed = "a cron expression that matches some time, such as '15 * * * *'";
    s.key("cron")
        .live()
        .optional_parsed(allowed, CronExpression::parse, CronExpression::text)
}

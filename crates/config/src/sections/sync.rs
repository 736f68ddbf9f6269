//! `sync:`

use std::time::Duration;

use super::reader::Section;
use super::schedule::SyncSchedule;

/// When and how windows are transferred.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    /// When.
    pub schedule: SyncSchedule,
    /// How many hours of data that are not archived yet one scheduled run takes at most, for each dataset.
    pub batch_hours: u32,
    /// Whether proven windows are cleaned out of hot.
    pub cleanup_enabled: bool,
    /// For how long a proven window stays in hot all the same.
    pub cleanup_delay: Duration,
    /// How long after the begin of one sweep of what broken-off runs left the next begins; `None` for no sweeps.
    pub gc_interval: Option<Duration>,
    /// How long after its end a window is exported at the earliest: late messages.
    pub grace: Duration,
    /// How many windows are transferred at once.
    pub max_concurrent_transfers: usize,
    /// How long a worker's lease may stay unchanged before another takes its window over.
    pub lease: Duration,
}

/// A hundred years, in hours: longer than anything is meant to be.
const MOST_HOURS: f64 = 876_600.0;

impl SyncConfig {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            schedule: schedule(s),
            batch_hours: s.key("batch_hours").live().integer(24, 1..=u32::MAX),
            cleanup_enabled: s.key("cleanup_enabled").live().flag(false),
            cleanup_delay: s
                .key("cleanup_delay_hours")
                .live()
                .hours(24.0, 0.0..=MOST_HOURS),
            gc_interval: Some(
                s.key("gc_interval_hours")
                    .live()
                    .hours(24.0, 0.0..=MOST_HOURS),
            )
            .filter(|interval| !interval.is_zero()),
            grace: s
                .key("grace_minutes")
                .live()
                .minutes(10.0, 0.0..=MOST_HOURS),
            max_concurrent_transfers: s
                .key("max_concurrent_transfers")
                .live()
                .integer(2, 1..=1024),
            lease: s.key("lease_seconds").seconds(60.0, 0.5..=86_400.0),
        }
    }
}

fn schedule(s: &mut Section<'_>) -> SyncSchedule {
    let interval = s.key("interval_hours").live().hours(1.0, 0.0..=MOST_HOURS);
    let Some(cron) = s.key("cron").live().cron() else {
        return SyncSchedule::Every(interval);
    };
    if let Some(origin) = s.origin_of("interval_hours") {
        s.wrong(
            "cron",
            format!("say cron or interval_hours, not both; {origin} says interval_hours"),
        );
    }
    SyncSchedule::Cron(cron)
}

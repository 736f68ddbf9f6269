//! How large and how old batches get, also where the configuration changes while ingest runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use mpsync_config::Config;

/// Bytes of a batch at most, whatever the configuration says: an Arrow array addresses two gigabytes.
const MOST_BATCH_BYTES: usize = 512 << 20;
/// How old a row gets at most where everything is drained: what is left at the end waits for no company.
const DRAIN_FLUSH: Duration = Duration::from_secs(1);

/// How large and how old a batch may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlushLimits {
    /// Rows at most.
    pub(super) rows: usize,
    /// Bytes from which on nothing more is taken.
    pub(super) bytes: usize,
    /// How long its oldest message waits for it to fill.
    pub(super) age: Duration,
}

impl FlushLimits {
    /// What the configuration says of a dataset's batches.
    fn of(config: &Config, dataset: &str, drain: bool) -> Self {
        let batch = config.batch_limits(dataset);
        let age = batch.flush_interval;
        Self {
            rows: batch.rows,
            bytes: config.ingest.batch_bytes.min(MOST_BATCH_BYTES),
            age: if drain { age.min(DRAIN_FLUSH) } else { age },
        }
    }
}

/// Where a dataset's limits are asked for.
#[derive(Debug, Clone)]
pub(super) struct CurrentLimits {
    dataset: String,
    drain: bool,
    started: FlushLimits,
    reloaded: Option<watch::Receiver<Arc<Config>>>,
}

impl CurrentLimits {
    /// Those of `config`, until `reloaded` holds another one.
    pub(super) fn new(
        config: &Config,
        reloaded: Option<watch::Receiver<Arc<Config>>>,
        dataset: &str,
        drain: bool,
    ) -> Self {
        Self {
            dataset: dataset.to_owned(),
            drain,
            started: FlushLimits::of(config, dataset, drain),
            reloaded,
        }
    }

    /// What holds now. A batch that is being filled follows at once.
    pub(super) fn now(&self) -> FlushLimits {
        match &self.reloaded {
            Some(config) => FlushLimits::of(&config.borrow(), &self.dataset, self.drain),
            None => self.started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_configuration_while_ingest_runs() {
        let mut config = Config::load(None, []).unwrap();
        config.hot.batch_rows = 100;
        config.hot.flush_interval = Duration::from_secs(5);
        let (change, reloaded) = watch::channel(Arc::new(config.clone()));
        let of = |drain| CurrentLimits::new(&config, Some(reloaded.clone()), "trades", drain);
        let (serving, draining) = (of(false), of(true));
        assert_eq!((serving.now().rows, serving.now().age.as_secs()), (100, 5));
        assert_eq!(draining.now().age, DRAIN_FLUSH);
        let mut other = config.clone();
        other.hot.batch_rows = 7;
        other.hot.flush_interval = Duration::from_millis(20);
        change.send_replace(Arc::new(other));
        for limits in [serving.now(), draining.now()] {
            assert_eq!((limits.rows, limits.age.as_millis()), (7, 20));
        }
        // Whoever changed it last may be gone: its last word holds.
        drop(change);
        assert_eq!(serving.now().rows, 7);
    }
}

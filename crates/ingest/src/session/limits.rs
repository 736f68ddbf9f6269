//! How large and how old batches get; follows a configuration that changes while ingest runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use mpsync_config::Config;

/// Maximum bytes of a batch, whatever the configuration: an Arrow array addresses two gigabytes.
const MOST_BATCH_BYTES: usize = 512 << 20;
/// Maximum age of a row while draining: the last rows do not wait for more.
const DRAIN_FLUSH: Duration = Duration::from_secs(1);

/// How large and how old a batch may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlushLimits {
    /// Maximum rows.
    pub(crate) rows: usize,
    /// Bytes at which a batch is full.
    pub(crate) bytes: usize,
    /// How long the oldest message waits for the batch to fill.
    pub(crate) age: Duration,
}

impl FlushLimits {
    /// Returns the configured limits of a dataset's batches.
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

/// The limits of a dataset, current at every call.
#[derive(Debug, Clone)]
pub(crate) struct CurrentLimits {
    dataset: String,
    drain: bool,
    started: FlushLimits,
    reloaded: Option<watch::Receiver<Arc<Config>>>,
}

impl CurrentLimits {
    /// Returns the limits of `config`, until `reloaded` holds another configuration.
    pub(crate) fn new(
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

    /// Returns the current limits. They also apply to a batch that is being filled.
    pub(crate) fn now(&self) -> FlushLimits {
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
        // The sender is dropped: the last configuration stays in effect.
        drop(change);
        assert_eq!(serving.now().rows, 7);
    }
}

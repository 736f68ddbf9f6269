//! Decides when a dataset is stalled: something is owed, and nothing was settled for a while, whatever the reason.

use std::time::{Duration, Instant};

/// How long nothing is settled, while something is owed, before a dataset is stalled.
const STALLED_AFTER: Duration = Duration::from_mins(1);

/// The debt of a dataset: messages that wait, or ingest that cannot run.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    /// Since when something is owed without a settlement.
    owed_since: Option<Instant>,
    /// The last trouble since then.
    reason: Option<String>,
}

impl StallWatch {
    /// Records that something is owed.
    pub(crate) fn owe(&mut self, now: Instant) {
        self.owed_since.get_or_insert(now);
    }

    /// Records why something could not be settled.
    pub(crate) fn trouble(&mut self, reason: String, now: Instant) {
        self.owe(now);
        self.reason = Some(reason);
    }

    /// Records a settlement, and whether more is owed.
    pub(crate) fn settle(&mut self, is_more_owed: bool, now: Instant) {
        self.owed_since = is_more_owed.then_some(now);
        self.reason = None;
    }

    /// Returns why the dataset is stalled; `None` if it is not.
    pub(crate) fn stalled(&self, now: Instant) -> Option<String> {
        let since = now.saturating_duration_since(self.owed_since?);
        if since < STALLED_AFTER {
            return None;
        }
        let seconds = since.as_secs();
        Some(match &self.reason {
            Some(reason) => format!("nothing was settled for {seconds} s: {reason}"),
            None => format!("messages wait, and none was settled for {seconds} s"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dataset_is_stalled_if_a_debt_is_not_settled_in_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = StallWatch::default();
        assert_eq!(watch.stalled(at(1000)), None);
        watch.owe(at(0));
        watch.owe(at(50));
        assert_eq!(watch.stalled(at(59)), None);
        assert!(
            watch
                .stalled(at(60))
                .is_some_and(|why| why.contains("60 s"))
        );
        watch.trouble("disk full".into(), at(61));
        assert!(
            watch
                .stalled(at(62))
                .is_some_and(|why| why.contains("disk full"))
        );
        watch.settle(true, at(70));
        assert_eq!(watch.stalled(at(129)), None);
        assert!(watch.stalled(at(130)).is_some());
        watch.settle(false, at(140));
        assert_eq!(watch.stalled(at(1000)), None);
    }
}

//! Which dead letters are meant. Pure.

use jiff::Timestamp;

use super::letter::DeadLetter;
use mpsync_nats::covers;

/// Which dead letters are meant: those that every part of it allows. What is empty allows all.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// Only these letters, by [`Letter::id`].
    pub ids: Vec<String>,
    /// Only of these datasets.
    pub datasets: Vec<String>,
    /// Only for these reasons, by their short names.
    pub reasons: Vec<String>,
    /// Only originals stored from this moment on.
    pub from: Option<Timestamp>,
    /// Only originals stored before this moment.
    pub to: Option<Timestamp>,
    /// Only originals whose subject matches this pattern.
    pub subject: Option<String>,
    /// Only originals of these symbols: the subject's fourth token.
    pub symbols: Vec<String>,
}

impl DeadLetterFilter {
    /// Whether a letter is meant.
    #[must_use]
    pub fn allows(&self, dead_letter: &DeadLetter) -> bool {
        let among = |list: &[String], text: &str| list.is_empty() || list.iter().any(|t| t == text);
        let nanos = i128::from(dead_letter.stored_at_nanos);
        among(&self.ids, &dead_letter.id())
            && among(&self.datasets, dead_letter.dataset.as_str())
            && among(&self.reasons, &dead_letter.reason)
            && self.from.is_none_or(|from| from.as_nanosecond() <= nanos)
            && self.to.is_none_or(|to| nanos < to.as_nanosecond())
            && self
                .subject
                .as_ref()
                .is_none_or(|pattern| covers(pattern, &dead_letter.subject))
            && (self.symbols.is_empty()
                || dead_letter
                    .subject
                    .splitn(4, '.')
                    .nth(3)
                    .is_some_and(|symbol| among(&self.symbols, symbol)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use mpsync_core::dataset::{Epoch, Position};

    fn dead_letter() -> DeadLetter {
        DeadLetter {
            dataset: "trades".parse().unwrap(),
            position: Position {
                epoch: Epoch(7),
                seq: 9,
            },
            stored_at_nanos: 1_760_000_000_000_000_000,
            subject: "trade.okx.spot.BTC-USDT".into(),
            stream: "MARKET_DATA".into(),
            message_id: None,
            reason: "bad_number".into(),
            detail: String::new(),
            kept_at: Timestamp::UNIX_EPOCH,
            body: Bytes::new(),
            sequences: vec![1],
            filed: false,
        }
    }

    #[test]
    fn a_letter_is_meant_when_every_part_of_the_filter_allows_it() {
        let dead_letter = dead_letter();
        let stored: Timestamp = "2025-10-09T08:53:20Z".parse().unwrap();
        let yes = [
            DeadLetterFilter::default(),
            DeadLetterFilter {
                ids: vec!["trades.7.9".into()],
                datasets: vec!["orderbooks".into(), "trades".into()],
                reasons: vec!["bad_number".into()],
                from: Some(stored),
                to: stored.checked_add(jiff::SignedDuration::from_nanos(1)).ok(),
                subject: Some("trade.*.spot.>".into()),
                symbols: vec!["BTC-USDT".into()],
            },
        ];
        assert!(yes.iter().all(|filter| filter.allows(&dead_letter)));
        let none = DeadLetterFilter::default;
        let no = [
            DeadLetterFilter {
                ids: vec!["trades.7.8".into()],
                ..none()
            },
            DeadLetterFilter {
                datasets: vec!["orderbooks".into()],
                ..none()
            },
            DeadLetterFilter {
                reasons: vec!["bad".into()],
                ..none()
            },
            DeadLetterFilter {
                to: Some(stored),
                ..none()
            },
            DeadLetterFilter {
                subject: Some("trade.binance.>".into()),
                ..none()
            },
            DeadLetterFilter {
                symbols: vec!["BTC".into()],
                ..none()
            },
        ];
        assert!(no.iter().all(|filter| !filter.allows(&dead_letter)));
    }
}

//! The kinds of data.

/// A kind of data: the first token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// A snapshot or a change of an order book.
    Orderbook,
    /// A trade.
    Trade,
    /// Open interest.
    OpenInterest,
    /// A perpetual's funding rate.
    FundingRate,
    /// A forced order.
    Liquidation,
    /// The long/short ratio of the largest accounts.
    LsrTopPosition,
    /// The long/short ratio of all accounts.
    LsrAllAccount,
    /// An index of implied volatility.
    VolatilityIndex,
}

impl DataKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Orderbook,
        Self::Trade,
        Self::OpenInterest,
        Self::FundingRate,
        Self::Liquidation,
        Self::LsrTopPosition,
        Self::LsrAllAccount,
        Self::VolatilityIndex,
    ];

    /// Returns the first token of its subject.
    #[must_use]
    pub fn data_type(self) -> &'static str {
        match self {
            Self::Orderbook => "orderbook",
            Self::Trade => "trade",
            Self::OpenInterest => "open_interest",
            Self::FundingRate => "funding_rate",
            Self::Liquidation => "liquidation",
            Self::LsrTopPosition => "lsr_top_position",
            Self::LsrAllAccount => "lsr_all_account",
            Self::VolatilityIndex => "volatility_index",
        }
    }

    /// Returns the kind of the messages of a subject, wildcards after the first token allowed.
    #[must_use]
    pub fn of_subject(subject: &str) -> Option<Self> {
        let data_type = subject.split('.').next()?;
        Self::ALL
            .into_iter()
            .find(|kind| kind.data_type() == data_type)
    }

    /// Returns how many of a thousand messages are of it.
    pub(super) fn weight(self) -> u32 {
        match self {
            Self::Orderbook => 680,
            Self::Trade => 260,
            Self::OpenInterest | Self::Liquidation => 15,
            Self::FundingRate => 10,
            Self::LsrTopPosition | Self::LsrAllAccount => 7,
            Self::VolatilityIndex => 6,
        }
    }

    /// Tells whether its messages have a number of their own; the identity of the others is their time.
    pub(super) fn has_own_id(self) -> bool {
        matches!(self, Self::Orderbook | Self::Trade)
    }
}

/// When and how a message is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// When the event happened.
    pub(super) event_ms: i64,
    /// When it came.
    pub(super) sent_ms: i64,
    /// Levels of each side of a snapshot.
    pub(super) depth: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_subject() {
        assert_eq!(DataKind::of_subject("trade.>"), Some(DataKind::Trade));
        assert_eq!(DataKind::of_subject("candle.>"), None);
    }
}

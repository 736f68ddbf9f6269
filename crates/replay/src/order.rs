//! The orders in which a stream can come. Pure.

/// The order of the merged stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamOrder {
    /// By event time; ties by the rank of the dataset in the selection, then by position.
    #[default]
    Event,
    /// By arrival: the collector's time or, if a message has none, the time at which `JetStream` stored
    /// it; ties as by event time.
    Arrival,
    /// By the position in the stream; ties by the rank of the dataset.
    Position,
}

impl StreamOrder {
    /// Returns its name on the command line and in checkpoints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Arrival => "arrival",
            Self::Position => "position",
        }
    }
}

impl std::fmt::Display for StreamOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The sort key of a row within its dataset. Total, since positions are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The most significant part, in nanoseconds since 1970: event time or arrival time; always 0 if the
    /// order is by position.
    pub rank: i64,
    /// The stream's epoch.
    pub epoch: u64,
    /// The stream's sequence.
    pub seq: u64,
}

impl RowKey {
    /// The key before every row.
    pub const FIRST: Self = Self {
        rank: i64::MIN,
        epoch: 0,
        seq: 0,
    };

    /// Returns the key before every row of this rank.
    #[must_use]
    pub fn before(rank: i64) -> Self {
        Self {
            rank,
            ..Self::FIRST
        }
    }

    /// Returns the key after every row of this rank.
    #[must_use]
    pub fn after(rank: i64) -> Self {
        Self {
            rank,
            epoch: u64::MAX,
            seq: u64::MAX,
        }
    }
}

/// The sort key of a row in the merged stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamKey {
    /// The rank of the row's dataset in the selection.
    pub stream: usize,
    /// Its key within its dataset.
    pub row: RowKey,
    order: StreamOrder,
}

impl StreamKey {
    /// Returns the key of a row.
    #[must_use]
    pub fn new(order: StreamOrder, stream: usize, row: RowKey) -> Self {
        Self { stream, row, order }
    }
}

impl Ord for StreamKey {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_position = || (self.row.epoch, self.row.seq).cmp(&(other.row.epoch, other.row.seq));
        let by_stream = || self.stream.cmp(&other.stream);
        let ranks = self.row.rank.cmp(&other.row.rank);
        match self.order {
            StreamOrder::Position => ranks.then_with(by_position).then_with(by_stream),
            StreamOrder::Event | StreamOrder::Arrival => {
                ranks.then_with(by_stream).then_with(by_position)
            }
        }
    }
}

impl PartialOrd for StreamKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

//! One order over all lanes: by event time, then dataset, then position. Pure.

/// Where a row stands in its lane: event time, then position. Total within a dataset, whose positions are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// Event time in nanoseconds since 1970.
    pub time_nanos: i64,
    /// The stream's epoch.
    pub epoch: u64,
    /// The stream's sequence.
    pub seq: u64,
}

/// Where a row stands in the merged stream: ties in time go by the dataset's place among the chosen ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey {
    /// Event time in nanoseconds since 1970.
    pub time_nanos: i64,
    /// The place of the row's dataset.
    pub lane: usize,
    /// The stream's epoch.
    pub epoch: u64,
    /// The stream's sequence.
    pub seq: u64,
}

impl StreamKey {
    /// The key of a lane's row.
    #[must_use]
    pub fn new(lane: usize, row: RowKey) -> Self {
        Self {
            time_nanos: row.time_nanos,
            lane,
            epoch: row.epoch,
            seq: row.seq,
        }
    }
}

/// Which lane comes next, and up to which key it may go on alone.
///
/// `heads` are the lanes' next rows, `None` for a lane that is at its end. There are few lanes, so they are looked at one
/// after the other.
#[must_use]
pub fn next_lane(
    heads: impl IntoIterator<Item = Option<RowKey>>,
) -> Option<(usize, Option<StreamKey>)> {
    let (mut first, mut second): (Option<StreamKey>, Option<StreamKey>) = (None, None);
    for (lane, head) in heads.into_iter().enumerate() {
        let Some(key) = head.map(|row| StreamKey::new(lane, row)) else {
            continue;
        };
        if first.is_none_or(|f| key < f) {
            second = first;
            first = Some(key);
        } else if second.is_none_or(|s| key < s) {
            second = Some(key);
        }
    }
    first.map(|key| (key.lane, second))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(lanes: &[Vec<RowKey>]) -> Vec<StreamKey> {
        let mut at = vec![0; lanes.len()];
        let mut out = Vec::new();
        while let Some((lane, until)) = next_lane(
            lanes
                .iter()
                .zip(&at)
                .map(|(rows, at)| rows.get(*at).copied()),
        ) {
            while let Some(row) = lanes[lane].get(at[lane]) {
                let key = StreamKey::new(lane, *row);
                if until.is_some_and(|until| key > until) {
                    break;
                }
                out.push(key);
                at[lane] += 1;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn however_rows_fall_into_lanes_they_come_in_one_order(rows in prop::collection::vec((0_usize..4, 0_i64..20, 0_u64..3, 0_u64..50), 0..200)) {
            let mut lanes = vec![Vec::new(); 4];
            for (lane, time_nanos, epoch, seq) in rows {
                lanes[lane].push(RowKey { time_nanos, epoch, seq });
            }
            for lane in &mut lanes {
                lane.sort();
            }
            let mut expected: Vec<StreamKey> = lanes.iter().enumerate()
                .flat_map(|(lane, rows)| rows.iter().map(move |row| StreamKey::new(lane, *row))).collect();
            expected.sort();
            prop_assert_eq!(merged(&lanes), expected);
        }
    }

    #[test]
    fn nothing_comes_from_lanes_that_are_at_their_end() {
        assert_eq!(next_lane([None, None]), None);
        let row = RowKey {
            time_nanos: 1,
            epoch: 0,
            seq: 0,
        };
        assert_eq!(next_lane([None, Some(row)]), Some((1, None)));
    }
}

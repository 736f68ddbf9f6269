//! One order over all lanes. Pure.

use super::order::{Order, RowKey, StreamKey};

/// Which lane comes next, and up to which key it may go on alone.
///
/// `heads` are the lanes' next rows, `None` for a lane that is at its end. There are few lanes, so they are looked at one
/// after the other.
#[must_use]
pub fn next_lane(
    order: Order,
    heads: impl IntoIterator<Item = Option<RowKey>>,
) -> Option<(usize, Option<StreamKey>)> {
    let (mut first, mut second): (Option<StreamKey>, Option<StreamKey>) = (None, None);
    for (lane, head) in heads.into_iter().enumerate() {
        let Some(key) = head.map(|row| StreamKey::new(order, lane, row)) else {
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

    fn merged(order: Order, lanes: &[Vec<RowKey>]) -> Vec<StreamKey> {
        let mut at = vec![0; lanes.len()];
        let mut out = Vec::new();
        while let Some((lane, until)) = next_lane(
            order,
            lanes
                .iter()
                .zip(&at)
                .map(|(rows, at)| rows.get(*at).copied()),
        ) {
            while let Some(row) = lanes[lane].get(at[lane]) {
                let key = StreamKey::new(order, lane, *row);
                if until.is_some_and(|until| key > until) {
                    break;
                }
                out.push(key);
                at[lane] += 1;
            }
        }
        out
    }

    fn orders() -> impl Strategy<Value = Order> {
        prop::sample::select(vec![Order::Event, Order::Arrival, Order::Position])
    }

    proptest! {
        #[test]
        fn however_rows_fall_into_lanes_they_come_in_one_order(order in orders(), rows in prop::collection::vec((0_usize..4, 0_i64..20, 0_u64..3, 0_u64..50), 0..200)) {
            let mut lanes = vec![Vec::new(); 4];
            for (lane, rank, epoch, seq) in rows {
                lanes[lane].push(RowKey { rank: if order == Order::Position { 0 } else { rank }, epoch, seq });
            }
            for lane in &mut lanes {
                lane.sort();
            }
            let mut expected: Vec<StreamKey> = lanes.iter().enumerate()
                .flat_map(|(lane, rows)| rows.iter().map(move |row| StreamKey::new(order, lane, *row))).collect();
            expected.sort();
            prop_assert_eq!(merged(order, &lanes), expected);
        }
    }

    #[test]
    fn nothing_comes_from_lanes_that_are_at_their_end() {
        assert_eq!(next_lane(Order::Event, [None, None]), None);
        let row = RowKey {
            rank: 1,
            epoch: 0,
            seq: 0,
        };
        assert_eq!(next_lane(Order::Event, [None, Some(row)]), Some((1, None)));
    }
}

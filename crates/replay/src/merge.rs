//! The merge of the datasets' streams. Pure.

use crate::order::{RowKey, StreamKey, StreamOrder};

/// Returns the stream with the next row, and the key up to which it may continue alone.
///
/// `heads` are the next rows of the streams, `None` for one that is at its end. There are few streams, so
/// a linear search suffices.
#[must_use]
pub fn next_stream(
    order: StreamOrder,
    heads: impl IntoIterator<Item = Option<RowKey>>,
) -> Option<(usize, Option<StreamKey>)> {
    let (mut first, mut second): (Option<StreamKey>, Option<StreamKey>) = (None, None);
    for (stream, head) in heads.into_iter().enumerate() {
        let Some(key) = head.map(|row| StreamKey::new(order, stream, row)) else {
            continue;
        };
        if first.is_none_or(|f| key < f) {
            second = first;
            first = Some(key);
        } else if second.is_none_or(|s| key < s) {
            second = Some(key);
        }
    }
    first.map(|key| (key.stream, second))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(order: StreamOrder, streams: &[Vec<RowKey>]) -> Vec<StreamKey> {
        let mut at = vec![0; streams.len()];
        let mut out = Vec::new();
        while let Some((stream, until)) = next_stream(
            order,
            streams
                .iter()
                .zip(&at)
                .map(|(rows, at)| rows.get(*at).copied()),
        ) {
            while let Some(row) = streams[stream].get(at[stream]) {
                let key = StreamKey::new(order, stream, *row);
                if until.is_some_and(|until| key > until) {
                    break;
                }
                out.push(key);
                at[stream] += 1;
            }
        }
        out
    }

    fn orders() -> impl Strategy<Value = StreamOrder> {
        prop::sample::select(vec![
            StreamOrder::Event,
            StreamOrder::Arrival,
            StreamOrder::Position,
        ])
    }

    proptest! {
        #[test]
        fn merge_order_does_not_depend_on_how_rows_are_split_into_streams(order in orders(), rows in prop::collection::vec((0_usize..4, 0_i64..20, 0_u64..3, 0_u64..50), 0..200)) {
            let mut streams = vec![Vec::new(); 4];
            for (stream, rank, epoch, seq) in rows {
                streams[stream].push(RowKey { rank: if order == StreamOrder::Position { 0 } else { rank }, epoch, seq });
            }
            for stream in &mut streams {
                stream.sort();
            }
            let mut expected: Vec<StreamKey> = streams.iter().enumerate()
                .flat_map(|(stream, rows)| rows.iter().map(move |row| StreamKey::new(order, stream, *row))).collect();
            expected.sort();
            prop_assert_eq!(merged(order, &streams), expected);
        }
    }

    #[test]
    fn merge_skips_streams_at_their_end() {
        assert_eq!(next_stream(StreamOrder::Event, [None, None]), None);
        let row = RowKey {
            rank: 1,
            epoch: 0,
            seq: 0,
        };
        assert_eq!(
            next_stream(StreamOrder::Event, [None, Some(row)]),
            Some((1, None))
        );
    }
}

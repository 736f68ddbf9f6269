//! A dead letter as its message: headers and payload. Pure.

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use jiff::Timestamp;

use super::letter::DeadLetter;
use mpsync_core::dataset::{Epoch, Position};
use mpsync_core::error::{Error, Result};

/// A reason longer than this is cut.
const REASON_CHARS: usize = 1000;

/// Header: a short name of the reason, which does not change.
pub const REASON_HEADER: &str = "Mpsync-Reason";
/// Header: the reason, for people.
pub const DETAIL_HEADER: &str = "Mpsync-Detail";
/// Header: the dataset.
pub const DATASET_HEADER: &str = "Mpsync-Dataset";
/// Header: the original's subject.
pub const SUBJECT_HEADER: &str = "Mpsync-Subject";
/// Header: the original's stream.
pub const STREAM_HEADER: &str = "Mpsync-Stream";
/// Header: the epoch of the original's stream.
pub const EPOCH_HEADER: &str = "Mpsync-Epoch";
/// Header: the original's sequence in its stream.
pub const SEQUENCE_HEADER: &str = "Mpsync-Sequence";
/// Header: when the original was stored, nanoseconds since 1970.
pub const STORED_AT_HEADER: &str = "Mpsync-Stored-At";
/// Header: the original's `Nats-Msg-Id`.
pub const MESSAGE_ID_HEADER: &str = "Mpsync-Message-Id";

/// A letter as its message, to be published where the last message of its subject has this sequence (0: none has).
pub(crate) fn message_of(dead_letter: &DeadLetter, last: u64) -> PublishMessage {
    let message = PublishMessage::build()
        .payload(dead_letter.body.clone())
        .expected_last_subject_sequence(last)
        .header(REASON_HEADER, one_line(&dead_letter.reason))
        .header(DETAIL_HEADER, one_line(&dead_letter.detail))
        .header(DATASET_HEADER, dead_letter.dataset.as_str())
        .header(SUBJECT_HEADER, one_line(&dead_letter.subject))
        .header(STREAM_HEADER, one_line(&dead_letter.stream))
        .header(EPOCH_HEADER, dead_letter.position.epoch.0.to_string())
        .header(SEQUENCE_HEADER, dead_letter.position.seq.to_string())
        .header(STORED_AT_HEADER, dead_letter.stored_at_nanos.to_string());
    match &dead_letter.message_id {
        Some(id) => message.header(MESSAGE_ID_HEADER, one_line(id)),
        None => message,
    }
}

/// A header's value has no line ends, and an end.
fn one_line(text: &str) -> String {
    text.chars()
        .take(REASON_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Reads a letter from its message.
pub(super) fn parse(
    headers: Option<&HeaderMap>,
    body: &Bytes,
    sequence: u64,
    kept_at: Timestamp,
) -> Result<DeadLetter> {
    let header = |name: &str| {
        headers
            .and_then(|headers| headers.get(name))
            .map(|value| value.as_str().to_owned())
    };
    let needed =
        |name: &str| header(name).ok_or_else(|| Error::malformed(format!("it has no {name}")));
    let number = |name: &str| -> Result<u64> {
        let text = needed(name)?;
        text.parse()
            .map_err(|_| Error::malformed(format!("{name} is `{}`", text.escape_debug())))
    };
    let stored_at = needed(STORED_AT_HEADER)?;
    Ok(DeadLetter {
        dataset: needed(DATASET_HEADER)?.parse()?,
        position: Position {
            epoch: Epoch(number(EPOCH_HEADER)?),
            seq: number(SEQUENCE_HEADER)?,
        },
        stored_at_nanos: stored_at.parse().map_err(|_| {
            Error::malformed(format!(
                "{STORED_AT_HEADER} is `{}`",
                stored_at.escape_debug()
            ))
        })?,
        subject: header(SUBJECT_HEADER).unwrap_or_default(),
        stream: needed(STREAM_HEADER)?,
        message_id: header(MESSAGE_ID_HEADER),
        reason: needed(REASON_HEADER)?,
        detail: header(DETAIL_HEADER).unwrap_or_default(),
        kept_at,
        body: body.clone(),
        sequences: vec![sequence],
        filed: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (REASON_HEADER, "bad_number"),
            (DATASET_HEADER, "trades"),
            (SUBJECT_HEADER, "trade.okx.spot.X"),
            (STREAM_HEADER, "MARKET_DATA"),
            (EPOCH_HEADER, "7"),
            (SEQUENCE_HEADER, "9"),
            (STORED_AT_HEADER, "1760000000000000000"),
        ] {
            headers.insert(name, value);
        }
        headers
    }

    fn dead_letter(sequence: u64, reason: &str) -> DeadLetter {
        let mut headers = headers();
        headers.insert(REASON_HEADER, reason);
        let body = Bytes::from_static(b"{}");
        parse(Some(&headers), &body, sequence, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn message_without_origin_headers_is_not_a_dead_letter() {
        assert_eq!(dead_letter(3, "bad_number").id(), "trades.7.9");
        let mut broken = headers();
        broken.insert(EPOCH_HEADER, "x");
        let e = parse(Some(&broken), &Bytes::new(), 1, Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(e.to_string().contains("Mpsync-Epoch is `x`"), "{e}");
        assert!(parse(None, &Bytes::new(), 1, Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn reason_cannot_break_out_of_its_header() {
        assert_eq!(
            one_line("a\r\nNats-Rollup: all\u{7f}"),
            "a  Nats-Rollup: all "
        );
        assert_eq!(one_line(&"x".repeat(5000)).len(), REASON_CHARS);
    }
}

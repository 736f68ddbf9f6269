//! What JetStream says about a delivered message in its reply subject. Pure.

/// Tokens after the prefix, at most.
const MOST_TOKENS: usize = 10;

/// Where a message stands in its stream and in its consumer's deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The message's sequence in the stream.
    pub(crate) seq: u64,
    /// The number of this delivery among all of the consumer's, redeliveries included: one greater each time, so that a
    /// step of more than one means that a delivery went elsewhere.
    pub(crate) number: u64,
    /// When the stream stored the message, nanoseconds since 1970.
    pub(crate) stored_at_nanos: i64,
    /// How many messages wait behind it.
    pub(crate) pending: u64,
}

impl Delivery {
    /// Reads a reply subject.
    ///
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or with domain and account
    /// hash before the stream and a random token at the end (ADR-15).
    pub(crate) fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?.as_bytes();
        // Where each token ends; one pass, since this is done for every message.
        let mut ends = [0; MOST_TOKENS];
        let mut dots = 0;
        for (at, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'.') {
            *ends.get_mut(dots)? = at;
            dots += 1;
        }
        *ends.get_mut(dots)? = rest.len();
        let first = match dots + 1 {
            7 => 2,
            9 | 10 => 4,
            _ => return None,
        };
        let field = |at: usize| number(&rest[ends[first + at - 1] + 1..ends[first + at]]);
        Some(Self {
            seq: field(1)?,
            number: field(2)?,
            stored_at_nanos: i64::try_from(field(3)?).ok()?,
            pending: field(4)?,
        })
    }
}

/// A decimal number without a sign.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_are_read_and_others_refused() {
        let expected = Delivery {
            seq: 4711,
            number: 12,
            stored_at_nanos: 1_760_000_000_123_456_789,
            pending: 3,
        };
        for reply in [
            "$JS.ACK.S.mpsync-trades.1.4711.12.1760000000123456789.3",
            "$JS.ACK._.hash.S.mpsync-trades.1.4711.12.1760000000123456789.3",
            "$JS.ACK.hub.hash.S.mpsync-trades.1.4711.12.1760000000123456789.3.rnd",
        ] {
            assert_eq!(Delivery::parse(reply), Some(expected), "{reply}");
        }
        for reply in [
            "",
            "_INBOX.x",
            "$JS.ACK.S.c.1.x.12.17.3",
            "$JS.ACK.S.c.1.2",
            "$JS.ACK.S.c.1.4711.12.1760000000123456789.",
            "$JS.ACK.S.c.1.18446744073709551616.12.1760000000123456789.3",
            "$JS.ACK.S.c.1.+1.12.1760000000123456789.3",
            "$JS.ACK.1.2.3.4.5.6.7.8.9.10.11",
        ] {
            assert_eq!(Delivery::parse(reply), None, "{reply}");
        }
    }
}

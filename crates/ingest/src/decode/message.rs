//! A message as it comes: its subject, its position and its payload.

use super::rejection::Reason;
use super::value::{JsonItem, JsonKind};
use mpsync_core::dataset::Position;

/// The largest payload that is decoded. JetStream's own default limit is 1 MiB.
pub const MAX_PAYLOAD_BYTES: usize = 8 << 20;

/// The properties of a message beside its payload.
#[derive(Debug, Clone, Copy)]
pub struct MessageMeta<'a> {
    /// The subject on which it was published.
    pub subject: &'a str,
    /// Its position in JetStream: the row's identity.
    pub position: Position,
    /// When JetStream stored it: nanoseconds since 1970.
    pub stored_at_nanos: i64,
}

/// Returns the payload as text, if it is neither empty nor too large.
pub(super) fn text_of(payload: &[u8]) -> Result<&str, Box<Reason>> {
    if payload.is_empty() {
        return Err(Box::new(Reason::Empty));
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Box::new(Reason::TooLarge {
            bytes: payload.len(),
            limit: MAX_PAYLOAD_BYTES,
        }));
    }
    std::str::from_utf8(payload).map_err(|e| {
        Box::new(Reason::NotJson {
            what: "invalid UTF-8 begins",
            offset: e.valid_up_to(),
        })
    })
}

/// Returns a token of a subject, from 0.
pub(super) fn subject_token(subject: &str, n: usize) -> Option<JsonItem<'_>> {
    let token = subject.split('.').nth(n)?;
    Some(JsonItem {
        kind: JsonKind::Text,
        raw: token,
    })
}

/// Returns the rest of a subject from its Nth token on, dots included.
pub(super) fn subject_rest(subject: &str, n: usize) -> Option<JsonItem<'_>> {
    let raw = match n.checked_sub(1) {
        None => subject,
        Some(before) => {
            let (dot, _) = subject.match_indices('.').nth(before)?;
            &subject[dot + 1..]
        }
    };
    Some(JsonItem {
        kind: JsonKind::Text,
        raw,
    })
}

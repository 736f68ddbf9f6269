//! Headers and buffers that both NATS targets use.

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, Subject};
use bytes::{Bytes, BytesMut};

use mpsync_core::error::{Error, Result};

/// Bytes that are allocated at once for subjects, ids and payloads.
const ARENA_BYTES: usize = 64 << 10;

/// An allocator that puts many texts into one buffer.
#[derive(Debug, Default)]
pub(super) struct Arena(BytesMut);

impl Arena {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Bytes {
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(bytes.len().max(ARENA_BYTES));
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }

    pub(super) fn subject(&mut self, subject: &[u8]) -> Result<Subject> {
        Subject::from_utf8(self.put(subject)).map_err(|e| Error::malformed(e.to_string()))
    }
}

pub(super) fn headers(msg_id: &str, other_id: Option<(&'static str, &str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, msg_id);
    if let Some((name, id)) = other_id {
        headers.insert(name, id);
    }
    headers
}

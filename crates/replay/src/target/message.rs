//! The message that a target receives.

use crate::order::StreamKey;

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboundMessage<'a> {
    pub key: StreamKey,
    pub subject: &'a str,
    pub msg_id: &'a str,
    /// The header with the other id: name and value.
    pub other_id: Option<(&'static str, &'a str)>,
    pub payload: &'a [u8],
}

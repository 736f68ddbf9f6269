//! The options of a replay.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::order::StreamOrder;
use crate::playback_clock::Speed;

/// The source of the `Nats-Msg-Id`, by which a stream recognizes duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageId {
    /// The row's position, which two messages never share. The publisher's own id, if known, is in the
    /// header [`PUBLISHER_ID`].
    #[default]
    Position,
    /// The publisher's own id, if the dataset defines it; the position is in the header
    /// [`POSITION_ID`]. Publishers give one id to several messages, of which a stream stores the first.
    Publisher,
}

/// The header with the publisher's own id.
pub const PUBLISHER_ID: &str = "Mpsync-Publisher-Msg-Id";
/// The header with the position, if the message's id is the publisher's own.
pub const POSITION_ID: &str = "Mpsync-Position";

/// The selection, order and pace of a replay.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct ReplayOptions {
    /// From this event time on.
    pub from: Option<Timestamp>,
    /// Up to this event time, exclusive.
    pub to: Option<Timestamp>,
    /// Only these exchanges, unless empty.
    pub exchanges: Vec<String>,
    /// Only these symbols, unless empty.
    pub symbols: Vec<String>,
    /// A template of the subjects, instead of the original ones.
    pub subject: Option<String>,
    /// The source of message ids.
    pub message_id: MessageId,
    /// The order of the stream.
    pub order: StreamOrder,
    /// How fast event time passes.
    pub speed: Speed,
    /// Restart at the end, for ever.
    pub endless: bool,
    /// Move all times so that the first message's event time is now, by whole seconds.
    pub shift_to_now: bool,
    /// The checkpoint file.
    pub checkpoint: Option<PathBuf>,
    /// Skip damaged chunks and windows, and list them.
    pub skip_damaged: bool,
    /// Check the SHA-256 of every chunk that is read.
    pub verify: bool,
    /// Bytes that sorted rows may occupy, over all datasets. Chunks of more compressed bytes than an
    /// eighth of their dataset's share are read through temporary files.
    pub memory: usize,
}

impl Default for ReplayOptions {
    /// Replays everything, as fast as possible.
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            exchanges: Vec::new(),
            symbols: Vec::new(),
            subject: None,
            message_id: MessageId::Position,
            order: StreamOrder::Event,
            speed: Speed::Max,
            endless: false,
            shift_to_now: false,
            checkpoint: None,
            skip_damaged: false,
            verify: true,
            memory: 96 << 20,
        }
    }
}

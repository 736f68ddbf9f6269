//! Dead letters after the fact: finding them, looking at them, replaying them into their original positions, discarding
//! them.
//!
//! A replay lands a letter as the row that its message would have become: same position, same time of storage. It is
//! exactly once by the means that ingest uses: a door of its own, which every life that begins shuts, and the question
//! which positions are held. See [`LetterReplay`].

mod filter;
mod folder;
mod letter;
mod message;
mod newest;
pub(crate) mod queue;
mod replay;
mod store;

pub use filter::DeadLetterFilter;
pub use letter::DeadLetter;
pub use message::{
    DATASET_HEADER, DETAIL_HEADER, EPOCH_HEADER, MESSAGE_ID_HEADER, REASON_HEADER, SEQUENCE_HEADER,
    STORED_AT_HEADER, STREAM_HEADER, SUBJECT_HEADER,
};
pub use replay::{DeadLetterReplay, Fate, Replayed, held_in};
pub use store::{DeadLetterCursor, DeadLetterPage, DeadLetterStore};

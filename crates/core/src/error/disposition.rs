//! How a caller may react to an error.

/// The reaction of a caller to an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It can pass by itself: try again later, with back-off.
    Retry,
    /// The content was refused and will be refused again: make the offending part a dead letter, or give up on it.
    Reject,
    /// The program cannot help itself, or going on could do harm: stop this piece of work and report it.
    Halt,
}

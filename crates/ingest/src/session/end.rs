//! Why a session ended before its time.

use std::fmt;

use async_nats::StatusCode;

use mpsync_core::error::{Disposition, Error};

/// Why a session ended before its time.
#[derive(Debug)]
pub(crate) enum SessionEnd {
    /// It is unknown what landed or what was delivered; the next session finds out.
    Uncertain(Uncertainty),
    /// The next session would fail in the same way, or an operator must act.
    Failed(Error),
}

/// Why the outcome of a session is unknown.
#[derive(Debug)]
pub(crate) enum Uncertainty {
    /// The client has connected again: the server may have forgotten that the consumer was set back.
    ConnectionRenewed,
    /// The client has given up reconnecting.
    ConnectionClosed,
    /// A message came without a reply subject from which its position can be read.
    UnreadableReply,
    /// The number of a delivery is not one above that of the delivery before.
    MissedDelivery {
        /// The number that came.
        number: u64,
        /// The number before it.
        last: u64,
    },
    /// The consumer delivered messages that did not come to this session.
    DeliveredElsewhere,
    /// The server ended a pull request in a way that ends the session.
    FetchEnded(StatusCode, String),
    /// An insert failed without an answer of the server.
    InsertUnknown(Error),
    /// The task of an insert was aborted or panicked.
    InsertAborted(tokio::task::JoinError),
    /// The session's insert gate was dropped, and not by a newer session.
    GateDropped(Error),
    /// The columns of the table were altered while the session ran.
    TableAltered,
    /// A batch outgrew the bytes that an Arrow array can address.
    BatchTooLarge,
    /// An error that can pass by itself.
    Error(Error),
}

impl fmt::Display for Uncertainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionRenewed => f.write_str("the connection to NATS was renewed"),
            Self::ConnectionClosed => f.write_str("the client gave up reconnecting to NATS"),
            Self::UnreadableReply => f.write_str("a message has no readable reply subject"),
            Self::MissedDelivery { number, last } => write!(
                f,
                "delivery {number} followed delivery {last}: deliveries in between went elsewhere"
            ),
            Self::DeliveredElsewhere => f.write_str("messages were delivered to another reader"),
            Self::FetchEnded(status, description) => {
                write!(f, "the server ended the fetch: {status} {description}")
            }
            Self::InsertUnknown(e) => write!(f, "the outcome of an insert is unknown: {e}"),
            Self::InsertAborted(e) => write!(f, "an insert was aborted: {e}"),
            Self::GateDropped(e) => write!(f, "the insert gate of the session was dropped: {e}"),
            Self::TableAltered => f.write_str("the columns of the table were altered"),
            Self::BatchTooLarge => f.write_str("a batch outgrew the limit of an Arrow array"),
            Self::Error(e) => e.fmt(f),
        }
    }
}

impl From<Uncertainty> for SessionEnd {
    fn from(uncertainty: Uncertainty) -> Self {
        Self::Uncertain(uncertainty)
    }
}

impl From<Error> for SessionEnd {
    fn from(e: Error) -> Self {
        match e.disposition() {
            Disposition::Retry => Self::Uncertain(Uncertainty::Error(e)),
            Disposition::Reject | Disposition::Halt => Self::Failed(e),
        }
    }
}

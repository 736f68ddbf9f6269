//! One error for the whole crate, typed by cause.
//!
//! An [`Error`] has the work that failed (`context`), the reason ([`Cause`]) and, unless that is obvious, the next step for the
//! operator (`hint`). The reaction of a caller is decided in one place, [`Error::disposition`], and so is the exit code of
//! the process, [`Error::exit_code`].

pub mod codes;
mod disposition;

use std::borrow::Cow;
use std::fmt;

pub use disposition::Disposition;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The exit code of the process, as documented for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Something failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Data was found not to be what it was proven to be.
    Integrity = 3,
}

/// The reason for a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong; the text names the key and, if it comes from a file, line and column.
    #[error("{0}")]
    Config(String),
    /// The operating system refused a file or a socket.
    #[error("{0}")]
    Io(#[source] std::io::Error),
    /// The archive's store refused an object.
    #[error("{0}")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A ClickHouse server answered with an exception.
    #[error("ClickHouse refused (code {code}): {message}")]
    Server {
        /// ClickHouse's error code, see `system.errors`.
        code: u32,
        /// The server's text, without its stack trace.
        message: String,
    },
    /// A ClickHouse server could not be reached, or the connection broke: the outcome of the request is unknown.
    #[error("no answer from ClickHouse: {0}")]
    Transport(String),
    /// NATS could not be reached or refused.
    #[error("NATS: {0}")]
    Nats(String),
    /// A table, stream or file does not have the form that it must have.
    #[error("{0}")]
    Schema(String),
    /// Data is not what it was proven to be: never retried, never cleaned.
    #[error("{0}")]
    Integrity(String),
    /// Data that cannot be read in the format that it claims.
    #[error("{0}")]
    Malformed(String),
    /// A chunk is encrypted with a key that the configuration does not have.
    #[error("{0}")]
    Key(String),
    /// Another worker owns it now (a lease, a session, a data folder).
    #[error("{0}")]
    Busy(String),
    /// The embedded engine failed.
    #[error("{0}")]
    Engine(String),
    /// A daemon reports that it is not well, or does not answer.
    #[error("{0}")]
    Down(String),
    /// The user or a signal ended it.
    #[error("interrupted")]
    Interrupted,
    /// An operator has cancelled this piece of work.
    #[error("{0}")]
    Cancelled(String),
}

/// The crate's error: the work that failed, the reason, the next step.
pub struct Error(Box<ErrorInner>);

struct ErrorInner {
    context: Vec<Cow<'static, str>>,
    cause: Cause,
    hint: Option<Cow<'static, str>>,
}

impl Error {
    /// An error of this cause.
    #[must_use]
    pub fn new(cause: Cause) -> Self {
        Self(Box::new(ErrorInner {
            context: Vec::new(),
            cause,
            hint: None,
        }))
    }

    /// Data is not what it was proven to be.
    pub fn integrity(text: impl Into<String>) -> Self {
        Self::new(Cause::Integrity(text.into()))
    }

    /// A table, stream or file does not have the form that it must have.
    pub fn schema(text: impl Into<String>) -> Self {
        Self::new(Cause::Schema(text.into()))
    }

    /// The configuration is wrong.
    pub fn config(text: impl Into<String>) -> Self {
        Self::new(Cause::Config(text.into()))
    }

    /// The command line asks for something that cannot be.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Cause::Usage(text.into()))
    }

    /// Data that cannot be read in the format that it claims.
    pub fn malformed(text: impl Into<String>) -> Self {
        Self::new(Cause::Malformed(text.into()))
    }

    /// NATS could not be reached or refused.
    pub fn nats(text: impl fmt::Display) -> Self {
        Self::new(Cause::Nats(text.to_string()))
    }

    /// Another worker owns it now.
    pub fn busy(text: impl Into<String>) -> Self {
        Self::new(Cause::Busy(text.into()))
    }

    /// The embedded engine failed.
    pub fn engine(text: impl Into<String>) -> Self {
        Self::new(Cause::Engine(text.into()))
    }

    /// Adds the work that failed, from the inside out: `"reading manifest X"`.
    #[must_use]
    pub fn context(mut self, what: impl Into<Cow<'static, str>>) -> Self {
        self.0.context.push(what.into());
        self
    }

    /// Adds the next step for the operator. The innermost hint wins: it knows most.
    #[must_use]
    pub fn with_hint(mut self, what: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint.get_or_insert(what.into());
        self
    }

    /// Returns the next step for the operator, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the work that failed and the reason, without the hint.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = String::new();
        for step in self.0.context.iter().rev() {
            text.push_str(step);
            text.push_str(": ");
        }
        text + &self.0.cause.to_string()
    }

    /// Returns the reason.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// Returns ClickHouse's error code, if a server answered with one.
    #[must_use]
    pub fn server_code(&self) -> Option<u32> {
        match self.cause() {
            Cause::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns the reaction of a caller.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self.cause() {
            Cause::Transport(_)
            | Cause::Nats(_)
            | Cause::Io(_)
            | Cause::Store(_)
            | Cause::Down(_) => Disposition::Retry,
            Cause::Server { code, .. } => codes::disposition_of(*code),
            Cause::Malformed(_) => Disposition::Reject,
            Cause::Usage(_)
            | Cause::Config(_)
            | Cause::Schema(_)
            | Cause::Integrity(_)
            | Cause::Key(_)
            | Cause::Busy(_)
            | Cause::Engine(_)
            | Cause::Interrupted
            | Cause::Cancelled(_) => Disposition::Halt,
        }
    }

    /// Returns the exit code of a command that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self.cause() {
            Cause::Usage(_) | Cause::Config(_) | Cause::Key(_) => ExitCode::Usage,
            Cause::Integrity(_) => ExitCode::Integrity,
            _ => ExitCode::Failed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        if let Some(hint) = &self.0.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{:?}]", self.0.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.cause)
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Self::new(Cause::Io(e))
    }
}

#[cfg(feature = "object_store")]
impl From<object_store::Error> for Error {
    fn from(e: object_store::Error) -> Self {
        Self::new(Cause::Store(Box::new(e)))
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(e: arrow_schema::ArrowError) -> Self {
        Self::malformed(e.to_string())
    }
}

#[cfg(feature = "parquet")]
impl From<parquet::errors::ParquetError> for Error {
    fn from(e: parquet::errors::ParquetError) -> Self {
        Self::malformed(e.to_string())
    }
}

/// Returns the text of a foreign error with its causes, each once: the text of many libraries ends before the cause.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = cause.source();
    }
    text
}

/// Adds context to the error of a result.
pub trait Context<T> {
    /// Adds the work that failed; the text is made only for an error.
    fn context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T>;
    /// Adds the next step for the operator.
    fn with_hint(self, what: impl Into<Cow<'static, str>>) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.into().context(what()))
    }

    fn with_hint(self, what: impl Into<Cow<'static, str>>) -> Result<T> {
        self.map_err(|e| e.into().with_hint(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_outside_in_and_ends_with_its_hint() {
        let e = Error::integrity("rows differ: 3 in hot, 2 in cold")
            .with_hint("run `mpsync verify`")
            .context("comparing")
            .context("window X");
        assert_eq!(
            e.to_string(),
            "window X: comparing: rows differ: 3 in hot, 2 in cold\n  hint: run `mpsync verify`"
        );
        assert_eq!(e.exit_code(), ExitCode::Integrity);
        assert_eq!(e.disposition(), Disposition::Halt);
    }
}

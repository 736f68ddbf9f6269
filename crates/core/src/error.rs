//! One error for the whole crate, typed by cause.
//!
//! An [`Error`] says what was being done to what (`doing`), why it failed ([`Cause`]) and, where it is not plain from that,
//! what to do next (`hint`). What a caller may do about it is decided in one place, [`Error::disposition`], and so is the
//! exit code of the process, [`Error::exit_code`].

pub mod codes;

use std::borrow::Cow;
use std::fmt;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller may do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It can pass by itself: try again later, with back-off.
    Retry,
    /// The content was refused and will be refused again: set the offending part aside (a dead letter) or give up on it.
    Reject,
    /// Nothing that the program can do helps, or going on could harm: stop this piece of work and say so.
    Halt,
}

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

/// Why something failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong; the text names the key and, where there is a file, line and column.
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
    /// A ClickHouse server could not be reached, or the connection broke: nobody knows whether the request took effect.
    #[error("no answer from ClickHouse: {0}")]
    Transport(String),
    /// NATS could not be reached or refused.
    #[error("NATS: {0}")]
    Nats(String),
    /// A table, stream or file is not made the way that it must be.
    #[error("{0}")]
    Schema(String),
    /// Data is not what it was proven to be: never retried, never cleaned.
    #[error("{0}")]
    Integrity(String),
    /// Data that cannot be read as what it says it is.
    #[error("{0}")]
    Malformed(String),
    /// A chunk is encrypted with a key that the configuration does not have.
    #[error("{0}")]
    Key(String),
    /// Somebody else owns it now (a lease, a life, a data folder).
    #[error("{0}")]
    Busy(String),
    /// The embedded engine could not do it.
    #[error("{0}")]
    Engine(String),
    /// A daemon says that it is not well, or says nothing.
    #[error("{0}")]
    Down(String),
    /// The user or a signal ended it.
    #[error("interrupted")]
    Interrupted,
    /// A person said that this piece of work is not to be done.
    #[error("{0}")]
    Cancelled(String),
}

/// The crate's error: what was being done, why it failed, what to do next.
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

    /// A table, stream or file is not made the way that it must be.
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

    /// Data that cannot be read as what it says it is.
    pub fn malformed(text: impl Into<String>) -> Self {
        Self::new(Cause::Malformed(text.into()))
    }

    /// NATS could not be reached or refused.
    pub fn nats(text: impl fmt::Display) -> Self {
        Self::new(Cause::Nats(text.to_string()))
    }

    /// Somebody else owns it now.
    pub fn busy(text: impl Into<String>) -> Self {
        Self::new(Cause::Busy(text.into()))
    }

    /// The embedded engine could not do it.
    pub fn engine(text: impl Into<String>) -> Self {
        Self::new(Cause::Engine(text.into()))
    }

    /// Says what was being done, from the inside out: `"reading manifest X"`.
    #[must_use]
    pub fn context(mut self, what: impl Into<Cow<'static, str>>) -> Self {
        self.0.context.push(what.into());
        self
    }

    /// Says what to do next. The innermost hint wins: it was given by who knew most.
    #[must_use]
    pub fn with_hint(mut self, what: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint.get_or_insert(what.into());
        self
    }

    /// What to do next, where it is not plain.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What was being done and why it failed, without what to do next.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = String::new();
        for step in self.0.context.iter().rev() {
            text.push_str(step);
            text.push_str(": ");
        }
        text + &self.0.cause.to_string()
    }

    /// Why it failed.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// ClickHouse's error code, where a server answered with one.
    #[must_use]
    pub fn server_code(&self) -> Option<u32> {
        match self.cause() {
            Cause::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// What a caller may do about it.
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

    /// The exit code of a command that ends with this error.
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

/// The text of a foreign error with what caused it, each said once: many libraries' own text ends before the cause.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

/// Says what was being done when a result turns out to be an error.
pub trait Context<T> {
    /// The text is made only for an error.
    fn context<S: Into<Cow<'static, str>>>(self, what: impl FnOnce() -> S) -> Result<T>;
    /// Says what to do next.
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
    fn an_error_reads_from_the_outside_in_and_ends_with_what_to_do() {
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

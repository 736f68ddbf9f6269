//! Standard output of the commands. A closed pipe (`| head`) ends the output quietly; any other failed write is an error at the
//! end of the command.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mpsync_core::error::{Cause, Context as _, Error, Result};

/// The first write that failed; all output after it is discarded.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints to standard output, like `print!`, but never panics.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*), "") };
}

/// Prints a line to standard output, like `println!`, but never panics.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*), "\n") };
}

pub(crate) use {out, outln};

fn failed() -> MutexGuard<'static, Option<io::Error>> {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a text and its end.
pub(crate) fn write(text: fmt::Arguments<'_>, end: &str) {
    let mut failed = failed();
    if failed.is_none() {
        let mut out = io::stdout().lock();
        let written = out
            .write_fmt(text)
            .and_then(|()| out.write_all(end.as_bytes()));
        *failed = written.err();
    }
}

/// Returns whether an error is a closed pipe: the reader of the output has ended.
pub(crate) fn is_closed_pipe(e: &Error) -> bool {
    matches!(e.cause(), Cause::Io(e) if e.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns whether further output is pointless, so that a command that only prints can end.
pub(crate) fn is_closed() -> bool {
    failed().is_some()
}

/// Flushes standard output; returns its first error unless that was a closed pipe.
pub(crate) fn finish() -> Result<()> {
    let failed = failed().take();
    let done = match failed {
        Some(e) => Err(e),
        None => io::stdout().lock().flush(),
    };
    match done {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context(|| "writing to standard output"),
    }
}

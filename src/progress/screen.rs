//! The terminal on standard error: a frame of lines that is redrawn in place, and log lines above it.

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::tcgetwinsize;

use super::render::Size;

/// The frame that is on the terminal.
static FRAME: Mutex<Frame> = Mutex::new(Frame {
    lines: 0,
    text: String::new(),
});

/// Lines with their ends.
#[derive(Debug)]
struct Frame {
    lines: usize,
    text: String,
}

impl Frame {
    /// Returns the sequence that erases the frame and leaves the cursor at its start.
    fn erase(&self) -> String {
        match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }
}

fn frame() -> MutexGuard<'static, Frame> {
    // The value is replaced as a whole, so a panic elsewhere cannot leave it inconsistent.
    FRAME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the size of the terminal on standard error.
pub(super) fn size() -> Size {
    let size = tcgetwinsize(io::stderr()).ok();
    let or = |value: Option<u16>, default: u16| value.filter(|v| *v > 0).unwrap_or(default).into();
    Size {
        columns: or(size.map(|size| size.ws_col), 80),
        lines: or(size.map(|size| size.ws_row), 24),
    }
}

/// Replaces the frame.
pub(super) fn draw(lines: &[String]) {
    let mut frame = frame();
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    let _ = io::stderr()
        .lock()
        .write_all(format!("{}{text}", frame.erase()).as_bytes());
    *frame = Frame {
        lines: lines.len(),
        text,
    };
}

/// Standard error for log lines: each is written above the frame, so that neither tears the other.
#[derive(Debug, Default)]
pub(crate) struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let frame = frame();
        let mut out = frame.erase().into_bytes();
        out.extend_from_slice(line);
        out.extend_from_slice(frame.text.as_bytes());
        match io::stderr().lock().write_all(&out) {
            // The reader has ended (`2>&1 | head`), which is not worth an error.
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
            _ => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

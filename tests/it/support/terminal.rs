//! A pseudo-terminal with the program under test on it, and an emulator that shows what an operator sees.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{PATIENCE, signal};

/// A program on a terminal.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    emulator: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

/// A moment of the screen.
pub(crate) struct Moment {
    /// The lines, without those at the end that are empty.
    pub(crate) lines: Vec<String>,
    /// Whether a line went beyond the last column.
    pub(crate) is_wrapped: bool,
}

impl Moment {
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Terminal {
    /// Starts a program on a terminal of this size, which its environment calls `term`.
    pub(crate) fn start(mut command: Command, term: &str, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&master).expect("its rights");
        unlockpt(&master).expect("it is unlocked");
        set_size(&master, columns, rows);
        let name = ptsname(&master, Vec::new()).expect("its name");
        let open = || {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(&name, flags, Mode::empty()).expect("its other side")
        };
        command
            .env("TERM", term)
            .env_remove("COLUMNS")
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()));
        let child = command.spawn().expect("it runs");
        // The command holds the other side open, by which the end would not be seen.
        drop(command);
        let emulator = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let master = File::from(master);
        let (shown, mut input) = (Arc::clone(&emulator), master.try_clone().expect("a copy"));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of the other side is an error here.
            while let Ok(count) = input.read(&mut bytes)
                && count > 0
            {
                shown.lock().expect("whole").process(&bytes[..count]);
            }
        });
        Self {
            child,
            master,
            emulator,
            reader: Some(reader),
        }
    }

    /// Returns what is on the screen.
    pub(crate) fn moment(&self) -> Moment {
        let emulator = self.emulator.lock().expect("whole");
        let screen = emulator.screen();
        let (rows, columns) = screen.size();
        let mut lines: Vec<String> = screen
            .rows(0, columns)
            .map(|line| line.trim_end().to_owned())
            .collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Moment {
            lines,
            is_wrapped: (0..rows).any(|row| screen.row_wrapped(row)),
        }
    }

    /// Waits for a moment with this property; each moment before it is looked at.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Moment) -> bool) -> Moment {
        let begun = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("a status");
            let moment = self.moment();
            if holds(&moment) {
                return moment;
            }
            let text = moment.text();
            assert!(ended.is_none(), "{what}: it ended with {ended:?}:\n{text}");
            assert!(
                begun.elapsed() < PATIENCE,
                "gave up waiting: {what}:\n{text}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types a text.
    pub(crate) fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("it is typed");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, which: Signal) {
        signal(Some(&self.child), which);
    }

    /// Changes the size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let mut emulator = self.emulator.lock().expect("whole");
        set_size(&self.master, columns, rows);
        emulator.screen_mut().set_size(rows, columns);
    }

    /// Waits for the end; each moment until then is looked at.
    pub(crate) fn end(mut self, mut look: impl FnMut(&Moment)) -> (ExitStatus, Moment) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            look(&self.moment());
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it reads");
        }
        (status, self.moment())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a size");
}

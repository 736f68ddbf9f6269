//! The choice of a display.

use std::io::{self, IsTerminal as _};

use crate::cli::{Cli, ProgressMode};

/// The display of a command's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// Bars that are redrawn in place.
    Bar,
    /// A line of text from time to time.
    Plain,
    /// A line of JSON every second.
    Json,
    /// A log line from time to time.
    Log,
    /// No display.
    None,
}

impl Display {
    /// Returns the display that the flags and the terminal of this process select.
    #[must_use]
    pub fn of(cli: &Cli) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        Self::choose(cli.global.progress, cli.global.quiet, is_terminal, is_dumb)
    }

    fn choose(mode: Option<ProgressMode>, quiet: bool, is_terminal: bool, is_dumb: bool) -> Self {
        match mode {
            Some(ProgressMode::Json) => Self::Json,
            Some(ProgressMode::None) => Self::None,
            None if quiet => Self::None,
            Some(ProgressMode::Bar) | None if is_terminal && !is_dumb => Self::Bar,
            None if !is_terminal => Self::Log,
            // A terminal that cannot move its cursor gets lines.
            Some(ProgressMode::Plain | ProgressMode::Bar) | None => Self::Plain,
        }
    }
}

/// Returns whether the command of this command line draws bars, so that log lines are to be rare.
#[must_use]
pub fn shows_bars(cli: &Cli) -> bool {
    cli.command.has_progress() && Display::of(cli) == Display::Bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_need_a_terminal_that_moves_its_cursor() {
        use ProgressMode as Mode;
        for (mode, quiet, is_terminal, is_dumb, expected) in [
            (None, false, true, false, Display::Bar),
            (None, false, true, true, Display::Plain),
            (None, false, false, false, Display::Log),
            (None, true, true, false, Display::None),
            (Some(Mode::Bar), false, true, false, Display::Bar),
            (Some(Mode::Bar), false, false, false, Display::Plain),
            (Some(Mode::Bar), false, true, true, Display::Plain),
            (Some(Mode::Plain), false, true, false, Display::Plain),
            (Some(Mode::Json), true, true, false, Display::Json),
            (Some(Mode::None), false, true, false, Display::None),
        ] {
            let chosen = Display::choose(mode, quiet, is_terminal, is_dumb);
            assert_eq!(chosen, expected, "{mode:?} {quiet} {is_terminal} {is_dumb}");
        }
    }
}

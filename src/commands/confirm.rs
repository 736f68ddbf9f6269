//! Asks the operator before something is deleted for good.

use std::io::{self, IsTerminal as _, Write as _};

use tokio_util::sync::CancellationToken;

use mpsync_core::error::{Cause, Context as _, Error, Result};

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// `--yes`, or an operator who agreed.
    Yes,
    /// An operator who did not agree.
    No,
    /// There is no terminal to ask on.
    NoTerminal,
}

/// Returns whether there is a terminal with an operator to ask.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal, unless `yes` is given. Only `y` and `yes` agree.
pub(super) async fn confirm(
    question: &str,
    yes: bool,
    shutdown: &CancellationToken,
) -> Result<Answer> {
    if yes {
        return Ok(Answer::Yes);
    }
    if !can_ask() {
        return Ok(Answer::NoTerminal);
    }
    let _ = write!(io::stderr().lock(), "{question} [y/N] ");
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = shutdown
        .run_until_cancelled(read)
        .await
        .ok_or_else(|| Error::new(Cause::Interrupted))?
        .map_err(io::Error::other)?
        .context(|| "reading the answer")?;
    Ok(match agrees(&line) {
        true => Answer::Yes,
        false => Answer::No,
    })
}

fn agrees(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_and_yes_agree() {
        for (line, expected) in [
            ("y\n", true),
            ("Yes\r\n", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yep\n", false),
        ] {
            assert_eq!(agrees(line), expected, "{line:?}");
        }
    }
}

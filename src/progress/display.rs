//! Shows the progress while a command works.

use std::io::{self, Write as _};
use std::time::Duration;

use mpsync_core::progress::Progress;
use tokio_util::sync::CancellationToken;

use super::estimate::{Estimate, Estimator};
use super::mode::Display;
use super::render::{Labels, parts, render};
use super::{report, screen};

/// The time between two frames.
const DRAW_EVERY: Duration = Duration::from_millis(120);
/// The time between two lines of JSON.
const JSON_EVERY: Duration = Duration::from_secs(1);
/// The time between two lines of text or of the log.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress that is shown, and how.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    progress: Progress,
    display: Display,
    labels: Labels,
}

impl Shown {
    /// Shows pieces of work called windows, with their rows, at most `jobs` of them at once.
    pub(crate) fn windows(display: Display, progress: &Progress, jobs: usize) -> Self {
        Self {
            progress: progress.clone(),
            display,
            labels: Labels {
                pieces: "windows",
                rows: "rows",
                jobs,
            },
        }
    }

    /// Shows one piece of work that counts messages.
    pub(crate) fn messages(display: Display, progress: &Progress) -> Self {
        Self {
            progress: progress.clone(),
            display,
            labels: Labels {
                pieces: "parts",
                rows: "messages",
                jobs: 1,
            },
        }
    }
}

/// Runs `work` and shows its progress until it ends.
///
/// # Cancel safety
///
/// Dropping the future drops `work`; the display then ends by itself.
pub(crate) async fn during<T>(shown: Shown, work: impl Future<Output = T>) -> T {
    let end = CancellationToken::new();
    let ends = end.clone().drop_guard();
    let task = tokio::spawn(async move { show(&shown, end).await });
    let done = work.await;
    drop(ends);
    // A display that panicked must not hide the result.
    let _ = task.await;
    done
}

async fn show(shown: &Shown, end: CancellationToken) {
    let every = match shown.display {
        Display::Bar => DRAW_EVERY,
        Display::Json => JSON_EVERY,
        Display::Plain | Display::Log => LINE_EVERY,
        Display::None => return,
    };
    let mut estimator = Estimator::default();
    while end
        .run_until_cancelled(tokio::time::sleep(every))
        .await
        .is_some()
    {
        let now = shown.progress.snapshot();
        let estimate = estimator.update(&now);
        match shown.display {
            Display::Bar => screen::draw(&render(&now, &estimate, &shown.labels, screen::size())),
            Display::Json => print(&report::line(&now, &estimate).to_string()),
            Display::Plain => {
                let parts = parts(&now, &estimate, &shown.labels);
                let texts: Vec<_> = parts.iter().map(|(_, text)| text.trim()).collect();
                print(&texts.join(", "));
            }
            Display::Log => log(&now, &estimate),
            Display::None => {}
        }
    }
    if shown.display == Display::Bar {
        screen::draw(&[]);
    }
}

fn log(now: &mpsync_core::progress::Snapshot, estimate: &Estimate) {
    let running = now.active.iter().filter(|work| !work.waits).count();
    let mut notes = now.active.iter().map(|work| work.note.as_str());
    let note = notes.find(|note| !note.is_empty());
    tracing::info!(
        windows = now.done,
        of = now.total,
        running,
        rows = estimate.rows,
        bytes = now.bytes,
        percent = estimate.share.map(|share| (share * 100.0).floor()),
        seconds_left = estimate.seconds_left.map(f64::round),
        note,
        "progress"
    );
}

/// Prints a line to standard error; a reader that has ended does not matter.
fn print(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

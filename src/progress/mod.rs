//! Shows how far a long command is: bars on a terminal, log lines elsewhere. Both read the same snapshot as the document at the end.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{
    HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use mpsync_core::progress::Progress;
use tokio_util::sync::CancellationToken;

/// How often bars are drawn.
const DRAW_EVERY: Duration = Duration::from_millis(120);
/// How often a line is logged where there are no bars.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// All bars of the process, so that log lines can step aside for them.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Shows how far it is until `end` is cancelled: bars on a terminal, log lines elsewhere.
pub(crate) async fn show(progress: Progress, end: CancellationToken) {
    if io::stderr().is_terminal() {
        draw(progress, end).await;
    } else {
        log(progress, end).await;
    }
}

async fn log(progress: Progress, end: CancellationToken) {
    while end
        .run_until_cancelled(tokio::time::sleep(LOG_EVERY))
        .await
        .is_some()
    {
        let now = progress.snapshot();
        let running = now.active.len();
        let mut notes = now.active.iter().map(|work| work.note.as_str());
        let note = notes.find(|note| !note.is_empty());
        tracing::info!(
            windows = now.done,
            of = now.total,
            running,
            rows = now.rows,
            bytes = now.bytes,
            note,
            "progress"
        );
    }
}

async fn draw(progress: Progress, end: CancellationToken) {
    let total = BARS.add(ProgressBar::no_length());
    total.set_style(style("{bar:30} {pos}/{len} windows  {msg}"));
    let mut bars: BTreeMap<String, ProgressBar> = BTreeMap::new();
    while end
        .run_until_cancelled(tokio::time::sleep(DRAW_EVERY))
        .await
        .is_some()
    {
        let now = progress.snapshot();
        bars.retain(|what, bar| {
            let stays = now.active.iter().any(|work| work.what == *what);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for work in &now.active {
            let bar = bars.entry(work.what.clone()).or_insert_with(|| {
                let bar = BARS.insert_before(&total, ProgressBar::no_length());
                bar.set_style(style("{bar:30} {prefix} {msg}  {per_sec} {eta}"));
                bar.set_prefix(work.what.clone());
                bar
            });
            bar.set_length(work.expected);
            bar.set_position(work.rows);
            let rows = HumanCount(work.rows);
            bar.set_message(format!("{} {rows} rows  {}", work.step, work.note));
        }
        total.set_length(now.total);
        total.set_position(now.done);
        total.set_message(format!(
            "{} rows, {}",
            HumanCount(now.rows),
            HumanBytes(now.bytes)
        ));
    }
    bars.values().for_each(ProgressBar::finish_and_clear);
    total.finish_and_clear();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

/// Standard error for log lines: bars step aside while a line is written, so that neither tears the other.
#[derive(Debug, Default)]
pub(crate) struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::Write::write(&mut io::stderr().lock(), line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut io::stderr().lock())
    }
}

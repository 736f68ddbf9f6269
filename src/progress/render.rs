//! Renders a snapshot as lines that fit a terminal. Pure.

use indicatif::{HumanBytes, HumanCount};
use mpsync_core::progress::{Snapshot, WorkSnapshot};
use std::fmt::Write as _;

use super::estimate::Estimate;

/// The width of the bar, with its brackets.
const BAR_MIN: usize = 8;
const BAR_MAX: usize = 32;
/// The space between the parts of a line.
const GAP: &str = "  ";

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// The names and limits of a command's progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels {
    /// The plural of a piece of work, such as `windows`.
    pub(super) pieces: &'static str,
    /// The plural of the rows, such as `messages`.
    pub(super) rows: &'static str,
    /// The maximum number of lines for active work.
    pub(super) jobs: usize,
}

/// Returns one overall line, a line for each active piece of work, and a line for the rest, none of them wider than the terminal.
pub(super) fn render(
    now: &Snapshot,
    estimate: &Estimate,
    labels: &Labels,
    size: Size,
) -> Vec<String> {
    // A character in the last column would wrap on some terminals.
    let width = size.columns.saturating_sub(1).max(1);
    let mut lines = vec![overall(now, estimate, labels, width)];
    let active: Vec<&WorkSnapshot> = now.active.iter().filter(|work| !work.waits).collect();
    // A single piece of work needs no line beside the overall one unless it has more to say.
    let is_single = now.total <= 1 && active.iter().all(|work| work.note.is_empty());
    let room = size.lines.saturating_sub(3).min(labels.jobs.max(1));
    let shown = if is_single { 0 } else { room.min(active.len()) };
    lines.extend(active.iter().take(shown).map(|work| line(work, labels)));
    let waiting = now
        .total
        .saturating_sub(now.done)
        .saturating_sub(active.len() as u64);
    let rest: Vec<String> = [
        (!is_single && active.len() > shown)
            .then(|| format!("{} more active", active.len() - shown)),
        (waiting > 0).then(|| format!("{} {} waiting", HumanCount(waiting), labels.pieces)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !rest.is_empty() {
        lines.push(format!("{GAP}{}", rest.join(", ")));
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

/// Returns the parts of the overall line, each with its priority: the highest number is left out first.
pub(super) fn parts(now: &Snapshot, estimate: &Estimate, labels: &Labels) -> Vec<(u8, String)> {
    let mut parts = Vec::new();
    match estimate.share {
        Some(share) => parts.push((0, format!("{:>3.0} %", (share * 100.0).floor()))),
        None if now.total == 0 => parts.push((0, "planning".to_owned())),
        None => {}
    }
    if now.total > 1 {
        let (done, total) = (HumanCount(now.done), HumanCount(now.total));
        parts.push((5, format!("{done}/{total} {}", labels.pieces)));
    }
    if estimate.rows > 0 {
        parts.push((3, format!("{} {}", HumanCount(estimate.rows), labels.rows)));
    }
    if now.bytes > 0 {
        parts.push((4, HumanBytes(now.bytes).to_string()));
    }
    if let Some(rate) = estimate.rate.filter(|rate| *rate >= 1.0) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate to look at, at least 1"
        )]
        let rate = HumanCount(rate as u64);
        parts.push((2, format!("{rate} {}/s", labels.rows)));
    }
    if let Some(seconds) = estimate.seconds_left {
        parts.push((1, format!("{} left", duration(seconds))));
    }
    parts
}

fn overall(now: &Snapshot, estimate: &Estimate, labels: &Labels, width: usize) -> String {
    let mut parts = parts(now, estimate, labels);
    let taken = |parts: &[(u8, String)]| {
        let texts: usize = parts.iter().map(|(_, text)| text.chars().count()).sum();
        texts + GAP.len() * parts.len().saturating_sub(1)
    };
    while taken(&parts) > width && parts.len() > 1 {
        let last = parts
            .iter()
            .enumerate()
            .max_by_key(|(_, (priority, _))| *priority);
        if let Some((at, _)) = last {
            parts.remove(at);
        }
    }
    let room = width.saturating_sub(taken(&parts) + GAP.len()).min(BAR_MAX);
    let texts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
    let text = texts.join(GAP);
    match estimate.share {
        Some(share) if room >= BAR_MIN => format!("{}{GAP}{text}", bar(share, room)),
        _ => text,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of at most 32 columns"
)]
fn bar(share: f64, width: usize) -> String {
    let inner = width - 2;
    let filled = ((inner as f64 * share) as usize).min(inner);
    let head = if filled > 0 && filled < inner {
        ">"
    } else {
        ""
    };
    let body = "=".repeat(filled - head.len());
    format!("[{body}{head}{}]", " ".repeat(inner - filled))
}

#[expect(clippy::cast_precision_loss, reason = "a percentage to look at")]
fn line(work: &WorkSnapshot, labels: &Labels) -> String {
    let mut line = format!("{GAP}{}{GAP}{}", work.what, work.step);
    // Writing to a text cannot fail.
    if work.expected > 0 {
        let percent = (work.rows as f64 / work.expected as f64).min(1.0) * 100.0;
        let _ = write!(line, "{GAP}{:>3.0} %", percent.floor());
    }
    if work.rows > 0 {
        let _ = write!(line, "{GAP}{} {}", HumanCount(work.rows), labels.rows);
    }
    let _ = write!(line, "{GAP}{}", duration(work.seconds));
    if !work.note.is_empty() {
        line.push_str(GAP);
        line.push_str(&work.note);
    }
    line
}

/// Returns a duration in its two largest units.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is never negative"
)]
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes:02}m"),
        (days, hours, _) => format!("{days}d {hours:02}h"),
    }
}

/// Cuts a line to a width; control characters become spaces.
fn cut(line: &str, width: usize) -> String {
    let plain = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    let cut: String = plain.take(width).collect();
    cut.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpsync_core::progress::Progress;

    const LABELS: Labels = Labels {
        pieces: "windows",
        rows: "rows",
        jobs: 2,
    };

    fn busy() -> Snapshot {
        let progress = Progress::default();
        progress.expect(70);
        progress.expect_rows(7_000_000, 1);
        let mut works = Vec::new();
        for hour in 0..60 {
            let work = progress.begin(format!("order_book_snapshots 2026-01-01T{hour:02}"));
            work.plan(100_000);
            if hour < 3 {
                work.step("exporting", 100_000);
                work.add(45_000, 123_456_789);
            }
            works.push(work);
        }
        let mut now = progress.snapshot();
        now.seconds = 100.0;
        now.active.iter_mut().for_each(|work| work.seconds = 12.0);
        now
    }

    fn estimate() -> Estimate {
        Estimate {
            share: Some(0.43),
            rows: 3_010_000,
            rate: Some(30_100.158_1),
            seconds_left: Some(130.4),
        }
    }

    fn rendered(columns: usize, lines: usize) -> Vec<String> {
        render(&busy(), &estimate(), &LABELS, Size { columns, lines })
    }

    #[test]
    fn one_line_for_all_and_one_for_each_active_window() {
        assert_eq!(
            rendered(100, 24),
            [
                "[=======>            ]   43 %  0/70 windows  3,010,000 rows  353.21 MiB  30,100 rows/s  2m 10s left",
                "  order_book_snapshots 2026-01-01T00  exporting   45 %  45,000 rows  12s",
                "  order_book_snapshots 2026-01-01T01  exporting   45 %  45,000 rows  12s",
                "  1 more active, 67 windows waiting",
            ]
        );
        assert!(rendered(200, 24)[0].starts_with("[===========>                  ]"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_nor_are_there_more_than_it_has() {
        for columns in 1..220 {
            for lines in 1..30 {
                let rendered = rendered(columns, lines);
                assert!(rendered.len() <= lines.max(3), "{columns} × {lines}");
                for line in &rendered {
                    assert!(line.chars().count() < columns.max(2), "{columns}: {line}");
                }
            }
        }
        let narrow = rendered(80, 24);
        assert!(narrow[0].contains("43 %") && narrow[0].contains("2m 10s left"));
        assert!(narrow[0].contains("30,100 rows/s"), "{}", narrow[0]);
    }

    #[test]
    fn a_single_piece_needs_one_line_and_unplanned_work_says_so() {
        let progress = Progress::default();
        let size = Size {
            columns: 80,
            lines: 24,
        };
        let before = render(&progress.snapshot(), &Estimate::default(), &LABELS, size);
        assert_eq!(before, ["planning"]);
        progress.expect(1);
        let work = progress.begin("publishing".into());
        work.step("publishing", 10);
        let one = render(&progress.snapshot(), &estimate(), &LABELS, size);
        assert_eq!(one.len(), 1, "{one:?}");
        work.say("2026-01-01T00:00:00Z".into());
        let two = render(&progress.snapshot(), &estimate(), &LABELS, size);
        assert!(two[1].ends_with("2026-01-01T00:00:00Z"), "{two:?}");
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0.2, "0s"),
            (59.4, "59s"),
            (130.0, "2m 10s"),
            (3_900.0, "1h 05m"),
            (97_200.0, "1d 03h"),
            (f64::INFINITY, "213503982334601d 07h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}

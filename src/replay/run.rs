//! A replay from its first to its last message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, selection};
use super::chunk::Wanted;
use super::lane::{Counts, Reader, Slice, nanos};
use super::merge::{RowKey, StreamKey, next_lane};
use super::number::push_u64;
use super::pace::Pace;
use super::plan::{Plan, plan};
use super::target::{Outgoing, Target};
use super::wire::WireForm;
use super::{Options, Report};
use crate::archive::Archive;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::progress::{Progress, Work};

/// How often the place that was reached is written down.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// After how many messages the clock and the shutdown are looked at.
const LOOK_EVERY: u64 = 1024;
/// Less than that is not waited for: timers are no finer.
const FINEST_WAIT: Duration = Duration::from_millis(1);
/// What a lane may occupy at least, in bytes.
const LEAST_BUDGET: usize = 2 << 20;

/// Replays what `options` choose of `datasets` into `target`.
///
/// Cancelling `shutdown` ends it in an orderly way: what was sent is handed over, the checkpoint written, and the report says
/// that it was interrupted. Dropping the future leaves the place at the last checkpoint.
pub async fn run(
    archive: &Archive,
    datasets: &[Dataset],
    options: &Options,
    target: &mut Target,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<Report> {
    let done = all_passes(archive, datasets, options, target, progress, shutdown).await;
    let is_whole = done.as_ref().is_ok_and(|report| !report.interrupted);
    let ended = target.end(is_whole).await;
    let report = done?;
    ended.map(|()| report)
}

async fn all_passes(
    archive: &Archive,
    datasets: &[Dataset],
    options: &Options,
    target: &mut Target,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<Report> {
    let started = Instant::now();
    let forms = datasets
        .iter()
        .map(|d| WireForm::new(d, options.subject.as_deref()))
        .collect::<Result<Vec<_>>>()?;
    let selected = selection(datasets, options);
    let place = match &options.checkpoint {
        Some(path) => Checkpoint::read(path, &selected)?,
        None => None,
    };
    let mut replay = Replay {
        archive,
        datasets,
        options,
        forms,
        selected,
        target,
        shutdown,
        started,
        written: Instant::now(),
        pass: place.as_ref().map_or(0, |p| p.pass),
        shift_secs: place.as_ref().map(|p| p.shift_secs),
        sent: None,
        sent_count: vec![0; datasets.len()],
        report: Report {
            resumed: place.is_some(),
            ..Report::default()
        },
        buffers: Buffers::default(),
    };
    replay
        .target
        .resume(place.as_ref().map_or(Some(0), |p| p.file_bytes))?;
    let mut after = place.map(|p| p.key(datasets)).transpose()?;
    loop {
        let before = replay.report.messages;
        replay.pass(after.take(), progress).await?;
        replay.end_pass().await?;
        if !options.endless || replay.report.interrupted {
            break;
        }
        if replay.report.messages == before && !replay.report.resumed {
            return Err(Error::usage(
                "there is nothing to replay, so that --loop would never end",
            ));
        }
        replay.report.resumed = false;
        replay.pass += 1;
        if options.shift_to_now {
            replay.shift_secs = None;
        }
    }
    Ok(replay.finish())
}

struct Replay<'a> {
    archive: &'a Archive,
    datasets: &'a [Dataset],
    options: &'a Options,
    forms: Vec<WireForm>,
    selected: String,
    target: &'a mut Target,
    shutdown: &'a CancellationToken,
    started: Instant,
    written: Instant,
    pass: u64,
    /// By how many seconds times are moved; `None` before the first message of a pass.
    shift_secs: Option<i64>,
    sent: Option<StreamKey>,
    sent_count: Vec<u64>,
    report: Report,
    buffers: Buffers,
}

/// Written anew for every message.
#[derive(Debug, Default)]
struct Buffers {
    subject: Vec<u8>,
    msg_id: Vec<u8>,
    payload: Vec<u8>,
}

/// A lane with the slice in use.
struct Lane {
    slices: mpsc::Receiver<Result<Slice>>,
    slice: Option<Slice>,
    at: usize,
}

impl Lane {
    fn head(&self) -> Option<RowKey> {
        Some(self.slice.as_ref()?.rows.get(self.at)?.key)
    }

    /// Makes sure that there is a row, unless the lane is at its end.
    async fn fill(&mut self) -> Result<()> {
        while self.slice.as_ref().is_none_or(|s| self.at >= s.rows.len()) {
            self.slice = None;
            self.at = 0;
            match self.slices.recv().await {
                Some(slice) => self.slice = Some(slice?),
                None => break,
            }
        }
        Ok(())
    }
}

impl Replay<'_> {
    /// One pass over the archive, from after `after` on.
    async fn pass(&mut self, after: Option<StreamKey>, progress: &Progress) -> Result<()> {
        let mut options = self.options.clone();
        if let Some(after) = after {
            let from = Timestamp::from_nanosecond(i128::from(after.time_nanos))
                .map_err(|e| Error::malformed(e.to_string()))?;
            options.from = Some(options.from.map_or(from, |f| f.max(from)));
        }
        let plan = plan(self.archive, self.datasets, &options).await?;
        let counts = Arc::new(Counts::default());
        self.report.archive_bytes = plan.archive_bytes;
        self.report.skipped.extend(plan.damage.iter().cloned());
        progress.expect(1);
        let work = progress.begin("replay".into());
        work.step("replaying", plan.rows());
        let mut lanes = self.lanes(plan, &options, &counts);
        let done = self.merge(&mut lanes, after, &work).await;
        self.report.bytes_read += counts.bytes.load(Ordering::Relaxed);
        let damage = counts
            .damage
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for one in damage
            .iter()
            .filter(|d| !self.report.skipped.contains(d))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.report.skipped.push(one);
        }
        done
    }

    fn lanes(&self, plan: Plan, options: &Options, counts: &Arc<Counts>) -> Vec<Lane> {
        let busy = plan
            .lanes
            .iter()
            .filter(|lane| lane.chunks > 0)
            .count()
            .max(1);
        let mut values: Vec<(&'static str, Arc<[String]>)> = Vec::new();
        for (column, wanted) in [
            ("exchange", &options.exchanges),
            ("symbol", &options.symbols),
        ] {
            if !wanted.is_empty() {
                values.push((column, wanted.clone().into()));
            }
        }
        let lanes = plan.lanes.into_iter().zip(self.datasets).zip(&self.forms);
        let start = |((lane, dataset), form): ((super::LanePlan, &Dataset), &WireForm)| {
            let wanted = Wanted {
                time_column: dataset.time_column.clone(),
                from_nanos: options.from.map_or(i64::MIN, nanos),
                to_nanos: options
                    .to
                    .map_or(i64::MAX, |to| nanos(to).saturating_sub(1)),
                values: values.clone(),
            };
            let reader = Reader {
                archive: self.archive.clone(),
                form: form.clone(),
                wanted: Arc::new(wanted),
                verify: options.verify,
                skip_damaged: options.skip_damaged,
                // One slice is in use while the next is made.
                budget: (options.memory / (2 * busy)).max(LEAST_BUDGET),
                counts: Arc::clone(counts),
            };
            Lane {
                slices: reader.start(lane.groups),
                slice: None,
                at: 0,
            }
        };
        lanes.map(start).collect()
    }

    async fn merge(
        &mut self,
        lanes: &mut [Lane],
        after: Option<StreamKey>,
        work: &Work,
    ) -> Result<()> {
        let mut pace = Pace::new(self.options.speed);
        let mut unseen = 0;
        for lane in lanes.iter_mut() {
            lane.fill().await?;
        }
        while let Some((number, until)) = next_lane(lanes.iter().map(Lane::head)) {
            let lane = &mut lanes[number];
            let Some(slice) = &lane.slice else { break };
            while let Some(row) = slice.rows.get(lane.at) {
                let key = StreamKey::new(number, row.key);
                if until.is_some_and(|until| key > until) {
                    break;
                }
                lane.at += 1;
                if after.is_some_and(|after| key <= after) {
                    continue;
                }
                if !self.wait(&mut pace, key).await? {
                    return Ok(());
                }
                self.send(slice, row.batch as usize, row.row as usize, key)
                    .await?;
                unseen += 1;
                if unseen == LOOK_EVERY {
                    work.add(unseen, 0);
                    unseen = 0;
                    if !self.look(&mut pace, key).await? {
                        return Ok(());
                    }
                }
            }
            lane.fill().await?;
        }
        work.add(unseen, 0);
        Ok(())
    }

    /// Waits until a message is due; `false` when it is to end before that.
    async fn wait(&mut self, pace: &mut Pace, key: StreamKey) -> Result<bool> {
        let wait = pace.wait(key.time_nanos, self.started.elapsed());
        if wait < FINEST_WAIT {
            return Ok(true);
        }
        // What was sent is seen by the other side before this one sleeps.
        self.target.flush()?;
        if self.written.elapsed() > CHECKPOINT_EVERY {
            self.note().await?;
        }
        let slept = self
            .shutdown
            .run_until_cancelled(tokio::time::sleep(wait))
            .await;
        self.report.interrupted = slept.is_none();
        Ok(slept.is_some())
    }

    /// Looks at the clock and at the shutdown; `false` when it is to end.
    async fn look(&mut self, pace: &mut Pace, key: StreamKey) -> Result<bool> {
        // Lets whoever shares this thread run; a target that never waits would not.
        tokio::task::yield_now().await;
        if self.written.elapsed() > CHECKPOINT_EVERY {
            self.note().await?;
            let reached =
                Timestamp::from_nanosecond(i128::from(key.time_nanos)).map(|t| t.to_string());
            tracing::debug!(
                messages = self.report.messages, event_time = reached.unwrap_or_default(),
                lag = ?pace.lag(key.time_nanos, self.started.elapsed()), "replaying"
            );
        }
        self.report.interrupted = self.shutdown.is_cancelled();
        Ok(!self.report.interrupted)
    }

    async fn send(
        &mut self,
        slice: &Slice,
        batch: usize,
        row: usize,
        key: StreamKey,
    ) -> Result<()> {
        if self.target.takes_rows() {
            let rows = slice.batches[batch].batch();
            self.target.send_row(key.lane, rows, row).await?;
        } else {
            self.send_message(slice, batch, row, key).await?;
        }
        self.report.messages += 1;
        self.sent_count[key.lane] += 1;
        self.sent = Some(key);
        if self.report.span.is_none() {
            self.extend_span(key);
        }
        Ok(())
    }

    async fn send_message(
        &mut self,
        slice: &Slice,
        batch: usize,
        row: usize,
        key: StreamKey,
    ) -> Result<()> {
        let shift_secs = match self.shift_secs {
            Some(shift) => shift,
            None => {
                let shift = if self.options.shift_to_now {
                    Timestamp::now().as_second() - key.time_nanos.div_euclid(1_000_000_000)
                } else {
                    0
                };
                *self.shift_secs.insert(shift)
            }
        };
        let Buffers {
            subject,
            msg_id,
            payload,
        } = &mut self.buffers;
        subject.clear();
        msg_id.clear();
        payload.clear();
        let bound = &slice.batches[batch];
        bound.push_subject(row, subject);
        bound.push_payload(row, shift_secs, payload);
        push_u64(key.epoch, msg_id);
        msg_id.push(b'-');
        push_u64(key.seq, msg_id);
        if self.pass > 0 {
            msg_id.push(b'-');
            push_u64(self.pass, msg_id);
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|e| Error::malformed(e.to_string()));
        let message = Outgoing {
            key,
            subject: text(subject)?,
            msg_id: text(msg_id)?,
            payload,
        };
        self.target.send(message).await?;
        self.report.payload_bytes += payload.len() as u64;
        Ok(())
    }

    fn extend_span(&mut self, key: StreamKey) {
        if let Ok(time) = Timestamp::from_nanosecond(i128::from(key.time_nanos)) {
            let (first, last) = self.report.span.unwrap_or((time, time));
            self.report.span = Some((first.min(time), last.max(time)));
        }
    }

    /// Writes down the place up to which the target has everything.
    async fn note(&mut self) -> Result<()> {
        self.written = Instant::now();
        let Some(path) = &self.options.checkpoint else {
            return Ok(());
        };
        let settled = self.target.settle(self.sent).await?;
        let Some(key) = settled.key else {
            return Ok(());
        };
        let place = Checkpoint {
            selection: self.selected.clone(),
            dataset: self.datasets[key.lane].name.to_string(),
            time_nanos: key.time_nanos,
            epoch: key.epoch,
            seq: key.seq,
            pass: self.pass,
            shift_secs: self.shift_secs.unwrap_or(0),
            file_bytes: settled.file_bytes,
        };
        place.write(path)
    }

    /// Hands over what was sent, so that no place of this pass is taken for one of the next.
    async fn end_pass(&mut self) -> Result<()> {
        self.target.drain().await?;
        if let Some(key) = self.sent {
            self.extend_span(key);
            self.note().await?;
        }
        self.sent = None;
        self.target.forget();
        Ok(())
    }

    fn finish(mut self) -> Report {
        let names = self.datasets.iter().map(|d| d.name.to_string());
        let counts: BTreeMap<String, u64> =
            names.zip(self.sent_count).filter(|(_, n)| *n > 0).collect();
        self.report.by_dataset = counts;
        self.report.duplicates = self.target.duplicates();
        self.report.seconds = self.started.elapsed().as_secs_f64();
        let r = &self.report;
        tracing::info!(
            messages = r.messages, duplicates = r.duplicates, bytes_read = r.bytes_read, of = r.archive_bytes,
            skipped = r.skipped.len(), interrupted = r.interrupted, duration = ?self.started.elapsed(), "replayed"
        );
        self.report
    }
}

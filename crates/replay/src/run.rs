//! A replay from its first to its last message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{Checkpoint, selection};
use crate::merge::next_stream;
use crate::message::buffers::{Buffers, Ids};
use crate::message::{BoundBatch, WireForm};
use crate::options::{MessageId, ReplayOptions};
use crate::order::{StreamKey, StreamOrder};
use crate::plan::{DatasetPlan, ReplayPlan, nanos, plan};
use crate::playback_clock::{PlaybackClock, Speed};
use crate::read::chunk::Wanted;
use crate::read::counters::ReadCounters;
use crate::read::dataset_stream::DatasetReader;
use crate::read::sorted::{RowRef, Slice};
use crate::read::stream_cursor::StreamCursor;
use crate::report::ReplayReport;
use crate::target::Target;
use crate::time_source::TimeSource;
use mpsync_archive::Archive;
use mpsync_core::dataset::Dataset;
use mpsync_core::error::{Error, Result};
use mpsync_core::progress::{Progress, Work};

/// Interval between checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// Messages between two checks of the clock and of the shutdown.
const LOOK_EVERY: u64 = 1024;
/// Shorter waits are skipped: the resolution of timers is 1 ms.
const FINEST_WAIT: Duration = Duration::from_millis(1);
/// The least memory for the rows of a dataset, in bytes.
const LEAST_BUDGET: usize = 16 << 10;

/// Replays the rows of `datasets` that `options` select into `target`.
///
/// Cancelling `shutdown` stops it in order: the target receives all that was sent, the checkpoint is
/// written, and the report says that the replay was interrupted.
///
/// # Cancel safety
///
/// Dropping the future leaves the checkpoint where it was last written.
pub async fn run(
    archive: &Archive,
    datasets: &[Dataset],
    options: &ReplayOptions,
    target: &mut Target,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<ReplayReport> {
    let clock = TimeSource::start();
    run_by(
        &clock, archive, datasets, options, target, progress, shutdown,
    )
    .await
}

/// Does the same by a clock that a test can drive.
pub(crate) async fn run_by(
    clock: &TimeSource,
    archive: &Archive,
    datasets: &[Dataset],
    options: &ReplayOptions,
    target: &mut Target,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<ReplayReport> {
    let done = all_passes(
        clock, archive, datasets, options, target, progress, shutdown,
    )
    .await;
    let is_whole = done.as_ref().is_ok_and(|report| !report.interrupted);
    let ended = target.end(is_whole).await;
    let report = done?;
    ended.map(|()| report)
}

async fn all_passes(
    clock: &TimeSource,
    archive: &Archive,
    datasets: &[Dataset],
    options: &ReplayOptions,
    target: &mut Target,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Result<ReplayReport> {
    let forms = datasets
        .iter()
        .map(|d| WireForm::new(d, options.subject.as_deref(), options.order))
        .collect::<Result<Vec<_>>>()?;
    let selected = selection(datasets, options);
    let place = match &options.checkpoint {
        Some(path) => Checkpoint::read(path, &selected)?,
        None => None,
    };
    let wants_id = options.message_id == MessageId::Publisher || target.has_headers();
    let mut replay = Replay {
        archive,
        datasets,
        options,
        forms,
        selected,
        target,
        shutdown,
        clock,
        written: clock.elapsed(),
        pass: place.as_ref().map_or(0, |p| p.pass),
        shift_secs: place.as_ref().map(|p| p.shift_secs),
        sent: None,
        sent_count: vec![0; datasets.len()],
        span: None,
        report: ReplayReport {
            resumed: place.is_some(),
            ..ReplayReport::default()
        },
        buffers: Buffers::default(),
        unseen: 0,
        wants_id,
    };
    replay
        .target
        .resume(place.as_ref().map_or(Some(0), |p| p.file_bytes))?;
    let mut after = place.map(|p| p.key(datasets, options.order)).transpose()?;
    loop {
        let before = replay.report.messages;
        replay.pass(after.take(), progress).await?;
        replay.end_pass().await?;
        if !options.endless || replay.report.interrupted {
            break;
        }
        // A pass of few messages never checked.
        if shutdown.is_cancelled() {
            replay.report.interrupted = true;
            break;
        }
        if replay.report.messages == before && !replay.report.resumed {
            return Err(Error::usage("nothing to replay, so --loop would never end"));
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
    options: &'a ReplayOptions,
    forms: Vec<WireForm>,
    selected: String,
    target: &'a mut Target,
    shutdown: &'a CancellationToken,
    clock: &'a TimeSource,
    /// Time of the last checkpoint.
    written: Duration,
    pass: u64,
    /// Seconds by which times are shifted; `None` before the first message of a pass.
    shift_secs: Option<i64>,
    sent: Option<StreamKey>,
    sent_count: Vec<u64>,
    /// The earliest and the latest event time sent.
    span: Option<(i64, i64)>,
    report: ReplayReport,
    buffers: Buffers,
    /// Messages sent since progress was last reported.
    unseen: u64,
    /// Whether messages carry the publisher's own ids.
    wants_id: bool,
}

/// Returns the memory for the rows of one dataset: half of its share by bytes. The other half is for the
/// slice in use.
fn budget(memory: usize, bytes: u64, all_bytes: u64) -> usize {
    let half = (memory / 2) as u128;
    let share = half * u128::from(bytes) / u128::from(all_bytes.max(1));
    usize::try_from(share)
        .unwrap_or(usize::MAX)
        .max(LEAST_BUDGET)
}

fn time(nanos: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanos)).ok()
}

/// Returns the progress as text for the terminal.
fn reached(event_nanos: i64, lag: Option<Duration>) -> String {
    let event = time(event_nanos).map_or_else(String::new, |time| time.to_string());
    match lag {
        Some(lag) => format!("{event}, {:.1} s behind", lag.as_secs_f64()),
        None => event,
    }
}

impl Replay<'_> {
    /// Runs one pass over the archive, beginning after `after`.
    async fn pass(&mut self, after: Option<StreamKey>, progress: &Progress) -> Result<()> {
        let mut options = self.options.clone();
        if let Some(after) = after.filter(|_| options.order == StreamOrder::Event) {
            let from = Timestamp::from_nanosecond(i128::from(after.row.rank))
                .map_err(|e| Error::malformed(e.to_string()))?;
            options.from = Some(options.from.map_or(from, |f| f.max(from)));
        }
        let plan = plan(self.archive, self.datasets, &options).await?;
        let counts = Arc::new(ReadCounters::default());
        self.report.archive_bytes = plan.archive_bytes;
        self.report.skipped.extend(plan.damage.iter().cloned());
        progress.expect(1);
        let work = progress.begin("replay".into());
        work.step("replaying", plan.rows());
        let mut cursors = self.open_cursors(plan, &options, after, &counts);
        let done = self.merge(&mut cursors, after, &work).await;
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

    fn open_cursors(
        &self,
        plan: ReplayPlan,
        options: &ReplayOptions,
        after: Option<StreamKey>,
        counts: &Arc<ReadCounters>,
    ) -> Vec<StreamCursor> {
        let all_bytes = plan.bytes();
        let mut values: Vec<(&'static str, Arc<[String]>)> = Vec::new();
        for (column, wanted) in [
            ("exchange", &options.exchanges),
            ("symbol", &options.symbols),
        ] {
            if !wanted.is_empty() {
                values.push((column, wanted.clone().into()));
            }
        }
        let streams = plan.streams.into_iter().zip(&self.forms);
        let start = |(mut stream, form): (DatasetPlan, &WireForm)| {
            let wanted = Wanted {
                time_column: form.time_column().to_owned(),
                from_nanos: options.from.map_or(i64::MIN, nanos),
                to_nanos: options
                    .to
                    .map_or(i64::MAX, |to| nanos(to).saturating_sub(1)),
                values: values.clone(),
                columns: (!self.target.takes_rows()).then(|| form.columns()),
            };
            let reader = DatasetReader {
                archive: self.archive.clone(),
                form: form.clone(),
                wanted: Arc::new(wanted),
                verify: options.verify,
                skip_damaged: options.skip_damaged,
                budget: budget(options.memory, stream.bytes, all_bytes),
                counts: Arc::clone(counts),
            };
            stream
                .files
                .retain(|file| after.is_none_or(|after| file.last >= after.row));
            StreamCursor::start(reader, stream.files)
        };
        streams.map(start).collect()
    }

    async fn merge(
        &mut self,
        cursors: &mut [StreamCursor],
        after: Option<StreamKey>,
        work: &Work,
    ) -> Result<()> {
        let order = self.options.order;
        let mut playback_clock =
            (self.options.speed != Speed::Max).then(|| PlaybackClock::new(self.options.speed));
        for cursor in cursors.iter_mut() {
            cursor.fill().await?;
        }
        while let Some((number, until)) = next_stream(order, cursors.iter().map(StreamCursor::head))
        {
            let cursor = &mut cursors[number];
            while let Some(row) = cursor.slice.rows.get(cursor.at).copied() {
                let key = StreamKey::new(order, number, row.key);
                if until.is_some_and(|until| key > until) {
                    break;
                }
                cursor.at += 1;
                if after.is_some_and(|after| key <= after) {
                    continue;
                }
                if let Some(playback_clock) = &mut playback_clock {
                    let clock = cursor.slice.batches[row.batch as usize].clock(row.row as usize);
                    if !self.wait(playback_clock, clock, work).await? {
                        return Ok(());
                    }
                }
                self.send(&cursor.slice, row, key).await?;
                self.unseen += 1;
                if self.unseen == LOOK_EVERY {
                    let clock = cursor.slice.batches[row.batch as usize].clock(row.row as usize);
                    if !self
                        .check_clock(playback_clock.as_mut(), clock, work)
                        .await?
                    {
                        return Ok(());
                    }
                }
            }
            cursor.fill().await?;
        }
        self.show(None, work);
        Ok(())
    }

    /// Waits until a message of this time is due; returns `false` if the replay is stopped first.
    async fn wait(
        &mut self,
        playback_clock: &mut PlaybackClock,
        time_nanos: i64,
        work: &Work,
    ) -> Result<bool> {
        let wait = playback_clock.wait(time_nanos, self.clock.elapsed());
        if wait < FINEST_WAIT {
            return Ok(true);
        }
        // Readers of the target see all that was sent before this task sleeps.
        self.target.flush()?;
        if self.is_checkpoint_due() {
            self.show(Some(Duration::ZERO), work);
            self.record_checkpoint().await?;
        }
        let slept = self
            .shutdown
            .run_until_cancelled(self.clock.sleep(wait))
            .await;
        self.report.interrupted = slept.is_none();
        Ok(slept.is_some())
    }

    fn is_checkpoint_due(&self) -> bool {
        self.clock.elapsed().saturating_sub(self.written) > CHECKPOINT_EVERY
    }

    /// Checks the clock and the shutdown; returns `false` if the replay is to stop. The last message was
    /// due at `time_nanos`.
    async fn check_clock(
        &mut self,
        playback_clock: Option<&mut PlaybackClock>,
        time_nanos: i64,
        work: &Work,
    ) -> Result<bool> {
        // Lets other tasks of this thread run; a target that never waits would not.
        tokio::task::yield_now().await;
        let lag = playback_clock
            .map(|playback_clock| playback_clock.lag(time_nanos, self.clock.elapsed()));
        self.show(lag, work);
        if self.is_checkpoint_due() {
            self.record_checkpoint().await?;
            tracing::debug!(messages = self.report.messages, ?lag, "replaying");
        }
        self.report.interrupted = self.shutdown.is_cancelled();
        Ok(!self.report.interrupted)
    }

    /// Reports the progress and the lag.
    fn show(&mut self, lag: Option<Duration>, work: &Work) {
        work.add(std::mem::take(&mut self.unseen), 0);
        if let Some((_, last)) = self.span {
            work.say(reached(last, lag));
        }
    }

    async fn send(&mut self, slice: &Slice, row: RowRef, key: StreamKey) -> Result<()> {
        let (batch, at) = (&slice.batches[row.batch as usize], row.row as usize);
        let event_nanos = batch.event_nanos(at);
        if self.target.takes_rows() {
            self.target.send_row(key.stream, batch.batch(), at).await?;
        } else {
            self.write(batch, at, event_nanos, key);
            let message = self.buffers.message(key)?;
            if !self.target.send_at_once(message)? {
                self.target.send(message).await?;
            }
            self.report.payload_bytes += self.buffers.payload_bytes();
        }
        self.report.messages += 1;
        self.sent_count[key.stream] += 1;
        self.sent = Some(key);
        let (first, last) = self.span.unwrap_or((event_nanos, event_nanos));
        self.span = Some((first.min(event_nanos), last.max(event_nanos)));
        Ok(())
    }

    /// Writes a row as a message into the buffers.
    fn write(&mut self, batch: &BoundBatch, row: usize, event_nanos: i64, key: StreamKey) {
        let shift_secs = match self.shift_secs {
            Some(shift) => shift,
            None => {
                let shift = if self.options.shift_to_now {
                    Timestamp::now().as_second() - event_nanos.div_euclid(1_000_000_000)
                } else {
                    0
                };
                *self.shift_secs.insert(shift)
            }
        };
        let ids = Ids {
            wanted: self.wants_id,
            message_id: self.options.message_id,
            pass: self.pass,
        };
        self.buffers.write(batch, row, shift_secs, key, ids);
    }

    /// Writes the checkpoint: the position up to which the target has everything.
    async fn record_checkpoint(&mut self) -> Result<()> {
        self.written = self.clock.elapsed();
        let Some(path) = &self.options.checkpoint else {
            return Ok(());
        };
        let settled = self.target.settle(self.sent).await?;
        let Some(key) = settled.key else {
            return Ok(());
        };
        let place = Checkpoint {
            selection: self.selected.clone(),
            dataset: self.datasets[key.stream].name.to_string(),
            time_nanos: key.row.rank,
            epoch: key.row.epoch,
            seq: key.row.seq,
            pass: self.pass,
            shift_secs: self.shift_secs.unwrap_or(0),
            file_bytes: settled.file_bytes,
        };
        place.write(path)
    }

    /// Waits until the target has all that was sent, so that no position of this pass is mistaken for one
    /// of the next.
    async fn end_pass(&mut self) -> Result<()> {
        self.target.drain().await?;
        if self.sent.is_some() {
            self.record_checkpoint().await?;
        }
        self.sent = None;
        self.target.forget();
        Ok(())
    }

    fn finish(mut self) -> ReplayReport {
        let names = self.datasets.iter().map(|d| d.name.to_string());
        let counts: BTreeMap<String, u64> =
            names.zip(self.sent_count).filter(|(_, n)| *n > 0).collect();
        self.report.by_dataset = counts;
        self.report.duplicates = self.target.duplicates();
        self.report.seconds = self.clock.elapsed().as_secs_f64();
        self.report.span = self
            .span
            .and_then(|(first, last)| Some((time(first)?, time(last)?)));
        let r = &self.report;
        tracing::info!(
            messages = r.messages, duplicates = r.duplicates, bytes_read = r.bytes_read, of = r.archive_bytes,
            skipped = r.skipped.len(), interrupted = r.interrupted, duration = ?self.clock.elapsed(), "replayed"
        );
        self.report
    }
}

//! One dataset's ingest: life after life, each of them fetch → decode → land.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::session::budget::Share;
use crate::session::context::DatasetIngest;
use crate::session::end::{SessionEnd, Uncertainty};
use crate::session::limits::FlushLimits;
use crate::session::state::Session;
use crate::source::delivery::Delivery;
use crate::source::delivery_tracker::Admission;
use crate::source::stream;
use crate::writer::insert_gate::superseded;
use crate::writer::sink::LAST_FLUSH;
use mpsync_core::error::{Cause, Error, Result};
use mpsync_core::retry::Backoff;

/// How often a life looks whether the connection was renewed, and, where it drains, whether it has come to the end.
const LOOK: Duration = Duration::from_millis(100);
/// Every how many looks it asks the server whether deliveries went elsewhere or the stream dropped something.
const LOOKS_PER_QUESTION: u32 = 20;
/// Every how many questions it looks whether a newer life began, which an idle one would not notice.
const QUESTIONS_PER_GATE: u32 = 5;

impl DatasetIngest {
    /// Ingests until everything is drained, the process is to end, or something cannot be helped.
    pub(crate) async fn run(self) -> Result<()> {
        let mut last_token = None;
        let mut failed = 0;
        let sessions_before = self.stats.sessions.get();
        loop {
            let landed_before = self.stats.batches.get();
            let ended = match self.live(&mut last_token).await {
                Ok(()) => return Ok(()),
                Err(ended) => ended,
            };
            // A life that landed something ended for a reason of its own.
            let progressed = self.stats.batches.get() > landed_before;
            failed = if progressed { 1 } else { failed + 1 };
            let pause = Backoff::DAEMON.pause(failed, rand::random());
            match ended {
                SessionEnd::Failed(e) => {
                    let has_begun = self.stats.sessions.get() > sessions_before;
                    if !has_begun || self.drain_to.is_some() || is_final(&e) {
                        return Err(e.context(format!("ingesting {}", self.dataset.name)));
                    }
                    // The other datasets go on, and this one when somebody has helped it.
                    tracing::error!(
                        dataset = %self.dataset.name, error = %e, ?pause,
                        "this dataset is stalled: its messages wait in the stream; will try again"
                    );
                    self.stats.stalled(Some(&e));
                }
                SessionEnd::Uncertain(uncertainty) => {
                    if self.gave_up().await {
                        return Err(Error::nats("the connection was lost and could not be made again").with_hint(
                            "nats.max_reconnect_attempts says how often it is tried; nothing was lost, the next start goes on",
                        ));
                    }
                    self.stats.doubts.add(1);
                    tracing::warn!(dataset = %self.dataset.name, reason = %uncertainty, ?pause, "session ended with an unknown outcome; beginning a new session");
                }
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One life.
    async fn live(&self, last_token: &mut Option<u64>) -> Result<(), SessionEnd> {
        let begun = tokio::select! {
            begun = self.begin(last_token) => begun,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let mut session = begun?;
        self.stats.sessions.add(1);
        self.stats.stalled(None);
        let ended = self.ingest(&mut session).await;
        self.count_decoded(&mut session);
        if ended.is_ok()
            && let Err(e) = session.sink.gate.close().await
        {
            tracing::warn!(dataset = %self.dataset.name, error = %e, "the door is left behind; the next start shuts it");
        }
        ended
    }

    /// The loop of a life. Returns when it ended in order.
    async fn ingest(&self, session: &mut Session) -> Result<(), SessionEnd> {
        let mut landing: Option<AbortOnDropHandle<Result<(), SessionEnd>>> = None;
        let mut waiting: Option<BoxFuture<'static, Share>> = None;
        let mut look = interval(LOOK);
        let mut looks = 0_u32;
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let limits = self.limits.now();
            let full = session.pending.is_full(&limits);
            if landing.is_none()
                && session
                    .pending
                    .is_due(&limits, Instant::now(), waiting.is_some())
            {
                landing = Some(launch(session)?);
                continue;
            }
            if !full
                && waiting.is_none()
                && let Some(bytes) = session.source.next_request()
            {
                match self.budget.try_acquire(bytes) {
                    Some(share) => session.source.request(share).await?,
                    None => waiting = Some(self.budget.acquire(bytes)),
                }
                continue;
            }
            let due_at = session.pending.since.map(|since| since + limits.age);
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return self.finish(session, landing).await,
                landed = joined(&mut landing), if landing.is_some() => {
                    landing = None;
                    landed?;
                    session.order.landed();
                }
                share = granted(&mut waiting), if waiting.is_some() => {
                    waiting = None;
                    session.source.request(share).await?;
                }
                ready = session.source.wait_ready(), if !full => {
                    ready.ok_or(Uncertainty::ConnectionClosed)?;
                    self.accept_messages(session, &limits)?;
                }
                () = sleep_until(due_at), if due_at.is_some() && landing.is_none() => {}
                _ = look.tick() => {
                    self.check_connection(session)?;
                    session.source.forget_expired(Instant::now());
                    looks = looks.wrapping_add(1);
                    let settled = landing.is_none() && session.pending.is_empty();
                    let question = looks.is_multiple_of(LOOKS_PER_QUESTION);
                    if (question || (settled && self.drain_to.is_some())) && self.ask(session, settled).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Counts what the decoder has seen since it was counted last.
    fn count_decoded(&self, session: &mut Session) {
        let now = session.pending.decoder.counters();
        self.stats.decoded(&now, &session.counted);
        session.counted = now;
    }

    /// Takes what has come into the hand, until that is full.
    fn accept_messages(
        &self,
        session: &mut Session,
        limits: &FlushLimits,
    ) -> Result<(), SessionEnd> {
        // A server that was killed may have forgotten that this life set the consumer back: over the new connection it goes
        // on behind messages that never came, under the very numbers that are expected. The client counts a connection
        // before anything comes over it, so that asking after the messages are here is in time.
        self.check_connection(session)?;
        let now = Instant::now();
        while !session.pending.is_full(limits)
            && let Some(message) = session.source.pop()
        {
            if let Some(status) = message.status.filter(|s| *s != async_nats::StatusCode::OK) {
                session.source.status(status, &message)?;
                continue;
            }
            let delivery = message
                .reply
                .as_deref()
                .and_then(Delivery::parse)
                .ok_or(Uncertainty::UnreadableReply)?;
            session
                .source
                .account(message.length, &mut session.pending.share);
            self.stats.messages.add(1);
            self.stats.bytes.add(message.length as u64);
            self.stats.lag.set(delivery.pending);
            match session.order.admit(&delivery)? {
                Admission::New => {
                    let position = session.history.position(delivery.seq);
                    if session.held.contains(delivery.seq) {
                        self.stats.already_held.add(1);
                    } else {
                        session.pending.accept(&message, &delivery, position)?;
                    }
                    session.pending.add_ack(message, &delivery, now);
                }
                Admission::InFlight => self.stats.redelivered.add(1),
                Admission::Settled => {
                    self.stats.redelivered.add(1);
                    session.pending.add_ack(message, &delivery, now);
                }
            }
        }
        Ok(())
    }

    /// A life ends with the connection on which it began.
    fn check_connection(&self, session: &Session) -> Result<(), SessionEnd> {
        if self.connects() == session.connects {
            Ok(())
        } else {
            Err(Uncertainty::ConnectionRenewed.into())
        }
    }

    /// Asks the server how things stand. `true`: everything that was to be drained is settled.
    async fn ask(&self, session: &mut Session, settled: bool) -> Result<bool, SessionEnd> {
        if session.asked.is_multiple_of(QUESTIONS_PER_GATE)
            && let Some(newest) = session.sink.gate.newest().await?
            && newest > session.sink.gate.fencing_token()
        {
            let mine = session.sink.gate.fencing_token();
            return Err(SessionEnd::Failed(superseded(
                self.dataset.name.as_str(),
                mine,
                newest,
            )));
        }
        session.asked = session.asked.wrapping_add(1);
        self.count_decoded(session);
        let Ok(info) = session.durable.consumer.get_info().await else {
            // The connection's own events say when it is gone.
            return Ok(false);
        };
        let facts = stream::facts(&self.stream).await?;
        let delivered = info.delivered.consumer_sequence;
        let behind = session.order.misses(delivered);
        session.order.forget(info.ack_floor.stream_sequence);
        if behind && session.delivered == delivered && !session.pending.is_full(&self.limits.now())
        {
            return Err(Uncertainty::DeliveredElsewhere.into());
        }
        session.delivered = delivered;
        self.stats.lag.set(info.num_pending);
        if info.num_pending == 0 && !behind {
            session.contiguous_up_to = session.contiguous_up_to.max(facts.last_seq);
        } else {
            let contiguous_up_to = session.contiguous_up_to.max(session.pending.last_seq);
            self.report_gap(contiguous_up_to, &facts);
            session.contiguous_up_to = contiguous_up_to.max(facts.first_seq.saturating_sub(1));
        }
        let Some(to) = self.drain_to else {
            return Ok(false);
        };
        let through = info.ack_floor.stream_sequence >= to
            || (info.num_pending == 0 && info.num_ack_pending == 0);
        Ok(settled && through)
    }

    /// Lands what is in the hand and on its way, then ends. What takes too long is left to the next life.
    async fn finish(
        &self,
        session: &mut Session,
        landing: Option<AbortOnDropHandle<Result<(), SessionEnd>>>,
    ) -> Result<(), SessionEnd> {
        let last = async {
            if let Some(landing) = landing {
                landed(landing.await)?;
            }
            if !session.pending.is_empty() {
                landed(launch(session)?.await)?;
            }
            Ok(())
        };
        match tokio::time::timeout(LAST_FLUSH, last).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SessionEnd::Uncertain(uncertainty))) => {
                tracing::warn!(dataset = %self.dataset.name, reason = %uncertainty, "the outcome of the last batch is unknown; the next start asks hot");
                Ok(())
            }
            Ok(Err(failed)) => Err(failed),
            Err(_) => {
                tracing::warn!(dataset = %self.dataset.name, "the last batch did not land in time; the next start does it");
                Ok(())
            }
        }
    }

    /// Whether the client has given up reconnecting: then it takes no commands any more, connected or not.
    async fn gave_up(&self) -> bool {
        let inbox = self.client.new_inbox();
        self.client.subscribe(inbox).await.is_err()
    }
}

/// Whether trying again cannot help: somebody else ingests the dataset now.
fn is_final(e: &Error) -> bool {
    matches!(e.cause(), Cause::Busy(_))
}

/// Sends the hand on its way into hot, as a task of its own, so that the next one is filled meanwhile.
fn launch(session: &mut Session) -> Result<AbortOnDropHandle<Result<(), SessionEnd>>> {
    let batch = session.pending.batch(session.durable.mode())?;
    session.order.launched();
    let sink = session.sink.clone();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        sink.land(batch).await
    })))
}

async fn joined(
    landing: &mut Option<AbortOnDropHandle<Result<(), SessionEnd>>>,
) -> Result<(), SessionEnd> {
    match landing {
        Some(task) => landed(Pin::new(task).await),
        None => std::future::pending().await,
    }
}

fn landed(
    joined: Result<Result<(), SessionEnd>, tokio::task::JoinError>,
) -> Result<(), SessionEnd> {
    match joined {
        Ok(ended) => ended,
        Err(e) => Err(Uncertainty::InsertAborted(e).into()),
    }
}

async fn granted(waiting: &mut Option<BoxFuture<'static, Share>>) -> Share {
    match waiting {
        Some(share) => share.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

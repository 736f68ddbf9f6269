//! Standing by for another daemon that ingests the dataset.
//!
//! A session that was superseded does not end its daemon: it watches the session that took over, and takes over again when
//! that one shows no life. A live session answers requests on a subject of its own. Sessions without the right to subscribe
//! there, or of older versions, show life by the pull requests, deliveries and acknowledgements of their consumer.
//!
//! Taking over is safe at any moment, because a new session fences the one before; these rules only keep two daemons from
//! superseding each other while both work.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, jetstream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::session::context::DatasetIngest;
use crate::source::consumers::consumer_name;
use mpsync_core::error::{Context as _, Error, Result};

/// How often a standby looks at the other session.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer of the other session may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Looks at an absent session before a takeover.
const ABSENT_LOOKS: u32 = 2;
/// Looks at a silent session before a takeover, each of which waits [`ANSWER_TIMEOUT`].
const SILENT_LOOKS: u32 = 10;
/// How often `run --drain` looks before it starts beside a session that has just ended.
const DRAIN_LOOKS: u32 = 12;
const DRAIN_INTERVAL: Duration = Duration::from_millis(250);

/// How a session responded to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Response {
    /// It answered.
    Alive,
    /// The server knows no subscriber of its subject.
    Absent,
    /// There was no answer: it is frozen or unreachable, or this client lacks the right to ask.
    Silent,
}

/// The progress of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    delivered: u64,
    floor: u64,
    /// Pull requests that wait for messages; those of lost connections are not counted by the server.
    waiting: usize,
}

impl Progress {
    fn of(info: &jetstream::consumer::Info) -> Self {
        Self {
            delivered: info.delivered.consumer_sequence,
            floor: info.ack_floor.stream_sequence,
            waiting: info.num_waiting,
        }
    }
}

/// Decides when the other session shows no life.
#[derive(Debug, Default)]
struct Watch {
    last: Option<Progress>,
    absent: u32,
    silent: u32,
}

impl Watch {
    /// Adds one look. Returns whether the other session shows no life. `progress` is `None` if there is no consumer.
    fn add(&mut self, response: Response, progress: Option<Progress>) -> bool {
        let moved = progress.is_some_and(|now| now.waiting > 0) || progress != self.last;
        self.last = progress;
        if response == Response::Alive || moved {
            (self.absent, self.silent) = (0, 0);
            return false;
        }
        match response {
            Response::Absent => self.absent += 1,
            _ => self.silent += 1,
        }
        self.absent >= ABSENT_LOOKS || self.absent + self.silent >= SILENT_LOOKS
    }
}

/// Answers requests for signs of life as long as the handle exists.
pub(crate) async fn answer_requests(
    client: &Client,
    stream: &str,
    consumer: &str,
    token: u64,
) -> Result<AbortOnDropHandle<()>> {
    let mut requests = client
        .subscribe(subject(stream, consumer))
        .await
        .map_err(Error::nats)
        .context(|| "subscribing for signs of life")?;
    let client = client.clone();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                let _ = client.publish(reply, token.to_string().into()).await;
            }
        }
    })))
}

/// The subject on which a session answers.
fn subject(stream: &str, consumer: &str) -> String {
    format!("mpsync.session.{stream}.{consumer}")
}

async fn request(client: &Client, stream: &str, consumer: &str) -> Response {
    let answer = client.request(subject(stream, consumer), Bytes::new());
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(_)) => Response::Alive,
        Ok(Err(e)) if e.kind() == RequestErrorKind::NoResponders => Response::Absent,
        _ => Response::Silent,
    }
}

impl DatasetIngest {
    /// Waits until the session that took over shows no life. Returns early when shutdown is requested.
    pub(crate) async fn stand_by(&self) {
        self.stats.standing_by(true);
        let mut watch = Watch::default();
        while !self.shutdown.is_cancelled() {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            match self.look().await {
                Ok((response, progress)) => {
                    if watch.add(response, progress) {
                        tracing::warn!(dataset = %self.dataset.name, "the other session shows no life: taking over");
                        break;
                    }
                }
                Err(e) => {
                    tracing::debug!(dataset = %self.dataset.name, error = %e, "cannot look at the other session");
                }
            }
        }
        self.stats.standing_by(false);
    }

    /// Refuses to start beside a session of another daemon. One that has just ended may still have pull requests.
    ///
    /// # Errors
    ///
    /// [`Cause::Busy`](mpsync_core::error::Cause::Busy) if the session shows life.
    pub(crate) async fn check_alone(&self) -> Result<()> {
        for _ in 0..DRAIN_LOOKS {
            let (response, progress) = self.look().await?;
            if response != Response::Alive && progress.is_none_or(|p| p.waiting == 0) {
                return Ok(());
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
        Err(Error::busy(format!(
            "another daemon ingests {}",
            self.dataset.name
        ))
        .with_hint(
            "wait until its lag is 0 (`mpsync health`), or stop that daemon first; `run --drain` is for when none runs",
        ))
    }

    async fn look(&self) -> Result<(Response, Option<Progress>)> {
        let consumer = consumer_name(&self.dataset, self.shard.as_deref());
        let stream = self.stream.cached_info().config.name.clone();
        let response = request(&self.client, &stream, &consumer).await;
        let progress = match self.stream.consumer_info(&consumer).await {
            Ok(info) => Some(Progress::of(&info)),
            Err(e) if crate::source::durable::is_missing_consumer(&e) => None,
            Err(e) => return Err(Error::nats(e)),
        };
        Ok((response, progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Progress = Progress {
        delivered: 7,
        floor: 5,
        waiting: 0,
    };

    fn looks_until_takeover(response: Response) -> Option<usize> {
        let mut watch = Watch::default();
        (1..100).find(|_| watch.add(response, Some(IDLE)))
    }

    #[test]
    fn absent_session_is_replaced_soon_and_a_silent_one_later() {
        assert_eq!(looks_until_takeover(Response::Absent), Some(3));
        assert_eq!(looks_until_takeover(Response::Silent), Some(11));
        assert_eq!(looks_until_takeover(Response::Alive), None);
    }

    #[test]
    fn progress_of_the_consumer_is_a_sign_of_life() {
        let mut watch = Watch::default();
        for delivered in 0..100 {
            let progress = Progress { delivered, ..IDLE };
            assert!(!watch.add(Response::Absent, Some(progress)));
        }
        let waiting = Progress { waiting: 1, ..IDLE };
        for _ in 0..100 {
            assert!(!watch.add(Response::Silent, Some(waiting)));
        }
    }

    #[test]
    fn missing_consumer_has_no_session() {
        let mut watch = Watch::default();
        assert!(!watch.add(Response::Absent, None));
        assert!(watch.add(Response::Absent, None));
    }
}

//! Questions to places that may be slow or dead: a few at a time, each within a time, the same one only once at a time.
//!
//! What was begun runs to its end in a task of its own, whoever goes away, and keeps its permit until then: a mount that hangs holds
//! as many threads as there are permits and no more, and who asks gets 503 in good time. An answer stands for ten times as long as
//! it took, so that however many ask, one question keeps its place busy for a tenth of the time at most.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::problem::Problem;
use super::state::lock;

/// How long who asks waits: the page gives up after eight seconds.
const PATIENCE: Duration = Duration::from_secs(6);
/// Questions that are worked on at a time.
const AT_A_TIME: usize = 8;
/// Different questions that are known at a time.
const QUESTIONS_MAX: usize = 64;
/// How long an answer stands, by how long it took, and at most.
const STANDS_TIMES: u32 = 10;
const STANDS_MAX: Duration = Duration::from_mins(1);
/// How long a refusal stands at most: what was unwell may be well again.
const REFUSAL_STANDS_MAX: Duration = Duration::from_secs(2);

/// The questions to one place.
#[derive(Debug)]
pub(super) struct CoalescingCache {
    /// The place, for people: `the archive`.
    place: &'static str,
    patience: Duration,
    permits: Arc<Semaphore>,
    asked: Arc<Mutex<HashMap<String, PendingAnswer>>>,
}

/// What a question came to, once it has; its sender is gone where the work broke down.
type PendingAnswer = watch::Receiver<Option<CachedAnswer>>;

#[derive(Debug, Clone)]
struct CachedAnswer {
    answer: Result<Bytes, Problem>,
    until: Instant,
}

impl CoalescingCache {
    pub(super) fn of(place: &'static str) -> Self {
        Self {
            place,
            patience: PATIENCE,
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
            asked: Arc::default(),
        }
    }

    /// The answer to a question as JSON: one that still stands, or what `work` comes to. Questions of the same name are the same.
    ///
    /// Cancel-safe: the work goes on for who asks next.
    pub(super) async fn ask<T: Serialize>(
        &self,
        question: String,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<Response, Problem> {
        let mut asked = self.asked(question, work)?;
        let kept = match tokio::time::timeout(self.patience, asked.wait_for(Option::is_some)).await
        {
            Ok(Ok(kept)) => kept.clone(),
            Ok(Err(_)) => None,
            Err(_) => {
                return Err(self
                    .slow()
                    .with_hint("the question goes on in the background: ask again"));
            }
        };
        let json = kept.ok_or_else(|| self.broke())?.answer?;
        Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
    }

    /// Does something that changes the place, then forgets what was asked before.
    ///
    /// Not cancelled by who goes away: what has begun is done.
    pub(super) async fn act<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let acting = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let asked = Arc::clone(&self.asked);
            let context = tokio::spawn(async move {
                let done = work.await;
                lock(&asked).clear();
                drop(permit);
                done
            });
            context.await.map_err(|_| self.broke())?
        };
        let done = tokio::time::timeout(self.patience, acting).await;
        done.map_err(|_| {
            self.slow()
                .with_hint("it may take effect all the same: look at the task")
        })?
    }

    /// Where the answer to a question will be, or is.
    fn asked<T: Serialize>(
        &self,
        question: String,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<PendingAnswer, Problem> {
        let mut all = lock(&self.asked);
        if let Some(asked) = all.get(&question).filter(|asked| stands(asked)) {
            return Ok(asked.clone());
        }
        if all.len() >= QUESTIONS_MAX {
            all.retain(|_, asked| stands(asked));
        }
        if all.len() >= QUESTIONS_MAX {
            all.retain(|_, asked| asked.borrow().is_none());
        }
        if all.len() >= QUESTIONS_MAX {
            return Err(self.slow().with_hint("too many questions wait already"));
        }
        let (answered, asked) = watch::channel(None);
        all.insert(question, asked.clone());
        drop(all);
        let permits = Arc::clone(&self.permits);
        tokio::spawn(async move {
            let permit = permits.acquire_owned().await;
            let began = Instant::now();
            let answer = work.await.and_then(|answer| json(&answer));
            drop(permit);
            let most = match &answer {
                Ok(_) => STANDS_MAX,
                Err(_) => REFUSAL_STANDS_MAX,
            };
            let until = Instant::now() + (began.elapsed() * STANDS_TIMES).min(most);
            // Nobody may wait any more.
            let _ = answered.send(Some(CachedAnswer { answer, until }));
        });
        Ok(asked)
    }

    fn slow(&self) -> Problem {
        Problem::unavailable(format!(
            "{} has not answered within {} s",
            self.place,
            self.patience.as_secs_f64()
        ))
    }

    fn broke(&self) -> Problem {
        Problem::unavailable(format!("asking {} broke down", self.place))
            .with_hint("the log says more")
    }
}

/// Whether it is worked on, or its answer still counts.
fn stands(asked: &PendingAnswer) -> bool {
    match &*asked.borrow() {
        Some(kept) => Instant::now() < kept.until,
        None => asked.has_changed().is_ok(),
    }
}

fn json(answer: &impl Serialize) -> Result<Bytes, Problem> {
    serde_json::to_vec(answer)
        .map(Bytes::from)
        .map_err(|e| Problem::unavailable(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::StatusCode;
    use tokio::sync::Notify;

    use super::*;

    fn answers() -> CoalescingCache {
        CoalescingCache {
            patience: Duration::from_millis(20),
            ..CoalescingCache::of("the place")
        }
    }

    fn status(answer: Result<Response, Problem>) -> StatusCode {
        answer.into_response().status()
    }

    #[tokio::test]
    async fn a_place_that_hangs_costs_one_piece_of_work_and_answers_late() {
        let (answers, begun, go) = (
            answers(),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(Notify::new()),
        );
        let work = || {
            let (begun, go) = (begun.clone(), go.clone());
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Ok("late")
            }
        };
        for _ in 0..3 {
            let answer = answers.ask("same".into(), work()).await;
            assert_eq!(status(answer), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        go.notify_one();
        let patient = CoalescingCache {
            patience: Duration::from_mins(1),
            ..answers
        };
        let answer = patient.ask("same".into(), work()).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        assert_eq!(&body[..], b"\"late\"");
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn more_questions_than_permits_wait_and_more_than_are_known_are_refused() {
        let answers = answers();
        let never = || std::future::pending::<Result<(), Problem>>();
        for n in 0..QUESTIONS_MAX {
            answers.asked(n.to_string(), never()).unwrap();
        }
        assert!(answers.asked("one more".into(), never()).is_err());
        tokio::task::yield_now().await;
        assert_eq!(answers.permits.available_permits(), 0);
        // What changes something waits for a permit, and is not begun after it was refused.
        let acted = answers.act(async { Ok(()) }).await;
        assert_eq!(
            acted.unwrap_err().into_response().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }

    #[tokio::test]
    async fn work_that_breaks_down_is_refused_and_begun_anew() {
        let answers = CoalescingCache::of("the place");
        let broken = async { panic!("a broken work") };
        assert_eq!(
            status(answers.ask::<()>("q".into(), broken).await),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(
            status(answers.ask("q".into(), async { Ok(1) }).await),
            StatusCode::OK
        );
    }

    #[tokio::test]
    async fn what_was_asked_before_a_change_is_asked_again() {
        let answers = CoalescingCache::of("the place");
        let (answered, kept) = watch::channel(Some(CachedAnswer {
            answer: Ok(Bytes::from_static(b"1")),
            until: Instant::now() + STANDS_MAX,
        }));
        lock(&answers.asked).insert("q".into(), kept);
        let text = async |answer: Result<Response, Problem>| {
            axum::body::to_bytes(answer.unwrap().into_body(), 100)
                .await
                .unwrap()
        };
        assert_eq!(
            &text(answers.ask("q".into(), async { Ok(2) }).await).await[..],
            b"1"
        );
        answers.act(async { Ok(()) }).await.unwrap();
        assert_eq!(
            &text(answers.ask("q".into(), async { Ok(2) }).await).await[..],
            b"2"
        );
        drop(answered);
    }
}

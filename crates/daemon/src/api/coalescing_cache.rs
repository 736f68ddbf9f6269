//! Requests to stores that may be slow or unavailable: few at a time, each with a time limit, and identical ones coalesced.
//!
//! Work that has begun runs to its end in a task of its own, even if the client disconnects, and keeps its permit until then: a
//! hanging mount blocks at most as many threads as there are permits, and clients get 503 in time. A response is cached for ten
//! times as long as it took, so that one question keeps its store busy at most a tenth of the time, however many clients ask it.

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
use crate::state::lock::lock;

/// How long a client waits: the page gives up after eight seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// The number of questions in progress at a time.
const CONCURRENT_MAX: usize = 8;
/// The number of different questions that are cached or in progress.
const QUESTIONS_MAX: usize = 64;
/// How long an answer is cached, as a multiple of its duration, and at most.
const CACHED_TIMES: u32 = 10;
const CACHED_MAX: Duration = Duration::from_mins(1);
/// How long a refusal is cached at most: the store may have recovered.
const REFUSAL_CACHED_MAX: Duration = Duration::from_secs(2);

/// The questions to one store.
#[derive(Debug)]
pub(crate) struct CoalescingCache {
    /// The display name of the store: `the archive`.
    store: &'static str,
    timeout: Duration,
    permits: Arc<Semaphore>,
    asked: Arc<Mutex<HashMap<String, PendingAnswer>>>,
}

/// The answer to a question, once there is one; its sender is dropped if the work panicked.
type PendingAnswer = watch::Receiver<Option<CachedAnswer>>;

#[derive(Debug, Clone)]
struct CachedAnswer {
    answer: Result<Bytes, Problem>,
    until: Instant,
}

impl CoalescingCache {
    /// Returns an empty cache for a store.
    pub(crate) fn of(store: &'static str) -> Self {
        Self {
            store,
            timeout: ANSWER_TIMEOUT,
            permits: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            asked: Arc::default(),
        }
    }

    /// Returns the answer to a question as JSON: a cached one, or the result of `work`. Questions with the same text are identical.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the work continues for the next client.
    pub(crate) async fn ask<T: Serialize>(
        &self,
        question: String,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<Response, Problem> {
        let mut asked = self.asked(question, work)?;
        let cached = match tokio::time::timeout(self.timeout, asked.wait_for(Option::is_some)).await
        {
            Ok(Ok(cached)) => cached.clone(),
            Ok(Err(_)) => None,
            Err(_) => {
                return Err(self
                    .slow()
                    .with_hint("the request continues in the background: send it again"));
            }
        };
        let json = cached.ok_or_else(|| self.failed())?.answer?;
        Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
    }

    /// Changes the store, then clears the cache.
    ///
    /// # Cancel safety
    ///
    /// Work that has begun continues if the future is dropped.
    pub(crate) async fn act<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let acting = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let asked = Arc::clone(&self.asked);
            let task = tokio::spawn(async move {
                let done = work.await;
                lock(&asked).clear();
                drop(permit);
                done
            });
            task.await.map_err(|_| self.failed())?
        };
        let done = tokio::time::timeout(self.timeout, acting).await;
        done.map_err(|_| {
            self.slow()
                .with_hint("it may still take effect: check the task")
        })?
    }

    /// Returns a receiver of the answer to a question.
    fn asked<T: Serialize>(
        &self,
        question: String,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<PendingAnswer, Problem> {
        let mut all = lock(&self.asked);
        if let Some(asked) = all.get(&question).filter(|asked| is_valid(asked)) {
            return Ok(asked.clone());
        }
        if all.len() >= QUESTIONS_MAX {
            all.retain(|_, asked| is_valid(asked));
        }
        if all.len() >= QUESTIONS_MAX {
            all.retain(|_, asked| asked.borrow().is_none());
        }
        if all.len() >= QUESTIONS_MAX {
            return Err(self.slow().with_hint("too many requests are waiting"));
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
                Ok(_) => CACHED_MAX,
                Err(_) => REFUSAL_CACHED_MAX,
            };
            let until = Instant::now() + (began.elapsed() * CACHED_TIMES).min(most);
            // All clients may have disconnected.
            let _ = answered.send(Some(CachedAnswer { answer, until }));
        });
        Ok(asked)
    }

    fn slow(&self) -> Problem {
        Problem::unavailable(format!(
            "{} has not answered within {} s",
            self.store,
            self.timeout.as_secs_f64()
        ))
    }

    fn failed(&self) -> Problem {
        Problem::unavailable(format!("the request to {} failed", self.store))
            .with_hint("see the log")
    }
}

/// Returns whether the question is in progress, or its answer is still valid.
fn is_valid(asked: &PendingAnswer) -> bool {
    match &*asked.borrow() {
        Some(cached) => Instant::now() < cached.until,
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

    fn cache() -> CoalescingCache {
        CoalescingCache {
            timeout: Duration::from_millis(20),
            ..CoalescingCache::of("the store")
        }
    }

    fn status(answer: Result<Response, Problem>) -> StatusCode {
        answer.into_response().status()
    }

    #[tokio::test]
    async fn a_hanging_store_costs_one_task_and_answers_late() {
        let (answers, begun, go) = (
            cache(),
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
            timeout: Duration::from_mins(1),
            ..answers
        };
        let answer = patient.ask("same".into(), work()).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        assert_eq!(&body[..], b"\"late\"");
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn questions_beyond_the_limits_wait_or_are_refused() {
        let answers = cache();
        let never = || std::future::pending::<Result<(), Problem>>();
        for n in 0..QUESTIONS_MAX {
            answers.asked(n.to_string(), never()).unwrap();
        }
        assert!(answers.asked("one more".into(), never()).is_err());
        tokio::task::yield_now().await;
        assert_eq!(answers.permits.available_permits(), 0);
        // A change waits for a permit, and does not begin after its refusal.
        let acted = answers.act(async { Ok(()) }).await;
        assert_eq!(
            acted.unwrap_err().into_response().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }

    #[tokio::test]
    async fn panicking_work_is_refused_and_retried() {
        let answers = CoalescingCache::of("the store");
        let broken = async { panic!("a bug") };
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
    async fn a_change_clears_the_cache() {
        let answers = CoalescingCache::of("the store");
        let (answered, kept) = watch::channel(Some(CachedAnswer {
            answer: Ok(Bytes::from_static(b"1")),
            until: Instant::now() + CACHED_MAX,
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

//! The open connections of a server: their number is limited, and a new connection can replace an idle one.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// The open connections of a server. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct OpenConnections {
    limit: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    next_id: u64,
    open: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    activity: Activity,
    /// Dropped to evict the connection.
    _evict: oneshot::Sender<()>,
}

impl OpenConnections {
    /// Returns an empty table; `None` for no limit.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self {
            limit: limit.unwrap_or(usize::MAX),
            table: Arc::default(),
        }
    }

    /// Returns a slot for a new connection. If all are taken, evicts the connection that has been idle the longest; returns
    /// `None` if all connections serve a request.
    pub(crate) fn admit(&self) -> Option<Slot> {
        let mut table = lock(&self.table);
        if table.open.len() >= self.limit {
            let idle = table.open.iter();
            let idle = idle.filter_map(|(id, entry)| Some((entry.activity.idle_since()?, *id)));
            let (_, id) = idle.min()?;
            table.open.remove(&id);
        }
        let id = table.next_id;
        table.next_id += 1;
        let (evict, evicted) = oneshot::channel();
        let activity = Activity::default();
        let entry = Entry {
            activity: activity.clone(),
            _evict: evict,
        };
        table.open.insert(id, entry);
        Some(Slot {
            id,
            activity,
            evicted,
            table: Arc::clone(&self.table),
        })
    }
}

/// The slot of an open connection, which becomes free when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    id: u64,
    activity: Activity,
    evicted: oneshot::Receiver<()>,
    table: Arc<Mutex<Table>>,
}

impl Slot {
    /// Returns the activity of the connection.
    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Waits until the connection is evicted.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub(crate) async fn evicted(&mut self) {
        // The sender is dropped without a message.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.table).open.remove(&self.id);
    }
}

/// The requests in progress of a connection. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<ActivityState>>);

#[derive(Debug)]
struct ActivityState {
    requests: usize,
    idle_since: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(ActivityState {
            requests: 0,
            idle_since: Instant::now(),
        })))
    }
}

impl Activity {
    /// Records the beginning of a request, which ends when the guard is dropped.
    pub(crate) fn begin(&self) -> RequestGuard {
        lock(&self.0).requests += 1;
        RequestGuard(self.clone())
    }

    /// Returns the time since which there is no request; `None` if there is one.
    fn idle_since(&self) -> Option<Instant> {
        let state = lock(&self.0);
        (state.requests == 0).then_some(state.idle_since)
    }
}

/// A request in progress.
#[derive(Debug)]
pub(crate) struct RequestGuard(Activity);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        state.requests -= 1;
        state.idle_since = Instant::now();
    }
}

/// The body of a response: the request is in progress until it is sent.
#[derive(Debug)]
pub(crate) struct GuardedBody<B> {
    body: Pin<Box<B>>,
    _request: RequestGuard,
}

impl<B> GuardedBody<B> {
    /// Returns a body that keeps the guard until it is dropped.
    pub(crate) fn new(body: B, request: RequestGuard) -> Self {
        Self {
            body: Box::pin(body),
            _request: request,
        }
    }
}

impl<B: Body> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.body.as_mut().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves nothing inconsistent in it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_connection_replaces_the_one_that_is_idle_the_longest() {
        let open = OpenConnections::new(Some(3));
        let mut slots: Vec<Slot> = (0..3).filter_map(|_| open.admit()).collect();
        assert_eq!(slots.len(), 3);
        // The first one serves a request, the second one has just ended one.
        let request = slots[0].activity().begin();
        drop(slots[1].activity().begin());
        let fourth = open.admit().expect("admitted");
        slots[2].evicted().await;
        let fifth = open.admit().expect("admitted");
        slots[1].evicted().await;
        // All others serve a request.
        let (_a, _b) = (fourth.activity().begin(), fifth.activity().begin());
        assert!(open.admit().is_none());
        drop(request);
        let _sixth = open.admit().expect("admitted");
        slots[0].evicted().await;
    }

    #[test]
    fn a_dropped_slot_becomes_free() {
        let open = OpenConnections::new(Some(1));
        let slot = open.admit().expect("admitted");
        let _request = slot.activity().begin();
        assert!(open.admit().is_none());
        drop(slot);
        assert!(open.admit().is_some());
    }
}

//! The memory that all datasets together may use for messages in flight.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A message costs its bytes twice: as the delivered message or its columns, and as the body of the insert.
const COST_PER_BYTE: usize = 2;

/// A budget of bytes, shared by all datasets. Waiters are served in order.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    limit: usize,
}

/// Bytes acquired from a [`Budget`]; released when dropped.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    /// Returns a budget of this many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self {
            bytes: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    fn permits(&self, message_bytes: usize) -> u32 {
        let cost = message_bytes.saturating_mul(COST_PER_BYTE).min(self.limit);
        u32::try_from(cost).unwrap_or(u32::MAX)
    }

    /// Acquires the cost of messages of so many bytes if it is available.
    pub(crate) fn try_acquire(&self, message_bytes: usize) -> Option<Share> {
        let permits = self.permits(message_bytes);
        self.bytes
            .clone()
            .try_acquire_many_owned(permits)
            .ok()
            .map(|permit| Share(Some(permit)))
    }

    /// Acquires the cost of messages of so many bytes as soon as it is available. Keep the future to keep the place in the
    /// queue.
    pub(crate) fn acquire(&self, message_bytes: usize) -> BoxFuture<'static, Share> {
        let bytes = self.bytes.clone();
        let permits = self.permits(message_bytes);
        // The semaphore is never closed.
        Box::pin(async move { Share(bytes.acquire_many_owned(permits).await.ok()) })
    }
}

impl Share {
    /// Moves the cost of a message of so many bytes into another share, as far as this one has it.
    pub(crate) fn hand_over(&mut self, message_bytes: usize, to: &mut Self) {
        let Some(own) = &mut self.0 else { return };
        let cost = message_bytes
            .saturating_mul(COST_PER_BYTE)
            .min(own.num_permits());
        if let Some(part) = own.split(cost) {
            match &mut to.0 {
                Some(theirs) => theirs.merge(part),
                None => to.0 = Some(part),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn share_moves_to_the_batch_and_is_released_on_drop() {
        let budget = Budget::new(1000);
        let mut request = budget.try_acquire(400).unwrap();
        assert!(budget.try_acquire(200).is_none());
        let mut batch = Share::default();
        request.hand_over(100, &mut batch);
        request.hand_over(50, &mut batch);
        drop(request);
        assert!(budget.try_acquire(351).is_none());
        let rest = budget.acquire(350).await;
        assert!(budget.try_acquire(1).is_none());
        drop((batch, rest));
        // A message larger than the budget costs the whole budget: it must not wait for ever.
        assert!(budget.try_acquire(10_000).is_some());
    }
}

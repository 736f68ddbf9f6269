//! The memory that all datasets together may use for what is on its way.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A message costs its bytes twice: as what NATS delivered or the columns that it became, and as the body of the insert.
const COST_PER_BYTE: usize = 2;

/// Bytes, shared by all datasets. Whoever waits is served in order.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    bytes: Arc<Semaphore>,
    limit: usize,
}

/// Bytes that were taken from a [`Budget`]; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of this many bytes.
    pub(super) fn new(limit: usize) -> Self {
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

    /// Takes what messages of so many bytes cost, where it is there.
    pub(super) fn try_acquire(&self, message_bytes: usize) -> Option<Share> {
        let permits = self.permits(message_bytes);
        self.bytes
            .clone()
            .try_acquire_many_owned(permits)
            .ok()
            .map(|permit| Share(Some(permit)))
    }

    /// Takes what messages of so many bytes cost, as soon as it is there. Keep the future to keep the place in the queue.
    pub(super) fn acquire(&self, message_bytes: usize) -> BoxFuture<'static, Share> {
        let bytes = self.bytes.clone();
        let permits = self.permits(message_bytes);
        // The semaphore is never closed.
        Box::pin(async move { Share(bytes.acquire_many_owned(permits).await.ok()) })
    }
}

impl Share {
    /// Moves what a message of so many bytes costs into another share, as far as this one has it.
    pub(super) fn hand_over(&mut self, message_bytes: usize, to: &mut Self) {
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
    async fn a_share_moves_from_the_request_to_the_batch_and_comes_back_when_dropped() {
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
        // More than all there is costs all there is: one big message must not wait for ever.
        assert!(budget.try_acquire(10_000).is_some());
    }
}

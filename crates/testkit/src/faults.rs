//! A store that fails at a given call.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use tokio_util::sync::CancellationToken;

/// When a call of a [`FaultyStore`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Before it has any effect.
    Before,
    /// After it took effect: the answer is lost. A read ends after its first half.
    After,
    /// The same, and all later calls fail: the caller has ended.
    Last,
    /// Every write is accepted, whatever its conditions.
    Careless,
}

/// A store whose Nth call fails.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<FaultPlan>,
}

#[derive(Debug)]
struct FaultPlan {
    calls: AtomicU64,
    fails: u64,
    fault: StoreFault,
    failed: CancellationToken,
}

impl FaultyStore {
    /// Returns a store whose call number `fails` (from 1) fails.
    pub fn new(inner: Arc<dyn ObjectStore>, fails: u64, fault: StoreFault) -> Arc<Self> {
        let plan = Arc::new(FaultPlan {
            calls: AtomicU64::new(0),
            fails,
            fault,
            failed: CancellationToken::new(),
        });
        Arc::new(Self { inner, plan })
    }

    /// Returns whether the fault has occurred.
    pub fn has_failed(&self) -> bool {
        self.plan.calls.load(Ordering::SeqCst) >= self.plan.fails
    }

    /// Returns a token that is cancelled when the fault has occurred.
    pub fn failed(&self) -> CancellationToken {
        self.plan.failed.clone()
    }
}

impl FaultPlan {
    /// Counts a call; returns how it fails, if it does.
    fn count(&self) -> Option<StoreFault> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            StoreFault::Careless => None,
            StoreFault::Last if call > self.fails => Some(StoreFault::Before),
            fault => (call == self.fails).then_some(fault),
        }
    }

    fn error(&self) -> object_store::Error {
        self.failed.cancel();
        object_store::Error::Generic {
            store: "faulty",
            source: "injected".into(),
        }
    }

    async fn call<T>(
        &self,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        match self.count() {
            None => work.await,
            Some(StoreFault::Before) => Err(self.error()),
            Some(_) => {
                // Its result is known to the store alone.
                drop(work.await);
                Err(self.error())
            }
        }
    }

    /// Returns the first half of a read, and then an error.
    fn half<T: Send + 'static>(
        self: Arc<Self>,
        items: Vec<object_store::Result<T>>,
    ) -> BoxStream<'static, object_store::Result<T>> {
        let kept = items.len() / 2;
        let broken = stream::once(async move { Err(self.error()) });
        stream::iter(items.into_iter().take(kept))
            .chain(broken)
            .boxed()
    }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        if self.plan.fault == StoreFault::Careless {
            opts.mode = object_store::PutMode::Overwrite;
        }
        self.plan
            .call(self.inner.put_opts(location, payload, opts))
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let inner = self
            .plan
            .call(self.inner.put_multipart_opts(location, opts))
            .await?;
        Ok(Box::new(FaultyUpload {
            inner,
            plan: Arc::clone(&self.plan),
        }))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        let fault = self.plan.count();
        if fault == Some(StoreFault::Before) || fault.is_some() && options.head {
            return Err(self.plan.error());
        }
        let mut got = self.inner.get_opts(location, options).await;
        if fault.is_some() {
            let plan = Arc::clone(&self.plan);
            let Ok(result) = &mut got else {
                return Err(plan.error());
            };
            let nothing = GetResultPayload::Stream(stream::empty().boxed());
            let payload = std::mem::replace(&mut result.payload, nothing);
            let whole = GetResult {
                payload,
                meta: result.meta.clone(),
                range: result.range.clone(),
                attributes: result.attributes.clone(),
                extensions: result.extensions.clone(),
            };
            // One piece that breaks off, and one that is lost.
            let bytes = whole.bytes().await?;
            let half = bytes.slice(..bytes.len() / 2);
            result.payload = GetResultPayload::Stream(plan.half(vec![Ok(half), Ok(bytes)]));
        }
        got
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.plan
            .call(self.inner.get_ranges(location, ranges))
            .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let (inner, plan) = (Arc::clone(&self.inner), Arc::clone(&self.plan));
        let delete = move |location: object_store::Result<Path>| {
            let (inner, plan) = (Arc::clone(&inner), Arc::clone(&plan));
            async move {
                let location = location?;
                let one = stream::iter([Ok(location.clone())]).boxed();
                let mut deleted = inner.delete_stream(one);
                let deleted = async { deleted.next().await.unwrap_or(Ok(location)) };
                plan.call(deleted).await
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        let plan = Arc::clone(&self.plan);
        match plan.count() {
            None => listed,
            Some(fault) => {
                let broken = async move {
                    let items = match fault {
                        StoreFault::Before => Vec::new(),
                        _ => listed.collect().await,
                    };
                    plan.half(items)
                };
                stream::once(broken).flatten().boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.plan.call(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.plan
            .call(self.inner.copy_opts(from, to, options))
            .await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    plan: Arc<FaultPlan>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(data);
        let plan = Arc::clone(&self.plan);
        Box::pin(async move { plan.call(part).await })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.plan.call(self.inner.complete()).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.plan.call(self.inner.abort()).await
    }
}

//! A store that fails when it is told to.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};

/// When a call of a [`FaultyStore`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Before it has any effect.
    Before,
    /// After it took effect: the answer is lost.
    After,
    /// Every write is taken, whatever its conditions.
    Careless,
}

/// A store whose Nth call fails.
#[derive(Debug)]
pub(super) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    calls: AtomicU64,
    fails: u64,
    fault: Fault,
}

impl FaultyStore {
    /// Call number `fails` (from 1) fails.
    pub(super) fn new(inner: Arc<dyn ObjectStore>, fails: u64, fault: Fault) -> Arc<Self> {
        let plan = Arc::new(Plan {
            calls: AtomicU64::new(0),
            fails,
            fault,
        });
        Arc::new(Self { inner, plan })
    }

    /// Whether the fault came to pass.
    pub(super) fn has_failed(&self) -> bool {
        self.plan.calls.load(Ordering::SeqCst) >= self.plan.fails
    }
}

impl Plan {
    async fn call<T>(
        &self,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let fails = self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.fails;
        if fails && self.fault == Fault::Before {
            return Err(Self::error());
        }
        let done = work.await;
        if fails { Err(Self::error()) } else { done }
    }

    fn error() -> object_store::Error {
        object_store::Error::Generic {
            store: "faulty",
            source: "injected".into(),
        }
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
        if self.plan.fault == Fault::Careless {
            opts.mode = object_store::PutMode::Overwrite;
            return self.inner.put_opts(location, payload, opts).await;
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
        self.plan.call(self.inner.get_opts(location, options)).await
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
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
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
    plan: Arc<Plan>,
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

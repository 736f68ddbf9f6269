//! Uploads one new object, a part at a time, from a thread that may block.
//!
//! `object_store::WriteMultipart` is not used: when completing fails it aborts, and the local store's abort error ("upload
//! aborted") then hides the reason, a full disk for instance.

use std::collections::VecDeque;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::store::archive::Archive;
use mpsync_core::error::{Context as _, Error, Result};

/// Concurrent parts: one is sent while the next is filled.
const PARTS_IN_FLIGHT: usize = 2;

/// The upload of one object, which is visible, whole and durable when [`Upload::finish`] has returned.
pub(crate) struct Upload {
    archive: Archive,
    path: Path,
    runtime: Handle,
    /// Bytes that are not yet a part.
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    /// Opened with the first whole part: a small object is one request.
    multipart: Option<Box<dyn MultipartUpload>>,
    in_flight: VecDeque<JoinHandle<object_store::Result<()>>>,
}

impl Upload {
    pub(crate) fn new(archive: Archive, path: Path, runtime: Handle) -> Self {
        Self {
            archive,
            path,
            runtime,
            pending: VecDeque::new(),
            pending_bytes: 0,
            multipart: None,
            in_flight: VecDeque::new(),
        }
    }

    /// Takes more bytes; waits while too many parts are being sent. Must not be called on an async worker thread.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.pending_bytes += bytes.len();
        self.pending.push_back(bytes);
        let part_bytes = self.archive.part_bytes();
        while self.pending_bytes >= part_bytes {
            let part = self.take_part(part_bytes);
            self.send(part)?;
        }
        Ok(())
    }

    /// Completes the object. After an error it is aborted, and may or may not exist.
    pub(crate) fn finish(mut self) -> Result<()> {
        let finished = self.complete();
        if finished.is_err() {
            self.abort();
        }
        finished
    }

    fn complete(&mut self) -> Result<()> {
        let rest = self.take_part(usize::MAX);
        if self.multipart.is_none() {
            let put = async {
                self.archive.wait_for_rate(rest.content_length()).await;
                self.archive.store().put(&self.path, rest).await
            };
            return self
                .runtime
                .block_on(put)
                .map(drop)
                .map_err(|e| self.to_error(e));
        }
        if rest.content_length() > 0 {
            self.send(rest)?;
        }
        self.wait(0)?;
        match &mut self.multipart {
            Some(upload) => {
                let completed = self.runtime.block_on(upload.complete());
                completed.map(drop).map_err(|e| self.to_error(e))
            }
            None => Ok(()),
        }
    }

    /// Aborts the object. Best effort: `gc` or the store's own rules sweep the rest.
    pub(crate) fn abort(mut self) {
        for part in self.in_flight.drain(..) {
            part.abort();
        }
        if let Some(upload) = &mut self.multipart
            && let Err(e) = self.runtime.block_on(upload.abort())
        {
            tracing::debug!(path = %self.path, error = %e, "an upload could not be aborted");
        }
    }

    fn send(&mut self, part: PutPayload) -> Result<()> {
        self.wait(PARTS_IN_FLIGHT - 1)?;
        let mut upload = match self.multipart.take() {
            Some(upload) => upload,
            None => self
                .runtime
                .block_on(self.archive.store().put_multipart(&self.path))
                .map_err(|e| self.to_error(e))?,
        };
        self.runtime
            .block_on(self.archive.wait_for_rate(part.content_length()));
        self.in_flight
            .push_back(self.runtime.spawn(upload.put_part(part)));
        self.multipart = Some(upload);
        Ok(())
    }

    fn wait(&mut self, remaining: usize) -> Result<()> {
        while self.in_flight.len() > remaining
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.runtime
                .block_on(oldest)
                .map_err(std::io::Error::other)
                .context(|| format!("writing {}", self.path))?
                .map_err(|e| self.to_error(e))?;
        }
        Ok(())
    }

    fn take_part(&mut self, bytes: usize) -> PutPayload {
        let mut wanted = bytes.min(self.pending_bytes);
        self.pending_bytes -= wanted;
        let mut part = Vec::new();
        while wanted > 0
            && let Some(mut front) = self.pending.pop_front()
        {
            if front.len() > wanted {
                self.pending.push_front(front.split_off(wanted));
            }
            wanted -= front.len();
            part.push(front);
        }
        part.into_iter().collect()
    }

    fn to_error(&self, e: object_store::Error) -> Error {
        self.archive
            .to_error(e)
            .context(format!("writing {}", self.path))
    }
}

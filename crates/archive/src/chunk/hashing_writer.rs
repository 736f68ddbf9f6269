//! A file's bytes on their way from its writer to the store: hashed as they pass, a piece at a time, so that nothing larger
//! than a piece is held. Blocks, as [`Upload`] does.

use std::io;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::chunk::hex::hex;
use crate::store::upload::Upload;
use mpsync_core::error::{Error, Result};

/// Bytes of a piece, of which the parts of an upload are made.
const PIECE_BYTES: usize = 1 << 20;

/// The object that was sent.
pub(crate) struct HashedObject {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The sink of the Parquet writer.
pub(crate) struct HashingWriter {
    /// `None` once it is finished or aborted.
    upload: Option<Upload>,
    hash: Sha256,
    bytes: u64,
    piece: Vec<u8>,
    failure: Option<Error>,
}

impl HashingWriter {
    pub(crate) fn new(upload: Upload) -> Self {
        Self {
            upload: Some(upload),
            hash: Sha256::new(),
            bytes: 0,
            piece: Vec::new(),
            failure: None,
        }
    }

    /// Returns the bytes that were written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.piece.len() as u64
    }

    /// Returns the error of the upload. The Parquet writer in between knows that it failed, not why.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Sends the rest and completes the object: it is whole and durable on return.
    pub(crate) fn finish(&mut self) -> Result<HashedObject> {
        self.send_piece()?;
        if let Some(upload) = self.upload.take() {
            upload.finish()?;
        }
        Ok(HashedObject {
            bytes: self.bytes,
            sha256: hex(&std::mem::take(&mut self.hash).finalize()),
        })
    }

    /// Aborts the object. Best effort, as [`Upload::abort`].
    pub(crate) fn abort(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
    }

    fn send_piece(&mut self) -> Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.hash.update(&piece);
        self.bytes += piece.len() as u64;
        match &mut self.upload {
            Some(upload) => upload.push(piece),
            None => Err(Error::usage("the object is finished")),
        }
    }
}

impl io::Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE_BYTES);
        }
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES
            && let Err(e) = self.send_piece()
        {
            let error = io::Error::other(e.to_string());
            self.failure = Some(e);
            return Err(error);
        }
        Ok(taken)
    }

    /// Does nothing: a piece is sent when it is full, or at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

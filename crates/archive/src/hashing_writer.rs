//! A file's bytes on their way from its writer to the store: hashed as they pass, a piece at a time, so that nothing larger
//! than a piece is held. Blocks, as [`Upload`] does.

use std::io;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::encoder::hex;
use super::upload::Upload;
use mpsync_core::error::{Error, Result};

/// Bytes of a piece, of which the parts of an upload are made.
const PIECE_BYTES: usize = 1 << 20;

/// What was sent.
pub(super) struct HashedObject {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Takes what the Parquet writer writes.
pub(super) struct HashingWriter {
    /// Until it is finished or given up.
    upload: Option<Upload>,
    hash: Sha256,
    bytes: u64,
    piece: Vec<u8>,
    failure: Option<Error>,
}

impl HashingWriter {
    pub(super) fn new(upload: Upload) -> Self {
        Self {
            upload: Some(upload),
            hash: Sha256::new(),
            bytes: 0,
            piece: Vec::new(),
            failure: None,
        }
    }

    /// Bytes that came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + self.piece.len() as u64
    }

    /// What the upload said when it failed. The writer in between knows that it did, not why.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Sends what is left and completes the object: it is whole and durable on return.
    pub(super) fn finish(&mut self) -> Result<HashedObject> {
        self.hand_on()?;
        if let Some(upload) = self.upload.take() {
            upload.finish()?;
        }
        Ok(HashedObject {
            bytes: self.bytes,
            sha256: hex(&std::mem::take(&mut self.hash).finalize()),
        })
    }

    /// Gives the object up. Best effort, as [`Upload::abort`].
    pub(super) fn abort(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
    }

    fn hand_on(&mut self) -> Result<()> {
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
            && let Err(e) = self.hand_on()
        {
            let told = io::Error::other(e.to_string());
            self.failure = Some(e);
            return Err(told);
        }
        Ok(taken)
    }

    /// Nothing is hurried: a piece leaves when it is full, or at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

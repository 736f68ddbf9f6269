//! The compressor of pages.

use parquet::basic::ZstdLevel;
use zstd::bulk::Compressor;

use mpsync_core::error::Result;

/// A compressor, used again and again: one takes megabytes, and time to be made.
pub(crate) struct Zstd {
    compressor: Compressor<'static>,
    level: ZstdLevel,
}

impl Zstd {
    pub(crate) fn new(level: i32) -> Result<Self> {
        Ok(Self {
            compressor: Compressor::new(level)?,
            level: ZstdLevel::try_new(level)?,
        })
    }

    pub(super) fn level(&self) -> ZstdLevel {
        self.level
    }

    pub(super) fn compressed(&mut self, body: &[u8]) -> Result<Vec<u8>> {
        Ok(self.compressor.compress(body)?)
    }
}

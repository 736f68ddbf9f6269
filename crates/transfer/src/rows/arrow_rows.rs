//! An `ArrowStream` body, decoded batch by batch as its bytes arrive: memory stays flat in the size of the result.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use clickhouse::query::{BytesCursor, Query};

use mpsync_clickhouse::Tier;
use mpsync_core::error::{Context as _, Error, Result};

/// How an Arrow stream ends: a continuation mark and a length of zero. A body without it was cut off, even where the cut
/// fell between two batches.
const END_OF_STREAM: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

/// Record batches of a running query.
pub(crate) struct ArrowRows {
    tier: Tier,
    cursor: BytesCursor,
    decoder: StreamDecoder,
    pending: Buffer,
    last: [u8; 8],
    bytes: u64,
}

impl ArrowRows {
    /// Starts the query.
    pub(crate) fn start(tier: &Tier, query: Query) -> Result<Self> {
        Ok(Self {
            cursor: tier.select(query, "ArrowStream")?,
            tier: tier.clone(),
            decoder: StreamDecoder::new(),
            pending: Buffer::from(&[]),
            last: [0; 8],
            bytes: 0,
        })
    }

    /// The next batch; `None` only after the stream's own end. Not cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let decoded = self.decoder.decode(&mut self.pending);
            if let Some(batch) = decoded.context(|| "decoding an Arrow stream")? {
                return Ok(Some(batch));
            }
            match self.tier.next_bytes(&mut self.cursor).await? {
                Some(bytes) => {
                    self.bytes += bytes.len() as u64;
                    record_tail(&mut self.last, &bytes);
                    self.pending = Buffer::from(bytes);
                }
                None if self.last == END_OF_STREAM => {
                    self.decoder.finish().context(|| "ending an Arrow stream")?;
                    return Ok(None);
                }
                None => {
                    return Err(Error::from(std::io::Error::new(
                        std::io::ErrorKind::UnexpectedEof,
                        format!(
                            "the answer of {} ended before its rows did",
                            self.tier.role()
                        ),
                    )));
                }
            }
        }
    }

    /// Bytes received so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Keeps the last eight bytes of all that has come.
fn record_tail(last: &mut [u8; 8], bytes: &[u8]) {
    let new = &bytes[bytes.len().saturating_sub(8)..];
    last.rotate_left(new.len());
    last[8 - new.len()..].copy_from_slice(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_known_however_they_came() {
        let mut last = [0; 8];
        for piece in [&[1, 2, 3][..], &[], &[4, 5, 6, 7, 8, 9], &[10]] {
            record_tail(&mut last, piece);
        }
        assert_eq!(last, [3, 4, 5, 6, 7, 8, 9, 10]);
        record_tail(&mut last, &(0..20).collect::<Vec<u8>>());
        assert_eq!(last, [12, 13, 14, 15, 16, 17, 18, 19]);
    }
}

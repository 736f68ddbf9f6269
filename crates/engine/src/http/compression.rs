//! Bodies compressed by HTTP's encodings or in ClickHouse's own blocks (`compress=1`, `decompress=1`).
//!
//! A ClickHouse block is a CityHash128 (v1.0.2) of the rest, a method byte, the compressed size including
//! these nine bytes, the plain size, and the data.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

/// The most bytes, plain or compressed, of a block from a client.
const BLOCK_BYTES_MAX: usize = 1 << 30;
/// Plain bytes in a block of an answer, as in ClickHouse.
const BLOCK_BYTES: usize = 1 << 20;
const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = 9;
const METHOD_NONE: u8 = 0x02;
const METHOD_LZ4: u8 = 0x82;
const METHOD_ZSTD: u8 = 0x90;
/// Fast levels: requests wait for them.
const GZIP_LEVEL: u32 = 3;
const ZSTD_LEVEL: i32 = 1;

/// A content encoding of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
    Zstd,
    Lz4,
}

impl Encoding {
    /// Returns the encoding of a name in `Content-Encoding`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            "lz4" => Some(Self::Lz4),
            _ => None,
        }
    }

    /// Returns the cheapest encoding that a client accepts.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let accepts = |name: &str| {
            header.split(',').any(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                let is_it = parts.next().is_some_and(|n| n.eq_ignore_ascii_case(name));
                is_it && !parts.any(|p| p.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
            })
        };
        [Self::Lz4, Self::Zstd, Self::Gzip, Self::Deflate]
            .into_iter()
            .find(|e| accepts(e.name()))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }
}

/// Returns a reader of the plain bytes. A truncated body is an error, never an early end.
pub(crate) fn decoder<'a, R: Read + Send + 'a>(
    encoding: Option<Encoding>,
    blocks: bool,
    body: R,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let plain: Box<dyn Read + Send + 'a> = match encoding {
        None => Box::new(body),
        Some(Encoding::Gzip) => Box::new(MultiGzDecoder::new(body)),
        Some(Encoding::Deflate) => Box::new(ZlibDecoder::new(body)),
        Some(Encoding::Zstd) => Box::new(zstd::stream::read::Decoder::new(body)?),
        Some(Encoding::Lz4) => Box::new(Lz4Reader::new(body)),
    };
    Ok(if blocks {
        Box::new(BlockReader::new(plain))
    } else {
        plain
    })
}

/// An LZ4 frame that must end with its end mark: the decoder itself accepts a body truncated between blocks.
struct Lz4Reader<R: Read> {
    frames: lz4_flex::frame::FrameDecoder<WholeReads<R>>,
}

/// Passes each read of the decoder on in one piece, so that its last reads show whether they included the end
/// mark (four zero bytes, followed by a checksum in some frames).
struct WholeReads<R> {
    inner: R,
    begun: bool,
    last_is_mark: bool,
    behind_mark: bool,
}

impl<R: Read> Read for WholeReads<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        if filled > 0 {
            self.begun = true;
            self.behind_mark = self.last_is_mark && filled == 4;
            self.last_is_mark = buffer[..filled] == [0; 4];
        }
        Ok(filled)
    }
}

impl<R: Read> Lz4Reader<R> {
    fn new(inner: R) -> Self {
        let reads = WholeReads {
            inner,
            begun: false,
            last_is_mark: false,
            behind_mark: false,
        };
        Self {
            frames: lz4_flex::frame::FrameDecoder::new(reads),
        }
    }
}

impl<R: Read> Read for Lz4Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.frames.read(buffer)?;
        let reads = self.frames.get_ref();
        if n > 0 || buffer.is_empty() || !reads.begun || reads.last_is_mark || reads.behind_mark {
            return Ok(n);
        }
        Err(cut_short())
    }
}

fn cut_short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the compressed body ends within a block",
    )
}

/// A reader of ClickHouse's blocks.
struct BlockReader<R> {
    inner: R,
    plain: Vec<u8>,
    at: usize,
}

impl<R: Read> BlockReader<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            plain: Vec::new(),
            at: 0,
        }
    }

    /// Reads the next block; returns false at the end of the body.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut head = [0u8; CHECKSUM_BYTES + HEADER_BYTES];
        let mut filled = 0;
        while filled < head.len() {
            match self.inner.read(&mut head[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(cut_short()),
                n => filled += n,
            }
        }
        let number = |at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
        };
        let (method, compressed, plain) = (head[CHECKSUM_BYTES], number(17), number(21));
        if !(HEADER_BYTES..=BLOCK_BYTES_MAX).contains(&compressed) || plain > BLOCK_BYTES_MAX {
            return Err(invalid("a compressed block has an invalid size"));
        }
        let mut block = head[CHECKSUM_BYTES..].to_vec();
        let wanted = (compressed - HEADER_BYTES) as u64;
        let got = self.inner.by_ref().take(wanted).read_to_end(&mut block)?;
        if (got as u64) < wanted {
            return Err(cut_short());
        }
        if checksum(&block) != head[..CHECKSUM_BYTES] {
            return Err(invalid("the checksum of a compressed block does not match"));
        }
        let data = &block[HEADER_BYTES..];
        self.plain = match method {
            METHOD_NONE => data.to_vec(),
            METHOD_LZ4 => {
                lz4_flex::block::decompress(data, plain).map_err(|e| invalid(&e.to_string()))?
            }
            METHOD_ZSTD => zstd::bulk::decompress(data, plain)?,
            _ => return Err(invalid("a compressed block has an unknown method")),
        };
        self.at = 0;
        if self.plain.len() != plain {
            return Err(invalid(
                "a compressed block does not have the announced size",
            ));
        }
        Ok(true)
    }
}

impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let n = buffer.len().min(self.plain.len() - self.at);
        buffer[..n].copy_from_slice(&self.plain[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

fn checksum(block: &[u8]) -> [u8; CHECKSUM_BYTES] {
    cityhash_rs::cityhash_102_128(block)
        .rotate_right(64)
        .to_le_bytes()
}

fn write_block(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let data = lz4_flex::block::compress(plain);
    let size = |n: usize| {
        u32::try_from(n)
            .map_err(|_| invalid("a block is too large"))
            .map(u32::to_le_bytes)
    };
    let mut block = Vec::with_capacity(HEADER_BYTES + data.len());
    block.push(METHOD_LZ4);
    block.extend_from_slice(&size(HEADER_BYTES + data.len())?);
    block.extend_from_slice(&size(plain.len())?);
    block.extend_from_slice(&data);
    out.extend_from_slice(&checksum(&block));
    out.extend_from_slice(&block);
    Ok(())
}

/// A streaming compressor of answers.
pub(crate) enum Encoder {
    Plain,
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Blocks,
}

impl Encoder {
    /// Returns an encoder. ClickHouse's blocks take precedence, as on a server.
    pub(crate) fn new(encoding: Option<Encoding>, blocks: bool) -> io::Result<Self> {
        if blocks {
            return Ok(Self::Blocks);
        }
        Ok(match encoding {
            None => Self::Plain,
            Some(Encoding::Gzip) => {
                Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))
            }
            Some(Encoding::Deflate) => {
                Self::Deflate(ZlibEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))
            }
            Some(Encoding::Zstd) => {
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)
            }
            Some(Encoding::Lz4) => {
                Self::Lz4(Box::new(lz4_flex::frame::FrameEncoder::new(Vec::new())))
            }
        })
    }

    /// Compresses plain bytes; the output so far can be decoded to all input so far.
    pub(crate) fn push(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain => Ok(plain.to_vec()),
            Self::Gzip(e) => {
                e.write_all(plain)?;
                e.flush()?;
                Ok(std::mem::take(e.get_mut()))
            }
            Self::Deflate(e) => {
                e.write_all(plain)?;
                e.flush()?;
                Ok(std::mem::take(e.get_mut()))
            }
            Self::Zstd(e) => {
                e.write_all(plain)?;
                e.flush()?;
                Ok(std::mem::take(e.get_mut()))
            }
            Self::Lz4(e) => {
                e.write_all(plain)?;
                e.flush()?;
                Ok(std::mem::take(e.get_mut()))
            }
            Self::Blocks => {
                let mut out = Vec::with_capacity(plain.len() / 2 + CHECKSUM_BYTES + HEADER_BYTES);
                plain
                    .chunks(BLOCK_BYTES)
                    .try_for_each(|block| write_block(block, &mut out))?;
                Ok(out)
            }
        }
    }

    /// Ends the stream.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain | Self::Blocks => Ok(Vec::new()),
            Self::Gzip(e) => e.finish(),
            Self::Deflate(e) => e.finish(),
            Self::Zstd(e) => e.finish(),
            Self::Lz4(e) => e.finish().map_err(io::Error::other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [(Option<Encoding>, bool); 6] = [
        (None, false),
        (Some(Encoding::Gzip), false),
        (Some(Encoding::Deflate), false),
        (Some(Encoding::Zstd), false),
        (Some(Encoding::Lz4), false),
        (None, true),
    ];

    fn encode(encoding: Option<Encoding>, blocks: bool, pieces: &[&[u8]]) -> Vec<u8> {
        let mut encoder = Encoder::new(encoding, blocks).expect("encoder");
        let mut out: Vec<u8> = pieces
            .iter()
            .flat_map(|p| encoder.push(p).expect("push"))
            .collect();
        out.extend(encoder.finish().expect("finish"));
        out
    }

    fn decode(encoding: Option<Encoding>, blocks: bool, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decoder(encoding, blocks, body)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_encoding_round_trips() {
        let big: Vec<u8> = (0..3_000_000u32)
            .map(|n| u8::try_from(n % 251).expect("small"))
            .collect();
        for (encoding, blocks) in EVERY {
            let body = encode(encoding, blocks, &[b"one", &big, b"two"]);
            let expected = [b"one".as_slice(), &big, b"two"].concat();
            assert!(
                decode(encoding, blocks, &body).expect("decodes") == expected,
                "{encoding:?} {blocks}"
            );
        }
    }

    #[test]
    fn truncated_compressed_body_is_an_error() {
        for (encoding, blocks) in EVERY.into_iter().skip(1) {
            let body = encode(
                encoding,
                blocks,
                &[b"some text, ", b"some more text, ", b"and the end"],
            );
            let whole = decode(encoding, blocks, &body).expect("decodes");
            for cut in 1..body.len() {
                if let Ok(plain) = decode(encoding, blocks, &body[..cut]) {
                    // A cut between two of ClickHouse's blocks is undetectable here; HTTP's framing detects it.
                    assert!(
                        blocks && plain.len() < whole.len(),
                        "{encoding:?} cut at {cut} of {}",
                        body.len()
                    );
                }
            }
        }
    }

    #[test]
    fn flipped_bit_in_a_block_is_detected() {
        let mut body = encode(None, true, &[b"some text that is long enough"]);
        let last = body.len() - 1;
        body[last] ^= 1;
        assert!(decode(None, true, &body).is_err());
    }

    #[test]
    fn cheapest_accepted_encoding_is_chosen() {
        assert_eq!(
            Encoding::accepted("gzip, deflate, br"),
            Some(Encoding::Gzip)
        );
        assert_eq!(Encoding::accepted("lz4;q=0, zstd"), Some(Encoding::Zstd));
        assert_eq!(Encoding::accepted("identity"), None);
    }
}

//! A look at a Parquet file before the library reads it: a few bytes of a footer can ask the library for more stack or memory than
//! there is, which ends the process. Pure.
//!
//! The footer is Thrift in its compact form
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>), of which only as much is read as the
//! checks need. An encrypted footer is authenticated by its key, so that nothing but mpsync can have written it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Type as Physical;
use parquet::column::page::Page;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::encryption::is_encrypted;
use crate::format::manifest::Chunk;
use mpsync_core::error::{Error, Result};

/// Bytes of a footer at most.
const MAX_FOOTER: usize = 64 << 20;
/// Levels of a schema, and of structures in a footer, at most. mpsync writes three levels.
const MAX_DEPTH: usize = 32;
/// Bytes of a value of fixed length at most.
const MAX_FIXED: i64 = 1 << 20;
/// `PAR1`, at both ends of a file whose footer is not encrypted.
const MAGIC: &[u8] = b"PAR1";

/// Refuses a chunk that is encrypted though its manifest names no key, or the other way round.
pub(crate) fn check_form(bytes: &[u8], chunk: &Chunk) -> Result<()> {
    match (is_encrypted(bytes), chunk.key_id.is_some()) {
        (true, false) => Err(Error::integrity(
            "it is encrypted, and the manifest names no key",
        )),
        (false, true) => Err(Error::integrity(
            "it is not encrypted, and the manifest names a key",
        )),
        _ => Ok(()),
    }
}

/// Refuses a file whose footer is nested deeper than any schema of mpsync, or claims more than it has bytes for.
pub(crate) fn check_footer(bytes: &[u8]) -> Result<()> {
    if is_encrypted(bytes) {
        return Ok(());
    }
    let footer = footer_of(bytes)
        .ok_or_else(|| Error::integrity("it is not readable as Parquet: its footer is damaged"))?;
    let mut footer = Compact { bytes: footer };
    if footer.file_metadata().is_none() {
        return Err(Error::integrity(
            "it is not readable as Parquet: its footer is damaged, or nested too deeply",
        ));
    }
    Ok(())
}

/// Refuses a file whose dictionaries claim more values than they have bytes for: room is made for as many as they claim. For a
/// file whose footer has been checked.
pub(crate) fn check_dictionaries(bytes: &bytes::Bytes, rows: u64) -> Result<()> {
    let file = SerializedFileReader::new(bytes.clone())?;
    let groups = file.metadata().row_groups();
    let mut counts = groups
        .iter()
        .map(|group| u64::try_from(group.num_rows()).ok());
    let sum = counts.try_fold(0_u64, |sum, rows| sum.checked_add(rows?));
    if sum != Some(rows) {
        return Err(Error::integrity(format!(
            "its row groups do not have the {rows} rows that the manifest says"
        )));
    }
    for group in 0..groups.len() {
        let group = file.get_row_group(group)?;
        for (index, column) in group.metadata().columns().iter().enumerate() {
            if column.dictionary_page_offset().is_none() {
                continue;
            }
            let least = match column.column_type() {
                Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 4,
                Physical::INT64 | Physical::DOUBLE => 8,
                Physical::INT96 => 12,
                Physical::BOOLEAN => 1,
                Physical::FIXED_LEN_BYTE_ARRAY => {
                    u64::try_from(column.column_descr().type_length())
                        .unwrap_or(1)
                        .max(1)
                }
            };
            if let Some(Page::DictionaryPage {
                buf, num_values, ..
            }) = group.get_column_page_reader(index)?.get_next_page()?
                && u64::from(num_values).saturating_mul(least) > buf.len() as u64
            {
                return Err(Error::integrity(format!(
                    "the dictionary of its column {} claims {num_values} values in {} bytes",
                    column.column_path(),
                    buf.len()
                )));
            }
        }
    }
    Ok(())
}

/// Runs a decoder; a panic in it is an integrity error. Damaged input must not end the caller.
pub(crate) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(Error::integrity(
            "it is not readable as Parquet: the decoder failed on it",
        ))
    })
}

/// Returns the footer between the data and its length at the end of the file.
fn footer_of(bytes: &[u8]) -> Option<&[u8]> {
    let body = bytes.strip_suffix(MAGIC)?.strip_prefix(MAGIC)?;
    let (rest, length) = body.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (length <= MAX_FOOTER).then_some(())?;
    rest.get(rest.len().checked_sub(length)?..)
}

/// The types of fields and elements, as the protocol numbers them.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

/// The head of a field of a structure.
enum Field {
    /// Its number and its type.
    Of(i64, u8),
    /// The end of the structure.
    Stop,
}

/// The rest of a Thrift document. Every method returns `None` if the document is not whole.
struct Compact<'a> {
    bytes: &'a [u8],
}

impl Compact<'_> {
    /// Walks a `FileMetaData`, whose field 2 is the list of schema elements.
    fn file_metadata(&mut self) -> Option<()> {
        let mut id = 0;
        while let Field::Of(field, of) = self.field(&mut id)? {
            if field == 2 && of == kind::LIST {
                self.schema()?;
            } else {
                self.skip(of, true, 1)?;
            }
        }
        Some(())
    }

    /// Walks the schema: elements in depth-first order, each with the number of its children.
    fn schema(&mut self) -> Option<()> {
        let (of, count) = self.list()?;
        (of == kind::STRUCT).then_some(())?;
        // The children that each open element still lacks.
        let mut open: Vec<u64> = Vec::new();
        for _ in 0..count {
            let children = self.schema_element()?;
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            (open.len() <= MAX_DEPTH).then_some(())?;
        }
        Some(())
    }

    /// Walks a `SchemaElement`, whose field 2 is the length of a value of fixed length; returns field 5, the number of children.
    fn schema_element(&mut self) -> Option<u64> {
        let (mut id, mut children) = (0, 0);
        while let Field::Of(field, of) = self.field(&mut id)? {
            match (field, of) {
                (2, kind::I32) => (0..=MAX_FIXED).contains(&self.number()?).then_some(())?,
                (5, kind::I32) => children = u64::try_from(self.number()?).ok()?,
                _ => self.skip(of, true, 2)?,
            }
        }
        Some(children)
    }

    /// Reads the head of the next field.
    fn field(&mut self, id: &mut i64) -> Option<Field> {
        let head = self.byte()?;
        if head == 0 {
            return Some(Field::Stop);
        }
        *id = match head >> 4 {
            0 => self.number()?,
            delta => id.checked_add(i64::from(delta))?,
        };
        Some(Field::Of(*id, head & 0xF))
    }

    /// Returns the type and number of a list's elements, each of which takes a byte at least.
    fn list(&mut self) -> Option<(u8, usize)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => usize::try_from(self.varint()?).ok()?,
            few => usize::from(few),
        };
        (count <= self.bytes.len()).then_some((head & 0xF, count))
    }

    /// Skips a value. The value of a boolean field is its type, the value of a boolean element is a byte.
    fn skip(&mut self, of: u8, is_field: bool, depth: usize) -> Option<()> {
        (depth <= MAX_DEPTH).then_some(())?;
        match of {
            kind::TRUE | kind::FALSE if is_field => {}
            kind::TRUE | kind::FALSE | kind::BYTE => {
                self.byte()?;
            }
            kind::I16 | kind::I32 | kind::I64 => {
                self.varint()?;
            }
            kind::DOUBLE => self.advance(8)?,
            kind::UUID => self.advance(16)?,
            kind::BINARY => {
                let length = self.varint()?;
                self.advance(length)?;
            }
            kind::LIST | kind::SET => {
                let (of, count) = self.list()?;
                for _ in 0..count {
                    self.skip(of, false, depth + 1)?;
                }
            }
            kind::MAP => {
                let count = self.varint()?;
                if count > 0 {
                    let of = self.byte()?;
                    for _ in 0..count {
                        self.skip(of >> 4, false, depth + 1)?;
                        self.skip(of & 0xF, false, depth + 1)?;
                    }
                }
            }
            kind::STRUCT => {
                let mut id = 0;
                while let Field::Of(_, of) = self.field(&mut id)? {
                    self.skip(of, true, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn advance(&mut self, bytes: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Reads a number in zigzag form.
    fn number(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        let half = i64::try_from(zigzag >> 1).ok()?;
        Some(if zigzag & 1 == 0 { half } else { -half - 1 })
    }
}

#[cfg(test)]
mod tests;

//! The fields of messages: the known ones, the role of each, and their positions in the current message.

use std::collections::BTreeMap;

use super::fault::DecodeContext;
use super::interner::Interner;
use super::json::Scanner;
use super::rejection::Reason;
use super::value::JsonSpan;

/// How many names of unknown fields are counted separately; further ones are counted together.
const MAX_UNKNOWN: usize = 256;

/// The role of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Columns read it when the whole message has been scanned.
    Recorded,
    /// The levels of this column, and of no other: read while the message is being scanned.
    Levels(u16),
    /// Passed over, deliberately.
    Ignored,
    /// Passed over and counted.
    Unknown,
}

/// A member's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberKey {
    pub id: u32,
    pub role: Role,
}

/// The position of a field in a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum FieldLocation {
    /// The message does not have it.
    Absent,
    /// Here.
    At(JsonSpan),
    /// Its levels have been read already.
    Read,
}

#[derive(Debug)]
struct Field {
    /// The name in quotes as a message writes it, if the name needs no escapes.
    quoted: Box<[u8]>,
    role: Role,
    /// The message that had it last, and where.
    message: u64,
    found: FieldLocation,
    /// The field that came after it last time.
    next: usize,
    /// Rows that had it, if it is unknown.
    rows: u64,
}

/// All fields that were ever of interest, and the current message's.
#[derive(Debug)]
pub(super) struct Fields {
    names: Interner,
    known: Vec<Field>,
    /// The current message's number.
    message: u64,
    /// The field that messages begin with.
    first: usize,
    unknown: usize,
    /// The unknown fields of the current message that are counted by name, and those that are not, or not yet.
    seen: Vec<usize>,
    strangers: Vec<String>,
    /// Fields that were counted together, since there were too many names.
    others: u64,
}

impl Fields {
    pub(super) fn new() -> Self {
        Self {
            names: Interner::new(),
            known: Vec::new(),
            message: 0,
            first: 0,
            unknown: 0,
            seen: Vec::new(),
            strangers: Vec::new(),
            others: 0,
        }
    }

    /// The number of a field, with its role if it is new.
    pub(super) fn add(&mut self, name: &str, role: Role) -> usize {
        let id = self.names.intern(name);
        if id == self.known.len() {
            let plain = name.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
            let quoted = plain.then(|| format!("\"{name}\"").into_bytes());
            self.known.push(Field {
                quoted: quoted.unwrap_or_default().into(),
                role,
                message: 0,
                found: FieldLocation::Absent,
                next: 0,
                rows: 0,
            });
        }
        id
    }

    /// Changes the role of a field.
    pub(super) fn set_role(&mut self, id: usize, role: Role) {
        self.known[id].role = role;
    }

    /// The name of a field.
    pub(super) fn name(&self, id: usize) -> &str {
        self.names.text(id)
    }

    /// Returns the position of a field in the current message.
    #[inline]
    pub(super) fn found(&self, id: usize) -> FieldLocation {
        let field = &self.known[id];
        if field.message == self.message {
            field.found
        } else {
            FieldLocation::Absent
        }
    }

    /// Records the position of a field in the current message.
    #[inline]
    pub(super) fn set_found(&mut self, id: u32, found: FieldLocation) {
        self.known[id as usize].found = found;
    }

    /// Begins a message.
    pub(super) fn begin(&mut self) -> FieldOrder {
        self.message += 1;
        self.seen.clear();
        self.strangers.clear();
        FieldOrder { previous: None }
    }

    /// Reads a member's key and colon: the field with its role.
    ///
    /// Messages of one publisher have their fields in the same order, so the field that came next last time is tried
    /// first; only another one is looked up.
    #[inline]
    pub(super) fn key(
        &mut self,
        scanner: &mut Scanner<'_>,
        order: &mut FieldOrder,
        cx: &mut DecodeContext,
    ) -> Result<MemberKey, Box<Reason>> {
        scanner.token();
        let expected = match order.previous {
            Some(previous) => self.known[previous].next,
            None => self.first,
        };
        let guess = self.known.get(expected).map_or(&[][..], |f| &f.quoted);
        let id = if !guess.is_empty() && scanner.rest().starts_with(guess) {
            scanner.advance(guess.len());
            scanner.colon().map_err(Reason::not_json)?;
            expected
        } else {
            let key = scanner.key().map_err(Reason::not_json)?.of(scanner.text());
            let name = key.string(&mut cx.scratch).unwrap_or_default();
            let Some(id) = self.names.get(name) else {
                self.strangers.push(name.to_owned());
                let (id, role) = (u32::MAX, Role::Unknown);
                return Ok(MemberKey { id, role });
            };
            match order.previous {
                Some(previous) => self.known[previous].next = id,
                None => self.first = id,
            }
            id
        };
        order.previous = Some(id);
        let field = &mut self.known[id];
        if field.message == self.message {
            return Err(Reason::duplicate(self.name(id)).into());
        }
        field.message = self.message;
        let role = field.role;
        if role == Role::Unknown {
            self.seen.push(id);
        }
        Ok(MemberKey {
            id: u32::try_from(id).unwrap_or(u32::MAX),
            role,
        })
    }

    /// Returns the name of an unknown field that the message has twice, if there is one.
    pub(super) fn duplicate_stranger(&mut self) -> Option<String> {
        if self.strangers.len() < 2 {
            return None;
        }
        self.strangers.sort_unstable();
        let twice = self.strangers.windows(2).find(|pair| pair[0] == pair[1])?;
        Some(twice[0].clone())
    }

    /// The current message has become a row: counts its unknown fields, and gets to know those that are new.
    #[inline]
    pub(super) fn commit(&mut self) {
        for &id in &self.seen {
            self.known[id].rows += 1;
        }
        if !self.strangers.is_empty() {
            self.adopt();
        }
    }

    #[cold]
    fn adopt(&mut self) {
        for name in std::mem::take(&mut self.strangers) {
            if self.unknown < MAX_UNKNOWN {
                self.unknown += 1;
                let id = self.add(&name, Role::Unknown);
                self.known[id].rows += 1;
            } else {
                self.others += 1;
            }
        }
    }

    /// Returns the number of rows with each unknown field, and the count of further fields.
    pub(super) fn unknown(&self) -> (BTreeMap<String, u64>, u64) {
        let unknown = self.known.iter().enumerate();
        let unknown = unknown
            .filter(|(_, field)| field.role == Role::Unknown)
            .map(|(id, field)| (self.name(id).to_owned(), field.rows));
        (unknown.collect(), self.others)
    }
}

/// The reader's position in a message's order of fields.
#[derive(Debug)]
pub(super) struct FieldOrder {
    previous: Option<usize>,
}

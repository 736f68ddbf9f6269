//! The decoder of one dataset: messages in, Arrow record batches out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::fault::{DecodeContext, display};
use super::fields::{FieldLocation, Fields, MemberKey, Role};
use super::json::Scanner;
use super::levels::Levels;
use super::plan::{Alias, ColumnPlan, ResolvedSource, plan};
use super::refuse::{beyond, place, reason, written};
use super::rejection::{Reason, Rejection};
use super::time::{Instant, PLAUSIBLE_FROM_SECS};
use super::value::{JsonItem, JsonKind};
use mpsync_clickhouse::TableSchema;
use mpsync_core::dataset::{Dataset, ExcessDigits, Position};
use mpsync_core::error::{Context as _, Result};

/// The largest payload that is decoded. JetStream's own default limit is 1 MiB.
pub const MAX_PAYLOAD_BYTES: usize = 8 << 20;
/// The most bytes of a buffer: every offset stays within 31 bits.
const MAX_BATCH_BYTES: usize = 1 << 30;
/// The most bytes that a byte of payload becomes: the shortest level, `[0,0],`, takes six bytes and becomes two 256-bit numbers.
const MAX_BYTES_PER_PAYLOAD_BYTE: usize = 16;
/// The most bytes that a column's value becomes, whatever the payload.
const MAX_BYTES_PER_COLUMN: usize = 64;
const NANOS_PER_SEC: i64 = 1_000_000_000;
const NANOS_PER_HOUR: i64 = 3_600 * NANOS_PER_SEC;
const NANOS_PER_DAY: i64 = 86_400 * NANOS_PER_SEC;

/// The properties of a message beside its payload.
#[derive(Debug, Clone, Copy)]
pub struct MessageMeta<'a> {
    /// The subject on which it was published.
    pub subject: &'a str,
    /// Its position in JetStream: the row's identity.
    pub position: Position,
    /// When JetStream stored it: nanoseconds since 1970.
    pub stored_at_nanos: i64,
}

/// A message has become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The row's event time: nanoseconds since 1970.
    pub event_time_nanos: i64,
    /// The event time's hour: hours since 1970. It stands for the partition that the row goes to.
    pub hour: i64,
}

/// Counts of a decoder since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecodeCounters {
    /// Messages that became rows.
    pub rows: u64,
    /// Messages that were rejected.
    pub rejected: u64,
    /// Numbers and times that were rounded to what their column holds.
    pub rounded: u64,
    /// The number of rows with each field that no column takes; `bids[]`: elements of levels beyond price and quantity.
    pub unknown_fields: BTreeMap<String, u64>,
    /// Unknown fields beyond the names that are counted separately.
    pub other_unknown_fields: u64,
}

/// Turns a dataset's messages into rows of Arrow record batches, exactly: a message is a whole row or none at all.
///
/// It is pure: it knows no server, and the same message always gives the same row.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    columns: Vec<ColumnPlan>,
    fields: Fields,
    time_column: usize,
    rows: usize,
    /// Bytes that the buffer can surely still take, counted down from the last time that it was measured.
    room: usize,
    cx: DecodeContext,
    counters: DecodeCounters,
    /// Elements of levels that were passed over, for each column.
    extras: BTreeMap<usize, u64>,
}

impl Decoder {
    /// Returns a decoder that fills the live table's columns from the dataset's messages.
    ///
    /// A schema error names the column that the table lacks or whose type does not fit its source.
    pub fn new(dataset: &Dataset, live: &TableSchema) -> Result<Self> {
        let mut fields = Fields::new();
        let (columns, time_column) = plan(dataset, live, &mut fields).context(|| {
            format!(
                "fitting dataset {} to table {}.{}",
                dataset.name, live.database, live.table
            )
        })?;
        let arrow = columns.iter().map(|planned| {
            Field::new(
                &planned.name,
                planned.column.data_type().clone(),
                planned.column.is_nullable(),
            )
        });
        Ok(Self {
            schema: Arc::new(Schema::new(arrow.collect::<Vec<_>>())),
            columns,
            fields,
            time_column,
            rows: 0,
            room: 0,
            cx: DecodeContext {
                round: dataset.excess_digits == ExcessDigits::Round,
                ..DecodeContext::default()
            },
            counters: DecodeCounters::default(),
            extras: BTreeMap::new(),
        })
    }

    /// Returns the schema of the batches: the dataset's columns, in its order, of the live table's types.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns how many rows are buffered.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns how many bytes the buffered rows occupy; up to as much again may be reserved for rows to come.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.columns
            .iter()
            .map(|planned| planned.column.bytes())
            .sum()
    }

    /// Returns the counts since the decoder was made.
    #[must_use]
    pub fn counters(&self) -> DecodeCounters {
        let mut counters = self.counters.clone();
        (counters.unknown_fields, counters.other_unknown_fields) = self.fields.unknown();
        for (&index, &count) in &self.extras {
            let name = format!("{}[]", self.columns[index].name);
            counters.unknown_fields.insert(name, count);
        }
        counters
    }

    /// Adds a message as a row. A rejected one leaves no trace among the buffered rows.
    pub fn append(
        &mut self,
        meta: &MessageMeta<'_>,
        payload: &[u8],
    ) -> Result<Appended, Rejection> {
        match self.try_append(meta, payload) {
            Ok(appended) => {
                self.rows += 1;
                self.counters.rows += 1;
                self.counters.rounded += self.cx.rounded;
                self.fields.commit();
                self.count_extras();
                Ok(appended)
            }
            Err(reason) => {
                for planned in &mut self.columns {
                    planned.column.truncate(self.rows);
                }
                // A full batch is not the message's fault; it will come again.
                if *reason != Reason::BatchFull {
                    self.counters.rejected += 1;
                }
                Err(Rejection { reason: *reason })
            }
        }
    }

    /// Takes all buffered rows as one batch, in the order in which they were added.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        self.room = 0;
        let columns = self.columns.iter_mut();
        let arrays = columns
            .map(|planned| planned.column.finish())
            .collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }

    fn try_append(
        &mut self,
        meta: &MessageMeta<'_>,
        payload: &[u8],
    ) -> Result<Appended, Box<Reason>> {
        self.cx.rounded = 0;
        let text = text_of(payload)?;
        self.reserve(text.len())?;
        self.scan(text)?;
        for index in 0..self.columns.len() {
            self.fill(index, meta, text)?;
        }
        for index in 0..self.columns.len() {
            self.derive(index)?;
        }
        self.event_time(meta, text)
    }

    /// Makes sure that a payload of this length fits the buffer, whatever it holds.
    #[inline]
    fn reserve(&mut self, payload_bytes: usize) -> Result<(), Box<Reason>> {
        let need =
            payload_bytes * MAX_BYTES_PER_PAYLOAD_BYTE + self.columns.len() * MAX_BYTES_PER_COLUMN;
        if need > self.room {
            self.room = MAX_BATCH_BYTES.saturating_sub(self.bytes());
        }
        self.room = self
            .room
            .checked_sub(need)
            .ok_or_else(|| Box::new(Reason::BatchFull))?;
        Ok(())
    }

    /// Walks the whole message once: checks that it is one JSON object, and finds its fields.
    fn scan(&mut self, text: &str) -> Result<(), Box<Reason>> {
        let mut scanner = Scanner::new(text);
        let mut order = self.fields.begin();
        let mut more = scanner.open_object().map_err(Reason::not_json)?;
        while more {
            let MemberKey { id, role } = self.fields.key(&mut scanner, &mut order, &mut self.cx)?;
            match role {
                Role::Levels(index) if scanner.token() == Some(b'[') => {
                    self.levels(index.into(), id, &mut scanner)?;
                }
                Role::Recorded | Role::Levels(_) => {
                    let value = scanner.value().map_err(Reason::not_json)?;
                    self.fields.set_found(id, FieldLocation::At(value));
                }
                Role::Ignored | Role::Unknown => {
                    scanner.value().map_err(Reason::not_json)?;
                }
            }
            more = scanner.more_members().map_err(Reason::not_json)?;
        }
        scanner.end().map_err(Reason::not_json)?;
        match self.fields.duplicate_stranger() {
            Some(name) => Err(Reason::duplicate(&name).into()),
            None => Ok(()),
        }
    }

    /// Reads levels straight into their column.
    fn levels(
        &mut self,
        index: usize,
        id: u32,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), Box<Reason>> {
        let start = scanner.offset();
        let planned = &mut self.columns[index];
        if let Err(fault) = planned.column.push_levels(scanner, &mut self.cx) {
            let item = JsonItem {
                kind: JsonKind::Array,
                raw: &scanner.text()[start..],
            };
            return Err(reason(planned, self.fields.name(id as usize), item, fault).into());
        }
        self.fields.set_found(id, FieldLocation::Read);
        Ok(())
    }

    /// Gives a column its value, if it is not derived from another one's.
    #[inline]
    fn fill(
        &mut self,
        index: usize,
        meta: &MessageMeta<'_>,
        text: &str,
    ) -> Result<(), Box<Reason>> {
        let planned = &mut self.columns[index];
        match &planned.source {
            ResolvedSource::Fields(aliases) => {
                for alias in aliases {
                    let item = match alias {
                        Alias::Field(id) => match self.fields.found(*id) {
                            FieldLocation::Absent => continue,
                            FieldLocation::Read => return Ok(()),
                            FieldLocation::At(value) if value.kind() == JsonKind::Null => continue,
                            FieldLocation::At(value) => value.of(text),
                        },
                        Alias::SubjectToken(n) => match subject_token(meta.subject, *n) {
                            Some(token) => token,
                            None => continue,
                        },
                    };
                    return match planned.column.push(item, &mut self.cx) {
                        Ok(()) => Ok(()),
                        Err(fault) => {
                            let name = alias.name(&self.fields);
                            Err(reason(planned, &name, item, fault).into())
                        }
                    };
                }
                if planned.column.push_null() {
                    Ok(())
                } else {
                    Err(self.missing(index).into())
                }
            }
            ResolvedSource::StoredAt => {
                let stored_at = Instant::from_nanos(meta.stored_at_nanos);
                let fits = planned.column.push_instant(stored_at);
                fits.then_some(())
                    .ok_or_else(|| beyond(planned, &meta.stored_at_nanos).into())
            }
            ResolvedSource::Epoch => push_integer(planned, meta.position.epoch.0),
            ResolvedSource::Sequence => push_integer(planned, meta.position.seq),
            ResolvedSource::Count(_) | ResolvedSource::Best { .. } => Ok(()),
        }
    }

    /// Gives a column its value, if it is derived from another one's.
    #[inline]
    fn derive(&mut self, index: usize) -> Result<(), Box<Reason>> {
        match self.columns[index].source {
            ResolvedSource::Count(of) => {
                let count = self.columns[of].column.last_elements();
                push_integer(&mut self.columns[index], count as u64)
            }
            ResolvedSource::Best { of, side, part } => {
                let Ok([planned, of]) = self.columns.get_disjoint_mut([index, of]) else {
                    return Err(self.missing(index).into());
                };
                let levels = of.column.levels();
                let best = levels.and_then(|levels| Some((levels, levels.best(side)?)));
                let pushed = match best {
                    Some((levels, level)) => {
                        planned.column.push_decimal_of(levels.part(part), level)
                    }
                    None => planned.column.push_null(),
                };
                if pushed {
                    Ok(())
                } else {
                    Err(self.missing(index).into())
                }
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn count_extras(&mut self) {
        for (index, planned) in self.columns.iter_mut().enumerate() {
            let levels = planned.column.levels_mut();
            let extras = levels.map_or(0, Levels::take_extras);
            if extras > 0 {
                *self.extras.entry(index).or_default() += extras;
            }
        }
    }

    /// The row's event time, if it is plausible.
    fn event_time(&self, meta: &MessageMeta<'_>, text: &str) -> Result<Appended, Box<Reason>> {
        let planned = &self.columns[self.time_column];
        let latest = meta.stored_at_nanos.saturating_add(NANOS_PER_DAY);
        match planned.column.last_nanos() {
            Some(nanos) if (PLAUSIBLE_FROM_SECS * NANOS_PER_SEC..=latest).contains(&nanos) => {
                Ok(Appended {
                    event_time_nanos: nanos,
                    hour: nanos.div_euclid(NANOS_PER_HOUR),
                })
            }
            _ => {
                let (field, value) = self.origin(planned, meta, text);
                Err(Box::new(Reason::ImplausibleTime {
                    place: place(planned, field, value),
                    expected: format!(
                        "it must be from 2009-01-01T00:00:00Z to {}, a day after the message was stored",
                        written(latest)
                    ),
                }))
            }
        }
    }

    /// Returns the field from which a column took its value, and the value as errors show it.
    fn origin(&self, planned: &ColumnPlan, meta: &MessageMeta<'_>, text: &str) -> (String, String) {
        if let ResolvedSource::Fields(aliases) = &planned.source {
            for alias in aliases {
                let item = match alias {
                    Alias::Field(id) => match self.fields.found(*id) {
                        FieldLocation::At(value) if value.kind() != JsonKind::Null => {
                            Some(value.of(text))
                        }
                        _ => None,
                    },
                    Alias::SubjectToken(n) => subject_token(meta.subject, *n),
                };
                if let Some(item) = item {
                    return (alias.name(&self.fields), display(item));
                }
            }
        }
        (
            "(time of storage)".to_owned(),
            written(meta.stored_at_nanos),
        )
    }

    #[cold]
    fn missing(&self, index: usize) -> Reason {
        let planned = &self.columns[index];
        let fields = match &planned.source {
            ResolvedSource::Fields(aliases) => {
                let names = aliases.iter().map(|alias| alias.name(&self.fields));
                names.collect()
            }
            ResolvedSource::Count(of) | ResolvedSource::Best { of, .. } => {
                vec![self.columns[*of].name.clone()]
            }
            ResolvedSource::StoredAt | ResolvedSource::Epoch | ResolvedSource::Sequence => {
                Vec::new()
            }
        };
        Reason::Missing {
            column: planned.name.clone(),
            fields,
        }
    }
}

/// Returns the payload as text, if it is neither empty nor too large.
fn text_of(payload: &[u8]) -> Result<&str, Box<Reason>> {
    if payload.is_empty() {
        return Err(Box::new(Reason::Empty));
    }
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Box::new(Reason::TooLarge {
            bytes: payload.len(),
            limit: MAX_PAYLOAD_BYTES,
        }));
    }
    std::str::from_utf8(payload).map_err(|e| {
        Box::new(Reason::NotJson {
            what: "invalid UTF-8 begins",
            offset: e.valid_up_to(),
        })
    })
}

fn subject_token(subject: &str, n: usize) -> Option<JsonItem<'_>> {
    let token = subject.split('.').nth(n)?;
    Some(JsonItem {
        kind: JsonKind::Text,
        raw: token,
    })
}

fn push_integer(planned: &mut ColumnPlan, value: u64) -> Result<(), Box<Reason>> {
    if planned.column.push_integer(value.into()) {
        Ok(())
    } else {
        Err(beyond(planned, &value).into())
    }
}
